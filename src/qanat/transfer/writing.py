"""A document's account written here: all of it or nothing, what is there already stays, and what isn't in it too."""

import hashlib
from typing import Any

from sqlalchemy.exc import IntegrityError

from qanat.control.accounts import check_name
from qanat.control.record_edit import RepointCheck
from qanat.errors import QanatError
from qanat.ids import parse_account_id
from qanat.store.database import Write
from qanat.store.lots import in_lots
from qanat.store.models import Account, ApiToken
from qanat.store.sealing import Sealer
from qanat.transfer import alerts, members, networks, probes, tokens, tunnels, zones
from qanat.transfer.document import AccountPart, Document
from qanat.transfer.run import Checked, Effort, Outcome, Run, put
from qanat.transfer.sealed import PassphraseSealer

AUDITED_AT_ONCE = 200
MAX_EMAIL = 254


def check(document: Document) -> Checked:
    """What becomes of the document's parts, or what is wrong with them. Before the one writer's turn: it takes longer than
    writing them. QanatError `import_too_long`."""
    effort = Effort()
    return {**tunnels.check(document, effort), **zones.check(document, effort)}


def import_account(
    write: Write,
    *,
    account_id: str,
    document: Document,
    checked: Checked,
    sealer: Sealer,
    secrets: PassphraseSealer | None,
    giver: ApiToken,
    dry_run: bool,
    repoint: RepointCheck | None = None,
) -> Outcome:
    """With `dry_run`, or with a conflict, the whole write is taken back.

    Args:
        account_id: an account that exists, or the document's own, which is then made.
        checked: what `check` made of the document.
        giver: who asks: its user gets the tokens, none of which holds more than it does.
        repoint: asked before a hostname goes from one tunnel to another; what it refuses is a conflict.
    """
    outcome = Outcome(account_id)
    run = Run(
        write=write,
        account_id=account_id,
        document=document,
        sealer=sealer,
        secrets=secrets,
        giver=giver,
        outcome=outcome,
        checked=checked,
        repoint=repoint,
    )
    _write_all(run)
    write.check_growth()
    if dry_run or outcome.counts()["conflict"]:
        write.undo()
    else:
        _audit(run)
        outcome.applied = True
    return outcome


def _write_all(run: Run) -> None:
    try:
        with run.write.session.no_autoflush:
            if not _account(run, run.document.account):
                return
            run.write.session.flush()
            tunnels.write(run)
            run.write.session.flush()
            networks.write(run)
            zones.write(run)
            run.write.session.flush()
            probes.write(run)
            run.write.session.flush()
            tokens.write(run)
            run.write.session.flush()
            members.write(run)
            run.write.session.flush()
            alerts.write(run)
            run.write.session.flush()
    except IntegrityError as error:
        raise QanatError(
            "import_conflict", f"the database refused the import: {error.orig}; nothing was written", where="document"
        ) from error


def _account(run: Run, part: AccountPart) -> bool:
    """Whether it can be written at all."""
    row = run.write.session.get(Account, run.account_id)
    if row is not None and row.id != part.id:
        run.step("account", row.id, row.name, "same", f"the objects of {part.name} ({part.id}) come to it")
        return True
    try:
        values = {
            "name": check_name(part.name),
            "settings": _settings(part.settings),
            "created_at": part.created_at,
        }
        account_id = parse_account_id(part.id)
    except QanatError as error:
        run.conflict("account", part.id, part.name, str(error))
        return False
    if row is None:
        run.write.session.add(Account(id=account_id, **values))
        run.step("account", account_id, part.name, "create")
    else:
        run.step("account", row.id, part.name, "change" if put(row, values) else "same")
    return True


def _settings(settings: dict[str, Any]) -> dict[str, Any]:
    """QanatError `account_bad_settings`."""
    for key, value in settings.items():
        is_text = value is None or (isinstance(value, str) and len(value) <= MAX_EMAIL and value.isprintable())
        good = {"delete_disconnects": isinstance(value, bool), "abuse_contact_email": is_text}
        if not good.get(key, False):
            raise QanatError(
                "account_bad_settings",
                f"{key[:60]!r} is not a setting of accounts, or its value is not valid",
                where="settings",
            )
    return settings


def _audit(run: Run) -> None:
    """Each change is in one of the rows."""
    done = [
        {"kind": step.kind, "id": step.id, "name": step.name, "action": step.action}
        for step in run.outcome.steps
        if step.action != "same"
    ]
    digest = hashlib.sha256(repr(run.document).encode()).hexdigest()
    for some in list(in_lots(done, AUDITED_AT_ONCE)) or [[]]:
        run.write.audit(
            "account.import",
            run.account_id,
            account_id=run.account_id,
            detail={"changes": list(some), "from": run.document.account.id, "document": digest},
        )
