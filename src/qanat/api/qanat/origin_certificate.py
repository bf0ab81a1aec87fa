"""cert.pem for stock cloudflared's management commands, whose `tunnel login` can't be pointed here (api.md 4.2)."""

import json
from base64 import b64encode
from textwrap import wrap
from typing import Annotated

from pydantic import Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.paths import ZonePath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.token_shapes import TokenShape, shown
from qanat.auth import issue
from qanat.control import accounts, zones
from qanat.control.api_tokens import Owner
from qanat.control.grants import check_held
from qanat.control.policies import origin_certificate_policies
from qanat.control.zones import account_of

router = resource(prefix="/qanat", tags=["qanat"])

KIND = "origin_cert"
PEM_TYPE = "ARGO TUNNEL TOKEN"
PEM_COLUMNS = 64


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
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=who.reach("zone.read"))
        account = accounts.get(session, zone.account_id, reach=who.reach("token.edit"))
        policies = origin_certificate_policies(account.id, zone.id)
        check_held(who.token.policies, policies, account_of(session), where="Authorization")
    with ctx.store.writing(who.actor) as write:
        text, token = issue(
            write,
            name=f"origin certificate of {zone.name}"[:120],
            policies=policies,
            owner=Owner(user_id=who.token.user_id, account_id=account.id),
            kind=KIND,
            allowed_ips=who.token.allowed_ips,
            denied_ips=who.token.denied_ips,
            expires_on=who.token.expires_on,
        )
    certificate = origin_certificate(zone_id=zone.id, account_id=account.id, token=text)
    return ok({"certificate": certificate, "token": shown(token, ctx.store.clock())})


def origin_certificate(*, zone_id: str, account_id: str, token: str) -> str:
    """The PEM text that cloudflared reads; without an `endpoint`, which would only choose among Cloudflare's own."""
    fields = {"zoneID": zone_id, "accountID": account_id, "apiToken": token}
    body = b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()
    return "\n".join([f"-----BEGIN {PEM_TYPE}-----", *wrap(body, PEM_COLUMNS), f"-----END {PEM_TYPE}-----", ""])
