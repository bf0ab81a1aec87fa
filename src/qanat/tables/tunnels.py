"""Tunnels as the edge must know them: who may register, and which configuration is pushed."""

from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.ids import AccountId, TunnelId
from qanat.store.configurations import newest_configuration, newest_configurations
from qanat.store.models import Configuration, Tunnel
from qanat.store.sealing import Sealer


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelEntry:
    """A row of the engine's tunnel table. `configuration` is the document to push, None when none was ever set."""

    tunnel_id: TunnelId
    account_id: AccountId
    name: str
    secret_sha256: bytes
    deleted: bool
    remotely_managed: bool
    configuration_version: int
    configuration: bytes | None


def compile_tunnel(tunnel: Tunnel, configuration: Configuration | None, secret: bytes) -> TunnelEntry:
    """A tunnel is managed remotely when it was created so, or since a configuration was put (api.md 2.5)."""
    return TunnelEntry(
        tunnel_id=TunnelId(tunnel.id),
        account_id=AccountId(tunnel.account_id),
        name=tunnel.name,
        secret_sha256=sha256(secret).digest(),
        deleted=tunnel.deleted_at is not None,
        remotely_managed=tunnel.config_src == "cloudflare" or configuration is not None,
        configuration_version=configuration.version if configuration is not None else 0,
        configuration=configuration.document.encode() if configuration is not None else None,
    )


def read_tunnels(session: Session, sealer: Sealer) -> list[TunnelEntry]:
    """All tunnels, deleted ones too."""
    configurations = newest_configurations(session)
    return [
        compile_tunnel(tunnel, configurations.get(tunnel.id), sealer.open(tunnel.sealed_secret, tunnel.id))
        for tunnel in session.scalars(select(Tunnel).order_by(Tunnel.id))
    ]


def read_tunnel(session: Session, sealer: Sealer, tunnel_id: str) -> TunnelEntry | None:
    """One tunnel as it is now; None when there is none."""
    tunnel = session.get(Tunnel, tunnel_id)
    if tunnel is None:
        return None
    return compile_tunnel(
        tunnel, newest_configuration(session, tunnel_id), sealer.open(tunnel.sealed_secret, tunnel.id)
    )
