"""What feeds open pages: one for all of them. Each view is rendered once a tick for everybody who looks at it, and only the parts
of it that changed are sent; nobody looks, nothing is done."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, time
from urllib.parse import urlencode

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from qanat.auth.guesses import network_of
from qanat.dashboard.ask import address_of, key_of, viewer_of
from qanat.dashboard.desk import Desk
from qanat.dashboard.views import VIEWS, View
from qanat.errors import QanatError

EVERY_S = 2.0
SLOWEST_S = 5.0
PAUSES = 30
"""Of the time between two looks, one part in so many is work."""
READER_S = 0.0005
"""What it takes to send a look to one reader."""
ASKED_AGAIN_S = 30.0
"""Whether the session is still good, and may still see this."""
MOST_STREAMS = 1000
MOST_OF_ADDRESS = 200
MOST_OF_HANDED_OVER = 40
"""Of one address through the public listener, which gives an address 64 requests at once: its API calls have room left."""
MOST_WAITING = 8
MOST_OF_VALUE = 200
"""Characters of a value that a view is asked with."""

log = structlog.get_logger(__name__)


class _End:
    """What ends a stream."""


_END = _End()
Queue = asyncio.Queue[bytes | _End]


@dataclass(eq=False, slots=True)
class _Topic:
    view: View
    readers: set[Queue] = field(default_factory=set)
    shown: dict[str, str] = field(default_factory=dict)
    trouble: str = ""


class Hub:
    """Of one dashboard. Lives in the event loop of its server; `close` may be called from any thread."""

    def __init__(self, desk: Desk, *, every_s: float = EVERY_S) -> None:
        self._desk = desk
        self._every_s = every_s
        self._topics: dict[View, _Topic] = {}
        self._streams: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    async def endpoint(self, request: Request) -> Response:
        """The stream of one page."""
        viewer = await run_in_threadpool(viewer_of, self._desk, request)
        if viewer is None:
            return PlainTextResponse("signed out", 401)
        declared = VIEWS.get(request.query_params.get("view", ""))
        if declared is None or not viewer.account_id:
            return PlainTextResponse("there is no such view", 404)
        asked = {name: request.query_params.get(name, "")[:MOST_OF_VALUE] for name in declared.asks}
        view = View(request.query_params["view"], viewer.account_id, tuple(sorted(asked.items())))
        if not await self._may_see(request, view):
            return PlainTextResponse("not allowed", 403)
        owner = network_of(address_of(request))
        most = MOST_OF_ADDRESS if request.scope.get("server") else MOST_OF_HANDED_OVER
        if self._is_closed or sum(self._streams.values()) >= MOST_STREAMS or self._streams.get(owner, 0) >= most:
            return PlainTextResponse("too many streams are open", 503, headers={"retry-after": "10"})
        if request.method == "HEAD":
            return Response(status_code=204)
        return StreamingResponse(
            self._events(view, request, owner),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _may_see(self, request: Request, view: View) -> bool:
        declared = VIEWS[view.name]
        still = partial(
            self._desk.door.still,
            key_of(request),
            view.account_id,
            declared.needs,
            address=address_of(request),
            zones=partial(declared.zones, self._desk, view) if declared.zones is not None else None,
        )
        return await run_in_threadpool(still)

    async def _events(self, view: View, request: Request, owner: str) -> AsyncIterator[bytes]:
        queue: Queue = asyncio.Queue(MOST_WAITING)
        topic = self._topics.setdefault(view, _Topic(view))
        topic.readers.add(queue)
        self._streams[owner] = self._streams.get(owner, 0) + 1
        loop = self._loop = asyncio.get_running_loop()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())
        else:  # the page is newer than what was looked at last: all of it is sent with the next look
            topic.shown = {}
        asked_at = loop.time()
        try:
            yield b"retry: 2000\n\n"
            while True:
                event = await queue.get()
                if isinstance(event, _End):
                    return
                if loop.time() - asked_at > ASKED_AGAIN_S:
                    asked_at = loop.time()
                    if not await self._may_see(request, view):
                        yield _event("ended", {})
                        return
                yield event
        finally:
            topic.readers.discard(queue)
            self._streams[owner] -= 1
            if not self._streams[owner]:
                del self._streams[owner]

    async def _run(self) -> None:
        while not self._is_closed:
            self._topics = {view: topic for view, topic in self._topics.items() if topic.readers}
            if not self._topics:
                return
            began = monotonic()
            for topic in list(self._topics.values()):
                message = await self._next(topic)
                for queue in list(topic.readers):
                    if queue.full():  # it reads too slowly: it begins anew, with the whole
                        topic.readers.discard(queue)
                        queue.get_nowait()
                        queue.put_nowait(_END)
                    else:
                        queue.put_nowait(message)
            # for very many tunnels or readers views come more seldom, rather than take a core's time from requests
            work_s = monotonic() - began + READER_S * sum(self._streams.values())
            await asyncio.sleep(max(self._every_s, min(SLOWEST_S, PAUSES * work_s)))

    async def _next(self, topic: _Topic) -> bytes:
        declared = VIEWS[topic.view.name]
        try:
            shown = await run_in_threadpool(declared.render, self._desk, topic.view)
        except QanatError as error:
            return _event("trouble", {"at": time(), "why": error.message})
        except Exception:
            log.exception("a view could not be rendered", view=topic.view.name)
            return _event("trouble", {"at": time(), "why": "the view can't be made; the edge's log says why"})
        changed = {name: html for name, html in shown.items() if topic.shown.get(name) != html}
        topic.shown = shown
        return _event("parts", {"at": time(), "parts": changed})

    def close(self) -> None:
        """Ends every stream: the server waits for none."""
        self._is_closed = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is over already
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        for topic in self._topics.values():
            for queue in topic.readers:
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(_END)


def _event(kind: str, value: object) -> bytes:
    """JSON has no line ends of its own, so that one `data` line holds it."""
    return f"event: {kind}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def stream_url(view: str, **asked: str) -> str:
    """Where a page's stream is."""
    return "/live?" + urlencode({"view": view, **{name: value for name, value in asked.items() if value}})
