"""One request for a page, and how pages are declared: what each needs is checked before it runs, as for the API's endpoints."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from qanat.control.principal import Principal
from qanat.dashboard.desk import Desk
from qanat.dashboard.door import Viewer, is_same
from qanat.dashboard.links import with_query
from qanat.dashboard.menu import home_of
from qanat.dashboard.render import render
from qanat.errors import QanatError, RetryLaterError
from qanat.store.reach import Permission

MOST_FORM_BYTES = 1024 * 1024
MOST_FIELDS = 20_000
MOST_NEXT = 2048
HOME = "/"
"""Who may not look at it is led to the first page that they may."""
SIGN_IN = "/sign-in"
OF_ZONES = ("dns.", "zone.", "user.", "token.")
"""What may be held on single zones or by a user alone: whoever shows such things looks at the reach itself."""
CODE = "/sign-in/code"
ENTER = "/enter"
STATUSES = {
    "permission_missing": 403,
    "record_permission_missing": 403,
    "token_refused": 401,
    "sign_in_refused": 401,
    "sign_in_over": 401,
    "code_refused": 401,
    "one_time_token_refused": 401,
    "passkey_refused": 401,
    "oidc_refused": 401,
    "oidc_failed": 503,
    "busy": 503,
    "token_escalates": 403,
    "user_last_owner": 409,
    "user_is_self": 409,
    "too_many_failures": 429,
    "tail_too_many": 429,
    "form_forged": 403,
    "form_too_large": 413,
    "host_refused": 421,
    "version_stale": 409,
}

Method = Literal["GET", "POST"]
Handler = Callable[["Ask"], Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request of somebody who is signed in. `who`: the same as the capabilities take them, bound to what the page declares.
    `form`: of a POST, whose own token was checked."""

    request: Request
    desk: Desk
    viewer: Viewer
    who: Principal
    form: dict[str, str]

    @property
    def place(self) -> dict[str, str]:
        """What the path names."""
        return dict(self.request.path_params)

    def query(self, name: str, default: str = "") -> str:
        """One value of the query."""
        return self.request.query_params.get(name, default)

    def number(self, name: str, default: int = 1, *, most: int = 100_000) -> int:
        """A whole number of the query, within 1 and `most`; anything else is the default."""
        text = self.query(name)
        return min(max(int(text), 1), most) if text.isascii() and text.isdigit() and len(text) < 9 else default

    def led_to(self, url: str) -> Response:
        """Another page, once something was done: as a whole, also for a form that htmx sent."""
        if "hx-request" in self.request.headers:
            return Response(status_code=204, headers={"hx-redirect": url})
        return RedirectResponse(url, 303)

    def show(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A page."""
        return HTMLResponse(
            render(template, viewer=self.viewer, desk=self.desk, path=self.request.url.path, **values), status
        )


@dataclass(frozen=True, slots=True)
class Declared:
    """A page: its path, what it needs of whoever asks, whether its form may change something, and how large that may be."""

    path: str
    method: Method
    needs: frozenset[Permission]
    handler: Handler
    most_bytes: int = MOST_FORM_BYTES


class Pages:
    """The pages of one module."""

    def __init__(self) -> None:
        self.declared: list[Declared] = []

    def get(self, path: str, *needs: Permission) -> Callable[[Handler], Handler]:
        """A page that shows something."""
        return self._declare(path, "GET", needs)

    def post(self, path: str, *needs: Permission, most_bytes: int = MOST_FORM_BYTES) -> Callable[[Handler], Handler]:
        """One that does something: its form carries the session's own token."""
        return self._declare(path, "POST", needs, most_bytes)

    def _declare(
        self, path: str, method: Method, needs: tuple[Permission, ...], most_bytes: int = MOST_FORM_BYTES
    ) -> Callable[[Handler], Handler]:
        def mark(handler: Handler) -> Handler:
            self.declared.append(Declared(path, method, frozenset(needs), handler, most_bytes))
            return handler

        return mark


def route(declared: Declared, desk: Desk) -> Route:
    """As Starlette takes it."""

    async def endpoint(request: Request) -> Response:
        # nobody but who is signed in makes us hold a large form
        if declared.most_bytes > MOST_FORM_BYTES and await run_in_threadpool(viewer_of, desk, request) is None:
            return Response("signed out", 401, headers={"hx-refresh": "true"}, media_type="text/plain")
        form = await read_form(request, most=declared.most_bytes) if declared.method == "POST" else {}
        return await run_in_threadpool(_answer, declared, desk, request, form)

    name = f"{declared.method} {declared.path}"
    return Route(declared.path, endpoint, methods=[declared.method], name=name)


def _answer(declared: Declared, desk: Desk, request: Request, form: dict[str, str]) -> Response:
    viewer = viewer_of(desk, request)
    if viewer is None:
        if declared.method == "GET" and "hx-request" not in request.headers:
            return RedirectResponse(with_query(SIGN_IN, next=_asked_for(request)), 303)
        return Response("signed out", 401, headers={"hx-refresh": "true"}, media_type="text/plain")
    try:
        if declared.method == "POST" and not is_same(
            form.pop("csrf", "") or request.headers.get("x-csrf", ""), viewer.csrf
        ):
            raise QanatError(
                "form_forged",
                "the form is not of this session",
                hint="go back, load the page again, and send it anew",
            )
        if not viewer.account_id:
            raise QanatError("permission_missing", "the token reaches no account", where="token")
        who = viewer.principal.asking(declared.needs)
        for permission in declared.needs:
            if not permission.startswith(OF_ZONES) and not viewer.may(permission):
                raise QanatError(
                    "permission_missing",
                    f"the token may not {permission.replace('.', ' ')} on this account",
                    where="account",
                    hint=f"sign in with a token that holds {permission} on it",
                )
        answer = declared.handler(Ask(request=request, desk=desk, viewer=viewer, who=who, form=form))
        if declared.method == "POST":
            desk.overviews.look_again(viewer.account_id)
        return answer
    except QanatError as error:
        home = home_of(viewer) if declared.path == HOME and error.code == "permission_missing" else ""
        return RedirectResponse(home, 303) if home and home != HOME else refused(desk, viewer, request, error)


def refused(desk: Desk, viewer: Viewer | None, request: Request, error: QanatError) -> Response:
    """What was wrong, where, and what to do; as a page, or as a part of one."""
    status = status_of(error)
    headers = {"retry-after": str(int(error.retry_after_s) + 1)} if isinstance(error, RetryLaterError) else {}
    template = "part/error.html" if "hx-request" in request.headers else "error.html"
    shown = render(template, viewer=viewer, desk=desk, path=request.url.path, error=error, status=status)
    return HTMLResponse(shown, status, headers=headers)


def status_of(error: QanatError) -> int:
    """Of the page that tells it."""
    return STATUSES.get(error.code, 404 if error.code.endswith("_unknown") else 400)


def viewer_of(desk: Desk, request: Request) -> Viewer | None:
    """Whose session the cookie is of."""
    return desk.door.viewer(key_of(request), address=address_of(request))


def key_of(request: Request) -> str:
    """The session's key."""
    return request.cookies.get(cookie_name(request), "")


def cookie_name(request: Request) -> str:
    """Over TLS one that no other host, path or plain connection can set."""
    return "__Host-qanat" if request.url.scheme == "https" else "qanat"


def base_of(request: Request) -> str:
    """Where the browser finds this dashboard, without a slash at the end. A name other than `localhost` is reached over TLS,
    which may end in front of the edge."""
    url = request.url
    name = url.hostname or ""
    try:
        is_plain = url.scheme == "http" and (name == "localhost" or bool(ip_address(name)))
    except ValueError:
        is_plain = False
    return f"{'http' if is_plain else 'https'}://{url.netloc}"


def local_path(text: str) -> str:
    """Where somebody goes on after they signed in: a page of ours, "/" for anything else."""
    is_ours = text.startswith("/") and not text.startswith("//") and len(text) <= MOST_NEXT
    return text if is_ours and text.isascii() and text.isprintable() and "\\" not in text else "/"


def _asked_for(request: Request) -> str:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "" if path == "/" else local_path(path)


def address_of(request: Request) -> str:
    """Whoever asks."""
    return request.client.host if request.client is not None else ""


async def read_form(request: Request, *, most: int = MOST_FORM_BYTES) -> dict[str, str]:
    """A form's fields, the last of each name. QanatError `form_too_large`, `form_malformed`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise QanatError("form_too_large", f"this form has at most {most} bytes")
    try:
        return dict(
            parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS, strict_parsing=False)
        )
    except ValueError:
        raise QanatError("form_malformed", "the form can't be read") from None
