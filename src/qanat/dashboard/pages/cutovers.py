"""Cutovers: planned with every gate's evidence, begun, watched, held up and taken back; and those that were."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from qanat.control import tunnels
from qanat.cutover import cutovers
from qanat.cutover.comparison import compare
from qanat.cutover.edge import CutoverEdge
from qanat.cutover.gates import Gate, is_open, learnt
from qanat.cutover.inspection import inspect
from qanat.cutover.machine import ACTIVE, MOVED, State
from qanat.cutover.plan import AT_ONCE, GRADUAL, Check, Plan, Rule, checked
from qanat.cutover.rule import Counts, numbers_of
from qanat.cutover.watching import patiences, took_s
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.confirming import Asked, confirmed
from qanat.dashboard.desk import Desk
from qanat.dashboard.hub import stream_url
from qanat.dashboard.paging import Paging
from qanat.dashboard.render import render
from qanat.dashboard.views import View, watched
from qanat.errors import QanatError
from qanat.store.reach import Permission

pages = Pages()

IN_LIST = 25
READS: tuple[Permission, ...] = ("dns.read", "tunnel.read")
CHANGES: tuple[Permission, ...] = ("dns.edit", "tunnel.read")
MARKS = {
    State.DONE: "well",
    State.REFUSED: "ill",
    State.BROKEN: "ill",
    State.ROLLED_BACK: "weak",
    State.STOPPED: "off",
}


@pages.get("/cutovers", *READS)
def listed(ask: Ask) -> Response:
    """All that are remembered, newest first."""
    at = ask.number("page")
    with ask.desk.store.reading() as session:
        rows, total = cutovers.page(
            session,
            ask.viewer.account_id,
            offset=(at - 1) * IN_LIST,
            limit=IN_LIST,
            hostname=None,
            is_active=False,
            reach=ask.who.reach("dns.read"),
        )
    paging = Paging.of(at, IN_LIST, total, path="/cutovers", name="page")
    names = _names(ask.desk, ask.viewer.account_id, rows)
    return ask.show("cutovers.html", rows=rows, names=names, marks=MARKS, paging=paging)


@pages.get("/cutovers/plan", *CHANGES)
def planned(ask: Ask) -> Response:
    """The form of a plan."""
    given = {"from": ask.query("from"), "to": ask.query("to"), "hostnames": ask.query("hostname")}
    return _form(ask, given)


@pages.post("/cutovers/plan", *CHANGES)
def sent(ask: Ask) -> Response:
    """The gates are asked; or the cutover begins, when the target's name was typed."""
    desk, given = ask.desk, defaultdict(str, ask.form)  # a field that wasn't sent is empty
    try:
        plan = checked(_plan(ask, given))
        edge = _edge(desk)
        with desk.store.reading() as session:
            _, target, places = cutovers.ready(session, ask.viewer.account_id, plan, reach=ask.who.reach("dns.edit"))
            version = cutovers.version_of(session, ask.viewer.account_id, places)
        begins, wrong = given.get("action") == "begin", None
        if begins and given.get("name", "").strip() != target.name:
            hint = f"type {target.name}"
            wrong = QanatError("name_differs", "that is not the target's name", where="name", hint=hint)
        if wrong or not begins:
            gates = inspect(desk.store, edge, plan, target, places)
            return _form(
                ask, given, gates=gates, version=version, target=target.name, error=wrong, status=400 if wrong else 200
            )
        with desk.store.writing(ask.who.actor) as write:
            row = cutovers.begin(
                write,
                account_id=ask.viewer.account_id,
                plan=plan,
                reach=ask.who.reach("dns.edit"),
                asked_by=f"{ask.who.actor.kind} {ask.who.actor.name}",
                base_version=given.get("base_version") or version,
            )
    except QanatError as error:
        return _form(ask, given, error=error, status=400)
    return ask.led_to(f"/cutovers/{row.id}")


@pages.get("/cutovers/{cutover_id}", *READS)
def cutover(ask: Ask) -> Response:
    """One, as far as it is."""
    row = _row(ask, "dns.read")
    return ask.show("cutover.html", live=stream_url("cutover", cutover=row.id), **_values(ask.desk, row))


def _zones(desk: Desk, view: View) -> set[str]:
    """Those of its records. QanatError `cutover_unknown`."""
    with desk.store.reading() as session:
        row = cutovers.get(session, view.account_id, view.value("cutover"))
    return {one["zone_id"] for one in row.records.values()}


@watched("cutover", "tunnel.read", "dns.read", asks=("cutover",), zones=_zones)
def cutover_parts(desk: Desk, view: View) -> dict[str, str]:
    """What of it changes."""
    with desk.store.reading() as session:
        row = cutovers.get(session, view.account_id, view.value("cutover"))
    values = _values(desk, row)
    return {
        "course": render("part/cutover.html", **values),
        "acts": render("part/cutover-acts.html", **values),
        "gates": render("part/cutover-gates.html", **values),
    }


@pages.post("/cutovers/{cutover_id}/pause", *CHANGES)
def pause(ask: Ask) -> Response:
    """No further step; it is watched all the same."""
    row = _row(ask, "dns.edit")
    with ask.desk.store.writing(ask.who.actor) as write:
        cutovers.pause(write, cutovers.get(write.session, ask.viewer.account_id, row.id))
    return ask.led_to(f"/cutovers/{row.id}")


@pages.post("/cutovers/{cutover_id}/resume", *CHANGES)
def resume(ask: Ask) -> Response:
    """On with it."""
    row = _row(ask, "dns.edit")
    with ask.desk.store.writing(ask.who.actor) as write:
        cutovers.resume(write, cutovers.get(write.session, ask.viewer.account_id, row.id))
    return ask.led_to(f"/cutovers/{row.id}")


@pages.post("/cutovers/{cutover_id}/rollback", *CHANGES)
def roll_back(ask: Ask) -> Response:
    """The records as they were before, to the letter."""
    row, desk = _row(ask, "dns.edit"), ask.desk
    names = _names(desk, ask.viewer.account_id, [row])
    source = names.get(row.from_tunnel_id, row.from_tunnel_id)
    asked = Asked(
        title="Roll the cutover back",
        consequences=(
            f"{', '.join(row.hostnames[:5])}{' and more' if len(row.hostnames) > 5 else ''}: new requests go to {source} again.",
            "The records are put back exactly as they were; what others changed of them since is not overwritten.",
            f"{source} has {_edge(desk).usable(row.from_tunnel_id)} usable connections now.",
        ),
        name=row.hostnames[0],
        verb="Roll back",
        back=f"/cutovers/{row.id}",
    )
    if (page := confirmed(ask, asked)) is not None:
        return page
    if row.state in (*MOVED, State.DONE, State.BROKEN) and not _edge(desk).usable(row.from_tunnel_id):
        raise QanatError(
            "cutover_source_down",
            f"the tunnel {source} has no usable connection: nobody would be served",
            hint="start its connector; or `qanat cutover rollback --force`",
        )
    with desk.store.writing(ask.who.actor) as write:
        cutovers.roll_back(
            write, cutovers.get(write.session, ask.viewer.account_id, row.id), "it was asked for", asked=True
        )
    return ask.led_to(f"/cutovers/{row.id}")


def _plan(ask: Ask, given: dict[str, str]) -> Plan:
    said = given.get("from", "").strip(), given.get("to", "").strip()
    with ask.desk.store.reading() as session:
        source, target = (tunnels.named(session, ask.viewer.account_id, name) or name for name in said)
    return Plan(
        from_tunnel=source,
        to_tunnel=target,
        hostnames=tuple(given.get("hostnames", "").split()),
        steps=GRADUAL if given.get("steps") == "gradual" else AT_ONCE,
        check=Check(path=given.get("path", "").strip() or "/"),
        hold=given.get("hold") == "yes",
        rule=_rule(given.get("step_s", "").strip()),
    )


def _rule(step_s: str) -> Rule:
    """Whose steps last so long at least. QanatError `cutover_bad_plan`."""
    usual = Rule()
    if not step_s:
        return usual
    if not step_s.isascii() or not step_s.isdigit() or len(step_s) > 6:
        raise QanatError("cutover_bad_plan", "the seconds of a step are a whole number", where="rule.step_s")
    return Rule(step_s=float(step_s), longest_s=max(usual.longest_s, 10.0 * float(step_s)))


def _form(
    ask: Ask,
    given: dict[str, str],
    *,
    gates: list[Gate] | None = None,
    version: str = "",
    target: str = "",
    error: QanatError | None = None,
    status: int = 200,
) -> Response:
    with ask.desk.store.reading() as session:
        choices = tunnels.choices(session, ask.viewer.account_id, most=500)
    return ask.show(
        "cutover-plan.html",
        status=status,
        given=given,
        gates=gates,
        is_open=gates is not None and is_open(gates),
        version=version,
        target=target,
        error=error,
        tunnels=list(choices.values()),
    )


def _values(desk: Desk, row: Any) -> dict[str, Any]:
    return {
        "row": row,
        "names": _names(desk, row.account_id, [row]),
        "mark": MARKS.get(State(row.state), "weak"),
        "share": cutovers.share_of(row),
        "is_active": row.state in ACTIVE,
        "now": _compared(desk, row),
        "can_go_back": row.state in (*ACTIVE, State.DONE, State.BROKEN),
    }


def _compared(desk: Desk, row: Any) -> dict[str, Any] | None:
    """Both sides since the step began, summed over the hostnames; of one that is over, as they were at its end."""
    if row.state in MOVED and desk.cutover_edge is not None:
        plan = cutovers.plan_of(row)
        patience = patiences(row.hostnames, plan.check_of, learnt(row.gates), took_s(row.gates))
        found = compare(desk.cutover_edge, row, patience, since=row.since)
        return numbers_of(sum(found.new.values(), Counts()), sum(found.old.values(), Counts()))
    told = [each["numbers"] for each in row.timeline if "new" in (each.get("numbers") or {})]
    return told[-1] if told else None


def _row(ask: Ask, permission: Permission) -> Any:
    """One whose zones are within reach. QanatError `cutover_unknown`."""
    reach = ask.who.reach(permission)
    with ask.desk.store.reading() as session:
        row = cutovers.get(session, ask.viewer.account_id, ask.place["cutover_id"])
    if not all(reach.has_zone(one["zone_id"], row.account_id) for one in row.records.values()):
        raise QanatError("cutover_unknown", "no such cutover", where="cutover")
    return row


def _names(desk: Desk, account_id: str, rows: Iterable[Any]) -> dict[str, str]:
    """Of both tunnels of each, by id; a deleted one has none."""
    ids = {tunnel_id for row in rows for tunnel_id in (row.from_tunnel_id, row.to_tunnel_id)}
    with desk.store.reading() as session:
        return tunnels.names(session, account_id, sorted(ids))


def _edge(desk: Desk) -> CutoverEdge:
    if desk.cutover_edge is None:
        raise QanatError("store_unavailable", "there is no running edge to ask")
    return desk.cutover_edge
