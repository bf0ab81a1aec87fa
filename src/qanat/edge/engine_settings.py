"""Our settings as the engine, the store and the quick tunnels take them."""

from datetime import timedelta
from typing import TYPE_CHECKING

from qanat.auth.management import ManagementKey
from qanat.descriptors import Shares
from qanat.edge import engine
from qanat.edge.listen import LocalSocket
from qanat.settings import AccountLimitSettings, EdgeSettings, QuickTunnelSettings
from qanat.store.limits import AccountLimits

if TYPE_CHECKING:
    from qanat.control.quick_tunnels import QuickLimits


def account_limits(settings: AccountLimitSettings) -> AccountLimits:
    """As the store takes them."""
    return AccountLimits(**settings.model_dump(exclude={"certificates"}))


def quick_limits(settings: QuickTunnelSettings) -> "QuickLimits | None":
    """None: quick tunnels are off."""
    if not settings.zone:
        return None
    from qanat.control.quick_tunnels import QuickLimits

    return QuickLimits(
        zone=settings.zone,
        per_address=settings.per_address,
        in_all=settings.in_all,
        expiry=timedelta(seconds=settings.expiry_s),
    )


def engine_settings(
    settings: EdgeSettings, management: ManagementKey, sockets: Shares, local: LocalSocket | None = None
) -> "engine.EdgeSettings":
    """Our settings as the engine takes them, within what file descriptors allow."""
    limits = settings.limits
    return {
        "location": settings.location,
        "https_address": settings.public.https,
        "http_address": settings.public.http,
        "tunnel_address": settings.tunnel.address,
        "http_mode": settings.public.http_mode,
        "public_https_port": settings.public.https_port,
        "worker_threads": settings.engine.worker_threads,
        "management_hostname": settings.public.management_hostname or "",
        "management_key": management.public,
        "control_hostname": settings.control.hostname or "",
        "control_socket": local.name if local is not None else "",
        "max_control_requests": min(settings.control.requests, sockets.api),
        "max_control_body_bytes": settings.control.body_bytes,
        "trusted_proxies": list(settings.public.trusted_proxies),
        "tunnels_on_https": settings.public.tunnels,
        "proxy_protocol": list(settings.public.proxy_protocol),
        "max_header_bytes": limits.header_bytes,
        "max_header_fields": limits.header_fields,
        "max_request_line_bytes": limits.request_line_bytes,
        "max_trailer_bytes": limits.trailer_bytes,
        "header_timeout_s": limits.header_timeout_s,
        "tls_handshake_timeout_s": limits.tls_handshake_timeout_s,
        "keep_alive_timeout_s": limits.keep_alive_timeout_s,
        "response_timeout_s": limits.response_timeout_s,
        "grpc_idle_timeout_s": limits.grpc_idle_timeout_s,
        "standby_wait_s": settings.tunnel.standby_wait_s,
        "max_streams_per_tunnel": limits.streams_per_tunnel,
        "max_connections": min(limits.connections, sockets.public),
        "max_connections_per_address": limits.connections_per_address,
        "max_new_connections_per_address": limits.new_connections_per_address,
        "max_failed_handshakes_per_address": limits.failed_handshakes_per_address,
        "shared_networks": list(limits.shared_networks),
        "max_pending_tunnel_handshakes": min(limits.pending_tunnel_handshakes, sockets.unregistered),
        "max_tunnel_tcp_connections": sockets.tunnels,
        "max_unread_bytes": limits.unread_bytes,
        "congestion": settings.tunnel.congestion,
        "access_log_sample": settings.access_log.sample if settings.access_log.to != "off" else 0.0,
        "access_log_query": settings.access_log.query,
        "access_log_bytes": settings.access_log.queue_bytes,
        "trace_sample": settings.tracing.sample if settings.tracing.endpoint is not None else 0.0,
        "event_queue": settings.engine.event_queue,
    }
