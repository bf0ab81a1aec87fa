"""`/accounts/{account_id}/qanat/health`, `…/probes`, `…/traffic`: whether origins answer, how they are asked, and what passes."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, rfc3339
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape, queries
from qanat.api.v4.tunnel_shapes import CONNECTION, MOMENT, TUNNEL
from qanat.certificates.numbers import exposed as exposed_certificates
from qanat.certificates.numbers import numbers
from qanat.control import tunnels
from qanat.control.visibility import visible_account
from qanat.errors import QanatError
from qanat.exposition import CONTENT_TYPE
from qanat.health import checks
from qanat.health.asking import ask_once
from qanat.health.metrics import exposed
from qanat.health.questions import Check
from qanat.health.verdicts import HealthState
from qanat.ids import parse_hostname
from qanat.store.models import ConnectorToken, Tunnel

router = resource(tags=["qanat"])
ACCOUNT = "/accounts/{account_id}/qanat"
HOST = "app.example.com"
NODE = Field(examples=["web-1"], description="`default`: who runs with the tunnel's own token")
MOST_NODES = 16


class CheckShape(Shape):
    """How a hostname's origin is asked, and which answers are good."""

    path: Annotated[str, Field(examples=["/up"])]
    method: Annotated[str, Field(examples=["GET"])]
    status: Annotated[str, Field(examples=["200-299,304"])]
    body: Annotated[str, Field(examples=["ok"], description="text that must occur in the answer's first 64 KiB")]
    headers: Annotated[
        dict[str, str], Field(examples=[{"x-role": "primary"}], description="fields of the answer; an empty value: any")
    ]
    send: Annotated[dict[str, str], Field(examples=[{"accept": "text/plain"}], description="fields of the request")]
    interval_s: Annotated[float, Field(examples=[10.0])]
    timeout_s: Annotated[float, Field(examples=[5.0])]
    rise: Annotated[int, Field(examples=[2], description="good answers in a row that make an ill origin well")]
    fall: Annotated[int, Field(examples=[3], description="bad answers in a row that make it ill")]
    enabled: bool


class ProbeShape(CheckShape):
    """What is set for a hostname, or for all those of a tunnel."""

    target: Annotated[str, Field(examples=[HOST])]


class ProbeChange(BaseModel):
    """What to set; the rest stays as it is, or has its default."""

    model_config = ConfigDict(strict=True, extra="forbid")

    path: str | None = Field(default=None, examples=["/up"])
    method: str | None = Field(default=None, examples=["GET"])
    status: str | None = Field(default=None, examples=["200"])
    body: str | None = Field(default=None, examples=["ok"])
    headers: dict[str, str] | None = Field(default=None, examples=[{"x-role": "primary"}])
    send: dict[str, str] | None = Field(default=None, examples=[{"accept": "text/plain"}])
    interval_s: float | None = Field(default=None, examples=[10.0])
    timeout_s: float | None = Field(default=None, examples=[5.0])
    rise: int | None = Field(default=None, examples=[2])
    fall: int | None = Field(default=None, examples=[3])
    enabled: bool | None = Field(default=None, examples=[True])

    def given(self) -> dict[str, Any]:
        """What isn't null."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class ProbeRun(ProbeChange):
    """A hostname to ask once, now; further fields differ from what is set for it."""

    hostname: str = Field(examples=[HOST])
    tunnel_id: str | None = Field(default=None, examples=[TUNNEL], description="null: where the hostname leads")


class AnswerShape(Shape):
    """What an origin answered through a node."""

    hostname: Annotated[str, Field(examples=[HOST])]
    tunnel_id: Annotated[str, Field(examples=[TUNNEL])]
    node: Annotated[str, NODE]
    good: bool
    why: Annotated[str, Field(examples=["GET /up answered 200"])]
    status: Annotated[int, Field(examples=[200], description="0: no answer")]
    cause: Annotated[str, Field(examples=[""], description="why there is no answer (docs/reference/errors)")]
    duration_s: Annotated[float, Field(examples=[0.012])]
    connection_id: Annotated[str | None, Field(examples=[CONNECTION])]


class HealthShape(Shape):
    """How the origin behind a node is, for a hostname."""

    hostname: Annotated[str, Field(examples=[HOST])]
    tunnel_id: Annotated[str, Field(examples=[TUNNEL])]
    tunnel: Annotated[str, Field(examples=["web"])]
    node: Annotated[str, NODE]
    state: HealthState
    healthy: Annotated[bool, Field(description="its origin answers, and it has connections that carry requests")]
    why: Annotated[str, Field(examples=["GET /up answered 200"])]
    since: Annotated[str, Field(examples=[MOMENT])]
    connections: Annotated[int, Field(examples=[4])]
    suspect: Annotated[int, Field(examples=[0], description="of them, those whose peer doesn't acknowledge")]


class TrafficShape(Shape):
    """What has passed of a hostname through a node since that began to be counted; numbers only rise."""

    hostname: Annotated[str, Field(examples=[HOST])]
    tunnel_id: Annotated[str, Field(examples=[TUNNEL])]
    tunnel: Annotated[str, Field(examples=["web"])]
    node: Annotated[
        str, Field(examples=["web-1"], description="`default`: the tunnel's own token; empty: none took it")
    ]
    requests: Annotated[int, Field(examples=[1200])]
    statuses: Annotated[list[int], Field(examples=[[0, 1190, 0, 8, 2]], description="1xx to 5xx, from the origin")]
    edge_made: Annotated[int, Field(examples=[0])]
    cut: Annotated[int, Field(examples=[0])]
    client_failed: Annotated[int, Field(examples=[3])]
    refused: Annotated[int, Field(examples=[0])]
    timed_out: Annotated[int, Field(examples=[0])]
    bytes_in: Annotated[int, Field(examples=[90_000])]
    bytes_out: Annotated[int, Field(examples=[12_000_000])]
    p50_s: Annotated[float | None, Field(examples=[0.012], description="over the last minute, from head to end")]
    p95_s: Annotated[float | None, Field(examples=[0.080])]
    state: HealthState


@router.get(f"{ACCOUNT}/probes")
@needs("tunnel.read")
def list_probes(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[ProbeShape]:
    """What is set, by hostname or tunnel. Every other public hostname that leads to a tunnel is asked `GET /`."""
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, "tunnel.read")
        rows = [_shown(target, check) for (_, target), check in checks.read(session, account_id).rows.items()]
    return ok_page(rows[page.offset : page.offset + page.per_page], page, len(rows))


@router.put(f"{ACCOUNT}/probes/{{target}}")
@needs("tunnel.edit")
def put_probe(account_id: AccountPath, target: str, body: ProbeChange, ctx: Ctx, who: Who) -> Ok[ProbeShape]:
    """Sets how a hostname of the account (or all those of a tunnel, by its id) is asked."""
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        check = checks.put(write, account_id=account_id, target=target, changes=body.given())
    return ok(_shown(target, check))


@router.delete(f"{ACCOUNT}/probes/{{target}}")
@needs("tunnel.edit")
def delete_probe(account_id: AccountPath, target: str, ctx: Ctx, who: Who) -> Ok[None]:
    """What holds without is in force again."""
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        checks.remove(write, account_id=account_id, target=target)
    return ok(None)


@router.post(f"{ACCOUNT}/probe-runs")
@needs("tunnel.edit")
def run_probe(account_id: AccountPath, body: ProbeRun, ctx: Ctx, who: Who) -> Ok[list[AnswerShape]]:
    """Asks once, now, through each connected node of the tunnel, active or not. It changes no verdict."""
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, "tunnel.edit")
        hostname = str(parse_hostname(body.hostname))
        if hostname.startswith("*.") or not checks.is_own_hostname(session, account_id, hostname):
            raise QanatError("probe_unknown", f"{hostname} is in no zone of this account", where="hostname")
        tunnel = _leads_to(ctx, session, account_id, hostname, body.tunnel_id)
        names = _names(session, [tunnel.id])
        rule = checks.read(session, account_id).of(account_id=account_id, hostname=hostname, tunnel_id=tunnel.id)
    changes = body.given().items()
    check = Check(
        **{
            **{name: getattr(rule, name) for name in checks.FIELDS},
            **{name: value for name, value in changes if name in checks.FIELDS},
        }
    ).checked()
    nodes = sorted(node for tunnel_id, node in ctx.live.health.nodes() if tunnel_id == tunnel.id)[:MOST_NODES]
    if not nodes:
        raise QanatError("probe_bad", f"no connection of tunnel {tunnel.name} is registered", where="tunnel_id")
    with ctx.probing.turn(tunnel.id):
        return ok([_asked(ctx, hostname, tunnel.id, node, names, check) for node in nodes])


@router.get(
    f"{ACCOUNT}/health",
    openapi_extra=queries({"hostname": "Only this one.", "tunnel_id": "Only through this tunnel."}),
)
@needs("tunnel.read")
def list_health(account_id: AccountPath, request: Request, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[HealthShape]:
    """How the origin behind each node is, for each hostname, since when and why. The stock `status` of a tunnel says only whether
    its connectors are connected."""
    wanted = {name: value for name in ("hostname", "tunnel_id") if (value := request.query_params.get(name))}
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, "tunnel.read")
        own = _own_tunnels(session, account_id)
        rows = shown_health(ctx, session, own, **wanted)
    return ok_page(rows[page.offset : page.offset + page.per_page], page, len(rows))


@router.get(f"{ACCOUNT}/traffic")
@needs("tunnel.read")
def list_traffic(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[TrafficShape]:
    """What has passed, by hostname and node, those with most requests first."""
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, "tunnel.read")
        own = _own_tunnels(session, account_id)
        passed = [each for each in ctx.live.traffic() if each.tunnel_id in own]
        names = _names(session, {each.tunnel_id for each in passed})
    passed.sort(key=lambda each: (-each.requests, each.hostname, each.tunnel_id, each.token_id or ""))
    verdicts, since = ctx.live.health.spots(), datetime.now(UTC) - timedelta(seconds=60)
    rows: list[TrafficShape] = []
    for each in passed[page.offset : page.offset + page.per_page]:
        node, verdict = each.token_id, verdicts.get((each.hostname, each.tunnel_id, each.token_id or ""))
        rates = ctx.live.health.rates(each.hostname, each.tunnel_id, since, token_id=node)
        rows.append(
            {
                "hostname": each.hostname,
                "tunnel_id": each.tunnel_id,
                "tunnel": own[each.tunnel_id],
                "node": "" if node is None else names.get((each.tunnel_id, node), node),
                "requests": each.requests,
                "statuses": list(each.statuses),
                "edge_made": each.edge_made,
                "cut": each.cut,
                "client_failed": each.client_failed,
                "refused": each.refused,
                "timed_out": each.timed_out,
                "bytes_in": each.bytes_in,
                "bytes_out": each.bytes_out,
                "p50_s": rates.p50_s,
                "p95_s": rates.p95_s,
                "state": verdict.state if verdict is not None else "unknown",
            }
        )
    return ok_page(rows, page, len(passed))


@router.get("/qanat/metrics", include_in_schema=False, response_model=None)
@needs("edge.read")
def get_metrics(ctx: Ctx, who: Who) -> Response:
    """The edge's metrics, as Prometheus reads them. For a token that sees the whole server."""
    if not who.reach("edge.read").is_everything:
        raise QanatError("permission_missing", "the metrics are of the whole server", where="token")
    with ctx.store.reading() as session:
        certificates = exposed_certificates(numbers(session, ctx.store.clock()))
    text = exposed(ctx.live, most_hostnames=ctx.metrics_hostnames) + certificates
    return Response(text, headers={"content-type": CONTENT_TYPE})


def shown_health(
    ctx: Context, session: Session, own: dict[str, str], *, hostname: str = "", tunnel_id: str = ""
) -> list[HealthShape]:
    """Of these tunnels (names by id), the ill first."""
    health = ctx.live.health
    found = [
        (spot, verdict)
        for spot, verdict in health.spots().items()
        if spot[1] in own and hostname in ("", spot[0]) and tunnel_id in ("", spot[1])
    ]
    names = _names(session, {spot[1] for spot, _ in found})
    order: list[Literal["unhealthy", "unknown", "healthy"]] = ["unhealthy", "unknown", "healthy"]
    rows: list[HealthShape] = []
    for (name, tunnel, token), _ in sorted(found, key=lambda each: (order.index(each[1].state), each[0])):
        node = health.of(tunnel, token, name)
        rows.append(
            {
                "hostname": name,
                "tunnel_id": tunnel,
                "tunnel": own[tunnel],
                "node": names.get((tunnel, token), token),
                "state": node.state,
                "healthy": node.is_healthy,
                "why": node.why,
                "since": rfc3339(node.since),
                "connections": node.connections,
                "suspect": node.suspect,
            }
        )
    return rows


def _asked(
    ctx: Context, hostname: str, tunnel_id: str, node: str, names: dict[tuple[str, str], str], check: Check
) -> AnswerShape:
    answer, judgment = ask_once(
        ctx.live.health, ctx.live.probes, check, hostname=hostname, tunnel_id=tunnel_id, token_id=node
    )
    return {
        "hostname": hostname,
        "tunnel_id": tunnel_id,
        "node": names.get((tunnel_id, node), node),
        "good": judgment.is_good,
        "why": judgment.why,
        "status": answer.status,
        "cause": answer.cause,
        "duration_s": round(answer.duration_s, 6),
        "connection_id": answer.connection_id,
    }


def _leads_to(ctx: Context, session: Session, account_id: str, hostname: str, tunnel_id: str | None) -> Tunnel:
    if tunnel_id is None:
        route = ctx.live.route(hostname)
        if route is not None and route.targets:
            tunnel_id = max(route.targets, key=lambda target: target[1])[0]
    if tunnel_id is None:
        raise QanatError("probe_bad", f"{hostname} leads to no tunnel", where="hostname", hint="name a tunnel")
    return tunnels.get(session, account_id, tunnel_id)


def _own_tunnels(session: Session, account_id: str) -> dict[str, str]:
    query = select(Tunnel.id, Tunnel.name).where(Tunnel.account_id == account_id, Tunnel.deleted_at.is_(None))
    return {row.id: row.name for row in session.execute(query)}


def _names(session: Session, tunnel_ids: Any) -> dict[tuple[str, str], str]:
    """Of nodes, by tunnel and connector token."""
    names = {(tunnel_id, ""): "default" for tunnel_id in tunnel_ids}
    if len(names) > 500:  # an answer has one page, a query so many ids
        query = select(ConnectorToken.tunnel_id, ConnectorToken.id, ConnectorToken.name)
    else:
        query = select(ConnectorToken.tunnel_id, ConnectorToken.id, ConnectorToken.name).where(
            ConnectorToken.tunnel_id.in_(sorted(tunnel_ids))
        )
    names.update({(row.tunnel_id, row.id): row.name for row in session.execute(query)})
    return names


def _shown(target: str, check: Check) -> ProbeShape:
    return {
        "target": target,
        "path": check.path,
        "method": check.method,
        "status": check.status,
        "body": check.body,
        "headers": dict(check.headers),
        "send": dict(check.send),
        "interval_s": check.interval_s,
        "timeout_s": check.timeout_s,
        "rise": check.rise,
        "fall": check.fall,
        "enabled": check.enabled,
    }
