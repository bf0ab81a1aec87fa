"""`/qanat/tunnels/{tunnel_id}/configurations`: every configuration that a tunnel had, what changed, and the way back."""

import json
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.endpoint import HEAVY, takes
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import TunnelPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.configurations import ConfigurationShape, shown
from qanat.api.v4.tunnel_shapes import ACCOUNT
from qanat.control import configurations
from qanat.control.visibility import known_tunnel
from qanat.errors import QanatError
from qanat.ingress.differences import differences
from qanat.ingress.rules import parse_configuration
from qanat.store.models import Configuration, Tunnel

router = resource(prefix="/qanat/tunnels/{tunnel_id}/configurations", tags=["configurations"])


class RollBack(BaseModel):
    """Which version is to be in force again."""

    model_config = ConfigDict(strict=True)

    version: int = Field(examples=[3])


class VersionShape(ConfigurationShape):
    """A configuration with who put it."""

    author: Annotated[
        str, Field(examples=[ACCOUNT], description="the API token's or the user's id, as in the audit log")
    ]


class DifferenceShape(Shape):
    """One value that differs; null where there is none."""

    path: Annotated[
        str,
        Field(
            examples=["ingress[0].service"],
            description="where it stands in the later document; in the earlier one when it was removed",
        ),
    ]
    before: Annotated[Any, Field(examples=["http://127.0.0.1:80"])]
    after: Annotated[Any, Field(examples=["http://127.0.0.1:8080"])]


_Versions = TypedDict(
    "_Versions", {"from": Annotated[int, Field(examples=[3])], "to": Annotated[int, Field(examples=[4])]}
)


class DiffShape(Shape, _Versions):
    """What changed from one version to another."""

    changes: list[DifferenceShape]


@router.get("/versions")
@needs("tunnel.read")
@takes(HEAVY)
def list_versions(tunnel_id: TunnelPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[VersionShape]:
    """Every configuration that the tunnel had, newest first, with its author."""
    with ctx.store.reading() as session:
        tunnel = known_tunnel(session, who, tunnel_id)
        rows, total = configurations.list_versions(session, tunnel.id, offset=page.offset, limit=page.per_page)
    return ok_page([shown_version(tunnel, row) for row in rows], page, total)


@router.get("/versions/{version}")
@needs("tunnel.read")
def get_version(tunnel_id: TunnelPath, version: str, ctx: Ctx, who: Who) -> Ok[VersionShape]:
    """One version."""
    with ctx.store.reading() as session:
        tunnel = known_tunnel(session, who, tunnel_id)
        found = configurations.get_version(session, tunnel.id, _number(version, "version"))
    return ok(shown_version(tunnel, found))


@router.get("/diff")
@needs("tunnel.read")
@takes(HEAVY)
def diff_versions(
    tunnel_id: TunnelPath,
    ctx: Ctx,
    who: Who,
    from_: Annotated[
        str | None,
        Query(alias="from", description="The earlier version; 0 is none. When absent: the one before the later."),
    ] = None,
    to: Annotated[str | None, Query(description="The later version. When absent: the one in force.")] = None,
) -> Ok[DiffShape]:
    """What changed between two versions, by key and rule."""
    with ctx.store.reading() as session:
        tunnel = known_tunnel(session, who, tunnel_id)
        newest = configurations.newest(session, tunnel.id)
        later = _number(to, "to") if to else (newest.version if newest is not None else 0)
        earlier = _number(from_, "from") if from_ else max(later - 1, 0)
        before, after = (
            json.loads(configurations.get_version(session, tunnel.id, version).document) if version else {}
            for version in (earlier, later)
        )
    changes: list[DifferenceShape] = [
        {"path": each.path, "before": each.before, "after": each.after} for each in differences(before, after)
    ]
    return ok({"from": earlier, "to": later, "changes": changes})


@router.post("/rollback")
@needs("tunnel.edit")
@takes(HEAVY)
def roll_back(tunnel_id: TunnelPath, body: RollBack, ctx: Ctx, who: Who) -> Ok[VersionShape]:
    """An earlier version's document, as a new version in force. It is validated as if it were put now."""
    with ctx.store.reading() as session:
        tunnel = known_tunnel(session, who, tunnel_id, "tunnel.edit", deleted=False)
        earlier = configurations.get_version(session, tunnel.id, body.version)
    ctx.configuring.count(tunnel.id, "configurations of one tunnel")
    document = parse_configuration(json.loads(earlier.document)).document
    with ctx.store.writing(who.actor) as write:
        configuration = configurations.put(
            write,
            account_id=tunnel.account_id,
            tunnel_id=tunnel.id,
            document=document,
            source=earlier.source,
            rolled_back_to=earlier.version,
        )
    return ok(shown_version(tunnel, configuration))


def shown_version(tunnel: Tunnel, configuration: Configuration) -> VersionShape:
    """The same with its author."""
    return {**shown(tunnel.account_id, configuration), "author": configuration.author}


def _number(text: str, where: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    raise QanatError("version_unknown", f"{text[:40]!a} is not a valid version: it is a whole number", where=where)
