"""The log of edge and CLI, on standard error: for people on a terminal, JSON lines elsewhere (security.md S39)."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

from qanat.errors import escape_text
from qanat.lean import load_without

_SECRET_KEYS = re.compile(
    r"(token|secret|password|passphrase|authorization|cookie|(api|auth)[_-]?key|credential|private)", re.IGNORECASE
)
_NOT_SECRET = frozenset({"token_id", "token_file"})
_SECRET_VALUES = re.compile(r"qnt_[0-9A-Za-z]{36}|eyJ[0-9A-Za-z+/=_-]{40,}")
REDACTED = "[redacted]"

__all__ = ["escape_text", "set_up_logging"]

Event = MutableMapping[str, Any]


def set_up_logging(
    *, level: str = "info", form: Literal["auto", "console", "json"] = "auto", stream: TextIO | None = None
) -> None:
    """structlog for ours, and the standard library's loggers (uvicorn, alembic) through the same processors."""
    # Its coloured tracebacks aren't used, and rich is a tenth of what an edge loads before it serves.
    load_without("structlog", "rich")
    import structlog  # the CLI takes `escape_text` from here, and not every start needs the rest

    out = stream or sys.stderr
    as_json = form == "json" or (form == "auto" and not out.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[structlog.types.Processor] = [
        structlog.processors.format_exc_info,
        redact,
        escape,
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=out.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
    numeric = getattr(logging, level.upper())
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(numeric, logging.WARNING) if numeric > logging.DEBUG else logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """Blanks what is named like a secret, or looks like one of our tokens, however deep it lies."""
    for key, value in event.items():
        event[key] = _redacted(key, value)
    return event


def escape(_logger: Any, _method: str, event: Event) -> Event:
    """Control characters as `\\xNN`, so that one event stays one line. A traceback keeps its line ends, indented."""
    for key, value in event.items():
        if key == "exception" and isinstance(value, str):
            event[key] = "\n".join(escape_text(line) for line in value.splitlines())
        else:
            event[key] = _escaped(value)
    return event


def _redacted(key: object, value: Any) -> Any:
    if isinstance(key, str) and _SECRET_KEYS.search(key) and key not in _NOT_SECRET and value:
        return REDACTED
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return _SECRET_VALUES.sub(REDACTED, value)
    if isinstance(value, Mapping):
        return {inner: _redacted(inner, each) for inner, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(None, each) for each in value]
    return value


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape_text(value)
    if isinstance(value, Mapping):
        return {_escaped(key): _escaped(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    return value
