"""`/accounts/{account_id}/qanat/cutovers`: hostnames from one tunnel to another, checked, watched and taken back; and what keeps
a record from being repointed to a tunnel that doesn't serve."""

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.endpoint import HEAVY, takes
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, rfc3339
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath, ZonePath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import queries
from qanat.api.qanat.cutover_shapes import (
    CutoverInput,
    CutoverShape,
    PlanInput,
    PlanShape,
    PolicyInput,
    PolicyShape,
    QuarantinedShape,
    shown,
    shown_gate,
)
from qanat.control import zones
from qanat.control.principal import Principal
from qanat.control.visibility import visible_account
from qanat.cutover import cutovers
from qanat.cutover.edge import CutoverEdge
from qanat.cutover.gates import is_open
from qanat.cutover.inspection import inspect
from qanat.cutover.machine import MOVED, State
from qanat.cutover.plan import checked, written
from qanat.cutover.quarantine import quarantined
from qanat.cutover.repointing import parse_policy
from qanat.errors import QanatError
from qanat.store.models import Cutover, Zone
from qanat.store.reach import Permission

router = resource(tags=["qanat"])

CUTOVERS = "/accounts/{account_id}/qanat/cutovers"
CUTOVER = CUTOVERS + "/{cutover_id}"


@router.post(CUTOVERS + "/plan")
@needs("dns.read", "tunnel.read")
@takes(HEAVY)
def plan_cutover(account_id: AccountPath, body: PlanInput, ctx: Ctx, who: Who) -> Ok[PlanShape]:
    """Asks every gate of a cutover and shows its evidence; nothing is changed."""
    plan = checked(body.plan())
    edge = _edge(ctx)
    with ctx.store.reading() as session:
        _check_account(session, who, account_id, "dns.read")
        _, target, places = cutovers.ready(session, account_id, plan, reach=who.reach("dns.read"))
        version = cutovers.version_of(session, account_id, places)
    gates = inspect(ctx.store, edge, plan, target, places)
    return ok(
        {
            "version": version,
            "is_open": is_open(gates),
            "plan": written(plan),
            "gates": [shown_gate(gate) for gate in gates],
        }
    )


@router.post(CUTOVERS)
@needs("dns.edit", "tunnel.read")
def create_cutover(account_id: AccountPath, body: CutoverInput, ctx: Ctx, who: Who) -> Ok[CutoverShape]:
    """Begins a cutover: the edge asks the gates and, when they are open, moves the hostnames, watches, and takes them back when
    the target turns out to be worse."""
    plan = checked(body.plan())
    _edge(ctx)
    with ctx.store.reading() as session:
        _check_account(session, who, account_id, "dns.edit")
    with ctx.store.writing(who.actor) as write:
        row = cutovers.begin(
            write,
            account_id=account_id,
            plan=plan,
            reach=who.reach("dns.edit"),
            asked_by=f"{who.actor.kind} {who.actor.name}",
            base_version=body.base_version,
        )
    return ok(shown(row))


@router.get(
    CUTOVERS,
    openapi_extra=queries(
        {
            "hostname": "Those of this hostname.",
            "is_active": ("Those that aren't over.", {"type": "boolean", "default": False}),
        }
    ),
)
@needs("dns.read", "tunnel.read")
def list_cutovers(
    account_id: AccountPath, request: Request, ctx: Ctx, who: Who, page: AskedPage
) -> OkPage[CutoverShape]:
    """The account's cutovers, newest first; of those that are over the newest 200 are kept."""
    query = request.query_params
    with ctx.store.reading() as session:
        _check_account(session, who, account_id, "dns.read")
        rows, total = cutovers.page(
            session,
            account_id,
            offset=page.offset,
            limit=page.per_page,
            hostname=query.get("hostname"),
            is_active=query.get("is_active") == "true",
            reach=who.reach("dns.read"),
        )
    return ok_page([shown(row) for row in rows], page, total)


@router.get(CUTOVER)
@needs("dns.read", "tunnel.read")
def get_cutover(account_id: AccountPath, cutover_id: str, ctx: Ctx, who: Who) -> Ok[CutoverShape]:
    """One cutover, with its gates and its timeline."""
    return ok(shown(_row(ctx, who, account_id, cutover_id, "dns.read")))


@router.post(CUTOVER + "/pause")
@needs("dns.edit", "tunnel.read")
def pause_cutover(account_id: AccountPath, cutover_id: str, ctx: Ctx, who: Who) -> Ok[CutoverShape]:
    """No further step until it is resumed. It is watched, and taken back if need be, all the same."""
    _row(ctx, who, account_id, cutover_id, "dns.edit")
    with ctx.store.writing(who.actor) as write:
        row = cutovers.get(write.session, account_id, cutover_id)
        cutovers.pause(write, row)
    return ok(shown(row))


@router.post(CUTOVER + "/resume")
@needs("dns.edit", "tunnel.read")
def resume_cutover(account_id: AccountPath, cutover_id: str, ctx: Ctx, who: Who) -> Ok[CutoverShape]:
    """Goes on with one that is paused; of one that holds requests, moves the hostnames and lets the requests go on."""
    _row(ctx, who, account_id, cutover_id, "dns.edit")
    with ctx.store.writing(who.actor) as write:
        row = cutovers.get(write.session, account_id, cutover_id)
        cutovers.resume(write, row)
    return ok(shown(row))


@router.post(
    CUTOVER + "/rollback",
    openapi_extra=queries(
        {"force": ("Although the old tunnel has no usable connection.", {"type": "boolean", "default": False})}
    ),
)
@needs("dns.edit", "tunnel.read")
def roll_back_cutover(
    account_id: AccountPath, cutover_id: str, request: Request, ctx: Ctx, who: Who
) -> Ok[CutoverShape]:
    """Puts the records back exactly as they were before: of a cutover that is under way, and of one that is done, unless others
    changed its records since."""
    row = _row(ctx, who, account_id, cutover_id, "dns.edit")
    forced = request.query_params.get("force") == "true"
    edge = _edge(ctx)
    moved = row.state in (*MOVED, State.DONE, State.BROKEN)
    if moved and not forced and not edge.usable(row.from_tunnel_id):
        raise QanatError(
            "cutover_source_down",
            f"the tunnel {row.from_tunnel_id} has no usable connection: nobody would be served",
            hint="start its connector; or say force",
        )
    with ctx.store.writing(who.actor) as write:
        row = cutovers.get(write.session, account_id, cutover_id)
        cutovers.roll_back(write, row, "it was asked for", asked=True)
    return ok(shown(row))


@router.get("/accounts/{account_id}/qanat/quarantined-records")
@needs("dns.read", "tunnel.read")
def list_quarantined(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[QuarantinedShape]:
    """The records whose tunnel is deleted: their hostnames are answered with that error, and neither a wildcard nor another
    account gets them, until somebody repoints or deletes the record."""
    with ctx.store.reading() as session:
        _check_account(session, who, account_id, "dns.read")
        rows, total = quarantined(
            session, account_id, reach=who.reach("dns.read"), offset=page.offset, limit=page.per_page
        )
    listed: list[QuarantinedShape] = [
        {
            "id": record.id,
            "name": record.name,
            "zone_id": record.zone_id,
            "tunnel_id": tunnel.id,
            "tunnel_name": tunnel.name,
            "since": rfc3339(tunnel.deleted_at) or "",
        }
        for record, tunnel in rows
    ]
    return ok_page(listed, page, total)


@router.get("/qanat/zones/{zone_id}/cutover-policy")
@needs("dns.read")
def get_policy(zone_id: ZonePath, ctx: Ctx, who: Who) -> Ok[PolicyShape]:
    """What becomes of a record of the zone that is repointed from a tunnel that serves to one that doesn't."""
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=who.reach("dns.read"))
    return ok(_shown_policy(ctx, zone))


@router.put("/qanat/zones/{zone_id}/cutover-policy")
@needs("dns.edit")
def put_policy(zone_id: ZonePath, body: PolicyInput, ctx: Ctx, who: Who) -> Ok[PolicyShape]:
    """`enforce` refuses it, `warn` makes it and says so in log and audit, `off` doesn't look."""
    policy = parse_policy(body.policy, where="policy") if body.policy is not None else None
    with ctx.store.writing(who.actor) as write:
        zone = zones.set_cutover_policy(write, zone_id, policy, reach=who.reach("dns.edit"))
    return ok(_shown_policy(ctx, zone))


def _shown_policy(ctx: Context, zone: Zone) -> PolicyShape:
    return {"policy": zone.cutover_policy, "in_force": zone.cutover_policy or ctx.cutover_policy}


def _edge(ctx: Context) -> CutoverEdge:
    if ctx.cutover_edge is None:
        raise QanatError("store_unavailable", "there is no running edge to ask")
    return ctx.cutover_edge


def _check_account(session: Session, who: Principal, account_id: str, permission: Permission) -> None:
    """Whose records and tunnels both are seen; single zones of it needn't be all."""
    visible_account(session, who, account_id, "tunnel.read")
    reach = who.reach(permission)
    if reach.has_account(account_id):
        return
    owned = select(Zone.id).where(Zone.account_id == account_id, reach.zones_where(Zone.id, Zone.account_id))
    if session.scalar(owned.limit(1)) is None:
        raise QanatError("account_unknown", "no such account", where="account_id")


def _row(ctx: Context, who: Principal, account_id: str, cutover_id: str, permission: Permission) -> Cutover:
    """One whose zones the caller has the permission on. QanatError `cutover_unknown`."""
    reach = who.reach(permission)
    with ctx.store.reading() as session:
        _check_account(session, who, account_id, permission)
        row = cutovers.get(session, account_id, cutover_id)
    if not all(reach.has_zone(one["zone_id"], account_id) for one in row.records.values()):
        raise QanatError("cutover_unknown", "no such cutover", where="cutover_id")
    return row
