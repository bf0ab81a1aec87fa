"""The two ways into the database, SQLite or PostgreSQL: `reading` a snapshot and `writing` one audited transaction."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from qanat.store import audit
from qanat.store.audit import Actor
from qanat.store.failures import Phase, told
from qanat.store.notices import Notice, NoticeBus

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Write:
    """One write under way: its session, and what it leaves behind when it commits."""

    session: Session
    at: datetime
    actor: Actor
    notices: list[Notice] = field(default_factory=list)
    audited: int = 0

    def audit(
        self, action: str, object_id: str, *, account_id: str | None = None, detail: Mapping[str, object] | None = None
    ) -> None:
        """The write's audit row."""
        audit.append(
            self.session,
            at=self.at,
            actor=self.actor,
            action=action,
            account_id=account_id,
            object_id=object_id,
            detail=detail or {},
        )
        self.audited += 1

    def notice(self, notice: Notice) -> None:
        """Told to the subscribers after the commit."""
        self.notices.append(notice)


class Store:
    """Rows and their history. Safe for many threads: readers see a snapshot, one writer at a time (on PostgreSQL among all
    processes). `file`: SQLite's; None on PostgreSQL."""

    def __init__(
        self, engine: Engine, *, file: Path | None = None, notices: NoticeBus | None = None, clock: Clock = utc_now
    ) -> None:
        self.file = file
        self.notices = notices or NoticeBus()
        self.clock = clock
        self._engine = engine
        self._writing_engine = engine.execution_options(qanat_writes=True)
        self._writer = Lock()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one snapshot; what is loaded stays usable after it ends."""
        with told(), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self, actor: Actor) -> Iterator[Write]:
        """One transaction with its audit rows; any exception leaves nothing behind. Notices go out after the commit."""
        with self._writing(actor) as write:
            yield write
            if not write.audited:
                raise AssertionError("a write without its audit row")
        for notice in write.notices:
            self.notices.publish(notice)

    @contextmanager
    def recording(self) -> Iterator[Write]:
        """A transaction for what merely happened (connections, last use): no audit row, notices as for any write."""
        with self._writing(audit.SYSTEM) as write:
            yield write
        for notice in write.notices:
            self.notices.publish(notice)

    @contextmanager
    def _writing(self, actor: Actor) -> Iterator[Write]:
        phase = Phase()
        session = Session(self._writing_engine, expire_on_commit=False)
        with self._writer, told(phase), session, session.begin():
            session.connection()  # begins, and waits here for the writer before
            yield Write(session=session, at=self.clock(), actor=actor)
            session.flush()
            phase.committing = True

    def close(self) -> None:
        """Closes the pooled connections; the last one folds SQLite's log into the file."""
        self._engine.dispose()
