"""`/accounts` and `/memberships`: what owns tunnels and zones, and who may act for it."""

from hashlib import sha256
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, rfc3339
from qanat.api.http.filters import words
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape, queries
from qanat.api.v4.role_shapes import HIGHEST, NAMES, granted, role_in
from qanat.api.v4.token_shapes import HEX_ID, MOMENT, DeletedShape
from qanat.control import accounts, users
from qanat.control.users import Person
from qanat.errors import QanatError
from qanat.store.models import Account

router = resource(tags=["accounts"])

MAX_EMAIL = 254
ORDER = ("Order by age.", {"type": "string", "enum": ["asc", "desc"]})


class AccountSettings(BaseModel):
    """`delete_disconnects` is qanat's own: whether DELETE of a tunnel with live connections ends them, unasked."""

    model_config = ConfigDict(strict=True)

    enforce_twofactor: bool | None = None
    abuse_contact_email: str | None = None
    delete_disconnects: bool | None = None


class AccountUnit(BaseModel):
    """`{"id": …}`."""

    model_config = ConfigDict(strict=True)

    id: str | None = None


class AccountInput(BaseModel):
    """An account to make, or what one becomes. Settings that are not given stay as they are."""

    model_config = ConfigDict(strict=True)

    name: str = Field(examples=["example"])
    type: str | None = Field(None, description="`standard`, the only type there is.")
    unit: AccountUnit | None = Field(None, description="Not taken: qanat has no tenants.")
    settings: AccountSettings | None = None


class AccountSettingsShape(Shape):
    """An account's settings."""

    enforce_twofactor: Annotated[bool, Field(examples=[False])]
    abuse_contact_email: Annotated[str | None, Field(examples=[None])]
    delete_disconnects: Annotated[bool, Field(examples=[True])]


class AccountShape(Shape):
    """An account."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    name: Annotated[str, Field(examples=["example"])]
    type: Annotated[str, Field(examples=["standard"])]
    created_on: Annotated[str, Field(examples=[MOMENT])]
    settings: AccountSettingsShape
    managed_by: Annotated[None, Field(examples=[None])]


class MembershipShape(Shape):
    """That the user may act for an account, and by which role; none: a token that is left from one."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    code: Annotated[str, Field(examples=["accepted"])]
    status: Annotated[str, Field(examples=["accepted"])]
    roles: Annotated[list[str], Field(examples=[[HIGHEST]])]
    permissions: Annotated[dict[str, Any], Field(examples=[{"zones": {"read": True, "write": True}}])]
    account: AccountShape


@router.get(
    "/accounts",
    openapi_extra=queries({"name": "Only accounts of this name.", "direction": ORDER}),
)
@needs("account.read")
def list_accounts(request: Request, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[AccountShape]:
    """The accounts that the token sees."""
    query = request.query_params
    with ctx.store.reading() as session:
        rows, total = accounts.page(
            session,
            reach=who.reach("account.read"),
            name=words(query, "name"),
            descending=query.get("direction") == "desc",
            offset=page.offset,
            limit=page.per_page,
        )
    return ok_page([shown(row) for row in rows], page, total)


@router.post("/accounts")
@needs("account.edit")
def create_account(body: AccountInput, ctx: Ctx, who: Who) -> Ok[AccountShape]:
    """Makes an account; for tokens that may edit every account."""
    who.everything("account.edit")
    _check_kind(body)
    settings = _changed(body.settings)
    with ctx.store.writing(who.actor) as write:
        account = accounts.create(write, name=body.name, settings=settings or {})
    return ok(shown(account))


@router.get("/accounts/{account_id}")
@needs("account.read")
def get_account(account_id: AccountPath, ctx: Ctx, who: Who) -> Ok[AccountShape]:
    """One account."""
    with ctx.store.reading() as session:
        return ok(shown(accounts.get(session, account_id, reach=who.reach("account.read"))))


@router.put("/accounts/{account_id}")
@needs("account.edit")
def change_account(account_id: AccountPath, body: AccountInput, ctx: Ctx, who: Who) -> Ok[AccountShape]:
    """Another name, and the settings that are given."""
    _check_kind(body)
    with ctx.store.writing(who.actor) as write:
        account = accounts.change(
            write, account_id, reach=who.reach("account.edit"), name=body.name, settings=_changed(body.settings)
        )
    return ok(shown(account))


@router.delete("/accounts/{account_id}")
@needs("account.edit")
def delete_account(account_id: AccountPath, ctx: Ctx, who: Who) -> Ok[DeletedShape]:
    """Deletes an account that owns no zones, tunnels, private routes and API tokens any more. The last one stays."""
    with ctx.store.writing(who.actor) as write:
        accounts.delete(write, account_id, reach=who.reach("account.edit"))
    return ok({"id": account_id})


@router.get(
    "/memberships",
    tags=["memberships"],
    openapi_extra=queries(
        {
            "account.name": "Only the one of the account of this name.",
            "name": "As `account.name`.",
            "status": "Only those of this status; all are `accepted`.",
            "direction": ORDER,
        }
    ),
)
@needs("account.read")
def list_memberships(request: Request, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[MembershipShape]:
    """One row for each account that the token sees, with its user's role there."""
    query = request.query_params
    wanted = query.get("status")
    if wanted not in (None, "accepted"):
        return ok_page([], page, 0)
    with ctx.store.reading() as session:
        rows, total = accounts.page(
            session,
            reach=who.reach("account.read"),
            name=words(query, "account.name" if "account.name" in query else "name"),
            descending=query.get("direction") == "desc",
            offset=page.offset,
            limit=page.per_page,
        )
        person = users.get(session, who.token.user_id)
    return ok_page([_membership(person, row) for row in rows], page, total)


@router.get("/memberships/{membership_id}", tags=["memberships"])
@needs("account.read")
def get_membership(membership_id: str, ctx: Ctx, who: Who) -> Ok[MembershipShape]:
    """One of them."""
    with ctx.store.reading() as session:
        rows, _ = accounts.page(
            session, reach=who.reach("account.read"), name=None, descending=False, offset=0, limit=None
        )
        person = users.get(session, who.token.user_id)
    for row in rows:
        membership = _membership(person, row)
        if membership["id"] == membership_id.lower():
            return ok(membership)
    raise QanatError("user_unknown", "no such membership")


@router.get("/accounts/{account_id}/custom_ns")
@needs("account.read")
def list_account_name_servers(account_id: AccountPath, ctx: Ctx, who: Who) -> Ok[list[dict[str, Any]]]:
    """None: qanat has no name servers of accounts."""
    with ctx.store.reading() as session:
        accounts.get(session, account_id, reach=who.reach("account.read"))
    return ok([])


def shown(account: Account) -> AccountShape:
    """An account as stock clients read it."""
    return {
        "id": account.id,
        "name": account.name,
        "type": "standard",
        "created_on": rfc3339(account.created_at),
        "settings": {
            "enforce_twofactor": False,
            "abuse_contact_email": account.settings.get("abuse_contact_email"),
            "delete_disconnects": accounts.deletes_disconnect(account, "api"),
        },
        "managed_by": None,
    }


def _check_kind(body: AccountInput) -> None:
    if body.type not in (None, "standard"):
        raise QanatError("account_bad_type", "the only type of account that qanat has is `standard`", where="type")
    if body.unit is not None and body.unit.id:
        raise QanatError("account_bad_type", "qanat has no tenants, whose unit an account could be", where="unit.id")


def membership_id(user_id: str, account_id: str) -> str:
    """Of the user in the account, always the same."""
    return sha256(f"{user_id}/{account_id}".encode()).hexdigest()[:32]


def _membership(person: Person, account: Account) -> MembershipShape:
    role = role_in(person, account.id)
    return {
        "id": membership_id(person.user.id, account.id),
        "code": "accepted",
        "status": "accepted",
        "roles": [NAMES[role]] if role is not None else [],
        "permissions": granted(role) if role is not None else {},
        "account": shown(account),
    }


def _changed(settings: AccountSettings | None) -> dict[str, Any] | None:
    if settings is None:
        return None
    if settings.enforce_twofactor:
        raise QanatError(
            "account_bad_settings", "qanat has no second factor to enforce", where="settings.enforce_twofactor"
        )
    email = settings.abuse_contact_email
    if email and (len(email) > MAX_EMAIL or "@" not in email or not email.isprintable()):
        raise QanatError("account_bad_settings", "not an email address", where="settings.abuse_contact_email")
    changed: dict[str, Any] = {}
    if "abuse_contact_email" in settings.model_fields_set:
        changed["abuse_contact_email"] = email or None
    if settings.delete_disconnects is not None:
        changed["delete_disconnects"] = settings.delete_disconnects
    return changed
