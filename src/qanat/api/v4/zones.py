"""`/zones`."""

from collections.abc import Sequence

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, rfc3339
from qanat.api.http.filters import storable, words
from qanat.api.http.pagination import AskedPage
from qanat.api.http.routes import resource
from qanat.api.http.shapes import queries
from qanat.api.v4.zone_shapes import (
    DeletedZoneShape,
    PageRuleShape,
    PlanShape,
    RegionalHostnameShape,
    SubscriptionShape,
    ZoneShape,
)
from qanat.control import accounts, zones
from qanat.control.principal import Principal
from qanat.errors import QanatError
from qanat.ids import shown_hostname
from qanat.store.models import Account, Zone
from qanat.store.reach import Reach

router = resource(tags=["zones"])

PLAN: PlanShape = {
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
}
_ANY = {"type": "string", "enum": ["any", "all"]}
QUERIES = queries(
    {
        "name": "Exactly this name; or an operator and a part of it, such as `contains:shop` or `ends_with:.com`.",
        "status": "Zones with this status; all are `active`. May be repeated.",
        "type": "Zones of this type; all are `full`. May be repeated.",
        "account.id": "Zones of this account.",
        "account.name": "Zones of accounts with this name; operators as for `name`.",
        "match": ("Whether a zone must pass all filters.", _ANY),
        "order": ("Default `name`.", {"type": "string", "enum": sorted(zones.ORDERS)}),
        "direction": ("Default `asc`.", {"type": "string", "enum": ["asc", "desc"]}),
    }
)


class AccountReference(BaseModel):
    """`{"id": …}`."""

    model_config = ConfigDict(strict=True)

    id: str | None = None


class PlanReference(BaseModel):
    """`{"id": …}`. There is one plan."""

    model_config = ConfigDict(strict=True)

    id: str | None = None


class ZoneCreate(BaseModel):
    """A zone to make; without an account, the token's only one. `jump_start` is ignored: there is nothing to scan."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"name": "example.com"}]})

    name: str
    account: AccountReference | None = None
    type: str | None = Field(None, description="`full`.")
    paused: bool | None = None
    jump_start: bool | None = None
    vanity_name_servers: list[str] | None = None


class ZoneChange(BaseModel):
    """What of a zone changes."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"paused": True}]})

    paused: bool | None = None
    type: str | None = Field(None, description="`full`.")
    vanity_name_servers: list[str] | None = None
    plan: PlanReference | None = None


@router.get("/zones", openapi_extra=QUERIES)
@needs("zone.read")
def list_zones(request: Request, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[ZoneShape]:
    """The zones that the token sees."""
    query = request.query_params
    with ctx.store.reading() as session:
        rows, total = zones.page(
            session,
            reach=who.reach("zone.read"),
            match_any=query.get("match") == "any",
            name=words(query, "name"),
            statuses=query.getlist("status"),
            account_id=words(query, "account.id"),
            account_name=words(query, "account.name"),
            types=[storable(kind) for kind in query.getlist("type")],
            order=query.get("order"),
            descending=query.get("direction") == "desc",
            offset=page.offset,
            limit=page.per_page,
        )
    return ok_page([shown(zone, account, ctx.name_servers) for zone, account in rows], page, total)


@router.post("/zones")
@needs("zone.edit")
def create_zone(body: ZoneCreate, ctx: Ctx, who: Who) -> Ok[ZoneShape]:
    """Makes a zone. Its account owns all names below it; no other account may have a zone above or below."""
    _check(body.type, body.vanity_name_servers)
    account = _account(ctx, who, body.account.id if body.account else None)
    with ctx.store.writing(who.actor) as write:
        zone = zones.create(write, account_id=account.id, name=body.name, paused=bool(body.paused))
    return ok(shown(zone, account, ctx.name_servers))


@router.get("/zones/{zone_id}")
@needs("zone.read")
def get_zone(zone_id: str, ctx: Ctx, who: Who) -> Ok[ZoneShape]:
    """One zone."""
    return ok(_shown_now(ctx, zone_id, who.reach("zone.read")))


@router.patch("/zones/{zone_id}")
@needs("zone.edit")
def change_zone(zone_id: str, body: ZoneChange, ctx: Ctx, who: Who) -> Ok[ZoneShape]:
    """Pauses a zone (its hostnames aren't served), or goes on with it."""
    _check(body.type, body.vanity_name_servers)
    if body.plan is not None and body.plan.id not in (None, PLAN["id"]):
        raise QanatError("body_malformed", f"there is one plan, {PLAN['id']}", where="plan.id")
    reach = who.reach("zone.edit")
    with ctx.store.writing(who.actor) as write:
        zones.change(write, zone_id, reach=reach, paused=body.paused)
    return ok(_shown_now(ctx, zone_id, reach))


@router.delete("/zones/{zone_id}")
@needs("zone.edit")
def delete_zone(zone_id: str, ctx: Ctx, who: Who) -> Ok[DeletedZoneShape]:
    """Deletes the zone and its records. For 30 days no other account may have the name."""
    with ctx.store.writing(who.actor) as write:
        zone = zones.delete(write, zone_id, reach=who.reach("zone.edit"))
    return ok({"id": zone.id})


@router.get("/zones/{zone_id}/pagerules")
@needs("zone.read")
def list_pagerules(zone_id: str, ctx: Ctx, who: Who) -> Ok[list[PageRuleShape]]:
    """None: octodns asks on every run."""
    _check_seen(ctx, zone_id, who)
    return ok([])


@router.get("/zones/{zone_id}/available_plans")
@needs("zone.read")
def list_plans(zone_id: str, ctx: Ctx, who: Who) -> Ok[list[PlanShape]]:
    """The one plan."""
    _check_seen(ctx, zone_id, who)
    return ok([PLAN])


@router.get("/zones/{zone_id}/subscription")
@needs("zone.read")
def get_subscription(zone_id: str, ctx: Ctx, who: Who) -> Ok[SubscriptionShape]:
    """To the one plan, which costs nothing."""
    _check_seen(ctx, zone_id, who)
    return ok(
        {
            "id": zone_id,
            "state": "Provisioned",
            "price": 0,
            "currency": PLAN["currency"],
            "frequency": "monthly",
            "rate_plan": {
                "id": PLAN["legacy_id"],
                "public_name": PLAN["name"],
                "currency": PLAN["currency"],
                "scope": "zone",
                "sets": [],
                "is_contract": False,
                "externally_managed": False,
            },
            "component_values": [],
        }
    )


@router.put("/zones/{zone_id}/activation_check")
@needs("zone.edit")
def check_activation(zone_id: str, ctx: Ctx, who: Who) -> Ok[DeletedZoneShape]:
    """Every zone is active: there is nothing to wait for."""
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=who.reach("zone.edit"))
    return ok({"id": zone.id})


@router.get("/zones/{zone_id}/custom_ns")
@needs("zone.read")
def list_custom_name_servers(zone_id: str, ctx: Ctx, who: Who) -> Ok[list[str]]:
    """None: every zone has the name servers of the edge's settings."""
    _check_seen(ctx, zone_id, who)
    return ok([])


@router.get("/zones/{zone_id}/addressing/regional_hostnames")
@needs("zone.read")
def list_regional_hostnames(zone_id: str, ctx: Ctx, who: Who) -> Ok[list[RegionalHostnameShape]]:
    """None: clients ask when told to."""
    _check_seen(ctx, zone_id, who)
    return ok([])


def shown(zone: Zone, account: Account, name_servers: Sequence[str]) -> ZoneShape:
    """A zone as stock clients read it: its name in Unicode, every key present, numbers whole."""
    return {
        "id": zone.id,
        "name": shown_hostname(zone.name),
        "status": "active",
        "paused": zone.paused,
        "type": zone.type,
        "development_mode": 0,
        "name_servers": list(name_servers),
        "original_name_servers": None,
        "original_registrar": None,
        "original_dnshost": None,
        "vanity_name_servers": [],
        "created_on": rfc3339(zone.created_at),
        "modified_on": rfc3339(zone.modified_at),
        "activated_on": rfc3339(zone.created_at),
        "account": {"id": account.id, "name": account.name},
        "owner": {"id": account.id, "type": "organization", "name": account.name},
        "plan": PLAN,
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


def _shown_now(ctx: Context, zone_id: str, reach: Reach) -> ZoneShape:
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=reach)
        return shown(zone, accounts.get(session, zone.account_id), ctx.name_servers)


def _account(ctx: Context, who: Principal, account_id: str | None) -> Account:
    with ctx.store.reading() as session:
        if account_id:
            return accounts.get(session, account_id, reach=who.reach("zone.edit"))
        rows, total = accounts.page(
            session, reach=who.reach("zone.edit"), name=None, descending=False, offset=0, limit=1
        )
    if total != 1:
        raise QanatError("body_malformed", f"name the account: the token may edit zones of {total}", where="account.id")
    return rows[0]


def _check_seen(ctx: Context, zone_id: str, who: Principal) -> None:
    with ctx.store.reading() as session:
        zones.get(session, zone_id, reach=who.reach("zone.read"))


def _check(kind: str | None, vanity_name_servers: list[str] | None) -> None:
    if kind not in (None, "full"):
        raise QanatError("zone_bad_type", "the only type of zone that qanat has is `full`", where="type")
    if vanity_name_servers:
        raise QanatError("body_malformed", "qanat has no vanity name servers", where="vanity_name_servers")
