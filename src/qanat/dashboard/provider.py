"""Signing in by an OpenID provider: there and back, for who signs in and for who links their account."""

from secrets import token_urlsafe

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from qanat.auth.oidc import identities
from qanat.auth.oidc.provider import Provider, refused
from qanat.dashboard.ask import SIGN_IN, STATUSES, address_of, base_of, cookie_name, local_path, viewer_of
from qanat.dashboard.desk import Desk
from qanat.dashboard.signing import OIDC, page, sign_in_page, who, with_cookie
from qanat.errors import QanatError

BACK = f"{OIDC}/callback"
LEAVE = f"{OIDC}/leave"
BEGUN_S = 300


def routes(desk: Desk) -> list[Route]:
    """Nothing of it where no provider is set."""
    if desk.provider is None:
        return []
    return [
        Route(OIDC, page(desk, _started), methods=["GET"]),
        Route(BACK, page(desk, _came_back), methods=["GET"]),
        Route(LEAVE, page(desk, _left), methods=["GET"]),
    ]


def begin(desk: Desk, request: Request, *, following: str, session_id: str = "", user_id: str = "") -> tuple[str, str]:
    """Where the browser goes, and the secret that binds it to what it has begun. QanatError as `Provider.begin`."""
    provider = _provider(desk)
    url, begun = provider.begin(
        f"{base_of(request)}{BACK}", following=following, session_id=session_id, user_id=user_id
    )
    secret = token_urlsafe(32)
    desk.door.signing.at_provider.put(secret, begun, address=address_of(request))
    return url, secret


def bind(request: Request, answer: Response, secret: str) -> Response:
    """Sets its cookie, which comes along when the provider leads the browser back."""
    answer.set_cookie(
        _cookie(request),
        secret,
        max_age=BEGUN_S,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


def _started(desk: Desk, request: Request, _form: dict[str, str]) -> Response:
    following = local_path(request.query_params.get("next", ""))
    try:
        url, secret = begin(desk, request, following=following)
    except QanatError as error:
        return _refused(desk, request, error)
    return bind(request, RedirectResponse(url, 303), secret)


def _came_back(desk: Desk, request: Request, _form: dict[str, str]) -> Response:
    signing = desk.door.signing
    begun = signing.at_provider.take(request.cookies.get(_cookie(request), ""))
    try:
        if begun is None:
            raise QanatError(
                "sign_in_over", "signing in took too long, or began in another browser", hint="begin again"
            )
        claims = signing.claims_of(_provider(desk), begun, dict(request.query_params), who(request))
        if begun.user_id:
            viewer = viewer_of(desk, request)
            if viewer is None or viewer.session_id != begun.session_id or viewer.user_id != begun.user_id:
                raise refused("you have signed out in the meantime")
            with desk.store.writing(viewer.actor) as write:
                identities.link(write, claims, begun.user_id)
            return RedirectResponse("/me", 303)
        opened = signing.by_claims(_provider(desk), claims, who(request))
    except QanatError as error:
        return _refused(desk, request, error)
    return with_cookie(request, opened, begun.following)


def _left(desk: Desk, request: Request, _form: dict[str, str]) -> Response:
    try:
        url = _provider(desk).leave(f"{base_of(request)}{SIGN_IN}")
    except QanatError as error:
        return _refused(desk, request, error)
    return RedirectResponse(url or SIGN_IN, 303)


def _refused(desk: Desk, request: Request, error: QanatError) -> Response:
    shown = sign_in_page(desk, request, error=error, following="/")
    return HTMLResponse(shown, STATUSES.get(error.code, 400))


def _provider(desk: Desk) -> Provider:
    assert desk.provider is not None
    return desk.provider


def _cookie(request: Request) -> str:
    return f"{cookie_name(request)}-oidc"
