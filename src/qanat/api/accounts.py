"""`/accounts`."""

from fastapi import APIRouter, Request, Response

from qanat.api.context import Ctx, Who
from qanat.api.envelope import ok, ok_page, rfc3339
from qanat.api.pagination import AskedPage
from qanat.api.user import shown_token
from qanat.store import accounts
from qanat.store.models import Account

router = APIRouter(tags=["accounts"])


@router.get("/accounts")
def list_accounts(request: Request, ctx: Ctx, who: Who, page: AskedPage) -> Response:
    """The accounts that the token sees."""
    query = request.query_params
    with ctx.store.reading() as session:
        rows, total = accounts.list_accounts(
            session,
            only=who.only_account,
            name=query.get("name"),
            descending=query.get("direction") == "desc",
            offset=page.offset,
            limit=page.per_page,
        )
    return ok_page([shown(row) for row in rows], page, total)


@router.get("/accounts/{account_id}")
def get_account(account_id: str, ctx: Ctx, who: Who) -> Response:
    """One account."""
    with ctx.store.reading() as session:
        return ok(shown(accounts.get_account(session, account_id, only=who.only_account)))


@router.get("/accounts/{account_id}/tokens/verify")
def verify_account_token(account_id: str, ctx: Ctx, who: Who) -> Response:
    """As `/user/tokens/verify`, for a token of this account."""
    with ctx.store.reading() as session:
        accounts.get_account(session, account_id, only=who.only_account)
    return ok(shown_token(ctx, who))


def shown(account: Account) -> dict[str, object]:
    """An account as stock clients read it."""
    return {
        "id": account.id,
        "name": account.name,
        "type": "standard",
        "created_on": rfc3339(account.created_at),
        "settings": {"enforce_twofactor": False, "abuse_contact_email": None},
        "managed_by": None,
    }
