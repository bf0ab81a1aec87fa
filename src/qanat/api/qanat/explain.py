"""`/qanat/explain`: where a URL goes, step by step, and where its way ends. Nothing is sent."""

from typing import Annotated, Literal

from fastapi import Request
from pydantic import Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.endpoint import HEAVY, takes
from qanat.api.http.envelope import Ok, ok, rfc3339
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape, queries
from qanat.api.qanat.health import HealthShape, shown_health
from qanat.api.qanat.status import SkippedShape, shown_skipped
from qanat.api.v4.tunnel_shapes import ACCOUNT, MOMENT, TUNNEL
from qanat.control.explain import (
    Ending,
    ExplainedRule,
    Explanation,
    Managed,
    Outcome,
    Route,
    Rules,
    find_way,
    follow,
    seen_by,
    skipped_on,
)
from qanat.control.tunnel_status import Status, TunnelState
from qanat.ids import shown_hostname
from qanat.ingress.verdicts import parse_url
from qanat.store.models import Record, Tunnel, Zone
from qanat.tables.routes import Sticky

router = resource(prefix="/qanat", tags=["qanat"])


class ZonePart(Shape):
    """The zone that the hostname is in."""

    id: Annotated[str, Field(examples=[ACCOUNT])]
    name: Annotated[str, Field(examples=["example.com"])]
    paused: bool


class RecordPart(Shape):
    """The record that decides."""

    id: Annotated[str, Field(examples=[ACCOUNT])]
    name: Annotated[str, Field(examples=["*.example.com"])]
    type: Annotated[str, Field(examples=["CNAME"])]
    content: Annotated[str, Field(examples=[f"{TUNNEL}.cfargotunnel.com"])]
    proxied: bool


class TunnelPart(Shape):
    """The tunnel, and how it is."""

    id: Annotated[str, Field(examples=[TUNNEL])]
    name: Annotated[str, Field(examples=["web"])]
    status: Status
    status_since: Annotated[str, Field(examples=[MOMENT])]
    status_reason: Annotated[str | None, Field(examples=[None])]
    connectors: Annotated[int, Field(examples=[2])]
    deleted_at: Annotated[str | None, Field(examples=[None])]


class SharePart(Shape):
    """One of the tunnels that the hostname leads to."""

    tunnel_id: Annotated[str, Field(examples=[TUNNEL])]
    weight: Annotated[int, Field(examples=[95])]


class SplitPart(Shape):
    """The hostname leads to several tunnels, of which `tunnel` is its record's."""

    sticky: Sticky
    targets: list[SharePart]


class ConfigurationPart(Shape):
    """Whose rules are looked at: the newest that was put, or what a locally managed connector told."""

    version: Annotated[int, Field(examples=[4], description="0: the connector's own")]
    managed: Managed


class RulePart(Shape):
    """An ingress rule. `missed`: what of it didn't match; null for the one that takes the request."""

    index: Annotated[int, Field(examples=[1])]
    hostname: Annotated[str, Field(examples=["app.example.com"], description="empty for every host")]
    path: Annotated[str, Field(examples=["^/api/"], description="empty for every path")]
    service: Annotated[str, Field(examples=["http://127.0.0.1:80"])]
    missed: Literal["hostname", "path"] | None
    reason: Annotated[str, Field(examples=["the path /x doesn't match ^/api/"])]


class ExplanationShape(Shape):
    """Where a URL goes. What was not reached is null; `rule` is the one that takes the request, `earlier` those before."""

    url: Annotated[str, Field(examples=["https://app.example.com/x"])]
    hostname: Annotated[str, Field(examples=["app.example.com"])]
    path: Annotated[str, Field(examples=["/x"])]
    outcome: Outcome
    reason: Annotated[str, Field(examples=["rule 1 takes it to http://127.0.0.1:80"])]
    zone: ZonePart | None
    record: RecordPart | None
    tunnel: TunnelPart | None
    split: SplitPart | None
    configuration: ConfigurationPart | None
    rule: RulePart | None
    earlier: list[RulePart]
    service: Annotated[str | None, Field(examples=["http://127.0.0.1:80"])]
    health: Annotated[
        list[HealthShape],
        Field(examples=[[]], description="how the origins behind the tunnel's nodes are, for the hostname"),
    ]
    skipped: Annotated[
        list[SkippedShape],
        Field(
            examples=[[]],
            description="what the edge leaves out of this: the hostname's route or certificate, its tunnel",
        ),
    ]


@router.get(
    "/explain",
    openapi_extra=queries({"url": "A URL such as `https://app.example.com/x`, or a hostname."}),
)
@needs("dns.read", "tunnel.read")
@takes(HEAVY)
def explain(request: Request, ctx: Ctx, who: Who) -> Ok[ExplanationShape]:
    """Which zone, record, tunnel and ingress rule a URL would meet, by the same matching as live traffic, and why the rules
    before don't take it; or where its way ends. A hostname of an account that isn't seen is as unknown as any."""
    text = request.query_params.get("url", "")
    asked = parse_url(text)
    with ctx.store.reading() as session:
        way = find_way(session, seen_by(who), asked, route_of=ctx.live.route)
        met = way.met
        own = {met.tunnel.id: met.tunnel.name} if met.tunnel is not None else {}
        health = shown_health(ctx, session, own, hostname=met.hostname) if own else []
    skipped = skipped_on(way.met, ctx.skipped)
    if isinstance(way.end, Ending):
        explanation = Explanation(way.end)
    else:
        with ctx.explaining.turn(way.end.tunnel.id):  # no session meanwhile: patterns may take a second
            explanation = follow(way.end, asked)
    rule = explanation.rule
    return ok(
        {
            "url": text,
            "hostname": met.hostname,
            "path": asked.path,
            "outcome": explanation.ending.outcome,
            "reason": explanation.ending.reason,
            "zone": _shown_zone(met.zone) if met.zone is not None else None,
            "record": _shown_record(met.record) if met.record is not None else None,
            "tunnel": _shown_tunnel(met.tunnel, met.state)
            if met.tunnel is not None and met.state is not None
            else None,
            "split": _shown_split(met.route) if met.route is not None and len(met.route.targets) > 1 else None,
            "configuration": _shown_rules(explanation.rules) if explanation.rules is not None else None,
            "rule": _shown_rule(rule) if rule is not None else None,
            "earlier": [_shown_rule(each) for each in explanation.earlier],
            "service": rule.verdict.rule.service.text if rule is not None else None,
            "health": health,
            "skipped": [shown_skipped(row) for row in skipped],
        }
    )


def _shown_zone(zone: Zone) -> ZonePart:
    return {"id": zone.id, "name": shown_hostname(zone.name), "paused": zone.paused}


def _shown_record(record: Record) -> RecordPart:
    return {
        "id": record.id,
        "name": record.name,
        "type": record.type,
        "content": record.content,
        "proxied": record.proxied,
    }


def _shown_tunnel(tunnel: Tunnel, state: TunnelState) -> TunnelPart:
    return {
        "id": tunnel.id,
        "name": tunnel.name,
        "status": state.status,
        "status_since": rfc3339(state.since),
        "status_reason": state.reason,
        "connectors": len(state.connectors),
        "deleted_at": rfc3339(tunnel.deleted_at),
    }


def _shown_split(route: Route) -> SplitPart:
    shares: list[SharePart] = [{"tunnel_id": tunnel_id, "weight": weight} for tunnel_id, weight in route.targets]
    return {"sticky": route.sticky, "targets": shares}


def _shown_rules(rules: Rules) -> ConfigurationPart:
    return {"version": rules.version, "managed": rules.managed}


def _shown_rule(explained: ExplainedRule) -> RulePart:
    verdict = explained.verdict
    return {
        "index": verdict.index,
        "hostname": verdict.rule.hostname,
        "path": verdict.rule.path,
        "service": verdict.rule.service.text,
        "missed": verdict.missed,
        "reason": explained.reason,
    }
