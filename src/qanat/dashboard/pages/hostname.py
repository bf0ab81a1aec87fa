"""Public hostnames: all of them, and one with the way of a request to it, what failed lately, and a test now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import HTMLResponse, Response

from qanat.control import public_hostnames, tunnels
from qanat.control.explain import seen_by, zone_of
from qanat.control.visibility import sees_request
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.desk import Desk
from qanat.dashboard.hub import MOST_OF_VALUE, stream_url
from qanat.dashboard.links import with_query
from qanat.dashboard.paging import Paging
from qanat.dashboard.render import render
from qanat.dashboard.views import View, watched
from qanat.dashboard.way import course
from qanat.errors import QanatError
from qanat.health import checks
from qanat.health.asking import ask_once
from qanat.health.questions import Check
from qanat.health.verdicts import Verdict
from qanat.ids import parse_hostname
from qanat.ingress.verdicts import Asked
from qanat.nodes import nodes
from qanat.nodes.running import FailedRequest
from qanat.store.reach import Permission

pages = Pages()

IN_LIST = 50
MOST_FAILURES = 50
MOST_NODES = 16
BEST = ("healthy", "unhealthy", "unknown")
NEEDS: tuple[Permission, ...] = ("dns.read", "tunnel.read")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an origin answered through a node."""

    node: str
    is_good: bool
    why: str
    duration_s: float


@pages.get("/hostnames", *NEEDS)
def hostnames(ask: Ask) -> Response:
    """Every public hostname of the zones that the viewer sees, by name."""
    search, at = ask.query("search")[:200], ask.number("page")
    with ask.desk.store.reading() as session:
        found, total = public_hostnames.page(
            session,
            ask.viewer.account_id,
            reach=ask.who.reach("dns.read"),
            search=search,
            offset=(at - 1) * IN_LIST,
            limit=IN_LIST,
        )
    overview = ask.desk.overviews.of(ask.viewer.account_id)
    lines = {line.id: line for line in overview.tunnels}
    paging = Paging.of(at, IN_LIST, total, path=with_query("/hostnames", search=search), name="page")
    verdicts = _verdicts(ask.desk, found)
    rows = [(each, lines.get(each.tunnel_id), verdicts[each.name, each.tunnel_id]) for each in found]
    return ask.show("hostnames.html", rows=rows, search=search, paging=paging)


@pages.get("/hostnames/{name}", *NEEDS)
def hostname(ask: Ask) -> Response:
    """The hostname's page."""
    return _shown(ask, answers=None)


@pages.post("/hostnames/{name}/test", "dns.read", "tunnel.edit")
def test_now(ask: Ask) -> Response:
    """Asks its origin once, through each connected node. It changes no verdict."""
    name, path = str(parse_hostname(ask.place["name"])), _path(ask.form.get("path", "/"))
    answers = _tested(ask, name, path)
    if "hx-request" in ask.request.headers:
        return HTMLResponse(render("part/answers.html", answers=answers))
    return _shown(ask, answers=answers, path=path)


def _zones(desk: Desk, view: View) -> set[str]:
    """The one that the hostname is in, if the account has it."""
    with desk.store.reading() as session:
        zone = zone_of(session, parse_hostname(view.value("name")))
    return {zone.id} if zone is not None and zone.account_id == view.account_id else set()


@watched("hostname", *NEEDS, asks=("name", "path"), zones=_zones)
def hostname_parts(desk: Desk, view: View) -> dict[str, str]:
    """What of it changes by itself: how the stages of its way are, and what failed."""
    name = view.value("name")
    failures = [
        each
        for each in desk.live.recent_failures(hostname=name, most=MOST_FAILURES)
        if _is_of(desk, view.account_id, each)
    ]
    parts = {"failures": render("part/failures.html", failures=failures)}
    if not _zones(desk, view):
        return parts  # the way is another account's, if there is any
    try:
        found = course(
            desk,
            lambda zone: zone.account_id == view.account_id,  # readers may see it: `zones` are those of the view
            view.account_id,
            Asked(name, _path(view.value("path") or "/")),
        )
    except QanatError as error:
        if error.code != "busy":
            raise
        return parts  # somebody else asks for this tunnel's rules: with the next look
    return parts | {
        "standing": render("part/way-standing.html", course=found),
        "way": render("part/way.html", course=found),
    }


def _shown(ask: Ask, *, answers: list[Answer] | None, path: str = "") -> Response:
    name = str(parse_hostname(ask.place["name"]))
    path = path or _path(ask.query("path", "/"))
    who = ask.who
    found = course(ask.desk, seen_by(who), ask.viewer.account_id, Asked(name, path))
    reach = who.reach("tunnel.edit" if ask.request.method == "POST" else "tunnel.read")
    with ask.desk.store.reading() as session:
        zone = zone_of(session, parse_hostname(name))
        failures = [
            each
            for each in ask.desk.live.recent_failures(hostname=name, most=MOST_FAILURES)
            if sees_request(session, reach, each.tunnel_id)
        ]
    # of a zone that isn't seen the page says only that, and needs no stream
    is_seen = zone is None or (zone.account_id == ask.viewer.account_id and seen_by(who)(zone))
    watched_path = "" if path == "/" else path
    live: dict[str, Any] = (
        {"live": stream_url("hostname", name=name, path=watched_path)} if is_seen and len(path) <= MOST_OF_VALUE else {}
    )
    return ask.show(
        "hostname.html",
        **live,
        name=name,
        asked_path=path,
        course=found,
        failures=failures,
        answers=answers,
    )


def _tested(ask: Ask, name: str, path: str) -> list[Answer]:
    desk, account_id = ask.desk, ask.viewer.account_id
    route = desk.live.route(name)
    if name.startswith("*.") or route is None or not route.targets:
        raise QanatError("probe_bad", f"{name} leads to no tunnel", where="hostname")
    tunnel_id = max(route.targets, key=lambda target: target[1])[0]
    with desk.store.reading() as session:
        tunnel = tunnels.get(session, account_id, tunnel_id)
        if not checks.is_own_hostname(session, account_id, name, reach=ask.who.reach("dns.read")):
            raise QanatError("probe_unknown", f"{name} is in no zone of this account", where="hostname")
        rule = checks.read(session, account_id).of(account_id=account_id, hostname=name, tunnel_id=tunnel_id)
        names = {node.token_id: node.name for node in nodes.every(session, tunnel)}
    check = Check(**{**{field: getattr(rule, field) for field in checks.FIELDS}, "path": path}).checked()
    connected = sorted(node for each, node in desk.live.health.nodes() if each == tunnel_id)[:MOST_NODES]
    if not connected:
        raise QanatError("probe_bad", f"no connection of tunnel {tunnel.name} is registered", where="tunnel")
    found = []
    with desk.probing(tunnel_id):
        for node in connected:
            answer, judgment = ask_once(
                desk.live.health, desk.live.probes, check, hostname=name, tunnel_id=tunnel_id, token_id=node
            )
            found.append(Answer(names.get(node, node or "default"), judgment.is_good, judgment.why, answer.duration_s))
    return found


def _verdicts(desk: Desk, found: Sequence[public_hostnames.PublicHostname]) -> dict[tuple[str, str], Verdict | None]:
    """Of several nodes' the best; None: nobody was asked, or nobody is connected."""
    wanted: dict[tuple[str, str], Verdict | None] = {(each.name, each.tunnel_id): None for each in found}
    connected = {tunnel_id for tunnel_id, _ in desk.live.health.nodes()}
    for (name, tunnel_id, _), verdict in desk.live.health.spots().items():
        if (name, tunnel_id) in wanted and tunnel_id in connected:
            before = wanted[name, tunnel_id]
            if before is None or BEST.index(verdict.state) < BEST.index(before.state):
                wanted[name, tunnel_id] = verdict
    return wanted


def _is_of(desk: Desk, account_id: str, failed: FailedRequest) -> bool:
    return failed.tunnel_id is not None and desk.overviews.of(account_id).line(failed.tunnel_id) is not None


def _path(text: str) -> str:
    return text if text.startswith("/") and len(text) <= 2000 and text.isprintable() else "/"
