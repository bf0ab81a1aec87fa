"""`…/cfd_tunnel/{tunnel_id}/configurations`: what the tunnel's connectors serve, kept and answered as it was sent."""

import json
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.conditional import IfMatch, versioned
from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok, rfc3339
from qanat.api.http.paths import AccountPath, TunnelPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.cfd_tunnel import PATH
from qanat.api.v4.tunnel_shapes import ACCOUNT, MOMENT, TUNNEL
from qanat.control import configurations
from qanat.control.visibility import visible_tunnel
from qanat.errors import QanatError
from qanat.ingress.rules import parse_configuration
from qanat.store.models import Configuration

router = resource(tags=["configurations"])

Source = Literal["cloudflare", "local"]
SOURCES: tuple[str, ...] = get_args(Source)
DOCUMENT = {
    "ingress": [
        {"hostname": "app.example.com", "service": "http://127.0.0.1:80", "originRequest": {"connectTimeout": 10}},
        {"service": "http_status:404"},
    ]
}


class ConfigurationPut(BaseModel):
    """The whole configuration anew; `null`, here and anywhere in it, means absent."""

    model_config = ConfigDict(strict=True)

    config: dict[str, Any] | None = Field(default=None, examples=[DOCUMENT])
    source: str | None = Field(default=None, description="`cloudflare` (when absent) or `local`")


class ConfigurationShape(Shape):
    """A configuration. `config` holds exactly the keys that were sent, nulls dropped, and `warp-routing.enabled`."""

    tunnel_id: Annotated[str, Field(examples=[TUNNEL])]
    account_id: Annotated[str, Field(examples=[ACCOUNT])]
    version: Annotated[int, Field(examples=[4], description="0: none was ever put")]
    config: Annotated[dict[str, Any], Field(examples=[{**DOCUMENT, "warp-routing": {"enabled": False}}])]
    source: Source
    created_at: Annotated[str, Field(examples=[MOMENT])]


@router.get(PATH + "/{tunnel_id}/configurations")
@needs("tunnel.read")
def get_configuration(account_id: AccountPath, tunnel_id: TunnelPath, ctx: Ctx, who: Who) -> Ok[ConfigurationShape]:
    """The configuration in force; version 0 when there never was one."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id)
        newest = configurations.newest(session, tunnel.id)
    if newest is None:
        nothing: ConfigurationShape = {
            "tunnel_id": tunnel.id,
            "account_id": tunnel.account_id,
            "version": 0,
            "config": {"warp-routing": {"enabled": False}},
            "source": cast(Source, tunnel.config_src),
            "created_at": rfc3339(tunnel.created_at),
        }
        return versioned(ok(nothing), "0")
    return versioned(ok(shown(tunnel.account_id, newest)), str(newest.version))


@router.put(PATH + "/{tunnel_id}/configurations")
@needs("tunnel.edit")
def put_configuration(
    account_id: AccountPath,
    tunnel_id: TunnelPath,
    body: ConfigurationPut,
    ctx: Ctx,
    who: Who,
    if_match: IfMatch,
) -> Ok[ConfigurationShape]:
    """Validates, stores as one more version, and pushes to the connectors; a bad one leaves no trace. An equal one keeps its
    version. A locally managed tunnel takes one too: its connectors follow it from then on."""
    with ctx.store.reading() as session:
        tunnel = visible_tunnel(session, who, account_id, tunnel_id, "tunnel.edit")
    if body.source is not None and body.source not in SOURCES:
        raise QanatError("source_unknown", "source is `cloudflare` or `local`", where="source")
    ctx.configuring.count(tunnel.id, "configurations of one tunnel")
    document = parse_configuration(body.config or {}).document
    with ctx.store.writing(who.actor) as write:
        configuration = configurations.put(
            write,
            account_id=account_id,
            tunnel_id=tunnel.id,
            document=document,
            source=body.source if body.source is not None else "cloudflare",
            expected=if_match,
        )
    return versioned(ok(shown(account_id, configuration)), str(configuration.version))


def shown(account_id: str, configuration: Configuration) -> ConfigurationShape:
    """A configuration by the echo rule of api.md 2.5."""
    return {
        "tunnel_id": configuration.tunnel_id,
        "account_id": account_id,
        "version": configuration.version,
        "config": echoed(json.loads(configuration.document)),
        "source": cast(Source, configuration.source),
        "created_at": rfc3339(configuration.created_at),
    }


def echoed(document: dict[str, Any]) -> dict[str, Any]:
    """Exactly what was sent, and `warp-routing.enabled`, without which a stock provider crashes."""
    routing = document.get("warp-routing")
    return {**document, "warp-routing": {"enabled": False, **(routing if isinstance(routing, dict) else {})}}
