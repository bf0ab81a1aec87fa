"""`/ips`: the networks that origins are called from."""

from typing import Annotated

from pydantic import Field

from qanat.api.http.context import needs
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape

router = resource(tags=["user"])


class NetworksShape(Shape):
    """Networks (CIDR)."""

    ipv4_cidrs: Annotated[list[str], Field(examples=[[]])]
    ipv6_cidrs: Annotated[list[str], Field(examples=[[]])]
    etag: Annotated[str, Field(examples=["none"])]


@router.get("/ips")
@needs()
def list_ips() -> Ok[NetworksShape]:
    """None: an origin is called by the connector beside it, never by the edge."""
    return ok({"ipv4_cidrs": [], "ipv6_cidrs": [], "etag": "none"})
