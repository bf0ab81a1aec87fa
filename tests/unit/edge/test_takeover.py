"""Who is connected, and what is decided, while a process and those before it serve beside one another."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from qanat.edge.engine import Edge, EdgeEvent
from qanat.edge.presence import Held, Presence
from qanat.edge.steering import Both, calls


class Counting:
    """An engine that counts what it is asked."""

    def __init__(self, open_requests: int) -> None:
        self.open = open_requests
        self.held: list[str] = []

    def hold(self, *, name: str, **_given: object) -> None:
        self.held.append(name)

    def release(self, *, name: str) -> int:
        self.held.remove(name)
        return 1

    def open_requests(self, *, tunnel_id: str, token_id: str | None = None) -> int:
        return self.open if (tunnel_id, token_id) == ("t", None) else 0

    open_websockets = open_requests

    def cut(self, *, tunnel_id: str, token_id: str | None, only_websockets: bool) -> int:
        return self.open if not only_websockets else 0


class Others:
    """Calls other processes, in this one."""

    def __init__(self, *engines: Counting) -> None:
        self._calls = [calls(cast("Edge", engine)) for engine in engines]

    def call(self, name: str, **given: Any) -> int:
        return sum(each[name](**given) for each in self._calls)

    def wait(self, limit_s: float) -> None:
        raise NotImplementedError


def test_holds_cuts_and_counts_are_of_every_process_that_still_serves() -> None:
    engines = [Counting(number) for number in (1, 10, 100)]
    steering = Both(cast("Edge", engines[-1]), Others(*engines[:-1]))
    assert steering.open_requests(tunnel_id="t") == steering.open_websockets(tunnel_id="t") == 111
    assert steering.cut(tunnel_id="t", token_id=None, only_websockets=False) == 111
    steering.hold(name="p", hostnames=["a.test"], tunnel_ids=(), timeout_s=1.0, most=10)
    assert [engine.held for engine in engines] == [["p"]] * 3
    assert steering.release(name="p") == 3


class Registered(SimpleNamespace):
    """As the engine tells it."""


class Lost(SimpleNamespace):
    """As well."""


def test_a_node_that_is_connected_to_the_process_before_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qanat.edge.presence.ConnectionRegistered", Registered)
    monkeypatch.setattr("qanat.edge.presence.ConnectionLost", Lost)
    now = 0.0
    presence = Presence(clock=lambda: now)
    told: list[tuple[str, Held | None]] = []
    presence.observe(lambda connection_id, held: told.append((connection_id, held)))
    old = [Held("c1", "t", "n", ("qanat_role",)), Held("c2", "t", "n", ())]
    presence.adopt(old, process=1)
    presence.adopt([Held("c0", "t", "n", ())], process=0)
    presence.drop(None, process=0)
    assert presence.connections("t", "n") == (2, 0)
    assert presence.elsewhere == 2
    assert presence.was_seen("t", "n")
    assert presence.announces("t", "n", "qanat_role")
    here = Registered(tunnel_id="t", token_id="n", connection_id="c3", features=[])
    presence.take(cast("EdgeEvent", here))
    presence.drop(["c1", "c2"], process=0)
    presence.drop(["c1"], process=1)
    assert presence.connections("t", "n") == (2, 0)
    now = 5.0
    presence.take(cast("EdgeEvent", Lost(tunnel_id="t", connection_id="c3")))
    assert presence.gone_since("t", "n") is None
    presence.drop(None, process=1)
    assert presence.gone_since("t", "n") == 5.0
    assert [(name, held is not None) for name, held in told] == [
        ("c3", True),
        ("c3", False),
    ], "each process speaks for itself alone"
    assert [held.connection_id for held in presence.held()] == []
    assert presence.elsewhere == 0


def test_connections_that_wait_before_they_dial_again_are_missing_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qanat.edge.presence.ConnectionRegistered", Registered)
    now = 0.0
    presence = Presence(clock=lambda: now)
    assert presence.missing(60.0) == set()
    presence.adopt([Held("c1", "t", "n", ()), Held("c2", "t", "n", ()), Held("c3", "t", "other", ())], process=1)
    presence.adopt([Held(f"o{number}", "t", "ours", ("qanat_return",)) for number in range(2)], process=1)
    assert presence.missing(60.0) == set(), "the process before has them"
    presence.drop(None, process=1)
    assert presence.missing(60.0) == set(), "nothing is known of who will come back"
    here = Registered(tunnel_id="t", token_id="n", connection_id="c4", features=[])
    presence.take(cast("EdgeEvent", here))
    presence.take(
        cast(
            "EdgeEvent",
            Registered(**{**vars(here), "connection_id": "o3", "token_id": "ours", "features": ["qanat_return"]}),
        )
    )
    assert presence.missing(60.0) == {("t", "n")}, "ours would have come"
    now = 60.0
    assert presence.missing(60.0) == set()
