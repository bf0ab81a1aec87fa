"""Certificates: what each serves, until when, when it is renewed and why its last order failed; upload, renewal, end."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response

from qanat.certificates import stored
from qanat.certificates.stored import Entry, GivenFile
from qanat.control import public_hostnames, zone_overview, zones
from qanat.dashboard.ask import Ask, Pages, status_of
from qanat.dashboard.confirming import Asked, confirmed
from qanat.dashboard.links import with_query
from qanat.dashboard.paging import Paging
from qanat.dashboard.zone_of import searched
from qanat.errors import QanatError

pages = Pages()

IN_LIST = 50
MOST_NAMES = 4
MOST_SERVED = 50
NAMED = 8
MOST_ZONES = 500
LONGEST_CHAIN = 100_000
LONGEST_KEY = 20_000
WORST_FIRST = ("expired", "failing", "expiring", "pending", "active")
MARKS = {"expired": "down", "failing": "down", "expiring": "degraded", "pending": "inactive", "active": "healthy"}
CAS = {
    "acme-v02.api.letsencrypt.org": "Let's Encrypt",
    "acme-staging-v02.api.letsencrypt.org": "Let's Encrypt",
    "acme.zerossl.com": "ZeroSSL",
    "dv.acme-v02.api.pki.goog": "Google Trust Services",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A certificate, or one that is being ordered. `authority`: the CA that was asked; `is_staging`: browsers don't trust what it
    gives; `file`: where it is on the edge's host."""

    entry: Entry
    status: str
    authority: str
    is_staging: bool
    file: GivenFile | None = None

    @property
    def title(self) -> str:
        """Its names, as many as there is room for."""
        names = self.entry.names
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        return ", ".join(names[:MOST_NAMES]) + more


@pages.get("/certificates", "zone.read")
def listed(ask: Ask) -> Response:
    """Those of the zones that the viewer sees, worst first; and of files, for who sees everything."""
    search = searched(ask.query("search")).lower()
    with ask.desk.store.reading() as session:
        found = stored.entries(session, reach=ask.who.reach("zone.read"))
    lines = [*_of_files(ask), *(_line(ask, entry) for entry in found)]
    lines = [line for line in lines if not search or any(search in name.lower() for name in line.entry.names)]
    lines.sort(key=lambda line: (WORST_FIRST.index(line.status), line.entry.names))
    path = with_query("/certificates", search=search)
    paging = Paging.of(ask.number("page"), IN_LIST, len(lines), path=path, name="page")
    return ask.show(
        "certificates.html",
        lines=lines[paging.offset : paging.offset + IN_LIST],
        marks=MARKS,
        search=search,
        paging=paging,
        unread=[file for file in _files(ask) if file.chain is None],
        may_upload=ask.viewer.may_of_zones("zone.edit"),
        done=ask.query("done"),
    )


@pages.get("/certificates/upload", "zone.edit")
def upload_form(ask: Ask) -> Response:
    """Where a chain and its key are put in."""
    return _upload(ask, zone_id=ask.query("zone")[:32])


@pages.post("/certificates/upload", "zone.edit")
def upload(ask: Ask) -> Response:
    """It is served at once. Its key is sealed, and shown to nobody any more, the sender included."""
    zone_id, chain, key = (ask.form.get(name, "").strip() for name in ("zone", "certificate", "private_key"))
    try:
        for field, text, most in (("certificate", chain, LONGEST_CHAIN), ("private_key", key, LONGEST_KEY)):
            if not text or len(text) > most:
                what = "nothing was given" if not text else f"it has more than {most} characters"
                raise QanatError("certificate_invalid", what, where=field, hint="paste PEM text, or choose its file")
        with ask.desk.store.writing(ask.who.actor) as write:
            zone = zones.get(write.session, zone_id, reach=ask.who.reach("zone.edit"))
            made = stored.upload(write, ask.desk.keys.sealer, zone, chain=f"{chain}\n", key=f"{key}\n")
    except QanatError as error:
        return _upload(ask, zone_id=zone_id, chain=chain, error=error)
    return ask.led_to(f"/certificates/{made.id}")


@pages.get("/certificates/{certificate_id}", "zone.read")
def certificate(ask: Ask) -> Response:
    """One, with what it serves."""
    line = _found(ask, "zone.read")
    holder = line.entry.certificate or line.entry.order
    zone_id = holder.zone_id if holder is not None else None
    served, count = _served(ask, line, zone_id)
    return ask.show(
        "certificate.html",
        line=line,
        mark=MARKS[line.status],
        zone_id=zone_id,
        served=[(name, _shown_to_clients(ask, line, name)) for name in served],
        count=count,
        may_edit=line.file is None and _may_edit(ask, zone_id),
        now=ask.desk.store.clock(),
    )


@pages.post("/certificates/{certificate_id}/renew", "zone.edit")
def renew(ask: Ask) -> Response:
    """Orders another as soon as the CA allows it; the one before is served until then."""
    with ask.desk.store.writing(ask.viewer.actor) as write:
        stored.renew(write, ask.place["certificate_id"], reach=ask.who.reach("zone.edit"))
    return RedirectResponse("/certificates?done=renew", 303)


@pages.post("/certificates/{certificate_id}/delete", "zone.edit")
def delete(ask: Ask) -> Response:
    """With its key, once one of its names was typed."""
    line = _found(ask, "zone.edit")
    holder = line.entry.certificate or line.entry.order
    served, count = _served(ask, line, holder.zone_id if holder is not None else None)
    more = f" and {count - NAMED} more" if count > NAMED else ""
    is_given = line.entry.certificate is not None and line.entry.certificate.source == "uploaded"
    asked = Asked(
        title=f"Delete the certificate of {line.title}",
        consequences=(
            f"It is served no more, for {', '.join(served[:NAMED])}{more}."
            if served
            else "No public hostname that you see is served with it.",
            "Clients are shown the next that is good for the name: another upload, one of a CA, or that of the edge's own CA.",
            "Where the edge asks a CA (acme.email), one is ordered now; until it comes, browsers warn."
            if is_given
            else "It is ordered anew while its hostname has a record.",
            "Its key is gone for good.",
        ),
        name=line.entry.names[0],
        verb="Delete",
        back=f"/certificates/{line.entry.id}",
    )
    if (page := confirmed(ask, asked)) is not None:
        return page
    with ask.desk.store.writing(ask.who.actor) as write:
        stored.delete(write, line.entry.id, reach=ask.who.reach("zone.edit"))
    return ask.led_to("/certificates?done=delete")


def _upload(ask: Ask, *, zone_id: str = "", chain: str = "", error: QanatError | None = None) -> Response:
    with ask.desk.store.reading() as session:
        found, _ = zone_overview.page(
            session,
            ask.viewer.account_id,
            reach=ask.who.reach("zone.edit"),
            search="",
            offset=0,
            limit=MOST_ZONES,
        )
    where = (error.where or "") if error is not None else ""
    return ask.show(
        "certificate-upload.html",
        status=status_of(error) if error is not None else 200,
        zones=found,
        zone_id=zone_id,
        chain=chain,
        error=error,
        faulty={"private_key": "private_key", "zone_id": "zone"}.get(where, "certificate") if error is not None else "",
    )


def _found(ask: Ask, permission: Any) -> Line:
    """QanatError `certificate_unknown`; `certificate_given`: one of a file is to be changed."""
    for line in _of_files(ask):
        if line.entry.id == ask.place["certificate_id"]:
            if permission == "zone.read":
                return line
            raise QanatError(
                "certificate_given",
                "the certificate is in a file of the edge's host",
                hint="put another into the file, or change tls.certificates there",
            )
    with ask.desk.store.reading() as session:
        return _line(ask, stored.get(session, ask.place["certificate_id"], reach=ask.who.reach(permission)))


def _files(ask: Ask) -> list[GivenFile]:
    """Whose names may be in any zone, so only for who sees everything."""
    return list(ask.desk.given_files()) if ask.who.reach("zone.read").is_everything else []


def _of_files(ask: Ask) -> list[Line]:
    return [
        _line(ask, entry, file)
        for file in _files(ask)
        if file.chain is not None
        for entry in stored.of_files([file.chain])
    ]


def _line(ask: Ask, entry: Entry, file: GivenFile | None = None) -> Line:
    url = (entry.certificate.authority if entry.certificate is not None else None) or (
        entry.order.authority if entry.order is not None else None
    )
    host = urlsplit(url).hostname or "" if url else ""
    return Line(entry, entry.status(ask.desk.store.clock()), CAS.get(host, host), "staging" in (url or ""), file)


def _served(ask: Ask, line: Line, zone_id: str | None) -> tuple[list[str], int]:
    """The public hostnames that it is good for, of those that the viewer may read; and how many."""
    with ask.desk.store.reading() as session:
        return public_hostnames.covered(
            session,
            ask.viewer.account_id,
            line.entry.names,
            reach=ask.viewer.reach("dns.read"),
            zone_id=zone_id,
            most=MOST_SERVED,
        )


def _shown_to_clients(ask: Ask, line: Line, name: str) -> str:
    """What of it clients of the hostname are shown now: `this`, `another`, `none`, or "" where that isn't known."""
    seen = ask.desk.certificate(name.replace("*", "any", 1))
    if seen is None:
        return ""
    if seen.why or seen.not_after is None:
        return "none"
    certificate = line.entry.certificate
    if certificate is None:
        return "another"
    is_this = sorted(seen.names) == sorted(certificate.names) and seen.not_after == certificate.not_after
    return "this" if is_this else "another"


def _may_edit(ask: Ask, zone_id: str | None) -> bool:
    if zone_id is None:
        return ask.who.reach("zone.read").is_everything and ask.viewer.may("zone.edit")
    return ask.viewer.may_in("zone.edit", zone_id)
