"""A zone's records: looked through, and one made, changed or deleted with what that means shown before it is done."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from qanat.control import record_list, record_preview, records, tunnels
from qanat.cutover.repoints import Repointing
from qanat.dashboard.ask import Ask, Pages, status_of
from qanat.dashboard.confirming import Asked, confirmed
from qanat.dashboard.links import with_query, zone_url
from qanat.dashboard.paging import Paging
from qanat.dashboard.record_form import SHOWN, TTLS, RecordForm, effects, field_of, told
from qanat.dashboard.zone_of import searched, zone_of
from qanat.dns.forms import PROXIABLE, TYPES, check_record
from qanat.dns.record_types import RECORD_TYPES
from qanat.errors import QanatError
from qanat.ingress.differences import differences
from qanat.store.versions import Expected, row_version

pages = Pages()

IN_LIST = 50
LONGEST_SHOWN = 160
MOST_TUNNELS = 500
ORDERS = {"name": "Name", "type": "Type", "content": "Content", "ttl": "TTL"}
PROXIED = {"": "Proxied or not", "yes": "Proxied", "no": "DNS only"}


@dataclass(frozen=True, slots=True)
class Line:
    """A record as it is listed. `tunnel`: the name of the one that it leads to, "" for none that is known."""

    row: Any
    content: str
    priority: int | None
    tunnel: str
    is_gone: bool


@pages.get("/zones/{zone_id}", "dns.read")
def listed(ask: Ask) -> Response:
    """A page of those that match."""
    zone = zone_of(ask, "dns.read")
    search, kind, proxied = searched(ask.query("search")), ask.query("type").upper(), ask.query("proxied")
    kind = kind if kind in TYPES else ""
    proxied = proxied if proxied in PROXIED else ""
    order = ask.query("order", "name")
    order = order if order in ORDERS else "name"
    at = ask.number("page")
    with ask.desk.store.reading() as session:
        rows, total = record_list.page(
            session,
            zone.id,
            search=search,
            kind=kind,
            proxied=None if not proxied else proxied == "yes",
            order=order,
            offset=(at - 1) * IN_LIST,
            limit=IN_LIST,
        )
    path = with_query(
        zone_url(zone.id), search=search, type=kind, proxied=proxied, order="" if order == "name" else order
    )
    return ask.show(
        "records.html",
        zone=zone,
        part="records",
        lines=_lines(ask, rows),
        search=search,
        kind=kind,
        kinds=TYPES,
        proxied=proxied,
        proxied_told=PROXIED,
        order=order,
        orders=ORDERS,
        paging=Paging.of(at, IN_LIST, total, path=path, name="page"),
        may_edit=ask.viewer.may_in("dns.edit", zone.id),
        ttls=TTLS,
        imported=ask.query("imported")[:6] if ask.query("imported").isdigit() else "",
    )


@pages.get("/zones/{zone_id}/records/new", "dns.edit")
def new(ask: Ask) -> Response:
    """The empty form; its name or tunnel may be given."""
    zone = zone_of(ask, "dns.edit")
    given = {name: ask.query(name)[:300] for name in ("name", "type", "tunnel")}
    return _form(ask, zone, None, RecordForm.read({"type": "CNAME", **{k: v for k, v in given.items() if v}}))


@pages.post("/zones/{zone_id}/records/new", "dns.edit")
def create(ask: Ask) -> Response:
    """What it will be is shown; or it is made."""
    zone, form = zone_of(ask, "dns.edit"), RecordForm.read(ask.form)
    try:
        checked = check_record(form.draft(), zone.name)
        if ask.form.get("action") != "save":
            with ask.desk.store.reading() as session:
                record_preview.check(session, zone, checked, before=None, own=ask.desk.store.own_names)
            return _form(ask, zone, None, form, after=checked)
        with ask.desk.store.writing(ask.who.actor) as write:
            made = records.create(write, zone.id, form.draft(), reach=ask.who.reach("dns.edit"))
    except QanatError as error:
        return _form(ask, zone, None, form, error=error)
    return ask.led_to(with_query(zone_url(zone.id), search=made.name))


@pages.get("/zones/{zone_id}/records/{record_id}", "dns.read")
def record(ask: Ask) -> Response:
    """The form, with what it holds now."""
    zone = zone_of(ask, "dns.read")
    row = _row(ask, zone)
    return _form(ask, zone, row, RecordForm.of(row, row_version(row)))


@pages.post("/zones/{zone_id}/records/{record_id}", "dns.edit")
def change(ask: Ask) -> Response:
    """What changes is shown; or it is saved, unless somebody else changed it since the form was opened."""
    desk, zone, form = ask.desk, zone_of(ask, "dns.edit"), RecordForm.read(ask.form)
    row = _row(ask, zone)
    try:
        Expected(frozenset({form.version})).check(row_version(row))
        checked = check_record(form.change(row).draft(row), zone.name)
        if ask.form.get("action") != "save":
            with desk.store.reading() as session:
                record_preview.check(
                    session, zone, checked, before=records.get(session, zone.id, row.id), own=desk.store.own_names
                )
            return _form(ask, zone, row, form, after=checked)
        repointing = Repointing(
            desk.store,
            desk.cutover_edge,
            default=desk.cutover_policy,
            watch=desk.cutover_watch,
            asked="off" if ask.form.get("all_the_same") else None,
        )
        guard = repointing.guard(
            zone, [(row.id, lambda before: check_record(form.change(before).draft(before), zone.name))]
        )
        with desk.store.writing(ask.who.actor) as write:
            records.change(
                write,
                zone.id,
                row.id,
                form.change(row),
                reach=ask.who.reach("dns.edit"),
                expected=Expected(frozenset({form.version})),
                repoint=guard,
            )
        repointing.watch(guard, ask.who)
    except QanatError as error:
        return _form(ask, zone, row, form, error=error)
    return ask.led_to(with_query(zone_url(zone.id), search=checked.name))


@pages.post("/zones/{zone_id}/records/{record_id}/delete", "dns.edit")
def delete(ask: Ask) -> Response:
    """Once its name was typed, and if it is still the one that was shown."""
    zone = zone_of(ask, "dns.edit")
    row = _row(ask, zone)
    said = effects(row, None, _names(ask, [row.tunnel_id]), is_paused=False)
    asked = Asked(
        title=f"Delete the {row.type} record of {row.name}",
        consequences=(
            *(said or [f"{row.name} has no {row.type} record any more that says {_cut(row.content)}."]),
            "Where a wildcard record covers the name, that one holds instead.",
        ),
        name=row.name,
        verb="Delete",
        back=zone_url(zone.id, f"records/{row.id}"),
        keeps={"version": ask.form.get("version") or row_version(row)},
    )
    if (page := confirmed(ask, asked)) is not None:
        return page
    with ask.desk.store.writing(ask.who.actor) as write:
        records.delete(
            write,
            zone.id,
            row.id,
            reach=ask.who.reach("dns.edit"),
            expected=Expected(frozenset({ask.form.get("version", "")})),
        )
    return ask.led_to(zone_url(zone.id))


def _form(
    ask: Ask, zone: Any, row: Any, form: RecordForm, *, after: Any = None, error: QanatError | None = None
) -> Response:
    """`row`: None for a new one; `after`: the checked record, whose changes are shown."""
    is_stale = error is not None and error.code == "version_stale"
    if is_stale and row is not None:
        # what it holds now is what the next attempt is compared with, and made for
        form = replace(form, version=row_version(row))
        after = check_record(form.change(row).draft(row), zone.name)
    name = after.name if after is not None else row.name if row is not None else ""
    with ask.desk.store.reading() as session:
        beside = record_list.beside(session, zone.id, name, but=row.id if row is not None else "") if name else []
        choices = _tunnels(ask, session, zone, form.tunnel)
    ids = [each.tunnel_id for each in (row, after) if each is not None]
    changes = None
    if after is not None:
        changes = differences(told(row) if row is not None else {}, told(after))
        changes.sort(key=lambda each: SHOWN.index(each.path.partition(".")[0].partition("[")[0]))
    return ask.show(
        "record.html",
        status=status_of(error) if error is not None else 200,
        zone=zone,
        part="records",
        row=row,
        form=form,
        changes=changes,
        effects=effects(row, after, _names(ask, ids), is_paused=zone.paused) if after is not None else [],
        beside=[(each, _cut(RECORD_TYPES[each.type].answered(each.content))) for each in beside],
        error=error,
        faulty=field_of(error) if error is not None else "",
        is_stale=is_stale,
        tunnels=choices,
        types=TYPES,
        proxiable=sorted(PROXIABLE),
        ttls=_ttls(form.ttl),
        suffix=f".{zone.name}",
        may_edit=ask.viewer.may_in("dns.edit", zone.id),
        hostname_page=ask.viewer.may("tunnel.read") and row is not None and row.proxied and row.tunnel_id is not None,
    )


def _lines(ask: Ask, rows: list[Any]) -> list[Line]:
    known = _names(ask, [row.tunnel_id for row in rows])
    sees = ask.viewer.may("tunnel.read")
    return [
        Line(
            row,
            _cut(RECORD_TYPES[row.type].answered(row.content)),
            RECORD_TYPES[row.type].answered_priority(row.content, row.priority),
            known.get(row.tunnel_id, "") if row.tunnel_id else "",
            bool(sees and row.tunnel_id and row.proxied and row.tunnel_id not in known),
        )
        for row in rows
    ]


def _names(ask: Ask, ids: list[str | None]) -> dict[str, str]:
    """Tunnels' names by id, of those that there are, for who may see them."""
    wanted = sorted({each for each in ids if each})
    if not wanted or not ask.viewer.may("tunnel.read"):
        return {}
    with ask.desk.store.reading() as session:
        return tunnels.names(session, ask.viewer.account_id, wanted)


def _tunnels(ask: Ask, session: Any, zone: Any, chosen: str) -> Mapping[str, str]:
    """Those that a record may lead to, by id; the chosen one too, whatever became of it."""
    if not ask.viewer.may("tunnel.read"):
        return {chosen: chosen} if chosen else {}
    found = tunnels.choices(session, zone.account_id, most=MOST_TUNNELS)
    return found if not chosen or chosen in found else {chosen: f"{chosen} (gone)", **found}


def _row(ask: Ask, zone: Any) -> Any:
    with ask.desk.store.reading() as session:
        return records.get(session, zone.id, ask.place["record_id"])


def _ttls(chosen: str) -> dict[str, str]:
    known = {str(ttl): label for ttl, label in TTLS.items()}
    return known if not chosen or chosen in known else {**known, chosen: f"{chosen} s"}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
