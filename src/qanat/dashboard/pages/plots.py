"""What plots show, as JSON: times and columns."""

from starlette.responses import JSONResponse, Response

from qanat.control import tunnels
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.charts import plot, span_of
from qanat.series import Scope

pages = Pages()


@pages.get("/plots/account", "tunnel.read")
def of_account(ask: Ask) -> Response:
    """Of all tunnels of the account."""
    return _answer(ask, Scope.account(ask.viewer.account_id))


@pages.get("/plots/tunnels/{tunnel_id}", "tunnel.read")
def of_tunnel(ask: Ask) -> Response:
    """Of one tunnel."""
    with ask.desk.store.reading() as session:
        tunnel = tunnels.get(session, ask.viewer.account_id, ask.place["tunnel_id"])
    return _answer(ask, Scope.tunnel(tunnel.id))


def _answer(ask: Ask, scope: Scope) -> Response:
    return JSONResponse(plot(ask.desk, scope, span_of(ask.query("span"))))
