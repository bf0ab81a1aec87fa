from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from qanat.control import connections, tunnel_status, tunnels
from qanat.control.tunnel_status import TunnelState
from qanat.edge.sweeps import trim
from qanat.store import Store
from qanat.store.models import Connection, Tunnel
from qanat.store.sealing import Sealer
from tests.support.writes import written


@pytest.fixture
def tunnel(store: Store, sealer: Sealer, account: str) -> Tunnel:
    return written(
        store, tunnels.create, sealer, account_id=account, name="t", secret=bytes(32), config_src="cloudflare"
    )


def _register(store: Store, tunnel: Tunnel, connector: str, index: int, *, at: datetime | None = None) -> str:
    connection_id = str(uuid4())
    with store.recording() as write:
        connections.registered(
            write,
            connection_id=connection_id,
            tunnel_id=tunnel.id,
            connector_id=connector,
            index=index,
            protocol="quic",
            origin_ip="192.0.2.9",
            location="lab01",
            version="2026.8.0",
            arch="linux_amd64",
            features=["qanat_trailers"],
            at=at or write.at,
        )
    return connection_id


def _lose(store: Store, connection_id: str, reason: str = "timed_out") -> datetime:
    with store.recording() as write:
        connections.lost(write, connection_id=connection_id, reason=reason, at=write.at)
        return write.at


def _state(store: Store, tunnel: Tunnel) -> TunnelState:
    with store.reading() as session:
        found = session.get(Tunnel, tunnel.id)
        assert found is not None
        return tunnel_status.state(session, found)


def test_a_tunnel_that_never_ran_is_inactive_since_it_was_made(store: Store, tunnel: Tunnel) -> None:
    state = _state(store, tunnel)
    assert (state.status, state.since, state.reason) == ("inactive", tunnel.created_at, None)


def test_a_connector_with_all_it_asked_for_is_healthy_whatever_that_number_is(store: Store, tunnel: Tunnel) -> None:
    _register(store, tunnel, "c1", 0)
    state = _state(store, tunnel)
    assert state.status == "healthy"
    assert state.connectors[0][0].version == "2026.8.0"
    assert [each.index for each in state.connectors[0][1]] == [0]


def test_fewer_connections_than_once_is_degraded_and_says_why(store: Store, tunnel: Tunnel) -> None:
    first, *_ = [_register(store, tunnel, "c1", index) for index in range(4)]
    _lose(store, first)
    state = _state(store, tunnel)
    assert state.status == "degraded"
    assert state.reason is not None
    _register(store, tunnel, "c1", 0)
    assert _state(store, tunnel).status == "healthy"


def test_the_last_connection_lost_is_down_since_then_for_that_reason(store: Store, tunnel: Tunnel) -> None:
    first, second = _register(store, tunnel, "c1", 0), _register(store, tunnel, "c1", 1)
    _lose(store, first, "closed")
    at = _lose(store, second, "timed_out")
    state = _state(store, tunnel)
    assert (state.status, state.since, state.reason) == ("down", at, "timed_out")
    assert state.connectors == []


def test_it_recovers(store: Store, tunnel: Tunnel) -> None:
    _lose(store, _register(store, tunnel, "c1", 0))
    _register(store, tunnel, "c2", 0)
    state = _state(store, tunnel)
    assert (state.status, state.reason) == ("healthy", None)
    with store.reading() as session:
        found = session.get(Tunnel, tunnel.id)
    assert found is not None
    assert found.conns_inactive_at is None


def test_a_replica_that_leaves_does_not_degrade_the_other(store: Store, tunnel: Tunnel) -> None:
    leaving = [_register(store, tunnel, "c1", index) for index in range(2)]
    for index in range(2):
        _register(store, tunnel, "c2", index)
    for connection_id in leaving:
        _lose(store, connection_id, "unregistered")
    state = _state(store, tunnel)
    assert state.status == "healthy"
    assert [connector.id for connector, _ in state.connectors] == ["c2"]


def test_a_draining_connection_takes_no_streams_and_does_not_count(store: Store, tunnel: Tunnel) -> None:
    connection_id = _register(store, tunnel, "c1", 0)
    with store.recording() as write:
        connections.draining(write, connection_id=connection_id, at=write.at)
        at = write.at
    state = _state(store, tunnel)
    assert (state.status, state.since, state.reason) == ("down", at, "unregistered")
    _lose(store, connection_id, "closed")
    assert _state(store, tunnel).since == at


def test_a_connection_registered_again_replaces_the_old_one(store: Store, tunnel: Tunnel) -> None:
    first = _register(store, tunnel, "c1", 0)
    second = _register(store, tunnel, "c1", 0)
    state = _state(store, tunnel)
    assert [each.id for each in state.connectors[0][1]] == [second]
    assert state.status == "healthy"
    _lose(store, first, "replaced")
    assert [each.id for each in _state(store, tunnel).connectors[0][1]] == [second]


def test_what_a_connection_answered_to_a_push_is_kept(store: Store, tunnel: Tunnel) -> None:
    connection_id = _register(store, tunnel, "c1", 0)
    with store.recording() as write:
        connections.configuration_applied(write, connection_id=connection_id, pushed=5, applied=4, error="bad rule")
    connector, (connection,) = _state(store, tunnel).connectors[0]
    assert (connection.pushed_version, connection.applied_version, connection.config_error) == (5, 4, "bad rule")
    assert (connector.config_version, connector.config_error) == (4, "bad rule")


def test_at_an_edges_start_nothing_is_connected(store: Store, tunnel: Tunnel) -> None:
    for index in range(3):
        _register(store, tunnel, "c1", index)
    assert written(store, connections.clear_live) == 3
    state = _state(store, tunnel)
    assert (state.status, state.reason) == ("down", "edge_restarted")
    assert written(store, connections.clear_live) == 0


def test_events_of_unknown_connections_do_no_harm(store: Store, tunnel: Tunnel) -> None:
    _lose(store, "no-such-connection")
    with store.recording() as write:
        connections.draining(write, connection_id="none", at=write.at)
        connections.configuration_applied(write, connection_id="none", pushed=1, applied=1, error="")
        connections.local_configuration(write, tunnel_id="none", document="{}", at=write.at)
    assert _state(store, tunnel).status == "inactive"


def test_only_old_losses_are_forgotten(store: Store, tunnel: Tunnel) -> None:
    old = _register(store, tunnel, "c1", 0)
    with store.recording() as write:
        connections.lost(write, connection_id=old, reason="closed", at=write.at - timedelta(hours=2))
    fresh = _register(store, tunnel, "c1", 0)
    _lose(store, fresh)
    trim(store)
    with store.reading() as session:
        assert session.get(Connection, old) is None
        assert session.get(Connection, fresh) is not None


def test_each_status_is_told_with_its_own_since(store: Store, tunnel: Tunnel) -> None:
    """Also degraded, and healthy again after it."""
    first = _register(store, tunnel, "c1", 0)
    healthy = _state(store, tunnel)
    assert healthy.status == "healthy"
    _register(store, tunnel, "c1", 1)
    assert _state(store, tunnel).since == healthy.since
    at = _lose(store, first)
    degraded = _state(store, tunnel)
    assert (degraded.status, degraded.since) == ("degraded", at)
    _register(store, tunnel, "c1", 0)
    again = _state(store, tunnel)
    assert again.status == "healthy"
    assert again.since > at


@pytest.mark.parametrize("end", ["lost", "draining", "dropped", "restarted"])
def test_the_stored_status_follows_however_a_connection_ends(store: Store, tunnel: Tunnel, end: str) -> None:
    connection_id = _register(store, tunnel, "c1", 0)
    if end == "restarted":
        written(store, connections.clear_live)
    else:
        with store.recording() as write:
            if end == "lost":
                connections.lost(write, connection_id=connection_id, reason="reset", at=write.at)
            elif end == "draining":
                connections.draining(write, connection_id=connection_id, at=write.at)
            else:
                connections.drop_live(write, tunnel.id)
    with store.reading() as session:
        found = session.get_one(Tunnel, tunnel.id)
        assert (found.status, tunnel_status.state(session, found).status) == ("down", "down")
        assert found.status_since == found.conns_inactive_at


def test_dropping_by_token_leaves_the_others(store: Store, tunnel: Tunnel) -> None:
    one, two = _register(store, tunnel, "c1", 0), _register(store, tunnel, "c2", 0)
    with store.recording() as write:
        write.session.get_one(Connection, one).token_id = "t1"
        assert connections.drop_live(write, tunnel.id, token_id="t1") == 1
    assert [each.id for each, _ in _state(store, tunnel).connectors] == ["c2"]
    with store.reading() as session:
        later = store.clock() + timedelta(hours=1)
        assert connections.connectors_before(session, tunnel.id, later) == ["c2"]
        assert connections.connectors_before(session, tunnel.id, later, token_id="t1") == []
        assert session.get_one(Connection, two).lost_at is None


def test_lost_connections_are_awaited_only_for_a_while(store: Store, tunnel: Tunnel) -> None:
    at = _lose(store, _register(store, tunnel, "c1", 0))

    def awaited(since: datetime) -> list[str]:
        with store.reading() as session:
            state = tunnel_status.state(session, session.get_one(Tunnel, tunnel.id), lost_since=since)
        return [connector.id for connector, _ in state.all_connectors]

    assert awaited(at - timedelta(seconds=1)) == ["c1"]
    assert awaited(at) == []
