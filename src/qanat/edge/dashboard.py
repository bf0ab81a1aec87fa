"""The dashboard beside the API: made with the first request for one of its pages, which a program never sends."""

from threading import Lock
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from qanat.api.http.context import Context
from qanat.api.http.routes import PREFIX

if TYPE_CHECKING:
    from qanat.dashboard.handing import Handing
    from qanat.dashboard.hub import Hub
    from qanat.dashboard.live import Live
    from qanat.dashboard.tail import Tails

QUICK = "/tunnel"
"""Where connectors ask for quick tunnels, below no prefix (api.md 5)."""


class Beside:
    """ASGI: the API's requests go to the API, all others to the dashboard. `probing`: whether origins are asked."""

    def __init__(self, api: ASGIApp, context: Context, live: "Live", *, probing: bool) -> None:
        self._api = api
        self._context = context
        self._live = live
        self._probing = probing
        self._lock = Lock()
        self._dashboard: ASGIApp | None = None
        self._hub: Hub | None = None
        self._handing: Handing | None = None
        self._tails: Tails | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_api(scope):
            await self._api(scope, receive, send)
            return
        dashboard = self._dashboard
        if dashboard is None:
            dashboard = await run_in_threadpool(self._made)
        await dashboard(scope, receive, send)

    def close(self) -> None:
        """Ends the streams of open pages, which have no end of their own."""
        with self._lock:
            for each in (self._hub, self._tails, self._handing):
                if each is not None:
                    each.close()

    def _made(self) -> ASGIApp:
        from qanat.auth.oidc.provider import Provider
        from qanat.auth.sessions import Sessions
        from qanat.auth.sign_in import SignIn
        from qanat.dashboard.app import create_dashboard
        from qanat.dashboard.desk import Desk
        from qanat.dashboard.door import Door
        from qanat.dashboard.hub import Hub
        from qanat.dashboard.overview import Overviews
        from qanat.dashboard.tail import Tails

        context, edge = self._context, self._context.cutover_edge
        with self._lock:
            if self._dashboard is None:
                sign_in = SignIn(
                    context.store,
                    context.sealer,
                    Sessions(context.store),
                    context.verifier,
                    context.failed_logins,
                    passwords=context.passwords,
                    guesses=context.guesses,
                )
                oidc = context.oidc
                desk = Desk(
                    store=context.store,
                    keys=context.keys,
                    live=self._live,
                    door=Door(context.store, sign_in),
                    overviews=Overviews(context.store, self._live, probing=self._probing),
                    location=context.location,
                    version=context.version,
                    count_configuration=lambda tunnel_id: context.configuring.count(
                        tunnel_id, "configurations of one tunnel"
                    ),
                    probing=context.probing.turn,
                    explaining=context.explaining.turn,
                    alerting=context.alerting.turn,
                    sending=context.sending,
                    cutover_edge=edge,
                    cutover_policy=context.cutover_policy,
                    cutover_watch=context.cutover_watch,
                    redirects_http=context.redirects_http,
                    name_servers=context.name_servers,
                    given_files=context.given_files,
                    management=context.management,
                    certificate=edge.certificate if edge is not None else lambda _: None,
                    hosts=context.hosts,
                    skipped=context.skipped,
                    found_by=context.found_by,
                    provider=Provider(oidc) if oidc.issuer else None,
                )
                self._hub, self._tails, self._handing = Hub(desk), Tails(desk), desk.handing
                self._dashboard = create_dashboard(desk, self._hub, self._tails)
            dashboard: ASGIApp = self._dashboard
            return dashboard


def is_api(scope: Scope) -> bool:
    """Below its prefix, or where a program speaks: it shows a token, and is told in JSON that there is no such endpoint."""
    path: str = scope["path"]
    if path == PREFIX or path.startswith(f"{PREFIX}/") or path.rstrip("/") == QUICK:
        return True
    return any(name in (b"authorization", b"x-auth-key") for name, _ in scope["headers"])
