"""`/user`: who the token acts for, and whether it is good."""

from fastapi import APIRouter, Response

from qanat.api.context import Ctx, Who
from qanat.api.envelope import ok, rfc3339
from qanat.auth import Principal
from qanat.auth.tokens import status
from qanat.store import accounts

router = APIRouter(tags=["user"])


@router.get("/user/tokens/verify")
def verify_token(ctx: Ctx, who: Who) -> Response:
    """Whether the token of this request may be used."""
    return ok(shown_token(ctx, who))


@router.get("/user")
def get_user(ctx: Ctx, who: Who) -> Response:
    """The token's user."""
    with ctx.store.reading() as session:
        user = accounts.get_user(session, who.token.user_id)
    return ok(
        {
            "id": user.id,
            "email": user.email,
            "first_name": None,
            "last_name": None,
            "telephone": None,
            "country": None,
            "zipcode": None,
            "suspended": False,
            "two_factor_authentication_enabled": False,
            "two_factor_authentication_locked": False,
            "created_on": rfc3339(user.created_at),
            "modified_on": rfc3339(user.created_at),
        }
    )


def shown_token(ctx: Ctx, who: Principal) -> dict[str, object]:
    """A token as `verify` shows it."""
    token = who.token
    return {
        "id": token.id,
        "status": status(token, ctx.store.clock()),
        "not_before": rfc3339(token.not_before),
        "expires_on": rfc3339(token.expires_on),
    }
