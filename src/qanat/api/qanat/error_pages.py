"""`/qanat/zones/{zone_id}/error-pages`: HTML of a zone's own, in place of the edge's error pages."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok, rfc3339
from qanat.api.http.paths import ZonePath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.tunnel_shapes import MOMENT
from qanat.control import zone_settings, zones
from qanat.control.zone_settings import PageKind

router = resource(prefix="/qanat/zones/{zone_id}/error-pages", tags=["qanat"])

EXAMPLE = "<h1>We are away</h1><p>Please quote ::RAY_ID::</p>"


class ErrorPageShape(Shape):
    """An error page. `content` null: the edge's."""

    kind: PageKind
    content: Annotated[str | None, Field(examples=[EXAMPLE])]
    modified_on: Annotated[str | None, Field(examples=[MOMENT])]


class ErrorPageInput(BaseModel):
    """HTML, at most 32 KiB."""

    model_config = ConfigDict(strict=True)

    content: str = Field(
        examples=[EXAMPLE],
        description="filled in are `::RAY_ID::`, `::CLIENT_IP::`, `::HOSTNAME::`, `::STATUS::`, `::TITLE::`, `::ADVICE::`, "
        "`::CAUSE::`, and `::ERROR_BOX::` (also `::CLOUDFLARE_ERROR_500S_BOX::`): what the edge's page shows",
    )


@router.get("")
@needs("zone.read")
def list_pages(zone_id: ZonePath, ctx: Ctx, who: Who) -> Ok[list[ErrorPageShape]]:
    """Both kinds: `1000_errors`, failures with a number from 1000 on (1033: the tunnel has no connection), and `500_errors`, all
    others from 500 on."""
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=who.reach("zone.read"))
        own = zone_settings.pages(session, zone.id)
    listed: list[ErrorPageShape] = []
    for kind in zone_settings.PAGE_KINDS:
        content, at = own.get(kind, (None, None))
        listed.append({"kind": kind, "content": content, "modified_on": rfc3339(at)})
    return ok(listed)


@router.put("/{kind}")
@needs("zone.edit")
def put_page(zone_id: ZonePath, kind: PageKind, body: ErrorPageInput, ctx: Ctx, who: Who) -> Ok[ErrorPageShape]:
    """This page from now on, for clients that take HTML; others get problem+json as before."""
    with ctx.store.writing(who.actor) as write:
        row = zone_settings.put_page(write, zone_id, kind, body.content, reach=who.reach("zone.edit"))
        at = row.modified_at
    return ok({"kind": kind, "content": body.content, "modified_on": rfc3339(at)})


@router.delete("/{kind}")
@needs("zone.edit")
def delete_page(zone_id: ZonePath, kind: PageKind, ctx: Ctx, who: Who) -> Ok[ErrorPageShape]:
    """The edge's page again."""
    with ctx.store.writing(who.actor) as write:
        zone_settings.remove_page(write, zone_id, kind, reach=who.reach("zone.edit"))
    return ok({"kind": kind, "content": None, "modified_on": None})
