"""`/user/tokens` and `/accounts/{account_id}/tokens`: API tokens of the user and of accounts, in the stock shape."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.endpoint import Takes, takes
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, parse_time
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import ApiTokenText, queries
from qanat.api.v4.token_shapes import (
    DeletedShape,
    NewTokenShape,
    PermissionGroupShape,
    TokenShape,
    VerifiedShape,
    shown,
    shown_verified,
)
from qanat.auth import issue
from qanat.auth.tokens import make_token, token_hash
from qanat.control import accounts, api_tokens
from qanat.control.api_tokens import Owner, TokenContent
from qanat.control.grants import check_bounds, check_held, check_name, check_policies, parse_networks
from qanat.control.permissions import ACCOUNT, USER, ZONE, find_groups
from qanat.control.policies import ANY, Resource
from qanat.control.principal import Principal
from qanat.control.zones import account_of
from qanat.errors import QanatError
from qanat.store.models import Account, ApiToken, Zone
from qanat.store.reach import Permission

router = resource(tags=["tokens"])

USERS = "/user/tokens"
ACCOUNTS = "/accounts/{account_id}/tokens"
VERIFIES = Takes(refused_token=("token_invalid_on_verify", "Invalid API Token"))
GROUP_QUERIES = queries({"name": "Only the group of this name.", "scope": "Only groups for this kind of resource."})
LIST_QUERIES = queries({"direction": ("Order by age.", {"type": "string", "enum": ["asc", "desc"]})})


class GroupReference(BaseModel):
    """A permission group; its name is told by the answer."""

    model_config = ConfigDict(strict=True)

    id: str = Field(examples=["4755a26eedb94da69e1066d98aa820be"])
    meta: dict[str, Any] | None = None


class PolicyInput(BaseModel):
    """What is allowed or denied on which resources."""

    model_config = ConfigDict(strict=True)

    effect: str = Field(examples=["allow"])
    resources: dict[str, str | dict[str, str]] = Field(examples=[{f"{ZONE}.023e105f4ecef8ad9ca31a8372d0c353": "*"}])
    permission_groups: list[GroupReference]


class RequestIpInput(BaseModel):
    """Networks that the token may, or may not, be used from."""

    model_config = ConfigDict(strict=True)

    inside: list[str] | None = Field(default=None, alias="in", examples=[["192.0.2.0/24"]])
    not_in: list[str] | None = None


class ConditionInput(BaseModel):
    """Bounds. The v4 Terraform provider writes `request.ip`."""

    model_config = ConfigDict(strict=True)

    request_ip: RequestIpInput | None = None
    dotted: RequestIpInput | None = Field(default=None, alias="request.ip")


class TokenInput(BaseModel):
    """A token to make, or what one becomes: the whole of it."""

    model_config = ConfigDict(strict=True)

    name: str = Field(examples=["terraform"])
    policies: list[PolicyInput]
    condition: ConditionInput | None = None
    not_before: str | None = Field(default=None, examples=["2026-01-02T03:04:05Z"])
    expires_on: str | None = Field(default=None, examples=["2027-01-02T03:04:05Z"])
    status: str | None = Field(default=None, examples=["active"])


@router.get(f"{USERS}/verify")
@needs()
@takes(VERIFIES)
def verify_token(ctx: Ctx, who: Who) -> Ok[VerifiedShape]:
    """Whether the token of this request may be used."""
    return ok(shown_verified(who.token, ctx.store.clock()))


@router.get(f"{USERS}/permission_groups", openapi_extra=GROUP_QUERIES)
@needs("token.read")
def list_permission_groups(request: Request, who: Who) -> Ok[list[PermissionGroupShape]]:
    """What policies can grant."""
    who.own("token.read")
    return _groups(request, frozenset({ACCOUNT, ZONE, USER}))


@router.get(USERS, openapi_extra=LIST_QUERIES)
@needs("token.read")
def list_tokens(request: Request, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[TokenShape]:
    """The user's tokens."""
    return _list(request, ctx, page, _of_user(who, "token.read"))


@router.post(USERS)
@needs("token.edit")
def create_token(body: TokenInput, ctx: Ctx, who: Who) -> Ok[NewTokenShape]:
    """Makes a token that holds no more than the asking one. `value` is shown here, and never again."""
    return _create(ctx, who, _of_user(who, "token.edit"), body)


@router.get(USERS + "/{token_id}")
@needs("token.read")
def get_token(token_id: str, ctx: Ctx, who: Who) -> Ok[TokenShape]:
    """One token."""
    return _get(ctx, _of_user(who, "token.read"), token_id)


@router.put(USERS + "/{token_id}")
@needs("token.edit")
def replace_token(token_id: str, body: TokenInput, ctx: Ctx, who: Who) -> Ok[TokenShape]:
    """Name, policies, bounds and times anew; its value stays. Without a `status`, that stays too."""
    return _replace(ctx, who, _of_user(who, "token.edit"), token_id, body)


@router.delete(USERS + "/{token_id}")
@needs("token.edit")
def delete_token(token_id: str, ctx: Ctx, who: Who) -> Ok[DeletedShape]:
    """From now on the token is refused."""
    return _delete(ctx, who, _of_user(who, "token.edit"), token_id)


@router.put(USERS + "/{token_id}/value")
@needs("token.edit")
def roll_token(token_id: str, ctx: Ctx, who: Who) -> Ok[ApiTokenText]:
    """Another value, shown here and never again; the one before is refused from now on."""
    return _roll(ctx, who, _of_user(who, "token.edit"), token_id)


@router.get(f"{ACCOUNTS}/verify")
@needs()
@takes(VERIFIES)
def verify_account_token(account_id: AccountPath, ctx: Ctx, who: Who) -> Ok[VerifiedShape]:
    """As `/user/tokens/verify`, for a token of this account, or one that reaches it."""
    if not who.sees_account(account_id):
        raise QanatError("account_unknown", "no such account", where="account_id")
    with ctx.store.reading() as session:
        accounts.get(session, account_id)
    return ok(shown_verified(who.token, ctx.store.clock()))


@router.get(f"{ACCOUNTS}/permission_groups", openapi_extra=GROUP_QUERIES)
@needs("token.read")
def list_account_permission_groups(
    account_id: AccountPath, request: Request, ctx: Ctx, who: Who
) -> Ok[list[PermissionGroupShape]]:
    """What policies of an account's tokens can grant."""
    _of_account(ctx, who, account_id, "token.read")
    return _groups(request, frozenset({ACCOUNT, ZONE}))


@router.get(ACCOUNTS, openapi_extra=LIST_QUERIES)
@needs("token.read")
def list_account_tokens(
    account_id: AccountPath, request: Request, ctx: Ctx, who: Who, page: AskedPage
) -> OkPage[TokenShape]:
    """The account's tokens."""
    return _list(request, ctx, page, _of_account(ctx, who, account_id, "token.read"))


@router.post(ACCOUNTS)
@needs("token.edit")
def create_account_token(account_id: AccountPath, body: TokenInput, ctx: Ctx, who: Who) -> Ok[NewTokenShape]:
    """Makes a token that the account owns, and that reaches nothing beyond it."""
    return _create(ctx, who, _of_account(ctx, who, account_id, "token.edit"), body)


@router.get(ACCOUNTS + "/{token_id}")
@needs("token.read")
def get_account_token(account_id: AccountPath, token_id: str, ctx: Ctx, who: Who) -> Ok[TokenShape]:
    """One token of the account."""
    return _get(ctx, _of_account(ctx, who, account_id, "token.read"), token_id)


@router.put(ACCOUNTS + "/{token_id}")
@needs("token.edit")
def replace_account_token(
    account_id: AccountPath, token_id: str, body: TokenInput, ctx: Ctx, who: Who
) -> Ok[TokenShape]:
    """As for a user's token."""
    return _replace(ctx, who, _of_account(ctx, who, account_id, "token.edit"), token_id, body)


@router.delete(ACCOUNTS + "/{token_id}")
@needs("token.edit")
def delete_account_token(account_id: AccountPath, token_id: str, ctx: Ctx, who: Who) -> Ok[DeletedShape]:
    """From now on the token is refused."""
    return _delete(ctx, who, _of_account(ctx, who, account_id, "token.edit"), token_id)


@router.put(ACCOUNTS + "/{token_id}/value")
@needs("token.edit")
def roll_account_token(account_id: AccountPath, token_id: str, ctx: Ctx, who: Who) -> Ok[ApiTokenText]:
    """As for a user's token."""
    return _roll(ctx, who, _of_account(ctx, who, account_id, "token.edit"), token_id)


def _of_user(who: Principal, permission: Permission) -> Owner:
    return Owner(user_id=who.own(permission))


def _of_account(ctx: Context, who: Principal, account_id: str, permission: Permission) -> Owner:
    with ctx.store.reading() as session:
        account = accounts.get(session, account_id, reach=who.reach(permission))
    return Owner(user_id=who.token.user_id, account_id=account.id)


def _groups(request: Request, scopes: frozenset[str]) -> Ok[list[PermissionGroupShape]]:
    query = request.query_params
    found = find_groups(name=query.get("name"), scope=query.get("scope"), scopes=scopes)
    return ok([{"id": group.id, "name": group.name, "scopes": list(group.scopes)} for group in found])


def _list(request: Request, ctx: Context, page: AskedPage, owner: Owner) -> OkPage[TokenShape]:
    with ctx.store.reading() as session:
        rows, total = api_tokens.page(
            session,
            owner=owner,
            descending=request.query_params.get("direction") == "desc",
            offset=page.offset,
            limit=page.per_page,
        )
    now = ctx.store.clock()
    return ok_page([shown(row, now) for row in rows], page, total)


def _get(ctx: Context, owner: Owner, token_id: str) -> Ok[TokenShape]:
    with ctx.store.reading() as session:
        return ok(shown(api_tokens.get(session, token_id, owner=owner), ctx.store.clock()))


def _create(ctx: Context, who: Principal, owner: Owner, body: TokenInput) -> Ok[NewTokenShape]:
    with ctx.store.reading() as session:
        content = _checked(ctx, session, who, owner, body, before=None)
    with ctx.store.writing(who.actor) as write:
        text, token = issue(
            write,
            name=content.name,
            policies=content.policies,
            owner=owner,
            allowed_ips=content.allowed_ips,
            denied_ips=content.denied_ips,
            not_before=content.not_before,
            expires_on=content.expires_on,
            disabled=bool(content.disabled),
        )
    return ok({**shown(token, ctx.store.clock()), "value": text})


def _replace(ctx: Context, who: Principal, owner: Owner, token_id: str, body: TokenInput) -> Ok[TokenShape]:
    with ctx.store.reading() as session:
        before = api_tokens.get(session, token_id, owner=owner)
        content = _checked(ctx, session, who, owner, body, before=before)
    with ctx.store.writing(who.actor) as write:
        token = api_tokens.change(write, token_id, content, owner=owner, permit=_holds(who))
    return ok(shown(token, ctx.store.clock()))


def _delete(ctx: Context, who: Principal, owner: Owner, token_id: str) -> Ok[DeletedShape]:
    with ctx.store.writing(who.actor) as write:
        api_tokens.delete(write, token_id, owner=owner)
    return ok({"id": token_id})


def _roll(ctx: Context, who: Principal, owner: Owner, token_id: str) -> Ok[ApiTokenText]:
    text = make_token()
    with ctx.store.writing(who.actor) as write:
        api_tokens.roll(write, token_id, sha256=token_hash(text), owner=owner, permit=_holds(who, bounds=True))
    return ok(text)


def _holds(who: Principal, *, bounds: bool = False) -> api_tokens.Permit:
    """Only who holds what a token holds may change it or get its value."""

    def permit(session: Session, token: ApiToken) -> None:
        check_held(who.token.policies, token.policies, account_of(session), where="token_id")
        if bounds:
            check_bounds(who.token, expires_on=token.expires_on, allowed=token.allowed_ips, denied=token.denied_ips)

    return permit


def _checked(
    ctx: Context, session: Session, who: Principal, owner: Owner, body: TokenInput, *, before: ApiToken | None
) -> TokenContent:
    policies = check_policies(
        [policy.model_dump() for policy in body.policies],
        is_known=_known_to(session, who, owner),
        before=before.policies if before is not None else (),
    )
    check_held(who.token.policies, policies, account_of(session))
    condition = body.condition or ConditionInput()
    bounds = condition.request_ip or condition.dotted or RequestIpInput()
    allowed = parse_networks(bounds.inside or (), where="condition.request_ip.in")
    denied = parse_networks(bounds.not_in or (), where="condition.request_ip.not_in")
    not_before, expires_on = _time(body.not_before, "not_before"), _time(body.expires_on, "expires_on")
    was = before.expires_on if before is not None else None
    if expires_on is not None and expires_on != was and expires_on <= ctx.store.clock():
        raise QanatError("token_bad_time", "the token would have expired already", where="expires_on")
    if not_before is not None and expires_on is not None and expires_on <= not_before:
        raise QanatError("token_bad_time", "the token would expire before it is valid", where="expires_on")
    check_bounds(who.token, expires_on=expires_on, allowed=allowed, denied=denied)
    if body.status not in (None, "active", "disabled", "expired"):
        raise QanatError("token_bad_status", "the status is `active` or `disabled`", where="status")
    return TokenContent(
        name=check_name(body.name),
        policies=policies,
        allowed_ips=allowed,
        denied_ips=denied,
        not_before=not_before,
        expires_on=expires_on,
        # `expired` comes back from clients that write what they read: it follows from the time, not from us.
        disabled={"active": False, "disabled": True}.get(body.status or ""),
    )


def _time(text: str | None, where: str) -> datetime | None:
    return parse_time(text, where=where) if text else None


def _known_to(session: Session, who: Principal, owner: Owner) -> Callable[[Resource], bool]:
    """Whether the asking token sees a resource, and the new token's owner may have it: an account's token stays in it."""

    def is_account(account_id: str | None) -> bool:
        if owner.account_id is not None:
            return account_id == owner.account_id
        if account_id in (None, ANY):
            return True
        assert account_id is not None
        return who.sees_account(account_id) and session.get(Account, account_id) is not None

    def is_known(resource: Resource) -> bool:
        if resource.kind == "user":
            return owner.account_id is None and resource.id == owner.user_id
        if resource.kind == "account":
            return is_account(resource.id)
        if resource.id == ANY:
            return is_account(resource.account_id)
        zone = session.get(Zone, resource.id)
        return (
            zone is not None
            and who.sees_zone(zone.id, zone.account_id)
            and resource.account_id in (None, ANY, zone.account_id)
            and owner.account_id in (None, zone.account_id)
        )

    return is_known
