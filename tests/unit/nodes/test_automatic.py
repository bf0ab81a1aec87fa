"""When the active node is replaced by itself, and when it is not."""

from dataclasses import replace

import pytest

from qanat.nodes.automatic import Promote, Rules, Standing, Stay, decide
from qanat.nodes.readiness import Facts, HealthState

RULES = Rules(
    failover_after_s=0.5, hold_down_s=300.0, max_promotions=3, per_s=3600.0, automatic=True, follows_role=False
)


def node(name: str, health: HealthState = "unknown", *, gone: float | None = None, connections: int = 4) -> Standing:
    facts = Facts(connections=0 if gone is not None else connections, health=health, why="answered 503")
    return Standing(token_id=name, name=name, facts=facts, gone_since=gone)


def decided(
    active: Standing,
    *others: Standing,
    now: float = 100.0,
    last: float | None = None,
    automatic_at: tuple[float, ...] = (),
    rules: Rules = RULES,
) -> Promote | Stay:
    return decide(rules, active, others, now=now, last_promotion_at=last, automatic_at=automatic_at)


def test_nothing_happens_while_the_active_is_well() -> None:
    for health in ("healthy", "unknown"):
        assert decided(node("a", health), node("b", "healthy")) == Stay()


def test_an_active_that_is_gone_for_long_enough_is_replaced() -> None:
    assert decided(node("a", gone=99.8), node("b")) == Stay(look_again_at=100.3)
    assert decided(node("a", gone=99.5), node("b")) == Promote("b", "'a' is gone: it has no connections")


def test_one_whose_connections_are_all_suspect_is_gone() -> None:
    active = replace(node("a"), facts=Facts(connections=4, suspect=4), gone_since=99.0)
    assert decided(active, node("b")) == Promote("b", "'a' is gone: none of its connections answers")


def test_an_ill_active_is_replaced_by_one_that_is_known_to_be_well() -> None:
    assert isinstance(decided(node("a", "unhealthy"), node("b", "healthy")), Promote)
    assert isinstance(decided(node("a", "unhealthy"), node("b", "unknown")), Stay)


@pytest.mark.case(69)
def test_when_all_are_ill_the_role_stays_where_it_is() -> None:
    for now in range(100, 400):
        decision = decided(node("a", "unhealthy"), node("b", "unhealthy"), node("c", "unhealthy"), now=float(now))
        assert isinstance(decision, Stay)
    assert "no standby is known to be well" in decision.reason


@pytest.mark.case(69)
def test_an_overload_that_follows_the_role_moves_it_once_in_five_minutes() -> None:
    """Whoever is active is overloaded, and the other one recovers at once."""
    changes: list[float] = []
    for now in range(0, 600):
        decision = decided(
            node("a", "unhealthy"),
            node("b", "healthy"),
            now=float(now),
            last=changes[-1] if changes else None,
            automatic_at=tuple(changes),
        )
        if isinstance(decision, Promote):
            changes.append(float(now))
    assert changes == [0.0, 300.0]


def test_flapping_has_a_limit_even_where_the_active_is_gone() -> None:
    changes: list[float] = []
    for now in range(0, 4000):
        decision = decided(
            node("a", gone=float(now) - 1), node("b"), now=float(now), last=None, automatic_at=tuple(changes)
        )
        if isinstance(decision, Promote):
            changes.append(float(now))
        else:
            assert decision.look_again_at == changes[-3] + 3600.0
    assert changes == [0.0, 1.0, 2.0, 3600.0, 3601.0, 3602.0]


@pytest.mark.parametrize(
    ("standby", "why"),
    [
        (replace(node("b"), is_fenced=True), "fenced"),
        (node("b", gone=1.0), "gone"),
        (replace(node("b"), role="standby"), "its role probe says standby"),
        (replace(node("b"), has_role_probe=True), "its role probe says unknown"),
        (node("b", "unhealthy"), "ill"),
    ],
)
def test_an_unfit_standby_is_never_promoted(standby: Standing, why: str) -> None:
    decision = decided(node("a", gone=1.0), standby)
    assert isinstance(decision, Stay)
    assert decision.reason.endswith(f"no standby is fit: 'b' {why}")


def test_the_best_of_the_standbys_is_taken() -> None:
    assert decided(node("a", gone=1.0), node("c"), node("b"), node("d", "healthy", connections=1)) == Promote(
        "d", "'a' is gone: it has no connections"
    )


def test_without_automatic_nothing_is_done() -> None:
    rules = replace(RULES, automatic=False)
    assert decided(node("a", gone=1.0), node("b"), rules=rules) == Stay()


def test_a_promotion_follows_the_role_probe() -> None:
    rules = replace(RULES, automatic=False, follows_role=True)
    said = replace(node("b"), role="active", has_role_probe=True)
    assert decided(replace(node("a"), role="standby"), said, rules=rules) == Promote(
        "b", "the role probe of 'b' says active"
    )
    assert decided(replace(node("a"), role="active"), said, rules=rules) == Stay(), "both say so: for people"
    assert decided(replace(node("a"), role="standby"), said, replace(said, token_id="c"), rules=rules) == Stay()
    assert decided(replace(node("a"), role="standby"), replace(said, is_fenced=True), rules=rules) == Stay()
