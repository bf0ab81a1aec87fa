"""What the engine is started with, of a connector's options."""

from typing import TYPE_CHECKING

from qanat.connector.edges import DNS_OVER_TLS
from qanat.connector.engine import __version__
from qanat.connector.options import Options
from qanat.ids import ConnectorId

if TYPE_CHECKING:
    from qanat.connector.engine import ConnectorSettings

WORKER_THREADS = 0
"""Half of the cores, at least one."""
MAX_UNREAD_BYTES = 0
"""An eighth of the memory."""
EVENT_QUEUE = 8192


def engine_settings(options: Options, connector_id: ConnectorId, *, tell_requests: bool) -> "ConnectorSettings":
    """`tell_requests`: whether the engine tells of every request, for a log that shows them."""
    return {
        "account_tag": options.credentials.account_tag,
        "tunnel_id": options.credentials.tunnel_id,
        "tunnel_secret": options.credentials.secret,
        "connector_id": connector_id,
        "edges": [place.for_engine() for place in options.edges.places],
        "edge_resolver": options.edges.resolver,
        "edge_resolver_over_tls": DNS_OVER_TLS if options.edges.named_by == "hosted" else None,
        "proxy": options.edges.proxy_for_engine(),
        "version": f"qanat/{__version__}",
        "edge_ca_pem": options.edge_ca_pem,
        "edge_more_ca_pem": options.edge_more_ca_pem,
        "edge_ip_version": options.edge_ip_version,
        "edge_bind_address": options.edge_bind_address,
        "post_quantum": options.post_quantum,
        "protocol": options.protocol,
        "ha_connections": options.ha_connections,
        "congestion": options.congestion,
        "quic_stream_window": options.stream_flow_control or 0,
        "quic_connection_window": options.connection_flow_control or 0,
        "quic_mtu_discovery": options.pmtu_discovery,
        "write_stream_timeout_s": options.write_stream_timeout_s,
        "grace_period_s": options.grace_period_s,
        "rpc_timeout_s": options.rpc_timeout_s,
        "dial_timeout_s": options.dial_timeout_s,
        "retries": options.retries,
        "worker_threads": WORKER_THREADS,
        "max_unread_bytes": MAX_UNREAD_BYTES,
        "event_queue": EVENT_QUEUE,
        "tell_requests": tell_requests,
        "tags": options.tags,
        "features": options.features,
        "management_hostname": options.management.hostname,
    }
