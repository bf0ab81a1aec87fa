"""`POST /tunnel`: quick tunnels for anybody, where they are switched on. A stock connector asks for one by
`--quick-service <base>`."""

import base64
from typing import Annotated

from fastapi import Request
from pydantic import Field

from qanat.api.http.context import Ctx, open_to_all
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.tunnel_shapes import ACCOUNT, TUNNEL
from qanat.control import quick_tunnels
from qanat.errors import QanatError

router = resource(tags=["quick tunnels"])
bare = resource(below="", tags=["quick tunnels"])
"""A stock connector asks `<its --quick-service>/tunnel`: the API's own base may be named there, and what stands before it."""


class QuickTunnelShape(Shape):
    """A quick tunnel, with the secret that its connector registers by."""

    id: Annotated[str, Field(examples=[TUNNEL])]
    name: Annotated[str, Field(examples=["qt-3f9c0b6d2a7e41c58d90"])]
    hostname: Annotated[str, Field(examples=["quiet-river-lantern.try.example.com"])]
    account_tag: Annotated[str, Field(examples=[ACCOUNT])]
    secret: Annotated[str, Field(examples=["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="])]


@bare.post("/tunnel", include_in_schema=False)
@router.post("/tunnel")
@open_to_all
def create_quick_tunnel(request: Request, ctx: Ctx) -> Ok[QuickTunnelShape]:
    """Makes a quick tunnel: a hostname that works as long as its connector is connected. A body is ignored."""
    if ctx.quick is None:
        raise QanatError("quick_off", "quick tunnels are not switched on here")
    if "origin" in request.headers:
        # a web page in somebody's browser: it has no business here, and would count as that person
        raise QanatError("quick_refused", "quick tunnels are for connectors, not for web pages")
    address = request.client.host if request.client is not None else ""
    with ctx.store.writing(quick_tunnels.actor(address)) as write:
        made = quick_tunnels.create(write, ctx.sealer, ctx.quick, address=address)
    return ok(
        {
            "id": made.tunnel.id,
            "name": made.tunnel.name,
            "hostname": made.hostname,
            "account_tag": made.tunnel.account_id,
            "secret": base64.b64encode(made.secret).decode(),
        }
    )
