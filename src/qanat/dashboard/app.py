"""The dashboard's application: pages, their files, and what every answer is marked with."""

from collections.abc import Awaitable, Callable
from secrets import token_hex

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qanat.auth.hosts import check_host
from qanat.dashboard import assets, provider, signing
from qanat.dashboard.ask import STATUSES, Declared, refused, route, viewer_of
from qanat.dashboard.desk import Desk
from qanat.dashboard.handing import PATH, STOCK_HOST
from qanat.dashboard.hub import Hub
from qanat.dashboard.pages import PAGES
from qanat.dashboard.tail import Tails
from qanat.errors import QanatError

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

log = structlog.get_logger(__name__)


def create_dashboard(desk: Desk, hub: Hub, tails: Tails) -> Starlette:
    """The dashboard of one edge; `hub` feeds its open pages, `tails` follow logs for them, and whoever made them closes them."""
    return Starlette(
        routes=[
            Route("/static/{tag}/{name}", assets.serve),
            *signing.routes(desk),
            *provider.routes(desk),
            Route("/live", hub.endpoint),
            Route(f"{PATH}/{{key}}", _waits(desk), methods=["GET"]),
            Route("/tunnels/{tunnel_id}/tail", tails.endpoint),
            *(route(each, desk) for each in declared()),
        ],
        middleware=[Middleware(Marked, desk=desk)],
        exception_handlers={QanatError: _failed(desk), HTTPException: _missed(desk), Exception: _broken},
    )


def declared() -> list[Declared]:
    """Every page."""
    return [each for pages in PAGES for each in pages.declared]


class Marked:
    """ASGI middleware: the Host is one of ours, and every answer says what browsers may do with it. Nothing but files is kept."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                mark(MutableHeaders(scope=message), scope)
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if host == STOCK_HOST and scope["method"] == "GET" and scope["path"].count("/") == 1:
            await self._app({**scope, "path": f"{PATH}{scope['path']}"}, receive, send_marked)
            return
        try:
            check_host(host, self._desk.hosts, reached=scope.get("server"))
        except QanatError as error:
            await PlainTextResponse(str(error), STATUSES[error.code])(scope, receive, send_marked)
            return
        await self._app(scope, receive, send_marked)


def _waits(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await desk.handing.endpoint(request, desk)

    return endpoint


def mark(headers: MutableHeaders, scope: Scope) -> None:
    """What every answer says."""
    for name, value in HEADERS.items():
        headers[name] = value
    headers.setdefault("cache-control", "no-store")
    if scope["scheme"] == "https":
        headers["strict-transport-security"] = "max-age=31536000"


def _failed(desk: Desk) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, QanatError)
        viewer = await run_in_threadpool(viewer_of, desk, request)
        return refused(desk, viewer, request, error)

    return answer


def _missed(desk: Desk) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code != 404:
            return PlainTextResponse(error.detail, error.status_code, headers=error.headers)
        viewer = await run_in_threadpool(viewer_of, desk, request)
        missing = QanatError("page_unknown", "there is no such page", hint="begin at the overview")
        return refused(desk, viewer, request, missing)

    return answer


async def _broken(request: Request, _error: Exception) -> Response:
    """Starlette raises the error again once this is sent, for the log."""
    request_id = request.scope.get("state", {}).get("request_id") or token_hex(8)
    log.error("a page failed", path=request.url.path, request_id=request_id)
    answer = PlainTextResponse(f"this page failed; the edge's log has it under {request_id}", 500)
    mark(answer.headers, request.scope)  # Starlette makes it outside of all middleware
    return answer
