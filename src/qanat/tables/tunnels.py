"""Tunnels as the edge must know them: who may register, and which configuration is pushed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from qanat.ids import AccountId, TunnelId
from qanat.store.configurations import newest_configuration, newest_configurations
from qanat.store.models import Configuration, ConnectorToken, Tunnel
from qanat.store.sealing import Sealer


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelEntry:
    """A row of the engine's tunnel table. `secrets`: (token id, SHA-256) of each secret that lets a connector in, "" the
    tunnel's own; `configuration`: the document to push, None when none was ever set."""

    tunnel_id: TunnelId
    account_id: AccountId
    name: str
    secrets: tuple[tuple[str, bytes], ...]
    deleted: bool
    remotely_managed: bool
    configuration_version: int
    configuration: bytes | None


def compile_tunnel(
    tunnel: Tunnel, configuration: Configuration | None, secrets: Iterable[tuple[str, bytes]]
) -> TunnelEntry:
    """A tunnel is managed remotely when it was created so, or since a configuration was put (api.md 2.5). `secrets`: raw
    ones by token id."""
    return TunnelEntry(
        tunnel_id=TunnelId(tunnel.id),
        account_id=AccountId(tunnel.account_id),
        name=tunnel.name,
        secrets=tuple((token_id, sha256(secret).digest()) for token_id, secret in secrets),
        deleted=tunnel.deleted_at is not None,
        remotely_managed=tunnel.config_src == "cloudflare" or configuration is not None,
        configuration_version=configuration.version if configuration is not None else 0,
        configuration=configuration.document.encode() if configuration is not None else None,
    )


def read_tunnels(session: Session, sealer: Sealer, at: datetime) -> list[TunnelEntry]:
    """All tunnels, deleted ones too, with the tokens that are good at `at`."""
    configurations = newest_configurations(session)
    tokens: dict[str, list[ConnectorToken]] = {}
    for token in session.scalars(_good_tokens(at)):
        tokens.setdefault(token.tunnel_id, []).append(token)
    return [
        compile_tunnel(tunnel, configurations.get(tunnel.id), _secrets(sealer, tunnel, tokens.get(tunnel.id, ())))
        for tunnel in session.scalars(select(Tunnel).order_by(Tunnel.id))
    ]


def read_tunnel(session: Session, sealer: Sealer, tunnel_id: str, at: datetime) -> TunnelEntry | None:
    """One tunnel as it is now; None when there is none."""
    tunnel = session.get(Tunnel, tunnel_id)
    if tunnel is None:
        return None
    tokens = session.scalars(_good_tokens(at).where(ConnectorToken.tunnel_id == tunnel_id)).all()
    return compile_tunnel(tunnel, newest_configuration(session, tunnel_id), _secrets(sealer, tunnel, tokens))


def _good_tokens(at: datetime) -> Select[ConnectorToken]:
    unexpired = or_(ConnectorToken.expires_at.is_(None), ConnectorToken.expires_at > at)
    return select(ConnectorToken).where(ConnectorToken.revoked_at.is_(None), unexpired).order_by(ConnectorToken.id)


def _secrets(sealer: Sealer, tunnel: Tunnel, tokens: Sequence[ConnectorToken]) -> list[tuple[str, bytes]]:
    own = ("", sealer.open(tunnel.sealed_secret, tunnel.id))
    return [own, *((token.id, sealer.open(token.sealed_secret, token.id)) for token in tokens)]
