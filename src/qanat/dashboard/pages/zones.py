"""Zones: all of an account with what is in each, names that are held, one more, and the end of one."""

from typing import Any

from starlette.responses import Response

from qanat.control import zone_overview, zones
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.confirming import Asked, confirmed
from qanat.dashboard.links import with_query, zone_url
from qanat.dashboard.paging import Paging
from qanat.dashboard.zone_of import searched, zone_of
from qanat.errors import QanatError

pages = Pages()

IN_LIST = 50
NAMED = 8
"""Hostnames that are named before they stop."""


@pages.get("/zones", "zone.read")
def listed(ask: Ask) -> Response:
    """Those that the viewer sees, by name."""
    return _shown(ask)


@pages.post("/zones", "zone.edit")
def add(ask: Ask) -> Response:
    """One more."""
    if not ask.viewer.may("zone.edit"):
        raise QanatError("permission_missing", "this needs zone.edit on the account that is shown", where="account")
    name = ask.form.get("name", "").strip().removesuffix(".")
    try:
        with ask.desk.store.writing(ask.who.actor) as write:
            zone = zones.create(write, account_id=ask.viewer.account_id, name=name)
    except QanatError as error:
        return _shown(ask, name=name, error=error)
    return ask.led_to(zone_url(zone.id))


@pages.post("/zones/{zone_id}/paused", "zone.edit")
def set_paused(ask: Ask) -> Response:
    """Its hostnames aren't served meanwhile; or are again."""
    zone = zone_of(ask, "zone.edit")
    pauses = bool(ask.form.get("paused"))
    if pauses:
        asked = Asked(
            title=f"Pause {zone.name}",
            consequences=(
                *_stops(ask, zone, "answered with an error until it goes on"),
                "Its records stay, and can be changed.",
            ),
            name=zone.name,
            verb="Pause",
            back=zone_url(zone.id, "settings"),
            keeps={"paused": "yes"},
        )
        if (page := confirmed(ask, asked)) is not None:
            return page
    with ask.desk.store.writing(ask.who.actor) as write:
        zones.change(write, zone.id, reach=ask.who.reach("zone.edit"), paused=pauses)
    return ask.led_to(zone_url(zone.id, "settings"))


@pages.post("/zones/{zone_id}/delete", "zone.edit")
def delete(ask: Ask) -> Response:
    """The zone with its records, once its name was typed."""
    zone = zone_of(ask, "zone.edit")
    with ask.desk.store.reading() as session:
        loss = zone_overview.loss(session, zone, most=NAMED)
    asked = Asked(
        title=f"Delete {zone.name}",
        consequences=(
            *_stops(ask, zone, "not served any more"),
            f"Records that are deleted with it: {loss.records}. Export them first, if they may be wanted again.",
            *([f"Certificates that are deleted with it: {loss.certificates}."] if loss.certificates else []),
            f"For {zones.HELD.days} days no other account may take the name; this one may, at any time.",
        ),
        name=zone.name,
        verb="Delete",
        back=zone_url(zone.id, "settings"),
    )
    if (page := confirmed(ask, asked)) is not None:
        return page
    with ask.desk.store.writing(ask.who.actor) as write:
        zones.delete(write, zone.id, reach=ask.who.reach("zone.edit"))
    return ask.led_to("/zones")


def _stops(ask: Ask, zone: Any, how: str) -> list[str]:
    with ask.desk.store.reading() as session:
        loss = zone_overview.loss(session, zone, most=NAMED)
    if not loss.hostnames:
        return ["No public hostname is in it: nothing stops."]
    if not ask.viewer.may_in("dns.read", zone.id):
        return [f"Public hostnames in it: {loss.hostnames}, {how}."]
    sees_tunnels = ask.viewer.may("tunnel.read")
    named = [f"{name} (through {tunnel})" if tunnel and sees_tunnels else name for name, tunnel in loss.first]
    more = f", and {loss.hostnames - len(named)} more" if loss.hostnames > len(named) else ""
    return [f"{', '.join(named)}{more}: {how}."]


def _shown(ask: Ask, *, name: str = "", error: QanatError | None = None) -> Response:
    search, at = searched(ask.query("search")), ask.number("page")
    reach = ask.who.reach("zone.read")
    may_add = ask.viewer.may("zone.edit")
    with ask.desk.store.reading() as session:
        lines, total = zone_overview.page(
            session, ask.viewer.account_id, reach=reach, search=search, offset=(at - 1) * IN_LIST, limit=IN_LIST
        )
        is_whole = reach.has_account(ask.viewer.account_id)
        held = zone_overview.held(session, ask.viewer.account_id, ask.desk.store.clock()) if is_whole else []
    return ask.show(
        "zones.html",
        status=400 if error is not None else 200,
        lines=lines,
        held=held,
        search=search,
        paging=Paging.of(at, IN_LIST, total, path=with_query("/zones", search=search), name="page"),
        redirects_http=ask.desk.redirects_http,
        may_add=may_add,
        name=name,
        error=error,
    )
