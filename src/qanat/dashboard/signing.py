"""Signing in and out, and the account that is shown."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from qanat.dashboard.ask import (
    SIGN_IN,
    STATUSES,
    address_of,
    cookie_name,
    key_of,
    read_form,
    viewer_of,
)
from qanat.dashboard.desk import Desk
from qanat.dashboard.door import is_same
from qanat.dashboard.render import render
from qanat.errors import QanatError

SIGN_IN_BYTES = 8 * 1024


def routes(desk: Desk) -> list[Route]:
    """Those that need no session, and those that end or turn one."""
    return [
        Route(SIGN_IN, _page(desk, _shown), methods=["GET"]),
        Route(SIGN_IN, _page(desk, _signed_in), methods=["POST"]),
        Route("/sign-out", _page(desk, _signed_out), methods=["POST"]),
        Route("/account", _page(desk, _chosen), methods=["POST"]),
    ]


Handler = Callable[[Desk, Request, dict[str, str]], Response]


def _page(desk: Desk, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        form = await read_form(request, most=SIGN_IN_BYTES) if request.method == "POST" else {}
        return await run_in_threadpool(handler, desk, request, form)

    return endpoint


def _shown(desk: Desk, request: Request, _form: dict[str, str]) -> Response:
    if viewer_of(desk, request) is not None:
        return RedirectResponse("/", 303)
    return HTMLResponse(render("sign-in.html", desk=desk, error=None))


def _signed_in(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    try:
        check_origin(request)
        key = desk.door.sign_in(form.get("token", ""), address=address_of(request))
    except QanatError as error:
        return HTMLResponse(render("sign-in.html", desk=desk, error=error), STATUSES.get(error.code, 400))
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        cookie_name(request),
        key,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


def _signed_out(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    _checked(desk, request, form)
    desk.door.sign_out(key_of(request))
    answer = RedirectResponse(SIGN_IN, 303)
    answer.delete_cookie(
        cookie_name(request), path="/", secure=request.url.scheme == "https", httponly=True, samesite="lax"
    )
    return answer


def _chosen(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    _checked(desk, request, form)
    desk.door.choose(key_of(request), form.get("account", ""))
    return RedirectResponse("/", 303)


def _checked(desk: Desk, request: Request, form: dict[str, str]) -> None:
    viewer = viewer_of(desk, request)
    if viewer is not None and not is_same(form.get("csrf", ""), viewer.csrf):
        raise QanatError("form_forged", "the form is not of this session", hint="load the page again")


def check_origin(request: Request) -> None:
    """Before there is a session, a form is ours by what the browser says of it: another site can't sign anybody in.

    Raises:
        QanatError: `form_forged`.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    is_own = origin is None or (origin != "null" and urlsplit(origin).netloc == request.headers.get("host"))
    if site not in ("same-origin", "none") or not is_own:
        raise QanatError("form_forged", "the form came from another site", hint="open this page by its own address")
