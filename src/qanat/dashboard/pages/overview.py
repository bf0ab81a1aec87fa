"""The overview: what passes, how every tunnel is, and the map."""

import json
from typing import Any

from markupsafe import Markup
from starlette.responses import Response

from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.charted import draw
from qanat.dashboard.charts import SPANS, newest, span_of
from qanat.dashboard.desk import Desk
from qanat.dashboard.hub import stream_url
from qanat.dashboard.links import with_query
from qanat.dashboard.overview import TunnelLine
from qanat.dashboard.paging import Paging
from qanat.dashboard.render import render
from qanat.dashboard.views import View, watched
from qanat.health.standing import WORST_FIRST
from qanat.series import Scope
from qanat.store.reach import Permission

pages = Pages()

ON_MAP = 8
IN_LIST = 25
NEEDS: tuple[Permission, ...] = ("tunnel.read",)


@pages.get("/", *NEEDS)
def overview(ask: Ask) -> Response:
    """The first page."""
    at, span = ask.number("map"), span_of(ask.query("span"))
    return ask.show(
        "overview.html",
        live=stream_url("overview", map=str(at)),
        plot=with_query("/plots/account", span=span),
        span=span,
        spans=SPANS,
        parts=_parts(ask.desk, ask.viewer.account_id, at),
    )


@watched("overview", *NEEDS, asks=("map",))
def overview_parts(desk: Desk, view: View) -> dict[str, str]:
    """What of it changes."""
    asked = view.value("map")
    parts = _parts(desk, view.account_id, int(asked) if asked.isdigit() else 1)
    return {**parts, "plot:newest": json.dumps(newest(desk, Scope.account(view.account_id)))}


def _parts(desk: Desk, account_id: str, at: int) -> dict[str, Markup]:
    """The same for everybody who looks at the account."""
    found = desk.overviews.of(account_id)
    paging = Paging.of(at, ON_MAP, len(found.tunnels), path="/", name="map")

    def make() -> dict[str, Markup]:
        values = {
            "overview": found,
            "broken": [line for line in found.tunnels if line.state in ("down", "degraded")][:IN_LIST],
            "paging": paging,
            "drawing": draw(desk, account_id, found.tunnels[paging.offset : paging.offset + ON_MAP], found.stamp[0]),
        }
        return {name: Markup(render(f"part/{name}.html", **values)) for name in ("states", "broken", "map")}

    return desk.parts.of(("overview", account_id, paging.at), found.stamp, make)


@pages.get("/tunnels", *NEEDS)
def tunnels(ask: Ask) -> Response:
    """Every tunnel, worst first."""
    search, state = ask.query("search")[:200], ask.query("state")
    values = _listed(ask.desk, ask.viewer.account_id, search, state, ask.number("page"))
    asked = {"search": search, "state": state, "page": str(ask.number("page"))}
    return ask.show("tunnels.html", live=stream_url("tunnels", **asked), **values)


@watched("tunnels", *NEEDS, asks=("search", "state", "page"))
def tunnels_parts(desk: Desk, view: View) -> dict[str, str]:
    """What of it changes."""
    page = view.value("page")
    values = _listed(
        desk, view.account_id, view.value("search"), view.value("state"), int(page) if page.isdigit() else 1
    )
    return {"states": render("part/states.html", **values), "tunnels": render("part/tunnels.html", **values)}


def _listed(desk: Desk, account_id: str, search: str, state: str, at: int) -> dict[str, Any]:
    found = desk.overviews.of(account_id)
    matching = [line for line in found.tunnels if _matches(line, search, state)]
    path = with_query("/tunnels", search=search, state=state if state in WORST_FIRST else "")
    paging = Paging.of(at, IN_LIST, len(matching), path=path, name="page")
    return {
        "overview": found,
        "search": search,
        "state": state,
        "lines": matching[paging.offset : paging.offset + IN_LIST],
        "paging": paging,
    }


def _matches(line: TunnelLine, search: str, state: str) -> bool:
    return (state not in WORST_FIRST or line.state == state) and (
        not search or search.lower() in line.name.lower() or line.id.startswith(search.lower())
    )
