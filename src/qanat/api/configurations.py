"""`…/cfd_tunnel/{tunnel_id}/configurations`: what the tunnel's connectors serve, kept and answered as it was sent."""

import json
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from qanat.api.cfd_tunnel import PATH, visible_account, visible_tunnel
from qanat.api.context import Ctx, Who
from qanat.api.envelope import ok, rfc3339
from qanat.errors import QanatError
from qanat.ingress.rules import parse_configuration
from qanat.store import configurations
from qanat.store.models import Configuration, Tunnel

router = APIRouter(tags=["configurations"])

SOURCES = ("cloudflare", "local")


class ConfigurationPut(BaseModel):
    """The whole configuration anew; `null`, here and anywhere in it, means absent."""

    model_config = ConfigDict(strict=True)

    config: dict[str, Any] | None = None
    source: str | None = None


@router.get(PATH + "/{tunnel_id}/configurations")
def get_configuration(account_id: str, tunnel_id: str, ctx: Ctx, who: Who) -> Response:
    """The configuration in force; version 0 when there never was one."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        newest = configurations.newest_configuration(session, tunnel.id)
    if newest is None:
        return ok(
            {
                "tunnel_id": tunnel.id,
                "account_id": tunnel.account_id,
                "version": 0,
                "config": {"warp-routing": {"enabled": False}},
                "source": tunnel.config_src,
                "created_at": rfc3339(tunnel.created_at),
            }
        )
    return ok(shown(tunnel.account_id, newest))


@router.put(PATH + "/{tunnel_id}/configurations")
def put_configuration(account_id: str, tunnel_id: str, body: ConfigurationPut, ctx: Ctx, who: Who) -> Response:
    """Validates, stores as one more version, and pushes to the connectors; a bad one leaves no trace."""
    visible_account(ctx, who, account_id)
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
    if body.source is not None and body.source not in SOURCES:
        raise QanatError("configuration_bad_type", "source is `cloudflare` or `local`", where="source")
    document = parse_configuration(body.config or {}).document
    configuration = configurations.put_configuration(
        ctx.store,
        who.actor,
        account_id=account_id,
        tunnel_id=tunnel.id,
        document=document,
        source=body.source if body.source is not None else "cloudflare",
    )
    return ok(shown(account_id, configuration))


def shown(account_id: str, configuration: Configuration) -> dict[str, Any]:
    """A configuration by the echo rule of api.md 2.5."""
    return {
        "tunnel_id": configuration.tunnel_id,
        "account_id": account_id,
        "version": configuration.version,
        "config": echoed(json.loads(configuration.document)),
        "source": configuration.source,
        "created_at": rfc3339(configuration.created_at),
    }


def echoed(document: dict[str, Any]) -> dict[str, Any]:
    """Exactly what was sent, and `warp-routing.enabled`, without which a stock provider crashes."""
    routing = document.get("warp-routing")
    return {**document, "warp-routing": {"enabled": False, **(routing if isinstance(routing, dict) else {})}}


def tunnel_versions_of(tunnel: Tunnel, versions: list[Configuration]) -> list[dict[str, Any]]:
    """The versions of a tunnel with their authors."""
    return [{**shown(tunnel.account_id, version), "author": version.author} for version in versions]
