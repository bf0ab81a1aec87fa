"""A connector's log, live: the edge asks the connector's management for it, as `cloudflared tail` does, and hands it on to one
page. What doesn't fit is dropped and counted, never waited for; it ends with its page, with the session, and when the connector
says so."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import urlencode

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from qanat.auth.guesses import network_of
from qanat.control import tunnels
from qanat.dashboard.ask import address_of, viewer_of
from qanat.dashboard.desk import Desk
from qanat.dashboard.door import Viewer
from qanat.errors import QanatError
from qanat.ids import parse_connector_id
from qanat.store.reach import Permission

Level = Literal["debug", "info", "warn", "error"]
Kind = Literal["cloudflared", "http", "tcp", "udp"]
NEEDS: Permission = "tunnel.edit"
"""As for the management tokens that `cloudflared tail` asks for."""
HOST = "management.argotunnel.com"
OPEN_S = 15.0
EVERY_S = 0.25
ASKED_AGAIN_S = 30.0
MOST_TAILS = 32
MOST_OF_ADDRESS = 8
MOST_WAITING = 1000
MOST_AT_ONCE = 200
LARGEST_MESSAGE = 1 << 20
LONGEST = 4000
"""Characters of one text."""
SAYS = {
    4002: "somebody else follows this connector's log: it streams to one person at a time",
    4001: "the connector refused the filters",
    4003: "the connector ended an idle session",
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What of the log is wanted. The connector filters by level, event and sample itself; `text` is looked for here, in message
    and fields."""

    connector_id: str = ""
    level: Level = "debug"
    events: tuple[Kind, ...] = ()
    sample: float = 1.0
    text: str = ""

    @classmethod
    def of(cls, asked: Request) -> "Filters":
        """From a query; what can't be is left out."""
        given = asked.query_params
        level: Level = next((each for each in get_args(Level) if each == given.get("level")), "debug")
        events = tuple(each for each in get_args(Kind) if each in given.getlist("event"))
        try:
            share = float(given.get("sample") or "1")
        except ValueError:
            share = 1.0
        return cls(
            connector_id=parse_connector_id(given["connector"]) if given.get("connector") else "",
            level=level,
            events=events,
            sample=share if 0.0 < share <= 1.0 else 1.0,
            text=given.get("text", "")[:200].casefold(),
        )

    @property
    def told(self) -> dict[str, Any]:
        """As the connector reads them."""
        events = {"events": list(self.events)} if self.events else {}
        return {"type": "start_streaming", "filters": {**events, "level": self.level, "sampling": self.sample}}


@dataclass(slots=True)
class _Waiting:
    """Lines on their way to a page."""

    lines: deque[dict[str, str]] = field(default_factory=deque)
    dropped: int = 0
    end: str | None = None

    def add(self, line: dict[str, str]) -> None:
        self.lines.append(line)
        while len(self.lines) > MOST_WAITING:
            self.lines.popleft()
            self.dropped += 1


class Tails:
    """All that are followed. Lives in the event loop of its server; `close` may be called from any thread."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open: dict[asyncio.Event, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def endpoint(self, request: Request) -> Response:
        """The stream of one page. It is asked for by the page itself, never by another site's."""
        viewer = await run_in_threadpool(viewer_of, self._desk, request)
        if viewer is None:
            return PlainTextResponse("signed out", 401)
        if not viewer.account_id or not viewer.may(NEEDS):
            return PlainTextResponse("not allowed", 403)
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("not from another site", 403)
        owner = network_of(address_of(request))
        if len(self._open) >= MOST_TAILS or list(self._open.values()).count(owner) >= MOST_OF_ADDRESS:
            raise QanatError("tail_too_many", "too many logs are followed here", hint="close a page that follows one")
        if request.method == "HEAD":
            return Response(status_code=204)
        filters = Filters.of(request)
        uri = await run_in_threadpool(self._begin, viewer, request.path_params["tunnel_id"], filters)
        return StreamingResponse(
            self._events(request, owner, uri, filters),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    def _begin(self, viewer: Viewer, tunnel_id: str, filters: Filters) -> str:
        desk, who = self._desk, viewer.principal.asking({NEEDS})
        with desk.store.reading() as session:
            tunnel = tunnels.get(session, viewer.account_id, tunnel_id)
        token, _ = desk.management.issue(
            tunnel_id=tunnel.id,
            account_id=tunnel.account_id,
            actor=who.actor.name,
            resources=["logs"],
            at=desk.store.clock(),
        )
        detail = {"connector_id": filters.connector_id or None, "level": filters.level, "events": list(filters.events)}
        with desk.store.writing(who.actor) as write:
            write.audit("tunnel.tail", tunnel.id, account_id=tunnel.account_id, detail=detail)
        query = {"access_token": token, **({"connector_id": filters.connector_id} if filters.connector_id else {})}
        return f"ws://{HOST}/logs?{urlencode(query)}"

    async def _events(self, request: Request, owner: str, uri: str, filters: Filters) -> AsyncIterator[bytes]:
        loop = self._loop = asyncio.get_running_loop()
        waiting, ended = _Waiting(), asyncio.Event()
        self._open[ended] = owner
        task = loop.create_task(self._follow(uri, filters, waiting))
        asked_at, told = loop.time(), -1
        try:
            yield b"retry: 60000\n\n"
            while not ended.is_set():
                is_over = task.done()
                lines = [waiting.lines.popleft() for _ in range(min(len(waiting.lines), MOST_AT_ONCE))]
                if lines or waiting.dropped != told:
                    told = waiting.dropped
                    yield _event("lines", {"lines": lines, "dropped": told})
                if is_over and not waiting.lines:
                    yield _event("over", {"why": waiting.end or "the connector ended it"})
                    return
                if loop.time() - asked_at > ASKED_AGAIN_S:
                    asked_at = loop.time()
                    viewer = await run_in_threadpool(viewer_of, self._desk, request)
                    if viewer is None or not viewer.may(NEEDS):
                        yield _event("over", {"why": "you are signed out"})
                        return
                    yield b": still here\n\n"
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), EVERY_S)
        finally:
            self._open.pop(ended, None)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _follow(self, uri: str, filters: Filters, waiting: _Waiting) -> None:
        try:
            async with connect(
                uri,
                sock=self._desk.live.management(),
                open_timeout=OPEN_S,
                close_timeout=1.0,
                max_size=LARGEST_MESSAGE,
                max_queue=8,
                compression=None,
                ping_interval=None,
                proxy=None,
            ) as connection:
                await connection.send(json.dumps(filters.told))
                await _read(connection, filters.text, waiting)
        except InvalidStatus as error:
            status = error.response.status_code
            waiting.end = (
                "no connector of this tunnel is connected that can show its log"
                if status == 530
                else f"refused: {status}"
            )
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd is not None else 0
            waiting.end = SAYS.get(code, "the connector ended it")
        except (OSError, WebSocketException, QanatError) as error:
            waiting.end = "the connector's management doesn't answer"
            log.info("a log could not be followed", reason=str(error).replace(uri, HOST))

    def close(self) -> None:
        """Ends every stream: the server waits for none."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is over already
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        for ended in self._open:
            ended.set()


async def _read(connection: ClientConnection, text: str, waiting: _Waiting) -> None:
    async for message in connection:
        try:
            told = json.loads(message)
            lines = told["logs"] if told["type"] == "logs" else []
        except (ValueError, LookupError, TypeError):
            continue
        for each in lines if isinstance(lines, list) else []:
            line = _line(each)
            if line and (not text or text in f"{line['message']} {line['fields']}".casefold()):
                waiting.add(line)


def _line(told: object) -> dict[str, str]:
    """Texts alone, each cut; {}: it is no line."""
    if not isinstance(told, dict):
        return {}
    names = {"time": "", "level": "debug", "event": "cloudflared", "message": ""}
    line = {name: str(told.get(name, default))[:LONGEST] for name, default in names.items()}
    fields = told.get("fields")
    line["fields"] = json.dumps(fields, ensure_ascii=False, sort_keys=True)[:LONGEST] if fields else ""
    return line


def _event(kind: str, value: object) -> bytes:
    """JSON has no line ends of its own, so that one `data` line holds it."""
    return f"event: {kind}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode()
