"""The audit log: searched, exported, and its chain verified."""

from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from starlette.responses import Response, StreamingResponse

from qanat.control import api_tokens, users
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.links import with_query
from qanat.dashboard.paging import Paging
from qanat.errors import QanatError
from qanat.store import audit

pages = Pages()

IN_LIST = 50
FIELDS = ("action", "actor", "object", "address", "since", "until")
_verifying = Lock()


@pages.get("/audit", "audit.read")
def listed(ask: Ask) -> Response:
    """The newest rows that match."""
    return _shown(ask)


@pages.get("/audit/export", "audit.read")
def export(ask: Ask) -> Response:
    """The same rows as JSON lines, oldest first, to the end of the log."""
    return StreamingResponse(
        audit.lines(ask.desk.store.reading, _filters(ask)),
        media_type="application/x-ndjson",
        headers={"content-disposition": 'attachment; filename="qanat-audit.jsonl"'},
    )


@pages.post("/audit/verify", "audit.read")
def verify(ask: Ask) -> Response:
    """Walks the whole chain; one at a time."""
    ask.viewer.principal.everything("audit.read")
    if not _verifying.acquire(blocking=False):
        raise QanatError("busy", "the log is being verified already", hint="wait for that one")

    def read(after: int) -> Sequence[Any]:
        with ask.desk.store.reading() as session:
            return audit.read_rows(session, after)

    try:
        verdict = audit.verify(read)
    finally:
        _verifying.release()
    return _shown(ask, verdict=verdict)


def _shown(ask: Ask, verdict: audit.Verdict | None = None) -> Response:
    asked = {name: ask.query(name)[:200] for name in FIELDS}
    filters = _filters(ask)
    at = ask.number("page")
    with ask.desk.store.reading() as session:
        rows, total = audit.list_rows(session, filters=filters, before=None, offset=(at - 1) * IN_LIST, limit=IN_LIST)
        names = api_tokens.names(session, {row.actor for row in rows}, reach=ask.viewer.reach("token.read"))
        names |= _people(ask, session)
    return ask.show(
        "audit.html",
        rows=[(row, audit.told_detail(row.detail)) for row in rows],
        names=names,
        asked=asked,
        paging=Paging.of(at, IN_LIST, total, path=with_query("/audit", **asked), name="page"),
        export=with_query("/audit/export", **asked),
        verdict=verdict,
        may_verify=ask.viewer.principal.reach("audit.read").is_everything,
    )


def _filters(ask: Ask) -> audit.Filters:
    def text(name: str) -> str | None:
        return ask.query(name)[:200].strip() or None

    return audit.matching(
        reach=ask.viewer.principal.reach("audit.read"),
        action=text("action"),
        actor=_actor(ask, text("actor")),
        object_id=text("object"),
        address=text("address"),
        since=_day(text("since"), "since"),
        until=_day(text("until"), "until"),
    )


def _people(ask: Ask, session: Any) -> dict[str, str]:
    """Addresses by user id, of those whom the viewer may see."""
    found = users.listed(session, reach=ask.viewer.reach("account.read"))
    return {person.user.id: person.user.email for person in found}


def _actor(ask: Ask, text: str | None) -> str | None:
    """Rows have ids; a user's address is taken for theirs."""
    if text is None or "@" not in text:
        return text
    with ask.desk.store.reading() as session:
        ids = {email.lower(): user_id for user_id, email in _people(ask, session).items()}
    return ids.get(text.lower(), text)


def _day(text: str | None, where: str) -> datetime | None:
    """A day, or a moment, of UTC. QanatError `filter_bad_value`."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise QanatError("filter_bad_value", "not a day such as 2026-11-29", where=where) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
