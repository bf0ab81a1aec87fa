"""Cutovers under way on this edge: a thread for each, from its first look to its end. What was under way when an edge ended is
taken up by the next one."""

from collections.abc import Callable
from threading import Event, Lock, Thread

import structlog

from qanat.cutover import cutovers
from qanat.cutover.course import Course
from qanat.cutover.edge import CutoverEdge
from qanat.errors import QanatError
from qanat.store import Notice, NoticeKind, Store

LOOK_EVERY_S = 0.25
RETRY_S = 1.0
ENDS_WITHIN_S = 5.0

log = structlog.get_logger(__name__)


class CutoverRunner:
    """Started when the edge serves; hears of each new cutover by its notice."""

    def __init__(self, store: Store, edge: CutoverEdge) -> None:
        self._store = store
        self._edge = edge
        self._wanted = Event()
        self._stopping = Event()
        self._lock = Lock()
        self._running: dict[str, Thread] = {}
        self._thread = Thread(target=self._run, name="qanat-cutovers", daemon=True)
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        """Takes up what is under way, then what comes."""
        self._unsubscribe = self._store.notices.subscribe(self._hear)
        self._wanted.set()
        self._thread.start()

    def stop(self) -> None:
        """Waits for the step that is being taken; the rest is the next edge's."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._stopping.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(ENDS_WITHIN_S)
        with self._lock:
            running = list(self._running.values())
        for thread in running:
            thread.join(ENDS_WITHIN_S)

    def _hear(self, notice: Notice) -> None:
        if notice.kind is NoticeKind.CUTOVER:
            self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._stopping.is_set():
                return
            try:
                with self._store.reading() as session:
                    ids = cutovers.under_way(session)
            except QanatError as error:
                log.error("cutovers can't be read", reason=error.message)
                self._stopping.wait(RETRY_S)
                self._wanted.set()
                continue
            for cutover_id in ids:
                self._begin(cutover_id)

    def _begin(self, cutover_id: str) -> None:
        with self._lock:
            if cutover_id in self._running:
                return
            thread = Thread(target=self._take, args=[cutover_id], name="qanat-cutover", daemon=True)
            self._running[cutover_id] = thread
        thread.start()

    def _take(self, cutover_id: str) -> None:
        course = Course(self._store, self._edge, cutover_id)
        try:
            told = ""
            while not self._stopping.is_set():
                wait_s = LOOK_EVERY_S
                try:
                    if course.tick():
                        return
                    told = ""
                except QanatError as error:  # the database is away: told once, and the next look finds the same
                    if told != error.message:
                        log.error("a cutover can't go on", cutover=cutover_id, reason=error.message)
                    told, wait_s = error.message, RETRY_S
                except Exception:
                    log.exception("a look at a cutover failed", cutover=cutover_id)
                    wait_s = RETRY_S
                self._stopping.wait(wait_s)
        finally:
            course.close()
            with self._lock:
                del self._running[cutover_id]
