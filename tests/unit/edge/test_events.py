from collections.abc import Iterator
from dataclasses import make_dataclass
from inspect import isdatadescriptor
from time import time
from typing import Any, get_args
from uuid import uuid4

import pytest
import structlog
from sqlalchemy import func, select

from qanat.control import connections, tunnel_status, tunnels
from qanat.edge import by_tunnel, events
from qanat.edge.engine import EdgeEvent
from qanat.edge.events import EventPump
from qanat.edge.failures import Failures
from qanat.edge.sweeps import trim
from qanat.errors import QanatError
from qanat.health.health import Health
from qanat.health.probing import Probes
from qanat.health.rates import Meter
from qanat.store import Store
from qanat.store.models import Connection, Connector, Event, Tunnel
from qanat.store.sealing import Sealer
from tests.support.writes import written

KINDS: dict[str, list[str]] = {
    kind.__name__: [name for name, member in vars(kind).items() if isdatadescriptor(member) and name[0] != "_"]
    for kind in get_args(EdgeEvent)
}
"""The engine's events and their fields."""


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes events; the engine's own can't be made from here."""
    kinds = {name: make_dataclass(name, fields, kw_only=True) for name, fields in KINDS.items()}
    for name, kind in kinds.items():
        monkeypatch.setattr(events, name, kind)
    monkeypatch.setattr(by_tunnel, "LocalConfiguration", kinds["LocalConfiguration"])

    def make(name: str, **given: object) -> Any:
        values: dict[str, object] = dict.fromkeys(KINDS[name], "x")
        values.update(dict.fromkeys(values.keys() & {"count"}, 1))
        values.update(dict.fromkeys(values.keys() & {"at", "registered_at", "lost_at", "started_at"}, time()))
        return kinds[name](**values | given)

    return make


@pytest.fixture
def tunnel(store: Store, sealer: Sealer, account: str) -> Tunnel:
    return written(
        store, tunnels.create, sealer, account_id=account, name="t", secret=bytes(32), config_src="cloudflare"
    )


@pytest.fixture
def failures() -> Failures:
    return Failures()


class Engine:
    """Has what is put into its queue."""

    def __init__(self) -> None:
        self.queue: list[Any] = []

    def next_events(self, *, limit: int, timeout_s: float) -> list[Any]:
        taken, self.queue = self.queue[:limit], self.queue[limit:]
        return taken


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def pump(store: Store, failures: Failures, engine: Engine) -> EventPump:
    made: Any = engine
    return EventPump(made, store, failures, probes=Probes(made), health=Health(Meter(made)), location="lab01")


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def _state(store: Store, tunnel: Tunnel) -> tunnel_status.TunnelState:
    with store.reading() as session:
        found = session.get(Tunnel, tunnel.id)
        assert found is not None
        return tunnel_status.state(session, found)


def test_a_connections_life(store: Store, tunnel: Tunnel, pump: EventPump, make: Any, log: list[Any]) -> None:
    ids: dict[str, Any] = {"connection_id": str(uuid4()), "tunnel_id": tunnel.id}
    of_connector = {**ids, "connector_id": str(uuid4())}
    registered = make(
        "ConnectionRegistered", **of_connector, connection_index=2, features=["f"], protocol="quic", token_id="host"
    )
    applied = make("ConfigurationApplied", **of_connector, pushed_version=3, version=3, error="")
    pump.take([registered, applied])
    connector, (connection,) = _state(store, tunnel).connectors[0]
    assert (connection.index, connection.protocol, connection.location) == (2, "quic", "lab01")
    assert connection.token_id == "host"
    assert (connection.applied_version, connector.config_version) == (3, 3)
    pump.take([make("ConnectionDraining", **ids), make("ConnectionLost", **of_connector, reason="unregistered")])
    assert _state(store, tunnel).status == "down"
    assert [entry["event"] for entry in log] == [
        "connection registered",
        "configuration applied",
        "connection draining",
        "connection lost",
    ]
    with store.reading() as session:
        kinds = [event.kind for event in connections.events(session, tunnel.id, offset=0, limit=10)[0]]
    assert kinds == ["lost", "registered"]


def test_a_suspect_connection_has_lines_and_rows_and_not_without_end(
    store: Store, tunnel: Tunnel, pump: EventPump, make: Any, log: list[Any]
) -> None:
    ids: dict[str, Any] = {"connection_id": str(uuid4()), "tunnel_id": tunnel.id, "connector_id": str(uuid4())}
    pump.take([make("ConnectionSuspect", **ids, token_id="host", suspect=suspect) for suspect in (True, False)])
    assert [(entry["event"], entry["log_level"], entry["token_id"]) for entry in log] == [
        ("connection suspect", "warning", "host"),
        ("connection answers again", "info", "host"),
    ]
    with store.reading() as session:
        rows = connections.events(session, tunnel.id, offset=0, limit=10)[0]
    assert [row.kind for row in rows] == ["recovered", "suspect"]
    assert rows[0].detail == {
        "connection_id": ids["connection_id"],
        "connector_id": ids["connector_id"],
        "token_id": "host",
    }
    pump.take([make("ConnectionSuspect", **ids, suspect=suspect) for _ in range(100) for suspect in (True, False)])
    assert len(log) == 2 * events.DOUBT_LINES, "each with its end"


def test_what_a_connector_says_is_stored_on_every_database(
    store: Store, tunnel: Tunnel, pump: EventPump, make: Any, log: list[Any]
) -> None:
    ids: dict[str, Any] = {"connection_id": str(uuid4()), "tunnel_id": tunnel.id, "connector_id": str(uuid4())}
    said = {"version": "1\x00", "arch": "a\x00", "features": ["f\x00"]}
    pump.take(
        [
            make("ConnectionRegistered", **ids, **said, connection_index=0, protocol="quic", token_id=""),
            make("ConfigurationApplied", **ids, pushed_version=2, version=1, error="no\x00t"),
        ]
    )
    connector, (connection,) = _state(store, tunnel).connectors[0]
    assert (connector.version, connector.arch, connector.features) == ("1", "a", ["f"])
    assert (connector.config_error, connection.config_error) == ("not", "not")
    assert not [entry for entry in log if entry["log_level"] == "error"]


@pytest.mark.parametrize("unstorable", [{"lost_at": 1e300}, {"lost_at": "x"}])
def test_an_event_that_cannot_be_written_takes_no_other_along(
    store: Store, tunnel: Tunnel, pump: EventPump, make: Any, log: list[Any], unstorable: dict[str, Any]
) -> None:
    good = [
        make(
            "ConnectionRegistered",
            connection_id=str(uuid4()),
            tunnel_id=tunnel.id,
            connector_id=str(uuid4()),
            connection_index=0,
            features=[],
            protocol="quic",
            token_id="",
        )
        for _ in range(3)
    ]
    pump.take([good[0], make("ConnectionLost", tunnel_id=tunnel.id, **unstorable), *good[1:]])
    assert len(_state(store, tunnel).connectors) == 3
    (told,) = [entry for entry in log if entry["log_level"] == "error"]
    assert (told["event"], told["kind"]) == ("an event can't be written and is left out", "ConnectionLost")


def test_a_refused_registration_is_told_with_the_reason_once_in_a_while(
    store: Store, tunnel: Tunnel, pump: EventPump, make: Any, log: list[Any]
) -> None:
    refused = make("RegistrationRefused", code="wrong_secret", message="the secret is wrong", tunnel_id=tunnel.id)
    pump.take([refused] * 50)
    (entry,) = log
    assert (entry["event"], entry["code"], entry["reason"]) == (
        "registration refused",
        "wrong_secret",
        "the secret is wrong",
    )
    assert entry["log_level"] == "warning"
    with store.reading() as session:
        assert len(connections.events(session, tunnel.id, offset=0, limit=10)[0]) == 1


def test_registrations_for_unknown_tunnels_leave_no_row_and_few_lines(
    store: Store, tunnel: Tunnel, pump: EventPump, make: Any, log: list[Any]
) -> None:
    unknown = [make("RegistrationRefused", code="unknown_tunnel", tunnel_id=str(uuid4())) for _ in range(3000)]
    pump.take(unknown)
    assert len(log) == events.UNKNOWN_LINES
    pump.take([make("RegistrationRefused", code="wrong_secret", tunnel_id=tunnel.id, origin_ip="192.0.2.9", count=7)])
    assert (log[-1]["code"], log[-1]["more_like_it"]) == ("wrong_secret", 6), "a known tunnel's has a line of its own"
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 1


def test_refusals_from_many_addresses_leave_few_rows(
    store: Store, tunnel: Tunnel, pump: EventPump, make: Any, log: list[Any]
) -> None:
    pump.take(
        [make("RegistrationRefused", code="wrong_secret", tunnel_id=tunnel.id, origin_ip=f"a{n}") for n in range(500)]
    )
    assert len(log) == events.TUNNEL_LINES
    with store.reading() as session:
        assert connections.events(session, tunnel.id, offset=0, limit=1)[1] == events.TUNNEL_LINES


def test_a_tunnels_churn_pushes_out_its_own_history_and_no_other(
    store: Store,
    sealer: Sealer,
    account: str,
    tunnel: Tunnel,
    pump: EventPump,
    make: Any,
    log: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "HISTORY_KEPT", 30)
    monkeypatch.setattr(events, "HISTORY_EVERY", 10)
    monkeypatch.setattr(events, "BETWEEN_WRITES_S", 0.0)
    quiet = written(
        store, tunnels.create, sealer, account_id=account, name="quiet", secret=bytes(32), config_src="cloudflare"
    )
    story: dict[str, Any] = {"tunnel_id": quiet.id, "connection_id": str(uuid4()), "connector_id": str(uuid4())}
    pump.take([make("ConnectionRegistered", **story, connection_index=0, features=[]), make("ConnectionLost", **story)])
    churn: list[Any] = []
    for _ in range(150):
        ids: dict[str, Any] = {
            "tunnel_id": tunnel.id,
            "connection_id": str(uuid4()),
            "connector_id": str(uuid4()),
            "connection_index": 0,
        }
        churn += [make("ConnectionRegistered", **ids, features=[]), make("ConnectionLost", **ids)]
    pump.take(churn)
    trim(store)
    with store.reading() as session:
        assert connections.events(session, quiet.id, offset=0, limit=10)[1] == 2
        assert connections.events(session, tunnel.id, offset=0, limit=1)[1] <= 30 + 10 + 2 * events.WRITTEN_AT_ONCE
        for row in (Connection, Connector):
            mine = select(func.count()).select_from(row).where(row.tunnel_id == tunnel.id)
            assert (session.scalar(mine) or 0) <= 30 + 10 + events.WRITTEN_AT_ONCE
        last = connections.events(session, tunnel.id, offset=0, limit=1)[0][0]
    assert last.detail["connection_id"] == churn[-1].connection_id, "the newest stays"


def test_who_has_no_secret_pushes_out_nothing_of_a_tunnels_own_story(
    store: Store, tunnel: Tunnel, pump: EventPump, make: Any, log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REFUSALS_KEPT", 10)
    ids: dict[str, Any] = {"tunnel_id": tunnel.id, "connection_id": str(uuid4()), "connector_id": str(uuid4())}
    pump.take([make("ConnectionRegistered", **ids, connection_index=0, features=[])])
    with store.recording() as write:
        for _ in range(50):
            connections.note_event(write, "refused", tunnel_id=tunnel.id, at=write.at, detail={})
        connections.note_event(write, "refused", tunnel_id=str(uuid4()), at=write.at, detail={})
        connections.bound_history(write.session, tunnel.id)
    with store.reading() as session:
        story, total = connections.events(session, tunnel.id, offset=0, limit=100)
    assert total == 11
    assert story[-1].kind == "registered"
    trim(store)
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 11, (
            "what an older version wrote for unknown ids goes"
        )


def test_a_configuration_that_a_connector_refused_is_a_warning_and_in_the_state(
    store: Store, tunnel: Tunnel, pump: EventPump, make: Any, log: list[Any]
) -> None:
    ids: dict[str, Any] = {"connection_id": str(uuid4()), "tunnel_id": tunnel.id, "connector_id": str(uuid4())}
    pump.take(
        [
            make("ConnectionRegistered", **ids, connection_index=0, features=[]),
            make("ConfigurationApplied", **ids, pushed_version=4, version=3, error="bad rule"),
        ]
    )
    connector, _ = _state(store, tunnel).connectors[0]
    assert (connector.config_version, connector.config_error) == (3, "bad rule")
    assert log[-1]["log_level"] == "warning"


def test_a_failed_request_can_be_asked_for(pump: EventPump, failures: Failures, make: Any) -> None:
    pump.take([make("RequestFailed", request_id="r1", cause="origin_refused")])
    found = failures.get("r1")
    assert found is not None
    assert found.cause == "origin_refused"


def test_a_local_configuration_is_kept(store: Store, tunnel: Tunnel, pump: EventPump, make: Any) -> None:
    pump.take([make("LocalConfiguration", tunnel_id=tunnel.id, configuration=b'{"ingress":\xff\x00[]}')])
    with store.reading() as session:
        found = session.get(Tunnel, tunnel.id)
    assert found is not None
    assert found.local_configuration == '{"ingress":\ufffd[]}'


def test_events_wait_while_the_store_is_away(
    store: Store, tunnel: Tunnel, pump: EventPump, make: Any, log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, left = store.recording, [QanatError("store_unavailable", "locked")]

    def sometimes() -> Any:
        if left:
            raise left.pop()
        return recording()

    monkeypatch.setattr(store, "recording", sometimes)
    monkeypatch.setattr(events, "RETRY_S", 0.001)
    ids: dict[str, Any] = {"connection_id": str(uuid4()), "tunnel_id": tunnel.id, "connector_id": str(uuid4())}
    pump.take([make("ConnectionRegistered", **ids, connection_index=0, features=[])])
    assert _state(store, tunnel).status == "healthy"
    assert "connection events wait for the store" in [entry["event"] for entry in log]


def test_one_tunnels_flood_does_not_stand_before_anothers_event(
    store: Store,
    sealer: Sealer,
    account: str,
    tunnel: Tunnel,
    pump: EventPump,
    engine: Engine,
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    victim = written(
        store, tunnels.create, sealer, account_id=account, name="v", secret=bytes(32), config_src="cloudflare"
    )
    order: list[str] = []
    monkeypatch.setattr(pump, "_told", lambda event: True)

    def write(lot: Any) -> None:
        order.extend(event.tunnel_id for event in lot)

    monkeypatch.setattr(pump, "_write", write)

    def registered(tunnel_id: str) -> Any:
        return make("ConnectionRegistered", connection_id=str(uuid4()), tunnel_id=tunnel_id)

    engine.queue = [*(registered(tunnel.id) for _ in range(5000)), registered(victim.id), registered(victim.id)]
    pump.take([registered(tunnel.id) for _ in range(512)])
    assert len(order) == 5514
    assert order.index(victim.id) <= events.WRITTEN_AT_ONCE + 1
    assert [at for at, each in enumerate(order) if each == victim.id][1] <= events.WRITTEN_AT_ONCE + 3


def test_of_a_tunnels_local_configurations_the_newest_waits_and_the_rest_keeps_its_order(make: Any) -> None:
    waiting = by_tunnel.ByTunnel()
    for number in range(1000):
        waiting.add(make("LocalConfiguration", tunnel_id="a", configuration=b"%d" % number))
    waiting.add(make("ConnectionLost", tunnel_id="a", connection_id="1"))
    waiting.add(make("LocalConfiguration", tunnel_id="b", configuration=b"b"))
    waiting.add(make("ConnectionLost", tunnel_id="a", connection_id="2"))
    assert len(waiting) == 4
    lot = waiting.lot(3) + waiting.lot(3)
    assert [each.configuration for each in lot if hasattr(each, "configuration")] == [b"999", b"b"]
    assert [getattr(each, "connection_id", "") for each in lot if hasattr(each, "reason")] == ["1", "2"]
    assert len(waiting) == 0
    assert not waiting.lot(1)


def test_the_engines_warnings_are_lines_of_the_log(pump: EventPump, log: list[Any], make: Any) -> None:
    fields = [("peer", "192.0.2.1"), ("event", "forged"), ("level", "forged")]
    warning = make("EngineWarning", level="warning", target="qanat_edge::h2", message="too many resets", fields=fields)
    pump.take([warning, make("EngineWarning", level="error", message="worse", fields=[], held_back=7)])
    assert [(line["event"], line["log_level"]) for line in log] == [("too many resets", "warning"), ("worse", "error")]
    assert (log[0]["peer"], log[0]["engine"], log[1]["more_like_it"]) == ("192.0.2.1", "qanat_edge::h2", 7)
