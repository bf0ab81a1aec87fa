"""Certificates: until when each is good, when it is renewed, and why its last order failed."""

from starlette.responses import RedirectResponse, Response

from qanat.certificates import stored
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.links import with_query
from qanat.dashboard.paging import Paging

pages = Pages()

IN_LIST = 50
WORST_FIRST = ("expired", "failing", "expiring", "pending", "active")
MARKS = {"expired": "down", "failing": "down", "expiring": "degraded", "pending": "inactive", "active": "healthy"}


@pages.get("/certificates", "zone.read")
def listed(ask: Ask) -> Response:
    """Those of the zones that the viewer sees, worst first."""
    search, now = ask.query("search")[:200].strip().lower(), ask.desk.store.clock()
    with ask.desk.store.reading() as session:
        found = stored.entries(session, reach=ask.who.reach("zone.read"))
    lines = [
        (entry, entry.status(now))
        for entry in found
        if not search or any(search in name.lower() for name in entry.names)
    ]
    lines.sort(key=lambda line: (WORST_FIRST.index(line[1]), line[0].names))
    path = with_query("/certificates", search=search)
    paging = Paging.of(ask.number("page"), IN_LIST, len(lines), path=path, name="page")
    return ask.show(
        "certificates.html",
        lines=lines[paging.offset : paging.offset + IN_LIST],
        marks=MARKS,
        search=search,
        paging=paging,
        may_edit=ask.viewer.may("zone.edit"),
    )


@pages.post("/certificates/{certificate_id}/renew", "zone.edit")
def renew(ask: Ask) -> Response:
    """Orders another as soon as the CA allows it; the one before is served until then."""
    with ask.desk.store.writing(ask.viewer.actor) as write:
        stored.renew(write, ask.place["certificate_id"], reach=ask.who.reach("zone.edit"))
    return RedirectResponse("/certificates", 303)
