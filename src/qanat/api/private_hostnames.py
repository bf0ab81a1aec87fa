"""`/accounts/{account_id}/zerotrust/routes/hostname`: private hostnames, of which qanat keeps none yet."""

from fastapi import APIRouter, Response

from qanat.api.cfd_tunnel import visible_account
from qanat.api.context import Ctx, Who, needs
from qanat.api.envelope import ok_page
from qanat.api.pagination import AskedPage
from qanat.api.paths import AccountPath
from qanat.api.shapes import Shape, page_answers

router = APIRouter(tags=["teamnet"])


class HostnameRouteShape(Shape):
    """A private hostname's route; there are none."""


@router.get("/accounts/{account_id}/zerotrust/routes/hostname", responses=page_answers(HostnameRouteShape))
@needs("tunnel.read")
def list_hostname_routes(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> Response:
    """None."""
    visible_account(ctx, who, account_id, "tunnel.read")
    return ok_page([], page, 0)
