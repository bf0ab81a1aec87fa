"""cert.pem for stock cloudflared's management commands, without a browser (api.md 4.2)."""

from typing import Annotated

from pydantic import Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.paths import ZonePath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.token_shapes import TokenShape, shown
from qanat.auth import origin_certificates
from qanat.auth.origin_certificates import PEM_TYPE

router = resource(prefix="/qanat", tags=["qanat"])


class OriginCertificateShape(Shape):
    """`certificate` is the text of cert.pem; its token is shown without its value."""

    certificate: Annotated[
        str, Field(examples=[f"-----BEGIN {PEM_TYPE}-----\neyJ6b25lSUQi…\n-----END {PEM_TYPE}-----\n"])
    ]
    token: TokenShape


@router.post("/zones/{zone_id}/origin-certificate")
@needs("token.edit", "zone.read")
def make_origin_certificate(zone_id: ZonePath, ctx: Ctx, who: Who) -> Ok[OriginCertificateShape]:
    """Makes a token for the account's tunnels and this zone's records, as cert.pem. The account owns it: it is listed
    and deleted with the account's tokens. For tokens that may do all that themselves."""
    with ctx.store.writing(who.actor) as write:
        text, token, zone = origin_certificates.make(write, who, zone_id)
        certificate = origin_certificates.pem(zone, text)
    return ok({"certificate": certificate, "token": shown(token, ctx.store.clock())})
