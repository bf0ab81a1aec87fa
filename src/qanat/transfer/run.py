"""One import under way: what its rooms share, and what came of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import thread_time
from typing import Any, Literal

from sqlalchemy import select

from qanat.control.record_edit import RepointCheck
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.lots import in_lots
from qanat.store.models import ApiToken
from qanat.store.notices import Notice, NoticeKind
from qanat.store.sealing import Sealer
from qanat.transfer.document import Document
from qanat.transfer.sealed import PassphraseSealer

Action = Literal["create", "change", "same", "conflict"]

Checked = dict[int, object]
"""What became of a document's parts before the write began, by the parts' `id()`: a value, or the QanatError."""


MOST_CHECKING_S = 120.0


class Effort:
    """The computing that checking a document may take: what is exported takes some seconds, what is made for it has no end."""

    def __init__(self) -> None:
        self._until = thread_time() + MOST_CHECKING_S

    def check(self) -> None:
        """QanatError `import_too_long`."""
        if thread_time() > self._until:
            message = f"checking the document takes more than {MOST_CHECKING_S:.0f} s of computing"
            raise QanatError("import_too_long", message, where="document", hint="import it in parts")


def first_error(make: Callable[[], object]) -> object:
    """What it makes, or the QanatError that it raises."""
    try:
        return make()
    except QanatError as error:
        return error


@dataclass(frozen=True, slots=True)
class Step:
    """What is done with one object; `reason` why it can't be, or what else there is to know; `code`: of the error that stands
    in its way, where it has one of its own."""

    kind: str
    id: str
    name: str
    action: Action
    reason: str | None = None
    code: str | None = None


@dataclass(slots=True)
class Outcome:
    """What was done, or would be. `new_secrets`: names of tunnels (and their connector tokens) whose connectors need a new
    token; `new_values`: names of API tokens whose value nobody knows. `new_users`: addresses of users
    without a way to sign in yet; `new_channels`: names of channels that are off until they are told where to send."""

    account_id: str
    applied: bool = False
    changes: int = 0
    steps: list[Step] = field(default_factory=list)
    new_secrets: list[str] = field(default_factory=list)
    new_values: list[str] = field(default_factory=list)
    new_users: list[str] = field(default_factory=list)
    new_channels: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Steps of each action."""
        counted = dict.fromkeys(("create", "change", "same", "conflict"), 0)
        for step in self.steps:
            counted[step.action] += 1
        return counted


@dataclass(slots=True, kw_only=True)
class Run:
    """One import under way: what `tunnels`, `networks`, `zones` and `tokens` work on. `repoint`: asked before a hostname goes
    from one tunnel to another. `giver`: the token that asks for it; new
    ones are its user's, and hold nothing that it doesn't."""

    write: Write
    account_id: str
    document: Document
    sealer: Sealer
    secrets: PassphraseSealer | None
    giver: ApiToken
    outcome: Outcome
    checked: Checked
    repoint: RepointCheck | None = None

    def step(self, kind: str, object_id: str, name: str, action: Action, reason: str | None = None) -> None:
        """Notes it."""
        self.outcome.changes += action in ("create", "change")
        self.outcome.steps.append(Step(kind, object_id, name, action, reason))

    def conflict(self, kind: str, object_id: str, name: str, reason: str) -> None:
        """Notes what can't be."""
        self.step(kind, object_id, name[:255], "conflict", reason)

    def refused(self, kind: str, object_id: str, name: str, error: QanatError) -> None:
        """Notes what somebody else's rule keeps from being: its code is told."""
        self.outcome.steps.append(Step(kind, object_id, name[:255], "conflict", error.message, error.code))

    def notice(self, kind: NoticeKind, **ids: Any) -> None:
        """Told after the commit."""
        self.write.notice(Notice(kind, account_id=self.account_id, **ids))

    def rows(self, model: type[Any], ids: Iterable[str]) -> dict[str, Any]:
        """Those with these ids, whoever's, in few queries."""
        found: dict[str, Any] = {}
        for some in in_lots(sorted(set(ids))):
            for row in self.write.session.scalars(select(model).where(model.id.in_(some))):
                found[row.id] = row
        return found


def put(row: Any, values: dict[str, Any]) -> bool:
    """Sets what differs; whether anything did."""
    changed = [name for name, value in values.items() if getattr(row, name) != value]
    for name in changed:
        setattr(row, name, values[name])
    return bool(changed)
