"""What role probes say comes from connectors to the nodes' rows."""

import json
from collections.abc import Callable

import pytest

from qanat.auth.management import ManagementKey
from qanat.edge.presence import Presence
from qanat.edge.roles import Roles
from qanat.store import NoticeKind, Store
from qanat.store.sealing import Sealer
from tests.support.nodes import Hosts, hosts

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class World:
    """Two hosts, the second of which has a role probe that says `role` (None: nothing)."""

    def __init__(self, pair: Hosts) -> None:
        self.pair = pair
        self.now = 0.0
        self.role: str | None = "standby"
        self.asked: list[str] = []
        self.heard: list[NoticeKind] = []
        self.node = (pair.tunnel.id, pair.ids["web-2"])
        presence = Presence()
        presence._features[self.node] = frozenset({"qanat_role"})
        presence._held[self.node] = 1
        presence._features[pair.tunnel.id, pair.ids["web-1"]] = frozenset()
        self.presence = presence
        self.roles = Roles(pair.store, presence, ManagementKey.make(), self.ask, clock=lambda: self.now)
        pair.store.notices.subscribe(lambda notice: self.heard.append(notice.kind))

    def ask(self, tunnel_id: str, token_id: str, path: str, then: Callable[[int, bytes], None]) -> None:
        self.asked.append(token_id)
        if self.role is not None:
            then(200, json.dumps({"role": self.role, "detail": "because", "at": 1.0}).encode())

    def look(self, *, after: float = 1.0) -> str:
        self.now += after
        self.roles.look()
        return self.pair.node("web-2").role


@pytest.fixture
def world(store: Store, sealer: Sealer, account: str) -> World:
    return World(hosts(store, sealer, account))


def test_who_announces_a_probe_is_asked_and_what_changes_is_written(world: World) -> None:
    world.look()
    assert world.look() == "standby"
    assert set(world.asked) == {world.pair.ids["web-2"]}
    assert world.heard == [NoticeKind.PROMOTION]
    world.look()
    assert world.heard == [NoticeKind.PROMOTION], "nothing has changed"
    world.role = "active"
    world.look()
    assert world.look() == "active"
    assert world.pair.node("web-1").role == "unknown"


def test_one_that_does_not_answer_has_no_known_role_after_a_while(world: World) -> None:
    world.role = "active"
    world.look()
    assert world.look() == "active"
    world.role = None
    assert world.look(after=3.0) == "active"
    assert world.look(after=3.0) == "unknown"
    assert len(world.asked) == 3, "one question at a time"


@pytest.mark.parametrize("body", [b"", b"{", b'{"role": "boss", "detail": ""}', b"[]"])
def test_nonsense_is_no_answer(world: World, body: bytes) -> None:
    world.roles._ask = lambda *given: given[-1](200, body)
    for _ in range(3):
        assert world.look() == "unknown"
    assert world.heard == []
