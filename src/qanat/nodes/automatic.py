"""Whether the active node is to be replaced without anybody asking. Pure: what is known goes in, a decision comes out.

Replaced is an active that is *gone* (none of its connections is usable) for `failover_after_s`, and one that is *ill* (its origin
doesn't answer its probes, or requests) while another one is well. Never where that other one isn't: when all are ill the role
stays where it is (case 69)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from qanat.nodes.nodes import Role
from qanat.nodes.readiness import Facts

START_GRACE_S: Final = 10.0
"""After an edge's start, and after the mode was set, connectors have so long to come (back)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A node as it stands. `gone_since`: the time, in seconds of any clock, since when no connection is usable (for one that
    may still come after a start, in the future); None: one is.
    `has_role_probe`: whether its connector announces one."""

    token_id: str
    name: str
    facts: Facts
    gone_since: float | None
    is_fenced: bool = False
    role: Role = "unknown"
    has_role_probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Of a tunnel, as `mode.Policy`."""

    failover_after_s: float
    hold_down_s: float
    max_promotions: int
    per_s: float
    automatic: bool
    follows_role: bool


@dataclass(frozen=True, slots=True)
class Promote:
    """Do it now."""

    token_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stay:
    """Nothing is to be done. `look_again_at`: when time alone may change that; None: when something is told. `reason`:
    why nothing is done although the active isn't well; "" when it is."""

    reason: str = ""
    look_again_at: float | None = None


def decide(
    rules: Rules,
    active: Standing,
    others: Sequence[Standing],
    *,
    now: float,
    last_promotion_at: float | None,
    automatic_at: Sequence[float],
) -> Promote | Stay:
    """`last_promotion_at`: of any kind; `automatic_at`: when there were automatic ones; in seconds of the clock of `now`."""
    wish: Promote | Stay | None = _followed(rules, active, others)
    if wish is None and rules.automatic:
        wish = _wished(rules, active, others, now=now, last=last_promotion_at)
    if not isinstance(wish, Promote):
        return wish or Stay()
    recent = sorted(at for at in automatic_at if at > now - rules.per_s)
    if len(recent) >= rules.max_promotions:
        again = recent[-rules.max_promotions] + rules.per_s
        return Stay(f"{len(recent)} automatic promotions within {rules.per_s:g} s are enough ({wish.reason})", again)
    return wish


def _followed(rules: Rules, active: Standing, others: Sequence[Standing]) -> Promote | None:
    if not rules.follows_role or active.role == "active":
        return None
    said = [each for each in others if each.role == "active" and not each.is_fenced and each.facts.usable]
    # two that say so is a split, and for people
    return Promote(said[0].token_id, f"the role probe of {said[0].name!r} says active") if len(said) == 1 else None


def _wished(
    rules: Rules, active: Standing, others: Sequence[Standing], *, now: float, last: float | None
) -> Promote | Stay:
    if active.gone_since is not None:
        due = active.gone_since + rules.failover_after_s
        if now < due:
            return Stay(look_again_at=due)
        reason = "it has no connections" if not active.facts.connections else "none of its connections answers"
        found = _best(others, must_be_well=False)
        if found is None:
            return Stay(f"{active.name!r} is gone ({reason}), and no standby is fit: {_unfit(others)}")
        return Promote(found.token_id, f"{active.name!r} is gone: {reason}")
    if active.facts.health != "unhealthy":
        return Stay()
    found = _best(others, must_be_well=True)
    if found is None:
        return Stay(
            f"{active.name!r} is ill ({active.facts.why}), and no standby is known to be well: {_unfit(others)}"
        )
    if last is not None and now < last + rules.hold_down_s:
        return Stay(f"{active.name!r} is ill, so soon after a promotion", last + rules.hold_down_s)
    return Promote(found.token_id, f"{active.name!r} is ill: {active.facts.why}")


def _best(others: Sequence[Standing], *, must_be_well: bool) -> Standing | None:
    """Of those that are fit: a well one first, then the one with the most connections, then by name."""
    fit = [each for each in others if not _why_not(each, must_be_well=must_be_well)]
    order = sorted(fit, key=lambda each: (each.facts.health != "healthy", -each.facts.usable, each.name))
    return order[0] if order else None


def _why_not(node: Standing, *, must_be_well: bool) -> str:
    if node.is_fenced:
        return "fenced"
    if not node.facts.usable:
        return "gone"
    if node.role == "standby" or (node.has_role_probe and node.role != "active"):
        return f"its role probe says {node.role}"
    if node.facts.health == "unhealthy":
        return "ill"
    return "not probed" if must_be_well and node.facts.health != "healthy" else ""


def _unfit(others: Sequence[Standing]) -> str:
    told: Mapping[str, str] = {each.name: _why_not(each, must_be_well=True) or "fit" for each in others}
    return ", ".join(f"{name!r} {why}" for name, why in told.items()) or "there is none"
