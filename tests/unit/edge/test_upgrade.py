"""What the running process does when the one that it started for an upgrade has failed."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from qanat.edge import upgrade
from qanat.edge.engine import EdgeEvent
from qanat.edge.presence import Held, Presence
from qanat.edge.signals import Signals
from qanat.edge.upgrade import Upgrades, _LetGo
from qanat.errors import QanatError


class Told:
    """Stands for store, lease, feed and duties alike, and keeps what it was told. `refusals`: what some of it raises."""

    file = None

    def __init__(self, **refusals: QanatError) -> None:
        self.calls: list[str] = []
        self._refusals = refusals

    def __getattr__(self, name: str) -> Any:
        def call(**_given: object) -> None:
            self.calls.append(name)
            if name in self._refusals:
                raise self._refusals[name]

        return call


@pytest.mark.parametrize(
    ("refused", "has_duties"),
    [
        ({}, True),
        ({"is_current": QanatError("store_newer", "the database's schema 9999 is newer")}, False),
        ({"acquire": QanatError("store_in_use", "another edge runs on this PostgreSQL database")}, False),
        ({"acquire": QanatError("store_unavailable", "the database is not available")}, True),
    ],
    ids=["failed before", "migrated", "taken by another", "away"],
)
def test_duties_are_taken_back_unless_the_database_is_anothers_by_now(
    refused: dict[str, QanatError], has_duties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(**refused)
    told_by_directory = SimpleNamespace(database=None, is_current=lambda _settings: told.is_current())
    state = SimpleNamespace(store=told, lease=told)
    parts = SimpleNamespace(state=state, feed=told, settings=SimpleNamespace(store=None))
    monkeypatch.setattr(upgrade, "Duties", lambda _parts: told)
    let_go = _LetGo(cast("Any", parts), cast("Any", told_by_directory), migrates=True)
    let_go.begin(cast("Any", told))
    assert cast("Any", let_go.take_back()) is told
    assert told.calls[0] == "leave"
    assert (told.calls[-4:] == ["take_back", "steer", "begin", "load"]) is has_duties
    assert ("take_back" in told.calls) is has_duties


class Registered(SimpleNamespace):
    """As the engine tells it."""


@pytest.mark.parametrize("busy", [True, False])
def test_an_upgrade_waits_for_a_stock_connectors_others_while_something_is_open_on_its_first(
    busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qanat.edge.presence.ConnectionRegistered", Registered)
    monkeypatch.setattr(upgrade, "LOOK_S", 0.0)
    now = 0.0
    presence = Presence(clock=lambda: now)
    presence.adopt([Held(name, "t", "n", ()) for name in ("c1", "c2")], process=1)
    presence.drop(None, process=1)
    here = {"tunnel_id": "t", "token_id": "n", "connection_id": "c3", "features": []}
    presence.take(cast("EdgeEvent", Registered(**here)))
    looks = 0

    def open_requests(*, tunnel_id: str, token_id: str) -> int:
        nonlocal now, looks
        assert (tunnel_id, token_id) == ("t", "n")
        looks += 1
        now += 25.0
        return 1 if busy or looks < 2 else 0

    parts = SimpleNamespace(presence=presence, engine=SimpleNamespace(open_requests=open_requests))
    manager = SimpleNamespace(listens=False)
    upgrades = Upgrades(*map(cast, ["Any"] * 5, [parts, None, manager, Signals(), None]), predecessor=None)
    try:
        upgrades._wait_for_connectors()
    finally:
        upgrades.close()
    assert looks == (3 if busy else 2), "until the minute was over, or nothing was open"
