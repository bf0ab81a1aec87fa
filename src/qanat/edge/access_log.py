"""The access log: takes the engine's lines in a thread of its own, and hands them on. No request waits for it."""

import json
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Protocol

import structlog

from qanat.edge.access_sinks import Sink

WAIT_S = 0.2
PAUSE_S = 0.01

log = structlog.get_logger(__name__)


class Lines(Protocol):
    """Where they come from: the engine."""

    def next_access(self, *, timeout_s: float) -> tuple[bytes, int, list[bytes]]: ...


class AccessLog:
    """Runs from `start` until the engine is closed and has no more lines. `sink` None: nothing is logged. `traced`: takes the
    fields of each request that is part of a trace."""

    def __init__(
        self, engine: Lines, sink: Sink | None, *, traced: Callable[[dict[str, Any]], object] | None = None
    ) -> None:
        self._engine = engine
        self._sink = sink
        self._traced = traced
        self._stopping = Event()
        self._lost_since = 0
        self._thread = Thread(target=self._run, name="qanat-access-log", daemon=True)
        self.lost = 0
        """Lines that could not be written."""

    def start(self) -> None:
        """Begins to take lines."""
        self._thread.start()

    def stop(self, *, timeout_s: float) -> None:
        """After the engine's `close`: takes what is left, and ends."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            try:
                lines, count, traced = self._engine.next_access(timeout_s=WAIT_S)
                if self._sink is not None and count:
                    self._write(self._sink, lines, count)
                if self._traced is not None:
                    for line in traced:
                        self._traced(json.loads(line))
            except Exception:
                log.exception("the access log stumbled")
                lines, traced = b"", []
            if not lines and not traced:
                if self._stopping.is_set():
                    break
                self._stopping.wait(PAUSE_S)  # a closed engine answers at once
        if self._sink is not None:
            self._sink.close()

    def _write(self, sink: Sink, lines: bytes, count: int) -> None:
        """What can't be written is counted, and told once, until it works again: a full disk would be full of that as well."""
        try:
            sink.write(lines)
        except OSError as error:
            self.lost += count
            if not self._lost_since:
                log.error("the access log can't be written; requests go on", reason=error.strerror or str(error))
            self._lost_since += count
        else:
            if self._lost_since:
                log.warning("the access log is written again", lines_lost=self._lost_since)
                self._lost_since = 0
