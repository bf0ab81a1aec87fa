"""`/accounts/{account_id}/members` and `/roles`: the user of the asking token, with the one role that there is."""

from typing import Annotated, Any, TypeVar

from pydantic import Field

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.accounts import ROLE, membership_id
from qanat.api.v4.token_shapes import HEX_ID
from qanat.control import accounts
from qanat.control.principal import Principal
from qanat.errors import QanatError
from qanat.store.models import Account, User

router = resource(prefix="/accounts/{account_id}", tags=["accounts"])

Row = TypeVar("Row", "MemberShape", "RoleShape")
ROLE_ID = "33666b9c79b9a5273fc7344ff42f953d"  # as stock's
ROLE_TEXT = "May do everything in the account; what a token may do, its policies say."


class MemberUserShape(Shape):
    """Who it is."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    email: Annotated[str, Field(examples=["owner@example.com"])]
    first_name: Annotated[str | None, Field(examples=["Mir"])]
    last_name: Annotated[str | None, Field(examples=[None])]
    two_factor_authentication_enabled: Annotated[bool, Field(examples=[False])]


class RoleShape(Shape):
    """A role."""

    id: Annotated[str, Field(examples=[ROLE_ID])]
    name: Annotated[str, Field(examples=[ROLE])]
    description: Annotated[str, Field(examples=[ROLE_TEXT])]
    permissions: Annotated[dict[str, Any], Field(examples=[{}])]


THE_ROLE: RoleShape = {"id": ROLE_ID, "name": ROLE, "description": ROLE_TEXT, "permissions": {}}


class MemberShape(Shape):
    """A user who may act for the account."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    email: Annotated[str, Field(examples=["owner@example.com"])]
    status: Annotated[str, Field(examples=["accepted"])]
    user: MemberUserShape
    roles: list[RoleShape]
    policies: Annotated[list[dict[str, Any]], Field(examples=[[]])]


@router.get("/members")
@needs("account.read")
def list_members(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[MemberShape]:
    """The user that the token acts for; nobody for a token of the account, which acts for none."""
    found = _members(ctx, who, account_id)
    return ok_page(found[page.offset : page.offset + page.per_page], page, len(found))


@router.get("/members/{member_id}")
@needs("account.read")
def get_member(account_id: AccountPath, member_id: str, ctx: Ctx, who: Who) -> Ok[MemberShape]:
    """One of them."""
    return ok(_of_id(_members(ctx, who, account_id), member_id))


@router.get("/roles")
@needs("account.read")
def list_roles(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[RoleShape]:
    """The one role."""
    _account(ctx, who, account_id)
    return ok_page([THE_ROLE][page.offset : page.offset + page.per_page], page, 1)


@router.get("/roles/{role}")
@needs("account.read")
def get_role(account_id: AccountPath, role: str, ctx: Ctx, who: Who) -> Ok[RoleShape]:
    """The one role."""
    _account(ctx, who, account_id)
    return ok(_of_id([THE_ROLE], role))


def shown(user: User, account: Account) -> MemberShape:
    """A member as stock clients read it."""
    return {
        "id": membership_id(user.id, account.id),
        "email": user.email,
        "status": "accepted",
        "user": {
            "id": user.id,
            "email": user.email,
            "first_name": user.first_name or None,
            "last_name": user.last_name or None,
            "two_factor_authentication_enabled": False,
        },
        "roles": [THE_ROLE],
        "policies": [],
    }


def _account(ctx: Context, who: Principal, account_id: str) -> Account:
    with ctx.store.reading() as session:
        return accounts.get(session, account_id, reach=who.reach("account.read"))


def _members(ctx: Context, who: Principal, account_id: str) -> list[MemberShape]:
    account = _account(ctx, who, account_id)
    if who.token.account_id is not None:
        return []
    with ctx.store.reading() as session:
        return [shown(accounts.get_user(session, who.token.user_id), account)]


def _of_id(rows: list[Row], wanted: str) -> Row:
    found = next((row for row in rows if row["id"] == wanted.lower()), None)
    if found is None:
        raise QanatError("user_unknown", "no such member or role")
    return found
