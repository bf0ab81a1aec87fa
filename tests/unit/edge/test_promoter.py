"""Automatic promotion, driven by events: an engine that only tells, a clock that is moved by hand, and real rows."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from qanat.edge.engine import ConnectionLost, ConnectionRegistered, ConnectionSuspect
from qanat.edge.presence import Presence
from qanat.edge.promoter import Promoter
from qanat.edge.promotions import Promotions
from qanat.nodes import mode
from qanat.nodes.mode import Policy
from qanat.nodes.readiness import Facts, HealthState
from qanat.store import Store
from qanat.store.models import Promotion
from qanat.store.sealing import Sealer
from tests.support.nodes import FakeSteering, Hosts, hosts
from tests.support.waiting import wait_until
from tests.support.writes import written

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Told:
    """An event as the engine makes it: those have no constructor."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class World:
    """Presence, promoter and promotions of two hosts; time stands still unless it is moved."""

    def __init__(self, pair: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
        for kind in (ConnectionRegistered, ConnectionLost, ConnectionSuspect):
            monkeypatch.setattr(f"qanat.edge.presence.{kind.__name__}", type(kind.__name__, (Told,), {}))
        self.pair = pair
        self.now = 1000.0
        self.health: dict[str, HealthState] = {}
        self.links: dict[str, list[str]] = {}
        self.presence = Presence(clock=lambda: self.now)
        steering = FakeSteering()
        self.promotions = Promotions(pair.store, steering, put=steering.put, facts=self.facts)
        self.promotions.start()
        self.promoter = Promoter(pair.store, self.presence, self.facts, clock=lambda: self.now)
        self.promoter.load(pair.tunnel.id)

    def facts(self, tunnel_id: str, token_id: str) -> Facts:
        count, suspect = self.presence.connections(tunnel_id, token_id)
        return Facts(connections=count, suspect=suspect, health=self.health.get(token_id, "unknown"), why="503")

    def _event(self, kind: str, **fields: object) -> None:
        import qanat.edge.presence

        self.presence.take(getattr(qanat.edge.presence, kind)(tunnel_id=self.pair.tunnel.id, **fields))

    def connect(self, name: str, *features: str) -> None:
        connection_id = str(uuid4())
        self.links.setdefault(name, []).append(connection_id)
        self._event(
            "ConnectionRegistered", connection_id=connection_id, token_id=self.pair.ids[name], features=list(features)
        )

    def lose(self, name: str) -> None:
        for connection_id in self.links.pop(name):
            self._event("ConnectionLost", connection_id=connection_id)

    def suspect(self, name: str, suspect: bool) -> None:
        for connection_id in self.links[name]:
            self._event("ConnectionSuspect", connection_id=connection_id, suspect=suspect)

    def look(self, *, after: float = 0.0) -> str:
        """Decides after so many seconds; who is active then."""
        self.now += after
        self.promoter.load(self.pair.tunnel.id)
        self.promoter.look(self.pair.tunnel.id)
        wait_until(lambda: not self._under_way(), "the end of what was promoted", timeout_s=60.0)
        return self.pair.active

    def _under_way(self) -> Promotion | None:
        with self.pair.store.reading() as session:
            return mode.under_way(session, self.pair.tunnel.id)


@pytest.fixture
def world(store: Store, sealer: Sealer, account: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(hosts(store, sealer, account, policy=Policy(automatic=True)), monkeypatch)
    yield made
    made.promotions.stop()


def test_an_active_that_is_gone_is_replaced_after_the_time_that_was_set(world: World) -> None:
    world.connect("web-1")
    world.connect("web-2")
    assert world.look() == "web-1"
    world.lose("web-1")
    assert world.look(after=0.4) == "web-1"
    assert world.look(after=0.2) == "web-2"
    assert world.pair.fenced() == {"web-1"}


def test_one_that_comes_back_in_time_stays(world: World) -> None:
    world.connect("web-1")
    world.connect("web-2")
    world.lose("web-1")
    world.now += 0.4
    world.connect("web-1")
    assert world.look(after=10.0) == "web-1"


def test_suspect_connections_are_none(world: World) -> None:
    world.connect("web-1")
    world.connect("web-2")
    world.suspect("web-1", True)
    world.now += 0.3
    world.suspect("web-1", False)
    assert world.look(after=5.0) == "web-1"
    world.suspect("web-1", True)
    assert world.look(after=0.6) == "web-2"


def test_the_old_active_comes_back_and_stays_out_until_it_is_unfenced(world: World) -> None:
    world.connect("web-1")
    world.connect("web-2")
    world.lose("web-1")
    world.look(after=1.0)
    world.connect("web-1")
    world.lose("web-2")
    assert world.look(after=400.0) == "web-2", "who was replaced may have lost what it didn't tell"


def test_after_a_start_those_who_were_here_before_have_time_to_come_back(world: World) -> None:
    world.connect("web-2")
    assert world.look(after=9.0) == "web-1"
    assert world.look(after=2.0) == "web-2"


@pytest.mark.case(69)
def test_with_all_origins_down_the_role_never_changes(world: World) -> None:
    world.connect("web-1")
    world.connect("web-2")
    world.health = dict.fromkeys(world.pair.ids.values(), "unhealthy")
    for _ in range(60):
        assert world.look(after=5.0) == "web-1"


def test_an_ill_active_is_replaced_by_a_well_standby(world: World) -> None:
    world.connect("web-1")
    world.connect("web-2")
    world.health = {world.pair.ids["web-1"]: "unhealthy", world.pair.ids["web-2"]: "healthy"}
    assert world.look() == "web-2"


def test_a_standby_by_its_role_probe_is_never_promoted(world: World) -> None:
    world.connect("web-1")
    world.connect("web-2", "qanat_role")
    world.lose("web-1")
    assert world.look(after=5.0) == "web-1", "it has a probe that hasn't said anything"
    world.pair.told_role("web-2", "standby")
    assert world.look(after=5.0) == "web-1"
    world.pair.told_role("web-2", "active")
    assert world.look(after=0.0) == "web-2"


def test_without_automatic_nobody_is_watched(world: World) -> None:
    written(
        world.pair.store,
        mode.put,
        world.pair.tunnel,
        mode="active-standby",
        active=None,
        policy=Policy(automatic=False),
    )
    world.connect("web-1")
    world.connect("web-2")
    world.lose("web-1")
    assert world.look(after=100.0) == "web-1"


def test_the_thread_acts_on_events_and_on_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    promoter = Promoter(world.pair.store, world.presence, world.facts)
    monkeypatch.setattr(world.presence, "_clock", time.monotonic)
    world.connect("web-1")
    world.connect("web-2")
    promoter.start()
    wait_until(lambda: world.pair.tunnel.id in promoter._watched, "the tunnel watched")
    world.lose("web-1")
    wait_until(lambda: world.pair.active == "web-2", "the standby promoted", timeout_s=60.0)
    promoter.stop()
