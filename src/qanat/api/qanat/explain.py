"""`/qanat/explain`: where a URL goes, step by step, and where its way ends. Nothing is sent."""

from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import ok, rfc3339
from qanat.api.http.shapes import Shape, answers, queries
from qanat.api.qanat.status import SkippedShape, shown_skipped
from qanat.api.v4.tunnel_shapes import ACCOUNT, MOMENT, TUNNEL, TunnelStatus
from qanat.control import configurations, connections
from qanat.control.connections import State
from qanat.control.principal import Principal
from qanat.errors import QanatError
from qanat.ids import Hostname, parse_hostname, shown_hostname
from qanat.ingress.rules import UNLISTED, parse_configuration
from qanat.ingress.verdicts import Asked, Verdict, parse_url, verdicts
from qanat.store.models import Record, Tunnel, Zone
from qanat.store.skipped import Kind
from qanat.tables import owner

router = APIRouter(prefix="/qanat", tags=["qanat"])

FLAGS = frozenset({"__configuration_flags"})

Outcome = Literal[
    "served",
    "unknown_hostname",
    "not_proxied",
    "not_a_tunnel",
    "zone_paused",
    "tunnel_deleted",
    "no_connectors",
    "configuration_unknown",
    "configuration_unreadable",
    "no_rules",
]


class ZonePart(Shape):
    """The zone that the hostname is in."""

    id: str = Field(examples=[ACCOUNT])
    name: str = Field(examples=["example.com"])
    paused: bool


class RecordPart(Shape):
    """The record that decides."""

    id: str = Field(examples=[ACCOUNT])
    name: str = Field(examples=["*.example.com"])
    type: str = Field(examples=["CNAME"])
    content: str = Field(examples=[f"{TUNNEL}.cfargotunnel.com"])
    proxied: bool


class TunnelPart(Shape):
    """The tunnel, and how it is."""

    id: str = Field(examples=[TUNNEL])
    name: str = Field(examples=["web"])
    status: TunnelStatus
    status_since: str = Field(examples=[MOMENT])
    status_reason: str | None = Field(examples=[None])
    connectors: int = Field(examples=[2])
    deleted_at: str | None = Field(examples=[None])


class ConfigurationPart(Shape):
    """Whose rules are looked at: the newest that was put, or what a locally managed connector told."""

    version: int = Field(examples=[4], description="0: the connector's own")
    managed: Literal["remotely", "locally"]


class RulePart(Shape):
    """An ingress rule. `missed`: what of it didn't match; null for the one that takes the request."""

    index: int = Field(examples=[1])
    hostname: str = Field(examples=["app.example.com"], description="empty for every host")
    path: str = Field(examples=["^/api/"], description="empty for every path")
    service: str = Field(examples=["http://127.0.0.1:80"])
    missed: Literal["hostname", "path"] | None
    reason: str = Field(examples=["the path /x doesn't match ^/api/"])


class ExplanationShape(Shape):
    """Where a URL goes. What was not reached is null; `rule` is the one that takes the request, `earlier` those before."""

    url: str = Field(examples=["https://app.example.com/x"])
    hostname: str = Field(examples=["app.example.com"])
    path: str = Field(examples=["/x"])
    outcome: Outcome
    reason: str = Field(examples=["rule 1 takes it to http://127.0.0.1:80"])
    zone: ZonePart | None
    record: RecordPart | None
    tunnel: TunnelPart | None
    configuration: ConfigurationPart | None
    rule: RulePart | None
    earlier: list[RulePart]
    service: str | None = Field(examples=["http://127.0.0.1:80"])
    skipped: list[SkippedShape] = Field(
        examples=[[]], description="what the edge leaves out of this: the hostname's route or certificate, its tunnel"
    )


@router.get(
    "/explain",
    responses=answers(ExplanationShape),
    openapi_extra=queries({"url": "A URL such as `https://app.example.com/x`, or a hostname."}),
)
@needs("dns.read", "tunnel.read")
def explain(request: Request, ctx: Ctx, who: Who) -> Response:
    """Which zone, record, tunnel and ingress rule a URL would meet, by the same matching as live traffic, and why the rules
    before don't take it; or where its way ends. A hostname of an account that isn't seen is as unknown as any."""
    text = request.query_params.get("url", "")
    asked = parse_url(text)
    told: dict[str, Any] = {
        "url": text,
        "hostname": asked.authority,
        "path": asked.path,
        "zone": None,
        "record": None,
        "tunnel": None,
        "configuration": None,
        "rule": None,
        "earlier": [],
        "service": None,
    }
    with ctx.store.reading() as session:
        met = _met(session, who, asked, told)
    told["skipped"] = _skipped(ctx, told)
    if isinstance(met, Ending):
        return ok({**told, "outcome": met.outcome, "reason": met.reason})
    with ctx.explaining.turn(met.id):  # no session meanwhile: patterns may take a second
        unreadable = _rules(met.document, asked, told) if met.document is not None else None
    outcome, reason = _outcome(met, unreadable, told)
    return ok({**told, "outcome": outcome, "reason": reason})


@dataclass(frozen=True, slots=True)
class Ending:
    """Where the way ends before any rule."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Met:
    """The tunnel that the way leads to; `document`: its rules, None when they are not known."""

    id: str
    name: str
    is_deleted: bool
    has_connectors: bool
    document: str | None


def _outcome(tunnel: Met, unreadable: str | None, told: dict[str, Any]) -> tuple[Outcome, str]:
    if tunnel.is_deleted:
        return "tunnel_deleted", f"the tunnel {tunnel.name} is deleted: point the record to another one"
    if not tunnel.has_connectors:
        return "no_connectors", f"the tunnel {tunnel.name} has no connected connector"
    if tunnel.document is None:
        return "configuration_unknown", "the connector is managed locally and did not tell its rules"
    if unreadable is not None:
        return "configuration_unreadable", unreadable
    if told["rule"] is None:
        return "no_rules", "the configuration has no ingress rules: every request is answered 503"
    reason = f"rule {told['rule']['index']} takes it to {told['service']}"
    return "served", f"{reason}, {told['rule']['reason']}" if "denies" in told["rule"]["reason"] else reason


def _met(session: Session, who: Principal, asked: Asked, told: dict[str, Any]) -> Ending | Met:
    try:
        hostname = parse_hostname(_without_port(asked.authority), wildcard=False)
    except QanatError as error:
        return Ending("unknown_hostname", error.message)
    told["hostname"] = hostname
    zone = _zone(session, hostname, who)
    if zone is None:
        return Ending("unknown_hostname", f"{hostname} is in no zone here")
    told["zone"] = {"id": zone.id, "name": shown_hostname(zone.name), "paused": zone.paused}
    record = _record(session, zone, hostname)
    if record is None:
        return Ending(
            "unknown_hostname", f"the zone {zone.name} has no address or CNAME record that {hostname} matches"
        )
    told["record"] = {key: getattr(record, key) for key in ("id", "name", "type", "content", "proxied")}
    if not record.proxied:
        return Ending("not_proxied", f"the record of {record.name} is not proxied: it is only answered by DNS")
    tunnel = session.get(Tunnel, record.tunnel_id) if record.tunnel_id is not None else None
    if tunnel is None or record.type != "CNAME" or tunnel.account_id != zone.account_id:
        return Ending("not_a_tunnel", f"the record of {record.name} points to no tunnel of its account")
    state = connections.state(session, tunnel)
    told["tunnel"] = _shown_tunnel(tunnel, state)
    if zone.paused:
        return Ending("zone_paused", f"the zone {zone.name} is paused")
    return Met(
        id=tunnel.id,
        name=tunnel.name,
        is_deleted=tunnel.deleted_at is not None,
        has_connectors=bool(state.connectors),
        document=_document(session, tunnel, told),
    )


def _skipped(ctx: Context, told: dict[str, Any]) -> list[dict[str, Any]]:
    if told["zone"] is None:
        return []
    name = told["record"]["name"] if told["record"] is not None else told["hostname"]
    wanted: list[tuple[Kind, str]] = [("hostname", name)]
    wanted.extend(("certificate", parent) for parent in dict.fromkeys((name, name.partition(".")[2])))
    if told["tunnel"] is not None:
        wanted.extend([("tunnel", told["tunnel"]["id"]), ("configuration", told["tunnel"]["id"])])
    return [shown_skipped(row) for row in ctx.skipped.find(wanted)]


def _zone(session: Session, hostname: Hostname, who: Principal) -> Zone | None:
    """The longest zone that the hostname is in: names above it may be another account's."""
    labels = hostname.split(".")
    names = [".".join(labels[start:]) for start in range(len(labels))]
    found = max(
        session.scalars(select(Zone).where(Zone.name.in_(names))), key=lambda zone: len(zone.name), default=None
    )
    if found is None or not who.reach("dns.read").has_zone(found.id, found.account_id):
        return None
    return found if who.reach("tunnel.read").has_account(found.account_id) else None


def _record(session: Session, zone: Zone, hostname: Hostname) -> Record | None:
    """As DNS and the edge's table: of the name that answers (`tables.owner`); of its records the one that makes a route."""
    in_zone = Record.zone_id == zone.id

    def exists(name: str) -> bool:
        at_or_below = or_(Record.name == name, Record.name.endswith(f".{name}", autoescape=True))
        if session.scalar(select(Record.id).where(in_zone, at_or_below).limit(1)) is not None:
            return True
        # a zone below is delegated: its name, and those between, exist here
        zones_below = select(Zone.id).where(Zone.name.endswith(f".{name}", autoescape=True)).limit(1)
        return session.scalar(zones_below) is not None

    def is_cut(name: str) -> bool:
        delegated = select(Record.id).where(in_zone, Record.name == name, Record.type == "NS").limit(1)
        return session.scalar(delegated) is not None

    name = owner(hostname, zone.name, exists=exists, is_cut=is_cut)
    if name is None:
        return None
    query = select(Record).where(in_zone, Record.name == name, Record.type.in_(("A", "AAAA", "CNAME")))

    def order(record: Record) -> tuple[bool, str]:
        return not (record.proxied and record.tunnel_id is not None), record.id

    return min(session.scalars(query), key=order, default=None)


def _document(session: Session, tunnel: Tunnel, told: dict[str, Any]) -> str | None:
    newest = configurations.newest_configuration(session, tunnel.id)
    if newest is not None:
        told["configuration"] = {"version": newest.version, "managed": "remotely"}
        return newest.document
    if tunnel.config_src == "local":
        if tunnel.local_configuration is not None:
            told["configuration"] = {"version": 0, "managed": "locally"}
        return tunnel.local_configuration
    told["configuration"] = {"version": 0, "managed": "remotely"}
    return "{}"


def _rules(document: str, asked: Asked, told: dict[str, Any]) -> str | None:
    """Why they can't be read, if they can't: a foreign connector tells what it likes, and what was stored by an older version
    may be above today's bounds."""
    is_remote = told["configuration"]["managed"] == "remotely"
    try:
        # whether all of its patterns compile was asked when it was put
        parsed = parse_configuration(document, also_known=FLAGS, misspelt_keys="told", patterns=False)
        found = verdicts(parsed, asked)
    except QanatError as error:
        if error.code == "explain_bad_url":
            raise
        told["configuration"] = None
        return f"the rules can't be read: {error}"
    for verdict in found:
        part = _shown_rule(verdict, asked, is_remote=is_remote)
        if verdict.missed is None:
            told["rule"], told["service"] = part, part["service"]
        else:
            told["earlier"].append(part)
    return None


def _shown_rule(verdict: Verdict, asked: Asked, *, is_remote: bool) -> dict[str, Any]:
    rule = verdict.rule
    match verdict.missed:
        case "hostname":
            reason = f"the host {asked.authority} isn't {rule.hostname}"
        case "path":
            reason = f"the path {asked.path} doesn't match {rule.path}"
        case _ if (
            is_remote and rule.service.kind == "http" and (denied := UNLISTED.refusal(target=rule.service.target))
        ):
            reason = f"which is {denied}: a qanat connector denies it unless its --allow-origins lists it"
        case _:
            reason = "it is the first rule that matches"
    return {
        "index": verdict.index,
        "hostname": rule.hostname,
        "path": rule.path,
        "service": rule.service.text,
        "missed": verdict.missed,
        "reason": reason,
    }


def _shown_tunnel(tunnel: Tunnel, state: State) -> dict[str, Any]:
    return {
        "id": tunnel.id,
        "name": tunnel.name,
        "status": state.status,
        "status_since": rfc3339(state.since),
        "status_reason": state.reason,
        "connectors": len(state.connectors),
        "deleted_at": rfc3339(tunnel.deleted_at),
    }


def _without_port(authority: str) -> str:
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() else authority.removesuffix(":")
