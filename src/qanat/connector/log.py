"""The connector's log, as scripts match it (connector.md §6): `2026-01-02T15:04:05Z INF message key=value`, stderr."""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TextIO

import msgspec

Level = Literal["debug", "info", "warn", "error", "fatal"]
Threshold = Literal["trace", "debug", "info", "warn", "error", "fatal", "panic"]
Value = str | int | float | bool | None | Mapping[str, Sequence[str]]

LEVELS: tuple[Threshold, ...] = ("trace", "debug", "info", "warn", "error", "fatal", "panic")
"""Of --loglevel: stock's. Nothing is logged at the first and the last."""
_LETTERS: dict[Level, str] = {"debug": "DBG", "info": "INF", "warn": "WRN", "error": "ERR", "fatal": "FTL"}
_COLOURS: dict[Level, str] = {"debug": "33", "info": "32", "warn": "31", "error": "1;31", "fatal": "1;31"}

CONTROL, HTTP = 0, 1
"""Values of the field `event`: the connector itself, a request."""


class LineFile(Protocol):
    """What a log is written to besides standard error."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class Audience(Protocol):
    """Who is told of lines besides: the management's viewers."""

    def wants(self, level: Level, /) -> bool: ...

    def offer(self, time: str, level: Level, message: str, fields: Mapping[str, Value], /) -> None: ...


class Log:
    """Writes one line an event; lines of several threads never mix, control characters can't begin a line."""

    def __init__(
        self,
        *,
        level: Threshold = "info",
        transport_level: Threshold = "info",
        json: bool = False,
        stream: TextIO | None = None,
        file: LineFile | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._least = LEVELS.index(level)
        self._least_of_transport = LEVELS.index(transport_level)
        self._json = json
        self._stream = sys.stderr if stream is None else stream
        self._file = file
        self._clock = clock
        self._colour = not json and self._stream.isatty() and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._audience: Audience | None = None

    def tells(self, level: Level) -> bool:
        """Whether lines of this level are written or watched: to spare what goes before them."""
        return self.writes(level) or (self._audience is not None and self._audience.wants(level))

    def writes(self, level: Level) -> bool:
        """Whether lines of this level are written."""
        return LEVELS.index(level) >= self._least

    def tells_transport(self, level: Level) -> bool:
        """The same for lines about the transport itself."""
        return LEVELS.index(level) >= self._least_of_transport

    def attend(self, audience: Audience) -> None:
        """Lines that it wants are offered to it from now on, whatever the level of what is written."""
        self._audience = audience

    def debug(self, message: str, **fields: Value) -> None:
        self._write("debug", message, fields)

    def info(self, message: str, **fields: Value) -> None:
        self._write("info", message, fields)

    def warn(self, message: str, **fields: Value) -> None:
        self._write("warn", message, fields)

    def error(self, message: str, **fields: Value) -> None:
        self._write("error", message, fields)

    def fatal(self, message: str, **fields: Value) -> None:
        """Says so; ending the process is the caller's business."""
        self._write("fatal", message, fields)

    def _write(self, level: Level, message: str, fields: dict[str, Value]) -> None:
        writes, audience = self.writes(level), self._audience
        if audience is not None and not audience.wants(level):
            audience = None
        if not writes and audience is None:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        if audience is not None:
            audience.offer(now, level, message, fields)
        if not writes:
            return
        as_json = _json_line(now, level, message, fields) if self._json or self._file else ""
        line = as_json if self._json else _console_line(now, level, message, fields, self._colour)
        with self._lock:
            _put(self._stream, line)
            if self._file:
                _put(self._file, as_json)


def _put(stream: LineFile, line: str) -> None:
    try:
        stream.write(line + "\n")
        stream.flush()
    except (OSError, ValueError):
        pass  # a full disk or a closed pipe must not stop the tunnel


def _console_line(now: str, level: Level, message: str, fields: dict[str, Value], colour: bool) -> str:
    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    parts = [paint(now, "90"), paint(_LETTERS[level], _COLOURS[level])]
    if message:
        parts.append(_one_line(message))
    for key in sorted(fields, key=lambda name: (name != "error", name)):
        parts.append(f"{paint(f'{key}=', '36')}{_console_value(fields[key])}")
    return " ".join(parts)


def _console_value(value: Value) -> str:
    if isinstance(value, str):
        plain = value.isascii() and value.isprintable() and not set(value) & {" ", '"', "\\"}
        return value if plain else _quoted(value)
    if isinstance(value, Mapping):
        return _one_line(msgspec.json.encode(value).decode("utf-8"))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_one_line(escaped)}"'


def _one_line(text: str) -> str:
    """Whatever isn't printable is escaped: an event stays one line and can't steer a terminal (S39)."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _json_line(now: str, level: Level, message: str, fields: dict[str, Value]) -> str:
    event = {"level": level, "time": now, **fields, "message": message}
    return msgspec.json.encode(event).decode("utf-8")
