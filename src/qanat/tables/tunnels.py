"""Tunnels as the edge must know them: who may register, and which configuration is pushed."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from qanat.ids import AccountId, TunnelId


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelEntry:
    """A row of the engine's tunnel table. `secrets`: (token id, SHA-256) of each secret that lets a connector in, "" the
    tunnel's own; `configuration`: the document to push, None when none was ever set. `active_token_id`: the one node that
    gets requests, None for all; `epoch` only rises; nodes of `fenced_token_ids` get none."""

    tunnel_id: TunnelId
    account_id: AccountId
    name: str
    secrets: tuple[tuple[str, bytes], ...]
    deleted: bool
    remotely_managed: bool
    configuration_version: int
    configuration: bytes | None
    active_token_id: str | None = None
    epoch: int = 0
    fenced_token_ids: tuple[str, ...] = ()


def compile_tunnel(
    tunnel: Any,
    configuration: tuple[int, str] | None,
    secrets: Iterable[tuple[str, bytes]],
    active: tuple[str | None, int] = (None, 0),
    fenced: Iterable[str] = (),
) -> TunnelEntry:
    """A tunnel is managed remotely when it was created so, or since a configuration was put (api.md 2.5). `tunnel`: its
    columns; `configuration`: version and document; `secrets`: raw ones by token id; `active`: the active node's token and the
    epoch; `fenced`: nodes' tokens."""
    version, document = configuration or (0, None)
    return TunnelEntry(
        tunnel_id=TunnelId(tunnel.id),
        account_id=AccountId(tunnel.account_id),
        name=tunnel.name,
        secrets=tuple((token_id, sha256(secret).digest()) for token_id, secret in secrets),
        deleted=bool(tunnel.deleted),
        remotely_managed=tunnel.config_src == "cloudflare" or configuration is not None,
        configuration_version=version,
        configuration=document.encode() if document is not None else None,
        active_token_id=active[0],
        epoch=active[1],
        fenced_token_ids=tuple(fenced),
    )
