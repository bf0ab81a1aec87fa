"""`/zones`."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from qanat.api.context import Context, Ctx, Who
from qanat.api.envelope import ok, ok_page, rfc3339
from qanat.api.pagination import AskedPage
from qanat.auth import Principal
from qanat.errors import QanatError
from qanat.store import accounts, zones
from qanat.store.models import Account, Zone

router = APIRouter(tags=["zones"])


class AccountReference(BaseModel):
    """`{"id": …}`."""

    model_config = ConfigDict(strict=True)

    id: str | None = None


class ZoneCreate(BaseModel):
    """A zone to make; without an account, the token's only one."""

    model_config = ConfigDict(strict=True)

    name: str
    account: AccountReference | None = None
    type: str | None = None
    paused: bool | None = None


class ZoneChange(BaseModel):
    """What of a zone changes."""

    model_config = ConfigDict(strict=True)

    paused: bool | None = None
    type: str | None = None


@router.get("/zones")
def list_zones(request: Request, ctx: Ctx, who: Who, page: AskedPage) -> Response:
    """The zones that the token sees."""
    query = request.query_params
    with ctx.store.reading() as session:
        rows, total = zones.list_zones(
            session,
            only=who.only_account,
            match_any=query.get("match") == "any",
            name=query.get("name") or None,
            statuses=query.getlist("status"),
            account_id=query.get("account.id") or None,
            account_name=query.get("account.name") or None,
            types=query.getlist("type"),
            order=query.get("order"),
            descending=query.get("direction") == "desc",
            offset=page.offset,
            limit=page.per_page,
        )
    return ok_page([shown(zone, account) for zone, account in rows], page, total)


@router.post("/zones")
def create_zone(body: ZoneCreate, ctx: Ctx, who: Who) -> Response:
    """Makes a zone."""
    _check_type(body.type)
    account = _account(ctx, who, body.account.id if body.account else None)
    zone = zones.create_zone(ctx.store, who.actor, account_id=account.id, name=body.name, paused=bool(body.paused))
    return ok(shown(zone, account))


@router.get("/zones/{zone_id}")
def get_zone(zone_id: str, ctx: Ctx, who: Who) -> Response:
    """One zone."""
    return ok(_shown_now(ctx, zone_id, who.only_account))


@router.patch("/zones/{zone_id}")
def change_zone(zone_id: str, body: ZoneChange, ctx: Ctx, who: Who) -> Response:
    """Pauses a zone (its hostnames aren't served), or goes on with it. Plans and vanity name servers are ignored."""
    _check_type(body.type)
    zones.change_zone(ctx.store, who.actor, zone_id, only=who.only_account, paused=body.paused)
    return ok(_shown_now(ctx, zone_id, who.only_account))


@router.delete("/zones/{zone_id}")
def delete_zone(zone_id: str, ctx: Ctx, who: Who) -> Response:
    """Deletes the zone and its records."""
    zone = zones.delete_zone(ctx.store, who.actor, zone_id, only=who.only_account)
    return ok({"id": zone.id})


@router.get("/zones/{zone_id}/pagerules")
def list_pagerules(zone_id: str, ctx: Ctx, who: Who) -> Response:
    """None: octodns asks on every run."""
    with ctx.store.reading() as session:
        zones.get_zone(session, zone_id, only=who.only_account)
    return ok([])


def shown(zone: Zone, account: Account) -> dict[str, Any]:
    """A zone as stock clients read it; every key present, numbers whole."""
    return {
        "id": zone.id,
        "name": zone.name,
        "status": "active",
        "paused": zone.paused,
        "type": zone.type,
        "development_mode": 0,
        "name_servers": [],
        "original_name_servers": None,
        "original_registrar": None,
        "original_dnshost": None,
        "vanity_name_servers": [],
        "created_on": rfc3339(zone.created_at),
        "modified_on": rfc3339(zone.modified_at),
        "activated_on": rfc3339(zone.created_at),
        "account": {"id": account.id, "name": account.name},
        "owner": {"id": None, "type": "organization", "name": None},
        "plan": {
            "id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
            "name": "Free Website",
            "price": 0,
            "currency": "USD",
            "frequency": "",
            "is_subscribed": True,
            "can_subscribe": False,
            "legacy_id": "free",
            "legacy_discount": False,
            "externally_managed": False,
        },
        "meta": {
            "step": 2,
            "custom_certificate_quota": 0,
            "page_rule_quota": 3,
            "phishing_detected": False,
            "cdn_only": False,
            "dns_only": False,
            "foundation_dns": False,
        },
        "tenant": {"id": None, "name": None},
        "tenant_unit": {"id": None},
        "permissions": ["#zone:read", "#zone:edit", "#dns_records:read", "#dns_records:edit"],
    }


def _shown_now(ctx: Context, zone_id: str, only: str | None) -> dict[str, Any]:
    with ctx.store.reading() as session:
        zone = zones.get_zone(session, zone_id, only=only)
        return shown(zone, accounts.get_account(session, zone.account_id))


def _account(ctx: Context, who: Principal, account_id: str | None) -> Account:
    with ctx.store.reading() as session:
        if account_id:
            return accounts.get_account(session, account_id, only=who.only_account)
        rows, total = accounts.list_accounts(
            session, only=who.only_account, name=None, descending=False, offset=0, limit=1
        )
    if total != 1:
        raise QanatError("body_malformed", "name the account: the token sees several", where="account.id")
    return rows[0]


def _check_type(kind: str | None) -> None:
    if kind not in (None, "full"):
        raise QanatError("body_malformed", "the only type of zone that qanat has is `full`", where="type")
