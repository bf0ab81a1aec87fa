"""The state machine of a promotion, as rows."""

from collections.abc import Callable
from typing import Any

import pytest

from qanat.control import connector_tokens
from qanat.errors import QanatError
from qanat.nodes import nodes, promotion
from qanat.nodes.mode import Policy
from qanat.nodes.readiness import Facts
from qanat.store import SYSTEM, Store, Write
from qanat.store.models import Promotion
from qanat.store.sealing import Sealer
from tests.support.nodes import Hosts, hosts
from tests.support.writes import written

BEFORE: tuple[promotion.State, ...] = ("held", "draining", "before")


@pytest.fixture
def pair(store: Store, sealer: Sealer, account: str) -> Hosts:
    return hosts(store, sealer, account)


def refusal(pair: Hosts, name: str = "web-2", facts: Facts | None = None, **more: object) -> QanatError:
    with pytest.raises(QanatError) as caught:
        pair.want(name, facts or Facts(connections=1), **more)  # type: ignore[arg-type]
    return caught.value


def again(write: Write, row: Promotion) -> Promotion:
    """In this write."""
    return write.session.get_one(Promotion, row.id)


def with_row(pair: Hosts, row: Promotion, act: Callable[..., None], *args: str, **more: str) -> None:
    with pair.store.writing(SYSTEM) as write:
        act(write, again(write, row), *args, **more)


def test_a_planned_one_goes_through_every_state(pair: Hosts) -> None:
    row = pair.want(has_before=True, has_after=True)
    pair.step(row, *BEFORE)
    written(pair.store, lambda write: promotion.advance(write, again(write, row), state="before"))
    assert pair.active == "web-1"
    written(pair.store, lambda write: promotion.flip(write, again(write, row)))
    assert (pair.active, pair.role().epoch, pair.fenced()) == ("web-2", 2, set())
    pair.step(row, "after")
    written(pair.store, lambda write: promotion.finish(write, again(write, row), held=3, cut=1))
    done = pair.row(row.id)
    assert (done.state, done.epoch, done.held, done.cut) == ("released", 2, 3, 1)
    assert [line["state"] for line in done.timeline] == ["wanted", *BEFORE, "flipped", "after", "released"]
    assert done.finished_at is not None


@pytest.mark.parametrize("kind", ["forced", "automatic"])
def test_who_is_replaced_at_once_is_fenced(pair: Hosts, kind: promotion.Kind) -> None:
    row = pair.want(kind=kind)
    written(pair.store, lambda write: promotion.flip(write, again(write, row)))
    assert (pair.active, pair.fenced()) == ("web-2", {"web-1"})
    written(pair.store, lambda write: promotion.finish(write, again(write, row)))
    assert refusal(pair, "web-1").code == "node_fenced"


def test_unless_the_tunnel_says_that_it_may_come_back(store: Store, sealer: Sealer, account: str) -> None:
    pair = hosts(store, sealer, account, policy=Policy(keeps_standby=True))
    row = pair.want(kind="forced")
    written(store, lambda write: promotion.flip(write, again(write, row)))
    assert pair.fenced() == set()


def test_two_at_once_one_wins_and_the_other_hears_the_epoch(pair: Hosts) -> None:
    pair.want()
    error = refusal(pair)
    assert error.code == "promotion_under_way"
    assert "the epoch is 1" in error.message
    assert refusal(pair, kind="automatic").code == "promotion_under_way"


def test_a_stale_view_of_the_epoch_is_refused(pair: Hosts) -> None:
    error = refusal(pair, expected_epoch=7)
    assert (error.code, "the epoch is 1" in error.message) == ("promotion_stale", True)
    pair.want(expected_epoch=1)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (Facts(connections=0), "it has no connections"),
        (Facts(connections=2, suspect=2), "none of its connections answers"),
        (Facts(connections=2, health="unhealthy", why="GET /up answered 503"), "GET /up answered 503"),
    ],
)
def test_an_unready_node_is_refused_with_the_reason(pair: Hosts, facts: Facts, text: str) -> None:
    error = refusal(pair, "web-2", facts)
    assert error.code == "node_unready"
    assert text in error.message


def test_force_passes_over_an_ill_origin_and_over_nothing_else(pair: Hosts) -> None:
    assert refusal(pair, "web-2", Facts(connections=0), kind="forced").code == "node_unready"
    pair.told_role("web-2", "standby")
    assert "role probe says standby" in refusal(pair, kind="forced").message
    pair.told_role("web-2", "unknown")
    written(pair.store, nodes.fence, pair.tunnel, pair.node("web-2"), by="operator", reason="broken")
    assert refusal(pair, kind="forced").code == "node_fenced"
    written(pair.store, nodes.unfence, pair.tunnel, pair.node("web-2"), by="operator")
    pair.want("web-2", Facts(connections=1, health="unhealthy"), kind="forced")


def test_unknown_stale_and_active_nodes_are_refused(pair: Hosts, account: str) -> None:
    assert refusal(pair, "web-1").code == "node_active"
    assert refusal(pair, "web-3").code == "node_unknown"
    stale = pair.node("web-2")
    written(pair.store, connector_tokens.revoke, account_id=account, tunnel_id=pair.tunnel.id, token_id=stale.token_id)
    assert refusal(pair, stale.token_id).code == "node_stale"


@pytest.mark.parametrize(
    "more", [{"hold_s": 31.0}, {"hold_s": 0.0}, {"hold_s": 5.0, "drain_s": 6.0}, {"most_held": -1}]
)
def test_times_have_bounds(pair: Hosts, more: dict[str, Any]) -> None:
    assert refusal(pair, **more).code == "promotion_bad_value"


def test_in_mode_replicas_nobody_is_promoted(store: Store, sealer: Sealer, account: str) -> None:
    assert refusal(hosts(store, sealer, account, standby=False)).code == "tunnel_not_standby"


def test_a_node_that_turned_unfit_is_not_flipped_to(pair: Hosts) -> None:
    row = pair.want()
    pair.step(row, "held", "draining")
    pair.told_role("web-2", "standby")
    with pytest.raises(QanatError, match="standby"):
        written(pair.store, lambda write: promotion.flip(write, again(write, row)))
    assert (pair.active, pair.role().epoch, pair.row(row.id).state) == ("web-1", 1, "draining")


def test_undone_at_will_before_the_flip_and_never_after_it(pair: Hosts) -> None:
    row = pair.want()
    pair.step(row, "held")
    written(pair.store, lambda write: promotion.ask_undo(write, again(write, row), "changed my mind"))
    with pytest.raises(QanatError, match="changed my mind"):
        written(pair.store, lambda write: promotion.flip(write, again(write, row)))
    written(pair.store, lambda write: promotion.undo(write, again(write, row), "changed my mind"))
    assert pair.row(row.id).state == "undone"
    other = pair.want(kind="forced")
    written(pair.store, lambda write: promotion.flip(write, again(write, other)))
    for act in (promotion.undo, promotion.ask_undo):
        with pytest.raises(QanatError) as caught:
            with_row(pair, other, act, "no")
        assert caught.value.code == "promotion_over"


def test_a_step_is_advanced_only_while_it_is_paused(pair: Hosts) -> None:
    row = pair.want(has_before=True)
    for state in ("before", "after", "held"):
        with pytest.raises(QanatError) as caught:
            with_row(pair, row, promotion.advance, state=state)
        assert caught.value.code == "promotion_over"


@pytest.mark.parametrize("states", [(), ("held",), ("held", "draining"), BEFORE])
def test_what_did_not_flip_is_undone_after_a_restart(pair: Hosts, states: tuple[promotion.State, ...]) -> None:
    row = pair.want(has_before=True)
    pair.step(row, *states)
    written(pair.store, lambda write: promotion.recover(write, again(write, row), "restarted"))
    assert (pair.row(row.id).state, pair.active, pair.role().epoch) == ("undone", "web-1", 1)
    pair.want()


@pytest.mark.parametrize("states", [(), ("after",)])
def test_what_flipped_is_finished_after_a_restart(pair: Hosts, states: tuple[promotion.State, ...]) -> None:
    row = pair.want(has_after=True)
    pair.step(row, "held", "draining")
    written(pair.store, lambda write: promotion.flip(write, again(write, row)))
    pair.step(row, *states)
    written(pair.store, lambda write: promotion.recover(write, again(write, row), "restarted"))
    assert (pair.row(row.id).state, pair.active, pair.role().epoch) == ("released", "web-2", 2)


def test_only_the_newest_are_kept(pair: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "KEPT", 3)
    for _ in range(5):
        row = pair.want()
        with_row(pair, row, promotion.undo, "again")
    with pair.store.reading() as session:
        rows, total = promotion.page(session, pair.tunnel.id, offset=0, limit=10)
    assert (total, rows[0].id) == (3, row.id)
