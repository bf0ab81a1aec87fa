"""The newest failed requests, so that the id on an error page leads to the reason: in memory, and in a file for after a restart.

The file is written now and then, off every request's path, and never grows beyond twice what is kept: losing its
last second in a crash harms nobody."""

import json
import os
from collections import OrderedDict
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self

import structlog

from qanat.edge.engine import RequestFailed

KEPT = 10_000
MOST_WRITTEN = 2_000
"""In one go: a flood of failures is not a flood of writes. Of more, the newest."""
LONGEST = 2048
"""Characters of one text in the file."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeptFailure:
    """A failed request of an earlier run: the fields of `RequestFailed`."""

    request_id: str
    hostname: str
    method: str
    path: str
    tunnel_id: str | None
    connection_id: str | None
    status: int
    cause: str
    fault: Literal["client", "edge", "tunnel", "origin"]
    detail: str
    started_at: float
    duration_s: float
    client_ip: str
    hops: list[tuple[str, float, float, str]]

    @classmethod
    def of(cls, failed: "RequestFailed | KeptFailure") -> Self:
        """A copy, its texts cut."""
        told: dict[str, Any] = {each.name: getattr(failed, each.name) for each in fields(cls)}
        for name, value in told.items():
            if isinstance(value, str):
                told[name] = value[:LONGEST]
        told["hops"] = [(name, at, took, what[:LONGEST]) for name, at, took, what in failed.hops]
        return cls(**told)


class Failures:
    """The last `kept` failures by request id. `file`: where they outlive this process; None: nowhere."""

    def __init__(self, kept: int = KEPT, *, file: Path | None = None) -> None:
        self._kept = kept
        self._file = file
        self._by_id: OrderedDict[str, RequestFailed | KeptFailure] = OrderedDict()
        self._unwritten: OrderedDict[str, RequestFailed] = OrderedDict()
        self._earlier: dict[str, KeptFailure] | None = None
        self._lines: int | None = None  # in the file; None: nobody has looked
        self._has_failed = False
        self._lock = Lock()
        self._writing = Lock()

    def recent(
        self, *, hostname: str | None = None, tunnel_id: str | None = None, most: int
    ) -> "list[RequestFailed | KeptFailure]":
        """The newest of this run, newest first: of one hostname, of one tunnel, or all."""
        found: list[RequestFailed | KeptFailure] = []
        with self._lock:
            for failed in reversed(self._by_id.values()):
                if hostname in (None, failed.hostname) and tunnel_id in (None, failed.tunnel_id):
                    found.append(failed)
                    if len(found) == most:
                        break
        return found

    def add(self, failed: RequestFailed) -> None:
        """The oldest makes room."""
        with self._lock:
            self._by_id[failed.request_id] = failed
            while len(self._by_id) > self._kept:
                self._by_id.popitem(last=False)
            if self._file is not None:
                self._unwritten[failed.request_id] = failed
                while len(self._unwritten) > MOST_WRITTEN:
                    self._unwritten.popitem(last=False)

    def get(self, request_id: str) -> "RequestFailed | KeptFailure | None":
        """None when it never failed, or long ago."""
        with self._lock:
            found = self._by_id.get(request_id)
        if found is not None or self._file is None:
            return found
        with self._writing:
            if self._earlier is None:
                self._earlier = self._read()
            return self._earlier.get(request_id)

    def write(self) -> None:
        """Called now and then: what has come since goes to the file. A failure is told once, until it works again."""
        if self._file is None:
            return
        with self._lock:
            if not self._unwritten:
                return
            new, self._unwritten = self._unwritten, OrderedDict()
        try:
            with self._writing:
                self._append(self._file, [KeptFailure.of(failed) for failed in new.values()])
        except OSError as error:
            if not self._has_failed:
                log.warning(
                    "failed requests can't be kept for after a restart", file=str(self._file), reason=error.strerror
                )
            self._has_failed = True
        else:
            self._has_failed = False

    def _append(self, file: Path, new: list[KeptFailure]) -> None:
        if self._earlier is None:
            self._earlier = self._read()  # before ours are in it
        if self._lines is None:
            self._lines = len(self._earlier)
        if self._lines + len(new) > 2 * self._kept:
            self._replace(file)
            return
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as opened:
            opened.write(b"".join(_line(failed) for failed in new))
        self._lines += len(new)

    def _replace(self, file: Path) -> None:
        """The file anew, with the newest alone."""
        with self._lock:
            own = [KeptFailure.of(failed) for failed in self._by_id.values()]
        kept = [*(self._earlier or {}).values(), *own][-self._kept :]
        beside = file.with_name(f".{file.name}.new")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
            opened.write(b"".join(_line(failed) for failed in kept))
        beside.replace(file)
        self._lines = len(kept)

    def _read(self) -> dict[str, KeptFailure]:
        """What an earlier run left; a line that is cut or of another version is passed over."""
        found: OrderedDict[str, KeptFailure] = OrderedDict()
        try:
            with (self._file or Path(os.devnull)).open("rb") as opened:
                for line in opened:
                    try:
                        failed = KeptFailure(**json.loads(line))
                    except (ValueError, TypeError):
                        continue
                    found[failed.request_id] = failed
                    if len(found) > self._kept:
                        found.popitem(last=False)
        except OSError:
            pass  # none was left
        return found


def _line(failed: KeptFailure) -> bytes:
    return json.dumps(asdict(failed), separators=(",", ":")).encode() + b"\n"
