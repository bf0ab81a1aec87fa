"""What the endpoints of cutovers take and answer."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.envelope import rfc3339
from qanat.api.http.shapes import Shape
from qanat.api.v4.tunnel_shapes import MOMENT, TUNNEL
from qanat.cutover import cutovers
from qanat.cutover.gates import Gate
from qanat.cutover.plan import AT_ONCE, LONGEST_HOLD_S, Check, Plan, Rule
from qanat.store.models import Cutover

OTHER_TUNNEL = "5d8f9b0a-7a3e-4f8d-a7c8-2b1f6e0c9d34"


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class CheckInput(_Body):
    """What a request through the target must be answered; what isn't given is learnt of the source's answer."""

    path: str = Field(default="/", examples=["/up"])
    status: int | None = Field(default=None, examples=[200])
    headers: dict[str, str] = Field(default_factory=dict, examples=[{"x-release": "v2"}], description="a text in each")
    body: str | None = Field(default=None, examples=["ok"], description="a text that the body holds")
    within_s: float | None = Field(default=None, examples=[1.5], description="seconds to the whole answer")

    def check(self) -> Check:
        return Check(**self.model_dump())


class RuleInput(_Body):
    """When the target is good enough to go on, and when it is worse than what it replaces."""

    step_s: float = Field(default=Rule().step_s, description="seconds that each step lasts at least")
    least_requests: int = Field(default=Rule().least_requests, description="of the target in a step")
    longest_s: float = Field(default=Rule().longest_s, description="seconds, with fewer requests, when probes are good")
    worse_share: float = Field(default=Rule().worse_share, description="of failed requests, above the old tunnel's")
    least_failed: int = Field(default=Rule().least_failed, description="failed requests that say anything")
    slower: float = Field(default=Rule().slower, description="times the old tunnel's p95")
    slower_s: float = Field(default=Rule().slower_s, description="seconds above the old tunnel's p95")
    failed_probes: int = Field(default=Rule().failed_probes, description="in a row")

    def rule(self) -> Rule:
        return Rule(**self.model_dump())


class PlanInput(_Body):
    """Which hostnames go from which tunnel to which, and how."""

    from_tunnel: str = Field(examples=[TUNNEL])
    to_tunnel: str = Field(examples=[OTHER_TUNNEL])
    hostnames: list[str] = Field(examples=[["app.example.com"]])
    steps: list[int] = Field(
        default=list(AT_ONCE), examples=[[1, 5, 25, 100]], description="the target's share, in percent"
    )
    check: CheckInput = Field(default_factory=CheckInput)
    checks: dict[str, CheckInput] = Field(default_factory=dict, examples=[{}], description="by hostname")
    least_connections: int = Field(default=1)
    least_nodes: int = Field(default=1)
    rule: RuleInput = Field(default_factory=RuleInput)
    hold: bool = Field(default=False, description="new requests wait until it is resumed")
    hold_s: float = Field(default=LONGEST_HOLD_S, description="seconds that they wait at most")
    websockets: Literal["stay", "cut"] = Field(default="stay", description="those that are open on the old tunnel")
    sticky: Literal["none", "address", "cookie"] = Field(
        default="none", description="by what a visitor stays on its side during the steps"
    )
    drain_s: float = Field(
        default=10.0, description="seconds until they are cut; and for open requests while others wait"
    )

    def plan(self) -> Plan:
        """As the room takes it, unchecked."""
        given: dict[str, Any] = {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name not in ("check", "checks", "rule", "base_version")
        }
        given["hostnames"], given["steps"] = tuple(self.hostnames), tuple(self.steps)
        checks = {name: check.check() for name, check in self.checks.items()}
        return Plan(**given, check=self.check.check(), checks=checks, rule=self.rule.rule())


class CutoverInput(PlanInput):
    """A cutover to begin."""

    base_version: str | None = Field(
        default=None, examples=["9d2c1f0a7b3e4c55"], description="of the plan; another one now is refused (409)"
    )


class PolicyInput(_Body):
    """What becomes of a hostname that would go from a tunnel that serves it to one that doesn't."""

    policy: str | None = Field(examples=["warn"], description="enforce, warn or off; null: as the edge's setting says")


class GateShape(Shape):
    """A gate with its evidence."""

    name: Annotated[str, Field(examples=["request"])]
    hostname: Annotated[str | None, Field(examples=["app.example.com"])]
    passed: Annotated[bool | None, Field(examples=[True], description="null: it only informs, or can't be asked")]
    says: Annotated[str, Field(examples=["answered 200 in 0.012 s"])]
    evidence: Annotated[dict[str, Any], Field(examples=[{"path": "/up", "learnt": True}])]


class PlanShape(Shape):
    """What a cutover would begin with."""

    version: Annotated[str, Field(examples=["9d2c1f0a7b3e4c55"], description="`base_version` of the cutover")]
    is_open: Annotated[bool, Field(examples=[True], description="whether every gate is")]
    plan: Annotated[dict[str, Any], Field(examples=[{"hostnames": ["app.example.com"], "steps": [100]}])]
    gates: list[GateShape]


class EntryShape(Shape):
    """One line of the timeline."""

    at: Annotated[str, Field(examples=[MOMENT])]
    event: Annotated[str, Field(examples=["repoint"])]
    state: Annotated[str, Field(examples=["settling"])]
    says: Annotated[str, Field(examples=["all requests go to the target: the gates are open"])]


class CutoverShape(Shape):
    """A cutover: where it is, since when, and all that it did."""

    id: Annotated[str, Field(examples=["0123456789abcdef0123456789abcdef"])]
    state: Annotated[
        str,
        Field(
            examples=["moving"],
            description="checking, holding, moving, settling; done, refused, rolled_back, stopped, broken (a record that other "
            "hands repointed, and that stays)",
        ),
    ]
    share: Annotated[int, Field(examples=[5], description="of requests that go to the target, in percent")]
    since: Annotated[str, Field(examples=[MOMENT])]
    why: Annotated[str, Field(examples=["5 % go to the target: 0 of 120 requests failed"])]
    version: Annotated[int, Field(examples=[3])]
    base_version: Annotated[str, Field(examples=["9d2c1f0a7b3e4c55"])]
    is_paused: Annotated[bool, Field(examples=[False])]
    from_tunnel: Annotated[str, Field(examples=[TUNNEL])]
    to_tunnel: Annotated[str, Field(examples=[OTHER_TUNNEL])]
    hostnames: Annotated[list[str], Field(examples=[["app.example.com"]])]
    plan: Annotated[dict[str, Any], Field(examples=[{"steps": [1, 5, 25, 100]}])]
    gates: list[GateShape]
    timeline: list[EntryShape]
    created_at: Annotated[str, Field(examples=[MOMENT])]
    finished_at: Annotated[str | None, Field(examples=[None])]


class PolicyShape(Shape):
    """A zone's cutover policy."""

    policy: Annotated[str | None, Field(examples=["warn"], description="the zone's own; null: none")]
    in_force: Annotated[str, Field(examples=["enforce"])]


class QuarantinedShape(Shape):
    """A record whose tunnel is deleted: nobody is served by it, and nobody else gets its name."""

    id: Annotated[str, Field(examples=["0123456789abcdef0123456789abcdef"])]
    name: Annotated[str, Field(examples=["app.example.com"])]
    zone_id: Annotated[str, Field(examples=["0123456789abcdef0123456789abcdef"])]
    tunnel_id: Annotated[str, Field(examples=[TUNNEL])]
    tunnel_name: Annotated[str, Field(examples=["web"])]
    since: Annotated[str, Field(examples=[MOMENT], description="when the tunnel was deleted")]


def shown_gate(gate: Gate) -> GateShape:
    """For answers."""
    return {
        "name": gate.name,
        "hostname": gate.hostname,
        "passed": gate.passed,
        "says": gate.says,
        "evidence": gate.evidence,
    }


def shown(row: Cutover) -> CutoverShape:
    """For answers."""
    return {
        "id": row.id,
        "state": row.state,
        "share": cutovers.share_of(row),
        "since": rfc3339(row.since),
        "why": row.why,
        "version": row.version,
        "base_version": row.base_version,
        "is_paused": row.is_paused,
        "from_tunnel": row.from_tunnel_id,
        "to_tunnel": row.to_tunnel_id,
        "hostnames": row.hostnames,
        "plan": row.plan,
        "gates": row.gates,  # type: ignore[typeddict-item]  # as `shown_gate` has them
        "timeline": row.timeline,  # type: ignore[typeddict-item]  # as EntryShape has them
        "created_at": rfc3339(row.created_at),
        "finished_at": rfc3339(row.finished_at),
    }
