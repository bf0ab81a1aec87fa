"""How far each hostname is with its certificate: one row a name, kept so that a restart neither orders anew nor forgets a wait.

A function takes the open write. States: docs/explanation/certificates.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import uuid4

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from qanat.certificates import pem, schedule
from qanat.certificates.pem import Facts
from qanat.certificates.schedule import Chance
from qanat.certificates.wanted import Wanted
from qanat.errors import QanatError
from qanat.store import Write
from qanat.store.lots import in_lots
from qanat.store.models import Certificate, CertificateOrder
from qanat.store.notices import Notice, NoticeKind
from qanat.store.sealing import Sealer

State = Literal["waiting", "proving", "ordering", "issued"]
MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Changes:
    """What the rows lack to be those of the wanted names."""

    new: dict[str, str | None]
    moved: dict[str, str | None]
    gone: list[str]

    def __bool__(self) -> bool:
        return bool(self.new or self.moved or self.gone)


def changes(session: Session, wanted: Wanted, now: datetime) -> Changes:
    """A row for each wanted name. Others go with their certificates, when these are over: a record that comes back costs its CA
    nothing."""
    query = select(CertificateOrder.name, CertificateOrder.zone_id, Certificate.not_after)
    query = query.outerjoin(Certificate, Certificate.id == CertificateOrder.certificate_id)
    rows = {row.name: row for row in session.execute(query)}
    names = wanted.names
    return Changes(
        new={name: zone_id for name, zone_id in names.items() if name not in rows},
        moved={name: zone_id for name, zone_id in names.items() if name in rows and rows[name].zone_id != zone_id},
        gone=[
            name for name, row in rows.items() if name not in names and (row.not_after is None or row.not_after <= now)
        ],
    )


def settle(write: Write, sealer: Sealer, asked: Changes) -> None:
    """Makes these changes."""
    for some in in_lots(asked.gone):
        rows = list(write.session.scalars(select(CertificateOrder).where(CertificateOrder.name.in_(some))))
        held = [row.certificate_id for row in rows if row.certificate_id is not None]
        write.session.execute(delete(Certificate).where(Certificate.id.in_(held)))
        for row in rows:
            write.session.delete(row)
    for some in in_lots(list(asked.moved)):
        for row in write.session.scalars(select(CertificateOrder).where(CertificateOrder.name.in_(some))):
            row.zone_id = asked.moved[row.name]
            certificate = write.session.get(Certificate, row.certificate_id) if row.certificate_id is not None else None
            if certificate is not None:
                certificate.zone_id = row.zone_id
    for name, zone_id in asked.new.items():
        order_id = str(uuid4())
        write.session.add(
            CertificateOrder(
                id=order_id,
                name=name,
                zone_id=zone_id,
                state="waiting",
                sealed_secret=sealer.seal(pem.new_key(), order_id),
                failures=0,
            )
        )


def due(session: Session, now: datetime) -> list[tuple[str, str]]:
    """Name and id of those that have no certificate or are to be renewed, with no wait in the way: wildcards first, which serve
    many, then who has waited longest."""
    order, certificate = CertificateOrder, Certificate
    query = (
        select(order.name, order.id)
        .outerjoin(certificate, certificate.id == order.certificate_id)
        .where(
            or_(
                order.next_at.is_(None), order.next_at <= now, order.attempted_at > now + schedule.PATIENCE_WITH_CLOCKS
            ),
            or_(certificate.id.is_(None), certificate.renew_at <= now),
        )
        .order_by(order.name.not_like("*.%"), order.attempted_at.is_not(None), order.attempted_at, order.name)
    )
    return [(row.name, row.id) for row in session.execute(query)]


def failing(session: Session) -> list[CertificateOrder]:
    """Those whose last attempt failed."""
    return list(session.scalars(select(CertificateOrder).where(CertificateOrder.error_code.is_not(None))))


def begin(write: Write, order_id: str, state: State) -> CertificateOrder | None:
    """Notes an attempt before anything is asked of a CA: where that can't be written, no order is made. None: nobody wants it
    any more."""
    order = write.session.get(CertificateOrder, order_id)
    if order is not None:
        order.state = state
        order.attempted_at = write.at
    return order


def opened(write: Write, order_id: str, *, authority: str, url: str | None) -> None:
    """The CA has an order of ours: after a restart it is taken up again. None: that one is over."""
    order = write.session.get(CertificateOrder, order_id)
    if order is not None:
        order.authority, order.order_url = authority, url


def proved(write: Write, order_id: str) -> None:
    """A staging CA would have issued it."""
    order = write.session.get(CertificateOrder, order_id)
    if order is not None:
        order.proved_at, order.authority, order.order_url = write.at, None, None


def failed(
    write: Write,
    order_id: str,
    failure: QanatError,
    *,
    not_before: datetime | None,
    chance: Chance,
    counts: bool,
    is_open: bool,
) -> None:
    """It is tried again after a wait that grows with each failure that `counts`, and not before the CA allows it. `is_open`: the
    order with the CA may still come to something."""
    order = write.session.get(CertificateOrder, order_id)
    if order is None:
        return
    order.failures += counts
    order.state = "waiting" if order.certificate_id is None else "issued"
    if not is_open:
        order.order_url = None
    reason = str(failure)
    order.error_code, order.error_at = failure.code, write.at
    order.error_reason = reason if len(reason) <= MAX_REASON else f"{reason[: MAX_REASON - 1]}…"
    again = schedule.retry_at(write.at, max(order.failures, 1), chance)
    order.next_at = max(again, not_before) if not_before is not None else again


def issued(
    write: Write, sealer: Sealer, order_id: str, *, chain: str, key: bytes, found: Facts, authority: str, chance: Chance
) -> Certificate | None:
    """The certificate, in place of the one before. The next order has a key of its own. None: nobody wants it any more."""
    order = write.session.get(CertificateOrder, order_id)
    if order is None:
        return None
    if order.certificate_id is not None:
        write.session.execute(delete(Certificate).where(Certificate.id == order.certificate_id))
    certificate_id = str(uuid4())
    certificate = Certificate(
        id=certificate_id,
        zone_id=order.zone_id,
        source="acme",
        names=list(found.names),
        chain=chain,
        sealed_secret=sealer.seal(key, certificate_id),
        issuer=found.issuer,
        fingerprint=found.fingerprint,
        authority=authority,
        not_before=found.not_before,
        not_after=found.not_after,
        created_at=write.at,
        renew_at=schedule.renew_at(found.not_before, found.not_after, chance),
        ask_at=write.at,
    )
    write.session.add(certificate)
    order.certificate_id = certificate_id
    order.state = "issued"
    order.sealed_secret = sealer.seal(pem.new_key(), order.id)
    order.order_url = order.next_at = order.error_code = order.error_reason = order.error_at = order.proved_at = None
    order.failures = 0
    write.audit("certificate.issue", certificate_id, detail={"name": order.name, "authority": authority})
    write.notice(Notice(NoticeKind.CERTIFICATES))
    return certificate


def renew_now(write: Write, order: CertificateOrder) -> None:
    """The next order as soon as its CA allows it, whatever has failed before."""
    order.failures = 0
    order.next_at = None
    if order.certificate_id is not None:
        certificate = write.session.get(Certificate, order.certificate_id)
        if certificate is not None:
            certificate.renew_at = write.at


def to_ask(session: Session, now: datetime, authorities: Iterable[str]) -> list[Certificate]:
    """Certificates in force whose CAs are to be asked when to renew them."""
    query = select(Certificate).where(
        Certificate.source == "acme",
        Certificate.ask_at <= now,
        Certificate.not_after > now,
        Certificate.authority.in_(list(authorities)),
    )
    return list(session.scalars(query))


def told(write: Write, certificate_id: str, *, renew_at: datetime | None, ask_at: datetime) -> None:
    """What the CA said of renewal; None: nothing."""
    certificate = write.session.get(Certificate, certificate_id)
    if certificate is not None:
        certificate.ask_at = ask_at
        if renew_at is not None:
            certificate.renew_at = min(renew_at, certificate.not_after)
