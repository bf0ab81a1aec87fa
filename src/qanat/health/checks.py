"""Which hostnames are asked how: what operators set, and what holds without."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.health.questions import Check
from qanat.ids import parse_hostname
from qanat.store.database import Write
from qanat.store.models import Probe, Tunnel, Zone
from qanat.store.notices import Notice, NoticeKind
from qanat.store.reach import EVERYTHING, Reach

DEFAULT = Check()
"""Of a hostname that nobody has set anything for."""
MOST_OF_ACCOUNT = 10_000
FIELDS = frozenset(field.name for field in fields(Check))


class Checks:
    """What is set, by account and by hostname or tunnel: a hostname's own stands before its tunnel's."""

    def __init__(self, rows: Mapping[tuple[str, str], Check]) -> None:
        self.rows = rows

    def of(self, *, account_id: str, hostname: str, tunnel_id: str) -> Check:
        """What holds for a hostname that leads to this tunnel."""
        return self.rows.get((account_id, hostname)) or self.rows.get((account_id, tunnel_id)) or DEFAULT


def read(session: Session, account_id: str | None = None) -> Checks:
    """All that is set (of one account). A row that an older version wrote and that can't be read any more is left out."""
    query = select(Probe).order_by(Probe.target)
    if account_id is not None:
        query = query.where(Probe.account_id == account_id)
    found = {}
    for row in session.scalars(query):
        known = {name: value for name, value in row.document.items() if name in FIELDS}
        try:
            found[row.account_id, row.target] = replace(DEFAULT, **known).checked()
        except (QanatError, TypeError):
            continue
    return Checks(found)


def put(write: Write, *, account_id: str, target: str, changes: Mapping[str, Any]) -> Check:
    """Sets what is given, and keeps the rest. `target`: a hostname of the account's zones, or a tunnel's id.

    Raises:
        QanatError: `probe_bad`, `probe_unknown`, `probe_too_many`.
    """
    target = _target(write.session, account_id, target)
    row = write.session.get(Probe, (account_id, target))
    before = Checks(read(write.session, account_id).rows).rows.get((account_id, target), DEFAULT)
    check = replace(before, **changes).checked()
    if row is None:
        held = len(read(write.session, account_id).rows)
        if held >= MOST_OF_ACCOUNT:
            raise QanatError("probe_too_many", f"the account has {held} probes, the most allowed", where="target")
        row = Probe(account_id=account_id, target=target, document={}, modified_at=write.at)
        write.session.add(row)
    row.document = {**asdict(check), "headers": dict(check.headers), "send": dict(check.send)}
    row.modified_at = write.at
    write.notice(Notice(NoticeKind.PROBES, account_id=account_id))
    write.audit("probe.set", target, account_id=account_id, detail={"probe": row.document})
    return check


def remove(write: Write, *, account_id: str, target: str) -> None:
    """What holds without is in force again. QanatError `probe_unknown`."""
    gone = write.session.execute(delete(Probe).where(Probe.account_id == account_id, Probe.target == target))
    if not gone.rowcount:  # type: ignore[attr-defined]
        raise QanatError(
            "probe_unknown", f"nothing is set for {target!r}", where="target", hint="see `qanat probe list`"
        )
    write.notice(Notice(NoticeKind.PROBES, account_id=account_id))
    write.audit("probe.unset", target, account_id=account_id, detail={})


def is_own_hostname(session: Session, account_id: str, hostname: str, *, reach: Reach = EVERYTHING) -> bool:
    """Whether it is in one of the account's zones; with `reach`, whether the one that it is in is within that."""
    labels = hostname.removeprefix("*.").split(".")
    suffixes = [".".join(labels[start:]) for start in range(len(labels))]
    owned = session.scalars(select(Zone).where(Zone.account_id == account_id, Zone.name.in_(suffixes)))
    zone = max(owned, key=lambda each: len(each.name), default=None)
    return zone is not None and reach.has_zone(zone.id, account_id)


def _target(session: Session, account_id: str, target: str) -> str:
    tunnel = session.get(Tunnel, target)
    if tunnel is not None and tunnel.account_id == account_id and tunnel.deleted_at is None:
        return tunnel.id
    try:
        hostname = str(parse_hostname(target))
    except QanatError as error:
        raise QanatError("probe_bad", error.message, where="target") from error
    if hostname.startswith("*."):
        raise QanatError(
            "probe_bad",
            f"{hostname} stands for many hostnames, of which none can be asked",
            where="target",
            hint="name one below it",
        )
    if not is_own_hostname(session, account_id, hostname):
        raise QanatError("probe_unknown", f"{target} is no tunnel, and in no zone of this account", where="target")
    return hostname
