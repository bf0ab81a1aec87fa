"""Signing in and out, and the account that is shown."""

from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from secrets import token_urlsafe
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from qanat.auth import one_time, passkeys, second_factor
from qanat.auth.sessions import Opened
from qanat.auth.sign_in import From
from qanat.control import users
from qanat.dashboard.ask import (
    CODE,
    ENTER,
    SIGN_IN,
    STATUSES,
    address_of,
    base_of,
    cookie_name,
    key_of,
    local_path,
    read_form,
    viewer_of,
)
from qanat.dashboard.desk import Desk
from qanat.dashboard.door import Viewer, is_same
from qanat.dashboard.links import with_query
from qanat.dashboard.render import render
from qanat.errors import QanatError

SIGN_IN_BYTES = 16 * 1024
PASSKEY = "/sign-in/passkey"
OIDC = "/sign-in/oidc"
BEGUN_S = 300


def routes(desk: Desk) -> list[Route]:
    """Those that need no session, and those that end or turn one."""
    return [
        Route(SIGN_IN, page(desk, _shown), methods=["GET"]),
        Route(SIGN_IN, page(desk, _signed_in), methods=["POST"]),
        Route(CODE, page(desk, _code_shown), methods=["GET"]),
        Route(CODE, page(desk, _code_given), methods=["POST"]),
        Route(PASSKEY, page(desk, _passkey_given), methods=["POST"]),
        Route(f"{PASSKEY}/options", page(desk, _passkey_asked), methods=["POST"]),
        Route(ENTER, page(desk, _enter_shown), methods=["GET"]),
        Route(ENTER, page(desk, _entered), methods=["POST"]),
        Route("/sign-out", page(desk, _signed_out), methods=["POST"]),
        Route("/account", page(desk, _chosen), methods=["POST"]),
    ]


Handler = Callable[[Desk, Request, dict[str, str]], Response]


def page(desk: Desk, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """One that needs no session."""

    async def endpoint(request: Request) -> Response:
        form = await read_form(request, most=SIGN_IN_BYTES) if request.method == "POST" else {}
        return await run_in_threadpool(handler, desk, request, form)

    return endpoint


def _shown(desk: Desk, request: Request, _form: dict[str, str]) -> Response:
    following = local_path(request.query_params.get("next", ""))
    if viewer_of(desk, request) is not None:
        return RedirectResponse(following, 303)
    with desk.store.reading() as session:
        is_new = users.nobody_signs_in(session)
    return HTMLResponse(sign_in_page(desk, request, is_new=is_new, following=following))


def _signed_in(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    """By email and password; or by an API token, which is asked for where there are no users."""
    email, following = form.get("email", "").strip(), local_path(form.get("next", ""))
    try:
        check_origin(request)
        if form.get("token"):
            opened = desk.door.sign_in(form["token"], who(request))
        else:
            opened = desk.door.signing.by_password(email, form.get("password", ""), who(request))
    except QanatError as error:
        shown = sign_in_page(desk, request, error=error, email=email, following=following)
        return HTMLResponse(shown, STATUSES.get(error.code, 400))
    return with_cookie(request, opened, following)


def _code_shown(desk: Desk, request: Request, _form: dict[str, str]) -> Response:
    following = local_path(request.query_params.get("next", ""))
    return HTMLResponse(_code_page(desk, request, following))


def _code_given(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    following = local_path(form.get("next", ""))
    try:
        check_origin(request)
        opened = desk.door.signing.by_code(form.get("code", ""), who(request))
    except QanatError as error:
        shown = _code_page(desk, request, following, error)
        return HTMLResponse(shown, STATUSES.get(error.code, 400))
    return with_cookie(request, opened, following)


def sign_in_page(
    desk: Desk,
    request: Request,
    *,
    following: str,
    error: QanatError | None = None,
    email: str = "",
    is_new: bool = False,
) -> str:
    """With every way in that there is."""
    return render(
        "sign-in.html",
        desk=desk,
        error=error,
        email=email,
        is_new=is_new,
        next=following,
        start=with_query(OIDC, next=following if following != "/" else ""),
        left=f"{OIDC}/leave" if "left" in request.query_params else "",
        has_passkeys=site_of(request) is not None,
    )


def _code_page(desk: Desk, request: Request, following: str, error: QanatError | None = None) -> str:
    """What the user who has given the password can go on with."""
    site = site_of(request)
    with desk.store.reading() as session:
        user_id = desk.door.signing.awaits(session, who(request))
        mine = passkeys.listed(session, user_id) if user_id else ()
        has_app = bool(user_id) and second_factor.has_app(session, user_id)
    here = [each for each in mine if site is not None and each.rp_id == site.rp_id]
    return render(
        "code.html",
        desk=desk,
        error=error,
        next=following,
        has_passkeys=bool(here),
        has_app=has_app or not mine,
        elsewhere=sorted({each.rp_id for each in mine}) if not here else [],
    )


def _passkey_asked(desk: Desk, request: Request, _form: dict[str, str]) -> Response:
    """What the browser asks a device by: of the user who has given the password, or of whoever it knows."""
    try:
        check_origin(request)
        site = needed_site(request)
    except QanatError as error:
        return HTMLResponse(render("part/error.html", desk=desk, error=error), STATUSES.get(error.code, 400))
    from qanat.auth import passkey_answers

    with desk.store.reading() as session:
        challenge = passkeys.new_challenge(site, desk.door.signing.awaits(session, who(request)))
        options = passkey_answers.authentication_options(session, challenge)
    secret = token_urlsafe(32)
    desk.door.signing.challenges.put(secret, challenge, address=address_of(request))
    answer = Response(options, media_type="application/json")
    answer.set_cookie(
        begun_cookie(request),
        secret,
        max_age=BEGUN_S,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


def _passkey_given(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    following = local_path(form.get("next", ""))
    try:
        check_origin(request)
        begun = request.cookies.get(begun_cookie(request), "")
        opened = desk.door.signing.by_passkey(form.get("credential", ""), who(request), begun=begun)
    except QanatError as error:
        shown = sign_in_page(desk, request, error=error, following=following)
        return HTMLResponse(shown, STATUSES.get(error.code, 400))
    return with_cookie(request, opened, following)


def begun_cookie(request: Request) -> str:
    """Binds to one browser what it has begun before there is a session."""
    return f"{cookie_name(request)}-begun"


def site_of(request: Request) -> passkeys.Site | None:
    """The dashboard as a browser's passkeys know it; None: by an address, which can have none."""
    name = request.url.hostname or ""
    try:
        ip_address(name)
    except ValueError:
        return passkeys.Site(name, base_of(request)) if name else None
    return None


def needed_site(request: Request) -> passkeys.Site:
    """QanatError `passkeys_off`."""
    site = site_of(request)
    if site is None:
        raise QanatError(
            "passkeys_off",
            "there are no passkeys for an address",
            where="passkey",
            hint="open the dashboard by control.hostname, or by http://localhost on the edge's own machine",
        )
    return site


def _enter_shown(desk: Desk, _request: Request, _form: dict[str, str]) -> Response:
    return HTMLResponse(render("enter.html", desk=desk, error=None, email=""))


def _entered(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    """With a one-time token; an address of its own is only the first user's to choose."""
    email, text = form.get("email", "").strip(), form.get("token", "").strip()
    try:
        check_origin(request)
        if form.get("password", "") != form.get("again", ""):
            raise QanatError("password_weak", "the two passwords differ", where="again", hint="type it twice")
        with desk.store.reading() as session:
            found = one_time.find(session, text, at=desk.store.clock())
        if found is not None and found[0].purpose == "setup" and not email:
            raise QanatError("user_bad_field", "give the address that you want to sign in with", where="email")
        new_email = email if found is not None and found[0].purpose == "setup" else None
        opened = desk.door.signing.by_one_time_token(
            text, who(request), password=form.get("password", ""), email=new_email
        )
    except QanatError as error:
        return HTMLResponse(render("enter.html", desk=desk, error=error, email=email), STATUSES.get(error.code, 400))
    return with_cookie(request, opened)


def with_cookie(request: Request, opened: Opened, following: str = "/") -> Response:
    """Signed in, or asked for a second factor."""
    code = with_query(CODE, next=following if following != "/" else "")
    answer = RedirectResponse(code if opened.is_pending else following, 303)
    answer.set_cookie(
        cookie_name(request),
        opened.secret,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


def _signed_out(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    _checked(desk, request, form)
    found = desk.door.signing.sessions.find(key_of(request), address=address_of(request))
    is_theirs = found is not None and found.session.way == "oidc" and desk.provider is not None
    desk.door.sign_out(key_of(request), address=address_of(request))
    answer = RedirectResponse(f"{SIGN_IN}?left=" if is_theirs else SIGN_IN, 303)
    answer.delete_cookie(
        cookie_name(request), path="/", secure=request.url.scheme == "https", httponly=True, samesite="lax"
    )
    return answer


def _chosen(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    viewer = _checked(desk, request, form)
    if viewer is not None:
        desk.door.choose(viewer, form.get("account", ""))
    return RedirectResponse("/", 303)


def _checked(desk: Desk, request: Request, form: dict[str, str]) -> Viewer | None:
    viewer = viewer_of(desk, request)
    if viewer is not None and not is_same(form.get("csrf", ""), viewer.csrf):
        raise QanatError("form_forged", "the form is not of this session", hint="load the page again")
    return viewer


def who(request: Request) -> From:
    """Where a request comes from."""
    return From(address_of(request), request.headers.get("user-agent", ""), key_of(request))


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
