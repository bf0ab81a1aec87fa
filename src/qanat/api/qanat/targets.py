"""`/accounts/{account_id}/qanat/hostnames/{hostname}/targets`: a hostname that leads to several tunnels by weights."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.paths import AccountPath
from qanat.api.http.repointing import Repoint
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.tunnel_shapes import ACCOUNT, TUNNEL
from qanat.control import targets
from qanat.control.principal import Principal
from qanat.control.visibility import visible_account
from qanat.cutover.repointing import Move
from qanat.store.reach import Permission
from qanat.tables.routes import Sticky

router = resource(prefix="/accounts/{account_id}/qanat/hostnames/{hostname}/targets", tags=["qanat"])


class TargetInput(BaseModel):
    """One tunnel, and its part among the others'."""

    model_config = ConfigDict(strict=True)

    tunnel_id: str = Field(examples=[TUNNEL])
    weight: int = Field(examples=[95], description="0 to 1 000 000; 0: it gets nothing")


class TargetsInput(BaseModel):
    """Where a hostname shall lead. The tunnel that its record points to is one of them."""

    model_config = ConfigDict(strict=True)

    targets: list[TargetInput]
    sticky: Sticky = Field(default="none", description="what a visitor stays with its tunnel by", examples=["cookie"])


class TargetShape(Shape):
    """One tunnel, and its part."""

    tunnel_id: Annotated[str, Field(examples=[TUNNEL])]
    tunnel_name: Annotated[str, Field(examples=["web"])]
    weight: Annotated[int, Field(examples=[95])]
    percent: Annotated[float, Field(examples=[95.0])]
    is_deleted: bool


class TargetsShape(Shape):
    """Where a hostname leads."""

    hostname: Annotated[str, Field(examples=["app.example.com"])]
    zone_id: Annotated[str, Field(examples=[ACCOUNT])]
    record_id: Annotated[str, Field(examples=[ACCOUNT])]
    sticky: Sticky
    targets: list[TargetShape]
    is_split: Annotated[bool, Field(description="whether weights were set; else its record alone says where it leads")]
    is_overruled: Annotated[
        bool, Field(description="weights were set, but the record was repointed to a tunnel that isn't among them")
    ]


@router.get("")
@needs("dns.read", "tunnel.read")
def get_targets(account_id: AccountPath, hostname: str, ctx: Ctx, who: Who) -> Ok[TargetsShape]:
    """The tunnels that the hostname leads to, with their weights."""
    with ctx.store.reading() as session:
        return ok(_shown(session, _place(session, who, account_id, hostname, "dns.read")))


@router.put("")
@needs("dns.edit", "tunnel.read")
def put_targets(
    account_id: AccountPath, hostname: str, body: TargetsInput, ctx: Ctx, who: Who, repoint: Repoint
) -> Ok[TargetsShape]:
    """Sets them, in one step: requests that come from now on go by these weights, those under way end where they began. A tunnel
    that gets a larger part must serve the hostname, as for a record that is repointed to it."""
    shares = [(each.tunnel_id, each.weight) for each in body.targets]
    with ctx.store.reading() as session:
        place = _place(session, who, account_id, hostname, "dns.edit")
    guard = repoint.guard_of(place.zone, lambda session: _moves(session, place, shares), where="targets")
    with ctx.store.writing(who.actor) as write:
        place = _place(write.session, who, account_id, hostname, "dns.edit")
        targets.put(write, place, shares, body.sticky, repoint=guard)
        return ok(_shown(write.session, place))


@router.delete("")
@needs("dns.edit", "tunnel.read")
def delete_targets(account_id: AccountPath, hostname: str, ctx: Ctx, who: Who, repoint: Repoint) -> Ok[TargetsShape]:
    """Takes the weights away: the hostname leads to its record's tunnel alone, which must serve it."""
    with ctx.store.reading() as session:
        place = _place(session, who, account_id, hostname, "dns.edit")
    guard = repoint.guard_of(place.zone, lambda session: _moves(session, place, targets.alone(place)), where="targets")
    with ctx.store.writing(who.actor) as write:
        place = _place(write.session, who, account_id, hostname, "dns.edit")
        targets.clear(write, place, repoint=guard)
        return ok(_shown(write.session, place))


def _place(session: Session, who: Principal, account_id: str, hostname: str, permission: Permission) -> targets.Place:
    visible_account(session, who, account_id, "tunnel.read")
    return targets.find(session, account_id, hostname, reach=who.reach(permission))


def _moves(session: Session, place: targets.Place, shares: Sequence[tuple[str, int]]) -> list[Move]:
    return [Move(place.record.name, *each) for each in targets.gains(session, place, shares)]


def _shown(session: Session, place: targets.Place) -> TargetsShape:
    found = targets.get(session, place)
    whole = sum(weight for _, weight in found.shares) or 1
    return {
        "hostname": place.record.name,
        "zone_id": place.zone.id,
        "record_id": place.record.id,
        "sticky": found.sticky,
        "targets": [
            {
                "tunnel_id": tunnel.id,
                "tunnel_name": tunnel.name,
                "weight": weight,
                "percent": round(100 * weight / whole, 2),
                "is_deleted": tunnel.deleted_at is not None,
            }
            for tunnel, weight in found.shares
        ],
        "is_split": found.is_split,
        "is_overruled": found.overruled,
    }
