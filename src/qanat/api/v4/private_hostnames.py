"""`/accounts/{account_id}/zerotrust/routes/hostname`: private hostnames, of which qanat keeps none yet."""

from qanat.api.http.context import Ctx, Who, needs, visible_account
from qanat.api.http.envelope import OkPage, ok_page
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape

router = resource(tags=["teamnet"])


class HostnameRouteShape(Shape):
    """A private hostname's route; there are none."""


@router.get("/accounts/{account_id}/zerotrust/routes/hostname")
@needs("tunnel.read")
def list_hostname_routes(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[HostnameRouteShape]:
    """None."""
    visible_account(ctx, who, account_id, "tunnel.read")
    return ok_page([], page, 0)
