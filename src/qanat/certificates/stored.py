"""Certificates in the store: uploaded, listed, deleted, and as the edge serves them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal
from uuid import UUID, uuid4

import structlog
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from qanat.certificates import orders, pem, schedule
from qanat.certificates.wanted import covers
from qanat.errors import QanatError
from qanat.store import Write
from qanat.store.models import Certificate, CertificateOrder, Zone
from qanat.store.notices import Notice, NoticeKind
from qanat.store.reach import Reach
from qanat.store.sealing import Sealer
from qanat.tables.closest import up_to

Status = Literal["active", "expiring", "expired", "pending", "failing"]
MOST_OF_ZONE = 100
"""Uploaded certificates of one zone."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """A certificate as the edge serves it: for these of its leaf's names."""

    id: str
    names: tuple[str, ...]
    chain: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate, or one that is being ordered. `id`: of the certificate, else of its order."""

    id: str
    certificate: Certificate | None
    order: CertificateOrder | None
    zone_name: str | None

    @property
    def names(self) -> list[str]:
        """Of the leaf, or to be."""
        if self.certificate is not None:
            return list(self.certificate.names)
        return [self.order.name] if self.order is not None else []

    def status(self, now: datetime) -> Status:
        """`expiring`: it ends soon, and no other has come in its place."""
        if self.certificate is None:
            return "failing" if self.order is not None and self.order.failures else "pending"
        if self.certificate.not_after <= now:
            return "expired"
        late = schedule.is_late(self.certificate.not_before, self.certificate.not_after, now)
        return "expiring" if late else "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFile:
    """A certificate in files of the edge's host. `chain`: as it is in force, None: nothing of it is; `read_at`: when the files
    were last read; `problem`: why what they hold now is not taken."""

    path: str
    chain: bytes | None
    read_at: datetime | None
    problem: str = ""


def of_files(chains: Iterable[bytes]) -> list[Entry]:
    """Those that the edge has from files of its host, by name: rows that are in no store."""
    found = []
    for chain in chains:
        told = pem.facts(chain)
        certificate = Certificate(
            id=str(UUID(told.fingerprint[:32])),
            source="file",
            names=list(told.names),
            issuer=told.issuer,
            fingerprint=told.fingerprint,
            not_before=told.not_before,
            not_after=told.not_after,
        )
        found.append(Entry(certificate.id, certificate, None, None))
    return sorted(found, key=lambda each: (each.names, each.id))


def upload(write: Write, sealer: Sealer, zone: Zone, *, chain: str, key: str) -> Certificate:
    """A certificate for names of this zone; what its leaf names beside them it is not served for.

    Raises:
        QanatError: `certificate_invalid`, `certificate_expired`, `certificate_elsewhere`, `certificate_too_many`.
    """
    found = pem.check_pair(chain.encode(), key.encode(), now=write.at)
    own = names_in_zone(found.names, zone.name, set(write.session.scalars(select(Zone.name))))
    if not own:
        raise QanatError(
            "certificate_elsewhere",
            f"the certificate is for {', '.join(found.names[:5])}, and names nothing in {zone.name}",
            where="certificate",
            hint="upload it to the zone that its names are in",
        )
    there = select(Certificate).where(Certificate.zone_id == zone.id, Certificate.source == "uploaded")
    others = list(write.session.scalars(there))
    if len(others) >= MOST_OF_ZONE:
        raise QanatError(
            "certificate_too_many",
            f"the zone {zone.name} has {MOST_OF_ZONE} uploaded certificates, the most there may be",
            hint="delete those that are over",
        )
    same = next((each for each in others if each.fingerprint == found.fingerprint), None)
    if same is not None:
        write.idle()
        return same
    certificate_id = str(uuid4())
    certificate = Certificate(
        id=certificate_id,
        zone_id=zone.id,
        source="uploaded",
        names=list(found.names),
        chain=chain,
        sealed_secret=sealer.seal(key.encode(), certificate_id),
        issuer=found.issuer,
        fingerprint=found.fingerprint,
        not_before=found.not_before,
        not_after=found.not_after,
        created_at=write.at,
    )
    write.session.add(certificate)
    detail = {"names": list(found.names), "fingerprint": found.fingerprint}
    write.audit("certificate.upload", certificate_id, account_id=zone.account_id, detail=detail)
    write.notice(Notice(NoticeKind.CERTIFICATES))
    return certificate


def delete(write: Write, entry_id: str, *, reach: Reach) -> Entry:
    """A certificate goes, and with it what was known of its order. QanatError `certificate_unknown`."""
    entry = get(write.session, entry_id, reach=reach)
    if entry.certificate is not None:
        write.session.delete(entry.certificate)
    if entry.order is not None:
        write.session.delete(entry.order)
    write.audit(
        "certificate.delete", entry_id, account_id=_account(write.session, entry), detail={"names": entry.names}
    )
    write.notice(Notice(NoticeKind.CERTIFICATES))
    return entry


def renew(write: Write, entry_id: str, *, reach: Reach) -> Entry:
    """It is ordered as soon as its CA allows it. QanatError `certificate_unknown`, `certificate_given`."""
    entry = get(write.session, entry_id, reach=reach)
    if entry.order is None:
        raise QanatError(
            "certificate_given",
            "the certificate was uploaded, and no CA is asked for another",
            where="certificate_id",
            hint="upload the next one; to have it ordered, delete this one",
        )
    orders.renew_now(write, entry.order)
    write.audit("certificate.renew", entry_id, account_id=_account(write.session, entry), detail={"names": entry.names})
    write.notice(Notice(NoticeKind.CERTIFICATES))
    return entry


def get(session: Session, entry_id: str, *, reach: Reach) -> Entry:
    """By the id of a certificate, or of an order that has none yet. QanatError `certificate_unknown`, the same for another's."""
    for entry in entries(session, reach=reach, entry_id=entry_id):
        return entry
    raise QanatError("certificate_unknown", "no such certificate", where="certificate_id")


def entries(session: Session, *, reach: Reach, zone_id: str | None = None, entry_id: str | None = None) -> list[Entry]:
    """Certificates and open orders by name, as far as they are seen: the edge's own by who sees everything."""
    held = select(Certificate, CertificateOrder, Zone).select_from(Certificate)
    held = held.outerjoin(CertificateOrder, CertificateOrder.certificate_id == Certificate.id)
    held = held.outerjoin(Zone, Zone.id == Certificate.zone_id)
    ordered = select(CertificateOrder, Zone).select_from(CertificateOrder)
    ordered = ordered.outerjoin(Zone, Zone.id == CertificateOrder.zone_id).where(
        CertificateOrder.certificate_id.is_(None)
    )
    if zone_id is not None:
        held = held.where(Certificate.zone_id == zone_id)
        ordered = ordered.where(CertificateOrder.zone_id == zone_id)
    if entry_id is not None:
        held = held.where(or_(Certificate.id == entry_id, CertificateOrder.id == entry_id))
        ordered = ordered.where(CertificateOrder.id == entry_id)
    if not reach.is_everything:
        seen = reach.zones_where(Zone.id, Zone.account_id)
        held, ordered = held.where(Zone.id.is_not(None), seen), ordered.where(Zone.id.is_not(None), seen)
    found = [
        Entry(certificate.id, certificate, order, _name_of(zone)) for certificate, order, zone in session.execute(held)
    ]
    found += [Entry(order.id, None, order, _name_of(zone)) for order, zone in session.execute(ordered)]
    return sorted(found, key=lambda each: (each.names, each.id))


def read_served(
    session: Session,
    sealer: Sealer,
    *,
    now: datetime,
    given: Iterable[str] = (),
    known: Mapping[str, Served] = MappingProxyType({}),
) -> list[Served]:
    """What the edge serves, the weakest claim first: those of CAs, then uploaded ones, each by age. One whose names are all given
    otherwise (`given`: by files) is left out, as is what is over or can't be opened. `known`: by id, what was read before."""
    zones: dict[str, str] = {row.id: row.name for row in session.execute(select(Zone.id, Zone.name))}
    every = set(zones.values())
    rows = list(
        session.scalars(select(Certificate).where(Certificate.not_after > now).order_by(Certificate.created_at))
    )
    by_file = frozenset(given)
    uploaded = [
        (row, own)
        for row in rows
        if row.source == "uploaded" and (own := names_in_zone(row.names, zones.get(row.zone_id or "", ""), every))
    ]
    taken = by_file.union(*(own for _, own in uploaded))
    issued = [(row, tuple(row.names)) for row in rows if row.source == "acme" and not _all_covered(row.names, taken)]
    served = []
    for row, own in [*issued, *uploaded]:
        if row.id in known and known[row.id].names == own:
            served.append(known[row.id])
            continue
        try:
            key = sealer.open(row.sealed_secret, row.id)
        except QanatError as error:
            log.error("a certificate's key can't be opened", certificate=row.id, names=row.names, reason=str(error))
            continue
        served.append(Served(row.id, own, row.chain.encode(), key))
    return served


def uploaded_names(session: Session, *, now: datetime) -> set[str]:
    """What no CA is asked for, since somebody gave a certificate for it that is good."""
    zones: dict[str, str] = {row.id: row.name for row in session.execute(select(Zone.id, Zone.name))}
    known = set(zones.values())
    rows = session.scalars(select(Certificate).where(Certificate.source == "uploaded", Certificate.not_after > now))
    return {name for row in rows for name in names_in_zone(row.names, zones.get(row.zone_id or "", ""), known)}


def names_in_zone(names: Sequence[str], zone: str, zones: set[str]) -> tuple[str, ...]:
    """Those that lie in this zone and in none within it: nobody's certificate is served for another's names."""
    own = []
    for name in names:
        innermost = next((above for above in up_to(name.removeprefix("*.")) if above in zones), None)
        if zone and innermost == zone:
            own.append(name)
    return tuple(own)


def _name_of(zone: Zone | None) -> str | None:
    return zone.name if zone is not None else None


def _all_covered(names: Sequence[str], taken: frozenset[str]) -> bool:
    return all(covers(taken, name) for name in names)


def _account(session: Session, entry: Entry) -> str | None:
    holder = entry.certificate or entry.order
    zone = session.get(Zone, holder.zone_id) if holder is not None and holder.zone_id is not None else None
    return zone.account_id if zone is not None else None
