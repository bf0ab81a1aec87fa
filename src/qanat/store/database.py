"""The two ways into the database, SQLite or PostgreSQL: `reading` a snapshot and `writing` one audited transaction."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Literal

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from qanat.errors import QanatError
from qanat.store import audit
from qanat.store.audit import Actor
from qanat.store.failures import Phase, told
from qanat.store.limits import AccountLimits, Kind, Room
from qanat.store.notices import Notice, NoticeBus
from qanat.store.turns import Turns

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Write:
    """One write under way: its session, and what it leaves behind when it commits. What is done in it happens together or
    not at all, by however many capabilities. `own_names`: the store's."""

    session: Session
    at: datetime
    actor: Actor
    notices: list[Notice] = field(default_factory=list)
    audited: int = 0
    room: Room = field(default_factory=lambda: Room(AccountLimits()))
    own_names: frozenset[str] = frozenset()
    grown: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    is_idle: bool = False
    is_undone: bool = False

    @property
    def limits(self) -> AccountLimits:
        """What one account may have."""
        return self.room.limits

    def audit(
        self,
        action: str,
        object_id: str,
        *,
        account_id: str | None = None,
        detail: Mapping[str, object] | None = None,
        actor: Actor | None = None,
    ) -> None:
        """An audit row of the write. `actor`: who, where it isn't the write's."""
        audit.append(
            self.session,
            at=self.at,
            actor=actor or self.actor,
            action=action,
            account_id=account_id,
            object_id=object_id,
            detail=detail or {},
        )
        self.audited += 1

    def grow(self, kind: Kind, owner: str, number: int = 1) -> None:
        """The owner has so many rows more (or less) of a kind that is limited. Refused, when it is too many, with the commit."""
        self.grown[kind, owner] += number

    def check_growth(self) -> None:
        """QanatError `…_too_many`: what this write adds is more than there may be."""
        if self.grown:
            self.session.flush()
            self.room.take(self.session, self.grown)
            self.grown.clear()

    def notice(self, notice: Notice) -> None:
        """Told to the subscribers after the commit."""
        self.notices.append(notice)

    def idle(self) -> None:
        """What was asked for is so already: nothing was written, and no audit row need be."""
        self.is_idle = True

    def undo(self) -> None:
        """The whole write is taken back at its end: it leaves no rows, and tells nobody."""
        self.is_undone = True


class Store:
    """Rows and their history. Safe for many threads: readers see a snapshot, one writer at a time (on PostgreSQL among all
    processes). `file`: SQLite's; None on PostgreSQL."""

    def __init__(
        self,
        engine: Engine,
        *,
        file: Path | None = None,
        notices: NoticeBus | None = None,
        clock: Clock = utc_now,
        limits: AccountLimits | None = None,
    ) -> None:
        self.file = file
        self.notices = notices or NoticeBus()
        self.clock = clock
        self._engine = engine
        self._writing_engine = engine.execution_options(qanat_writes=True)
        self._writer = Turns()
        self._room = Room(limits or AccountLimits())
        self._left_to_other: Literal["", "decisions", "all"] = ""
        self._numbers = count(1)
        self.newest_write = 0
        """Another number after each write of this process: what was read at the same one is still so, others' writes apart."""
        self.own_names: frozenset[str] = frozenset()
        """Hostnames that the edge serves itself: no record leads them to a tunnel."""

    @property
    def limits(self) -> AccountLimits:
        """What one account may have."""
        return self._room.limits

    @limits.setter
    def limits(self, limits: AccountLimits) -> None:
        self._room = Room(limits)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one snapshot; what is loaded stays usable after it ends."""
        with told(), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self, actor: Actor) -> Iterator[Write]:
        """One transaction with its audit rows; any exception leaves nothing behind. Notices go out after the commit."""
        with self._writing(actor) as write:
            self._check_left("decisions", "all")
            yield write
            if not (write.audited or write.is_idle or write.is_undone):
                raise AssertionError("a write without its audit row")
        self._publish(write)

    @contextmanager
    def recording(self) -> Iterator[Write]:
        """A transaction for what merely happened (connections, last use): no audit row, notices as for any write."""
        with self._writing(audit.SYSTEM) as write:
            self._check_left("all")
            yield write
        self._publish(write)

    @contextmanager
    def _writing(self, actor: Actor) -> Iterator[Write]:
        phase = Phase()
        session = Session(self._writing_engine, expire_on_commit=False)
        with self._writer.turn(f"{actor.kind} {actor.name}"), told(phase), session, session.begin() as transaction:
            session.connection()  # begins, and waits here for the writer before
            write = Write(session=session, at=self.clock(), actor=actor, room=self._room, own_names=self.own_names)
            yield write
            if write.is_undone:
                transaction.rollback()
                return
            session.flush()
            write.check_growth()
            phase.committing = True

    def _check_left(self, *what: str) -> None:
        if self._left_to_other in what:
            raise QanatError(
                "store_unavailable",
                "another process of this edge writes to the database now",
                hint="repeat it; the new process answers",
            )

    def _publish(self, write: Write) -> None:
        self.newest_write = next(self._numbers)
        for notice in [] if write.is_undone else write.notices:
            self.notices.publish(notice)

    def leave_to_other(self, *, also_records: bool) -> None:
        """Another process writes from now on: waits for the write under way, and refuses those that come. What merely happened is
        still recorded, unless `also_records`."""
        self._left_to_other = "all" if also_records else "decisions"
        with self._writer.turn("leave"):
            self._engine.dispose()

    def take_back(self) -> None:
        """This process writes again."""
        self._left_to_other = ""

    def close(self) -> None:
        """Closes the pooled connections; the last one folds SQLite's log into the file."""
        self._engine.dispose()
