"""What passes of a hostname, request by request: switched on for a while, looked through, and switched off."""

from typing import Any

from starlette.responses import Response

from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.desk import Desk
from qanat.dashboard.hub import stream_url
from qanat.dashboard.links import hostname_url
from qanat.dashboard.render import render
from qanat.dashboard.views import View, watched
from qanat.errors import QanatError
from qanat.health.request_lists import MINUTES, MOST_MINUTES, MOST_REQUESTS, REQUESTS, Filters

pages = Pages()

SHOWN = 100
FILTERS = ("status", "path", "method", "address")


@pages.get("/hostnames/{name}/requests", "request.read")
def requests(ask: Ask) -> Response:
    """The hostname's request list."""
    name = ask.place["name"].lower()
    asked = {each: ask.query(each)[:200] for each in FILTERS}
    return ask.show(
        "requests.html",
        live=stream_url("requests", name=name, **asked),
        name=name,
        asked=asked,
        minutes=MINUTES,
        most_minutes=MOST_MINUTES,
        most=REQUESTS,
        most_requests=MOST_REQUESTS,
        **_values(ask.desk, ask.viewer.account_id, name, asked),
    )


@watched("requests", "request.read", asks=("name", *FILTERS))
def requests_parts(desk: Desk, view: View) -> dict[str, str]:
    """What of it changes."""
    asked = {each: view.value(each) for each in FILTERS}
    return {"requests": render("part/requests.html", **_values(desk, view.account_id, view.value("name"), asked))}


@pages.post("/hostnames/{name}/requests", "request.edit")
def begin(ask: Ask) -> Response:
    """Switches it on."""
    lists = ask.desk.live.request_lists
    with ask.desk.store.writing(ask.who.actor) as write:
        ordered = lists.ordered(
            write,
            account_id=ask.viewer.account_id,
            hostname=ask.place["name"],
            minutes=_number(ask, "minutes"),
            most=_number(ask, "most"),
        )
    return ask.led_to(hostname_url(lists.begin(ordered).hostname, "requests"))


@pages.post("/hostnames/{name}/requests/end", "request.edit")
def end(ask: Ask) -> Response:
    """Switches it off, and forgets what was listed."""
    name = ask.place["name"].lower()
    with ask.desk.store.writing(ask.who.actor) as write:
        ask.desk.live.request_lists.end(write, account_id=ask.viewer.account_id, hostname=name)
    return ask.led_to(hostname_url(name, "requests"))


def _number(ask: Ask, name: str) -> int:
    text = ask.form.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise QanatError("request_list_bad", f"{text[:20]!r} is not a number", where=name)
    return int(text)


def _values(desk: Desk, account_id: str, name: str, asked: dict[str, str]) -> dict[str, Any]:
    filters, lists = Filters(**asked), desk.live.request_lists
    filters.checked()
    found = lists.find(account_id, name)
    if found is None:
        return {"found": None, "is_on": False, "rows": [], "lost": 0}
    return {
        "rows": lists.read(account_id, name, filters, most=SHOWN),
        "found": found,
        "is_on": found.is_on(desk.store.clock()),
        "lost": desk.live.counters().get("listed_requests_dropped", 0),
    }
