"""Requests for control.hostname, as the engine hands them over by the API's local socket.

They came by TLS on the public listener; who asked stands in a field that the engine has taken off whatever a client sent. Nobody
else can open that socket, and what comes by another one is left as it is.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

CLIENT = b"qanat-client"
REQUEST_ID = b"cf-ray"


class HandedOver:
    """ASGI middleware, the outermost. `name`: of the local socket."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        self._app = app
        self._server = (name, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope.get("server") == self._server:
            scope = as_asked(scope)
        await self._app(scope, receive, send)


def as_asked(scope: Scope) -> Scope:
    """The scope as the client's own connection would have made it, and the edge's request id."""
    told = {name: value.decode("ascii") for name, value in scope["headers"] if name in (CLIENT, REQUEST_ID)}
    return {
        **scope,
        "client": (told.get(CLIENT, ""), 0),
        "server": None,
        "scheme": "https" if scope["type"] == "http" else "wss",
        "headers": [(name, value) for name, value in scope["headers"] if name not in (CLIENT, REQUEST_ID)],
        "state": {**scope.get("state", {}), "request_id": told.get(REQUEST_ID)},
    }
