"""Probes of a document: how hostnames and tunnels are asked."""

from dataclasses import asdict, replace

from qanat.errors import QanatError
from qanat.health import checks
from qanat.ids import parse_hostname
from qanat.store.models import Probe, Tunnel
from qanat.store.notices import NoticeKind
from qanat.transfer.document import ProbePart
from qanat.transfer.run import Run, put


def write(run: Run) -> None:
    """All of them, when tunnels and zones are written."""
    held = len(checks.read(run.write.session, run.account_id).rows)
    changes = run.outcome.changes
    for part in run.document.probes:
        try:
            held += _probe(run, part)
            if held > checks.MOST_OF_ACCOUNT:
                raise QanatError("probe_too_many", f"more than {checks.MOST_OF_ACCOUNT} probes")
        except (QanatError, TypeError, ValueError, AttributeError) as error:
            run.conflict("probe", part.target, part.target, str(error))
    if run.outcome.changes != changes:
        run.notice(NoticeKind.PROBES)


def _probe(run: Run, part: ProbePart) -> int:
    """How many rows more there are."""
    session = run.write.session
    tunnel = session.get(Tunnel, part.target)
    if tunnel is None or tunnel.account_id != run.account_id or tunnel.deleted_at is not None:
        hostname = str(parse_hostname(part.target, wildcard=False))
        if hostname != part.target or not checks.is_own_hostname(session, run.account_id, hostname):
            raise QanatError("probe_unknown", "it is no tunnel, and in no zone of this account")
    unknown = sorted(part.document.keys() - checks.FIELDS)
    if unknown:
        raise QanatError("probe_bad", f"{unknown[0][:60]!r} is nothing that a probe has")
    check = replace(checks.DEFAULT, **part.document).checked()
    document = {**asdict(check), "headers": dict(check.headers), "send": dict(check.send)}
    row = session.get(Probe, (run.account_id, part.target))
    values = {"document": document, "modified_at": part.modified_at}
    if row is not None:
        run.step("probe", part.target, part.target, "change" if put(row, values) else "same")
        return 0
    session.add(Probe(account_id=run.account_id, target=part.target, **values))
    run.step("probe", part.target, part.target, "create")
    return 1
