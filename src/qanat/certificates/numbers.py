"""Certificates in numbers, for `qanat status` and the edge's metrics."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from qanat.certificates import stored
from qanat.exposition import Exposition
from qanat.store.reach import EVERYTHING, Reach

STATUSES = ("active", "expiring", "expired", "pending", "failing")


@dataclass(frozen=True, slots=True)
class Numbers:
    """How many there are of each status. `ends_first`: the name whose certificate ends first, and `ends_in_s` (negative: it has
    ended); None without any."""

    active: int
    expiring: int
    expired: int
    pending: int
    failing: int
    ends_first: str | None
    ends_in_s: float | None


def numbers(session: Session, now: datetime, *, reach: Reach = EVERYTHING) -> Numbers:
    """Of what is seen; uploaded certificates and those of CAs, not files."""
    found = stored.entries(session, reach=reach)
    counted = dict.fromkeys(STATUSES, 0)
    for entry in found:
        counted[entry.status(now)] += 1
    first = min(
        ((entry.certificate.not_after, entry.names[0]) for entry in found if entry.certificate is not None),
        default=None,
    )
    return Numbers(
        **counted,
        ends_first=first[1] if first is not None else None,
        ends_in_s=(first[0] - now).total_seconds() if first is not None else None,
    )


def exposed(counted: Numbers) -> str:
    """As Prometheus reads them."""
    told, exposition = asdict(counted), Exposition()
    samples = [({"status": status}, float(told[status])) for status in STATUSES]
    exposition.add("qanat_edge_certificates", "gauge", "Certificates uploaded or of CAs, by status.", samples)
    if counted.ends_in_s is not None:
        help = "Seconds until the first of them ends."
        exposition.add("qanat_edge_certificate_ends_in_seconds", "gauge", help, counted.ends_in_s)
    return exposition.text()
