from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from qanat.edge.authority import Authority
from qanat.edge.certificates import Certificates
from qanat.edge.feed import Feed
from qanat.ids import Hostname, TunnelId
from qanat.store import SYSTEM, Store, configurations, connector_tokens, records, tunnels, zones
from qanat.store.reach import EVERYTHING
from qanat.store.record_form import RecordDraft
from qanat.store.sealing import Sealer
from qanat.tables import compile_routes, read_routes
from tests.support.links import register


@dataclass
class RememberingEngine:
    """Takes the tables as the engine does, and keeps what it was told."""

    tunnels: dict[str, Any] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    certificates: list[list[str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fails: bool = False

    def swap_tunnels(self, rows: list[Any]) -> None:
        self.calls.append("swap_tunnels")
        self.tunnels = {row.tunnel_id: row for row in rows}

    def put_tunnel(self, row: Any) -> None:
        if self.fails:
            raise RuntimeError
        self.calls.append("put_tunnel")
        self.tunnels[row.tunnel_id] = row

    def swap_routes(self, rows: list[Any]) -> None:
        self.calls.append("swap_routes")
        self.routes = {row.hostname: row.tunnel_id for row in rows}

    def change_routes(self, *, put: list[Any], remove: list[str]) -> None:
        if self.fails:
            raise RuntimeError
        self.calls.append(f"change_routes +{len(put)} -{len(remove)}")
        for hostname in remove:
            del self.routes[hostname]
        self.routes.update({row.hostname: row.tunnel_id for row in put})

    def swap_certificates(self, rows: list[Any]) -> None:
        self.calls.append("swap_certificates")
        self.certificates = [row.hostnames for row in rows]

    def disconnect(self, *, tunnel_id: str, connector_id: str | None = None, token_id: str | None = None) -> int:
        self.calls.append(f"disconnect {tunnel_id} {connector_id} {token_id}")
        return 0


@dataclass(frozen=True)
class Row:
    """A table's row, as it was given."""

    given: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name == "hostnames":
            return self.given["chain_pem"]
        return self.given[name]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> RememberingEngine:
    for place in ("qanat.edge.routes.Route", "qanat.edge.feed.Tunnel", "qanat.edge.certificates.Certificate"):
        monkeypatch.setattr(place, lambda **given: Row(given))
    return RememberingEngine()


@pytest.fixture
def feed(store: Store, sealer: Sealer, engine: RememberingEngine, tmp_path: Path) -> Feed:
    authority = Authority.open(ca_file=tmp_path / "ca.pem", directory=tmp_path / "certificates")
    made: Any = engine
    feed = Feed(store, sealer, made, Certificates([], authority), rotation_grace_s=0.0)
    feed.start()
    engine.calls.clear()
    return feed


def _tunnel(store: Store, sealer: Sealer, account: str) -> str:
    return tunnels.create_tunnel(
        store, SYSTEM, sealer, account_id=account, name="t", secret=bytes(32), config_src="cloudflare"
    ).id


def test_a_write_is_in_effect_when_it_returns(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    assert engine.tunnels[tunnel_id].configuration is None
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel_id}
    configurations.put_configuration(store, SYSTEM, **scope, document={"ingress": []}, source="cloudflare")
    assert engine.tunnels[tunnel_id].configuration_version == 1
    assert engine.tunnels[tunnel_id].configuration == b'{"ingress":[]}'
    assert engine.calls == ["put_tunnel", "put_tunnel"]


def test_routes_and_certificates_follow_the_records(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    zone = zones.create_zone(store, SYSTEM, account_id=account, name="example.test")
    assert len(engine.certificates) == 1
    draft = RecordDraft(name="app", type="CNAME", content=f"{tunnel_id}.cfargotunnel.com", proxied=True)
    engine.calls.clear()
    record = records.create_record(store, SYSTEM, zone.id, draft, reach=EVERYTHING)
    assert engine.routes == {"app.example.test": tunnel_id}
    assert engine.calls == ["change_routes +1 -0"]
    records.create_record(store, SYSTEM, zone.id, RecordDraft(name="x", type="TXT", content="x"), reach=EVERYTHING)
    assert engine.calls == ["change_routes +1 -0"]
    records.delete_record(store, SYSTEM, zone.id, record.id, reach=EVERYTHING)
    assert engine.routes == {}
    zones.delete_zone(store, SYSTEM, zone.id, reach=EVERYTHING)
    assert engine.certificates == []


def test_a_deleted_tunnel_is_refused_before_its_connections_are_dropped(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    engine.calls.clear()
    tunnels.delete_tunnel(store, SYSTEM, account_id=account, tunnel_id=tunnel_id, cascade=True)
    assert engine.tunnels[tunnel_id].deleted
    assert engine.calls == ["put_tunnel", f"disconnect {tunnel_id} None None"]


def test_only_the_connector_that_was_named_is_dropped(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    tunnels.disconnect_tunnel(store, SYSTEM, account_id=account, tunnel_id=tunnel_id, connector_id="c1")
    assert engine.calls[-1] == f"disconnect {tunnel_id} c1 None"


def test_what_failed_is_caught_up(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    engine.fails = True
    tunnel_id = _tunnel(store, sealer, account)
    assert tunnel_id not in engine.tunnels
    engine.fails = False
    feed.catch_up()
    assert tunnel_id in engine.tunnels
    engine.calls.clear()
    feed.catch_up()
    assert engine.calls == []


def test_connectors_with_an_old_secret_are_dropped_after_the_grace(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel_id}
    register(store, tunnel_id, "old")
    tunnels.change_tunnel(store, SYSTEM, sealer, **scope, secret=b"1" * 32)
    register(store, tunnel_id, "new")
    engine.calls.clear()
    feed.catch_up()
    assert engine.calls == [f"disconnect {tunnel_id} old "]


def test_a_revoked_connector_token_lets_nobody_in_and_ends_what_came_with_it(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel_id}
    token, _ = connector_tokens.create_token(store, SYSTEM, sealer, **scope, name="host", expires_at=None)
    assert [token_id for token_id, _ in engine.tunnels[tunnel_id].secrets] == ["", token.id]
    engine.calls.clear()
    connector_tokens.revoke_token(store, SYSTEM, **scope, token_id=token.id)
    assert [token_id for token_id, _ in engine.tunnels[tunnel_id].secrets] == [""]
    assert engine.calls == ["put_tunnel", f"disconnect {tunnel_id} None {token.id}"]


def test_a_rotated_connector_token_leaves_the_others_alone(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel_id}
    token, _ = connector_tokens.create_token(store, SYSTEM, sealer, **scope, name="host", expires_at=None)
    register(store, tunnel_id, "own")
    register(store, tunnel_id, "named", token_id=token.id)
    before = dict(engine.tunnels[tunnel_id].secrets)
    connector_tokens.rotate_token(store, SYSTEM, sealer, **scope, token_id=token.id)
    after = dict(engine.tunnels[tunnel_id].secrets)
    assert (before[""], before.keys()) == (after[""], after.keys())
    assert before[token.id] != after[token.id]
    engine.calls.clear()
    feed.catch_up()
    assert engine.calls == [f"disconnect {tunnel_id} named {token.id}"]


def _routed(tunnel_id: str, name: str) -> RecordDraft:
    return RecordDraft(name=name, type="CNAME", content=f"{tunnel_id}.cfargotunnel.com", proxied=True)


def test_a_zone_takes_its_hostnames_with_it_and_no_others(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    made = {
        name: zones.create_zone(store, SYSTEM, account_id=account, name=name).id
        for name in ("example.test", "sub.example.test", "anexample.test")
    }
    for zone, name in (
        ("example.test", "example.test"),
        ("example.test", "deep.down.sub.example.test"),
        ("sub.example.test", "a.sub.example.test"),
        ("anexample.test", "b.anexample.test"),
    ):
        records.create_record(store, SYSTEM, made[zone], _routed(tunnel_id, name), reach=EVERYTHING)
    assert len(engine.routes) == 4
    engine.calls.clear()
    zones.change_zone(store, SYSTEM, made["example.test"], reach=EVERYTHING, paused=True)
    assert set(engine.routes) == {"a.sub.example.test", "b.anexample.test"}
    zones.change_zone(store, SYSTEM, made["example.test"], reach=EVERYTHING, paused=False)
    assert len(engine.routes) == 4
    assert engine.calls == ["change_routes +0 -2", "change_routes +2 -0"]
    zones.delete_zone(store, SYSTEM, made["example.test"], reach=EVERYTHING)
    assert set(engine.routes) == {"a.sub.example.test", "b.anexample.test"}
    assert len(engine.certificates) == 2, "what the zone inside it needs has stayed"
    zones.delete_zone(store, SYSTEM, made["sub.example.test"], reach=EVERYTHING)
    assert set(engine.routes) == {"b.anexample.test"}
    assert len(engine.certificates) == 1


def test_a_zone_that_is_deleted_uncovers_the_one_around_it(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    outer_tunnel = _tunnel(store, sealer, account)
    inner_tunnel = tunnels.create_tunnel(
        store, SYSTEM, sealer, account_id=account, name="inner", secret=bytes(32), config_src="cloudflare"
    ).id
    outer = zones.create_zone(store, SYSTEM, account_id=account, name="example.test")
    inner = zones.create_zone(store, SYSTEM, account_id=account, name="sub.example.test")
    for zone, tunnel_id in ((inner, inner_tunnel), (outer, outer_tunnel)):
        records.create_record(store, SYSTEM, zone.id, _routed(tunnel_id, "a.sub.example.test"), reach=EVERYTHING)
        assert engine.routes == {"a.sub.example.test": inner_tunnel}
    zones.delete_zone(store, SYSTEM, inner.id, reach=EVERYTHING)
    assert engine.routes == {"a.sub.example.test": outer_tunnel}
    assert len(engine.certificates) == 2, "of example.test, and of sub.example.test for the hostname"


def test_a_change_that_failed_is_made_good_by_the_next_or_by_catching_up(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    zone = zones.create_zone(store, SYSTEM, account_id=account, name="example.test")
    engine.fails = True
    records.create_record(store, SYSTEM, zone.id, _routed(tunnel_id, "a"), reach=EVERYTHING)
    assert engine.routes == {}
    engine.fails = False
    records.create_record(store, SYSTEM, zone.id, _routed(tunnel_id, "b"), reach=EVERYTHING)
    assert set(engine.routes) == {"a.example.test", "b.example.test"}


def test_concurrent_writers_leave_what_the_store_says(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    zone = zones.create_zone(store, SYSTEM, account_id=account, name="example.test")

    def write(worker: int) -> None:
        for n in range(8):
            name = f"w{worker}.n{n % 3}"
            record = records.create_record(store, SYSTEM, zone.id, _routed(tunnel_id, name), reach=EVERYTHING)
            assert engine.routes[record.name] == tunnel_id
            if n != 7:
                records.delete_record(store, SYSTEM, zone.id, record.id, reach=EVERYTHING)
                assert record.name not in engine.routes

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with store.reading() as session:
        assert engine.routes == compile_routes(read_routes(session))
    assert len(engine.routes) == 4


def test_a_record_write_reads_that_name_alone(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    zone = zones.create_zone(store, SYSTEM, account_id=account, name="example.test")
    asked: list[object] = []

    def remembering(session: Session, hostnames: Collection[str] | None = None) -> list[tuple[Hostname, TunnelId]]:
        asked.append(hostnames)
        return read_routes(session, hostnames)

    monkeypatch.setattr("qanat.edge.routes.read_routes", remembering)
    record = records.create_record(store, SYSTEM, zone.id, _routed(tunnel_id, "a"), reach=EVERYTHING)
    records.replace_record(store, SYSTEM, zone.id, record.id, _routed(tunnel_id, "b"), reach=EVERYTHING)
    assert asked == [{"a.example.test"}, {"a.example.test", "b.example.test"}]
    assert set(engine.routes) == {"b.example.test"}
