from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from qanat.edge.authority import Authority
from qanat.edge.certificates import Certificates
from qanat.edge.feed import Feed
from qanat.store import SYSTEM, Store, configurations, connections, records, tunnels, zones
from qanat.store.record_form import RecordDraft
from qanat.store.sealing import Sealer


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

    def swap_certificates(self, rows: list[Any]) -> None:
        self.calls.append("swap_certificates")
        self.certificates = [row.hostnames for row in rows]

    def disconnect(self, *, tunnel_id: str, connector_id: str | None = None) -> int:
        self.calls.append(f"disconnect {tunnel_id} {connector_id}")
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
    for place in ("qanat.edge.feed.Route", "qanat.edge.feed.Tunnel", "qanat.edge.certificates.Certificate"):
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
    record = records.create_record(store, SYSTEM, zone.id, draft, only=None)
    assert engine.routes == {"app.example.test": tunnel_id}
    assert engine.calls == ["swap_routes"]
    records.create_record(store, SYSTEM, zone.id, RecordDraft(name="x", type="TXT", content="x"), only=None)
    assert engine.calls == ["swap_routes"]
    records.delete_record(store, SYSTEM, zone.id, record.id, only=None)
    assert engine.routes == {}
    zones.delete_zone(store, SYSTEM, zone.id, only=None)
    assert engine.certificates == []


def test_a_deleted_tunnel_is_refused_before_its_connections_are_dropped(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    engine.calls.clear()
    tunnels.delete_tunnel(store, SYSTEM, account_id=account, tunnel_id=tunnel_id, cascade=True)
    assert engine.tunnels[tunnel_id].deleted
    assert engine.calls == ["put_tunnel", f"disconnect {tunnel_id} None"]


def test_only_the_connector_that_was_named_is_dropped(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    tunnels.disconnect_tunnel(store, SYSTEM, account_id=account, tunnel_id=tunnel_id, connector_id="c1")
    assert engine.calls[-1] == f"disconnect {tunnel_id} c1"


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

    def register(connector_id: str) -> None:
        with store.recording() as write:
            connections.registered(
                write,
                connection_id=connector_id,
                connector_id=connector_id,
                tunnel_id=tunnel_id,
                index=0,
                protocol="quic",
                origin_ip="192.0.2.1",
                location="lab01",
                version="",
                arch="",
                features=[],
                at=write.at,
            )

    register("old")
    tunnels.change_tunnel(store, SYSTEM, sealer, **scope, secret=b"1" * 32)
    register("new")
    engine.calls.clear()
    feed.catch_up()
    assert engine.calls == [f"disconnect {tunnel_id} old"]
