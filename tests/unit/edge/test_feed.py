import errno
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, cast
from uuid import uuid4

import pytest
import structlog.testing
from cryptography import x509
from sqlalchemy import update
from sqlalchemy.orm import Session

from qanat.control import accounts, configurations, connector_tokens, records, targets, tunnels, zones
from qanat.control.connections import clear_live, count_live
from qanat.dns.forms import RecordDraft
from qanat.edge.authority import Authority
from qanat.edge.certificates import Certificates
from qanat.edge.feed import Feed
from qanat.errors import QanatError
from qanat.store import SYSTEM, Store
from qanat.store.models import ConnectorToken, Record, Tunnel
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from qanat.store.skipped import Failure, LeftOut, SkippedRows
from qanat.tables import compile_routes
from qanat.tables.reading import read_routes, read_stops
from qanat.tables.routes import Target
from tests.support.links import register
from tests.support.waiting import wait_until
from tests.support.writes import import_zone, written


@dataclass
class RememberingEngine:
    """Takes the tables as the engine does, and keeps what it was told."""

    tunnels: dict[str, Any] = field(default_factory=dict)
    routes: dict[str, str | None] = field(default_factory=dict)
    certificates: list[list[str]] = field(default_factory=list)
    zones: dict[str, Any] = field(default_factory=dict)
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
        self.routes = {row.hostname: _leads(row) for row in rows}

    def change_routes(self, *, put: list[Any], remove: list[str]) -> None:
        if self.fails:
            raise RuntimeError
        self.calls.append(f"change_routes +{len(put)} -{len(remove)}")
        for hostname in remove:
            del self.routes[hostname]
        self.routes.update({row.hostname: _leads(row) for row in put})

    def swap_zones(self, rows: list[Any]) -> None:
        self.zones = {row["name"]: row for row in rows}

    def swap_certificates(self, rows: list[Any]) -> None:
        self.calls.append("swap_certificates")
        self.certificates = [row.hostnames for row in rows]

    def disconnect(self, *, tunnel_id: str, connector_id: str | None = None, token_id: str | None = None) -> int:
        self.calls.append(f"disconnect {tunnel_id} {connector_id} {token_id}")
        return 0


def _leads(row: Any) -> str | None:
    return row.targets[0][0] if row.targets else None


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
def skipped() -> SkippedRows:
    return SkippedRows()


@pytest.fixture
def feed(store: Store, sealer: Sealer, engine: RememberingEngine, skipped: SkippedRows, tmp_path: Path) -> Feed:
    authority = Authority.open(ca_file=tmp_path / "ca.pem", directory=tmp_path / "certificates")
    made: Any = engine
    certificates = Certificates([], authority, skipped=skipped, most_of_account=5)
    feed = Feed(store, sealer, made, certificates, rotation_grace_s=0.0, skipped=skipped)
    feed.start()
    engine.calls.clear()
    return feed


def _tunnel(store: Store, sealer: Sealer, account: str) -> str:
    return written(
        store, tunnels.create, sealer, account_id=account, name="t", secret=bytes(32), config_src="cloudflare"
    ).id


def test_a_write_is_in_effect_when_it_returns(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    assert engine.tunnels[tunnel_id].configuration is None
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel_id}
    written(store, configurations.put, **scope, document={"ingress": []}, source="cloudflare")
    assert engine.tunnels[tunnel_id].configuration_version == 1
    assert engine.tunnels[tunnel_id].configuration == b'{"ingress":[]}'
    assert engine.calls == ["put_tunnel", "put_tunnel"]


def test_routes_and_certificates_follow_the_records(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    zone = written(store, zones.create, account_id=account, name="example.test")
    assert len(engine.certificates) == 1
    draft = RecordDraft(name="app", type="CNAME", content=f"{tunnel_id}.cfargotunnel.com", proxied=True)
    engine.calls.clear()
    record = written(store, records.create, zone.id, draft, reach=EVERYTHING)
    assert engine.routes == {"app.example.test": tunnel_id}
    assert engine.calls == ["change_routes +1 -0"]
    written(store, records.create, zone.id, RecordDraft(name="x", type="TXT", content="x"), reach=EVERYTHING)
    assert engine.calls == ["change_routes +1 -0"]
    written(store, records.delete, zone.id, record.id, reach=EVERYTHING)
    assert engine.routes == {}
    written(store, zones.delete, zone.id, reach=EVERYTHING)
    assert engine.certificates == []


def test_a_deleted_tunnel_is_refused_before_its_connections_are_dropped(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    engine.calls.clear()
    written(store, tunnels.delete, account_id=account, tunnel_id=tunnel_id, cascade=True)
    assert engine.tunnels[tunnel_id].deleted
    assert engine.calls == ["put_tunnel", f"disconnect {tunnel_id} None None"]


def test_only_the_connector_that_was_named_is_dropped(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    written(store, tunnels.disconnect, account_id=account, tunnel_id=tunnel_id, connector_id="c1")
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
    written(store, tunnels.change, sealer, **scope, secret=b"1" * 32)
    register(store, tunnel_id, "new")
    engine.calls.clear()
    feed.catch_up()
    assert engine.calls == [f"disconnect {tunnel_id} old "]


def test_a_revoked_connector_token_lets_nobody_in_and_ends_what_came_with_it(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel_id}
    token, _ = written(store, connector_tokens.create, sealer, **scope, name="host", expires_at=None)
    assert [token_id for token_id, _ in engine.tunnels[tunnel_id].secrets] == ["", token.id]
    engine.calls.clear()
    written(store, connector_tokens.revoke, **scope, token_id=token.id)
    assert [token_id for token_id, _ in engine.tunnels[tunnel_id].secrets] == [""]
    assert engine.calls == ["put_tunnel", f"disconnect {tunnel_id} None {token.id}"]


def test_a_rotated_connector_token_leaves_the_others_alone(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel_id}
    token, _ = written(store, connector_tokens.create, sealer, **scope, name="host", expires_at=None)
    register(store, tunnel_id, "own")
    register(store, tunnel_id, "named", token_id=token.id)
    before = dict(engine.tunnels[tunnel_id].secrets)
    written(store, connector_tokens.rotate, sealer, **scope, token_id=token.id)
    after = dict(engine.tunnels[tunnel_id].secrets)
    assert (before[""], before.keys()) == (after[""], after.keys())
    assert before[token.id] != after[token.id]
    engine.calls.clear()
    feed.catch_up()
    assert engine.calls == [f"disconnect {tunnel_id} named {token.id}"]


def test_weights_are_one_change_of_one_route_and_the_record_has_the_last_word(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    one = _tunnel(store, sealer, account)
    two, three = (
        written(
            store, tunnels.create, sealer, account_id=account, name=name, secret=bytes(32), config_src="cloudflare"
        ).id
        for name in ("two", "three")
    )
    zone = written(store, zones.create, account_id=account, name="example.test")
    record = written(store, records.create, zone.id, _routed(one, "app"), reach=EVERYTHING)
    engine.calls.clear()
    rows: list[Any] = []
    take = engine.change_routes

    def remember(*, put: list[Any], remove: list[str]) -> None:
        rows.extend((row.hostname, row.targets, row.sticky) for row in put)
        take(put=put, remove=remove)

    engine.change_routes = remember  # type: ignore[method-assign]

    def weigh(shares: list[tuple[str, int]]) -> None:
        with store.writing(SYSTEM) as write:
            targets.put(
                write, targets.find(write.session, account, "app.example.test", reach=EVERYTHING), shares, "cookie"
            )

    weigh([(one, 95), (two, 5)])
    assert rows.pop() == ("app.example.test", tuple(sorted([(one, 95), (two, 5)])), "cookie")
    weigh([(one, 50), (two, 50)])
    assert engine.calls == ["change_routes +1 -0"] * 2
    rows.clear()
    written(store, records.replace, zone.id, record.id, _routed(three, "app"), reach=EVERYTHING)
    assert rows == [("app.example.test", ((three, 1),), "none")]
    for wrong in ([(one, 1)], [(three, 0)], [(three, 1), (three, 2)], [], [(three, -1)], [(three, 1), ("x", 1)]):
        with pytest.raises(QanatError) as caught:
            weigh(wrong)
        assert caught.value.code in ("targets_bad", "tunnel_unknown"), wrong


def _routed(tunnel_id: str, name: str) -> RecordDraft:
    return RecordDraft(name=name, type="CNAME", content=f"{tunnel_id}.cfargotunnel.com", proxied=True)


def test_a_zone_takes_its_hostnames_with_it_and_no_others(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    made = {
        name: written(store, zones.create, account_id=account, name=name).id
        for name in ("example.test", "sub.example.test", "anexample.test")
    }
    for zone, name in (
        ("example.test", "example.test"),
        ("example.test", "deep.down.example.test"),
        ("sub.example.test", "a.sub.example.test"),
        ("anexample.test", "b.anexample.test"),
    ):
        written(store, records.create, made[zone], _routed(tunnel_id, name), reach=EVERYTHING)
    assert len(engine.routes) == 4
    engine.calls.clear()
    written(store, zones.change, made["example.test"], reach=EVERYTHING, paused=True)
    assert set(engine.routes) == {"a.sub.example.test", "b.anexample.test"}
    written(store, zones.change, made["example.test"], reach=EVERYTHING, paused=False)
    assert len(engine.routes) == 4
    assert engine.calls == ["change_routes +0 -2", "change_routes +2 -0"]
    written(store, zones.delete, made["example.test"], reach=EVERYTHING)
    assert set(engine.routes) == {"a.sub.example.test", "b.anexample.test"}
    assert len(engine.certificates) == 2, "what the zone inside it needs has stayed"
    written(store, zones.delete, made["sub.example.test"], reach=EVERYTHING)
    assert set(engine.routes) == {"b.anexample.test"}
    assert len(engine.certificates) == 1


def test_a_zone_that_is_deleted_uncovers_the_one_around_it(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    outer_tunnel = _tunnel(store, sealer, account)
    inner_tunnel = written(
        store, tunnels.create, sealer, account_id=account, name="inner", secret=bytes(32), config_src="cloudflare"
    ).id
    outer = written(store, zones.create, account_id=account, name="example.test")
    inner = written(store, zones.create, account_id=account, name="sub.example.test")
    for zone, tunnel_id in ((inner, inner_tunnel), (outer, outer_tunnel)):
        written(store, records.create, zone.id, _routed(tunnel_id, "a.sub.example.test"), reach=EVERYTHING)
        assert engine.routes == {"a.sub.example.test": inner_tunnel}
    written(store, zones.delete, inner.id, reach=EVERYTHING)
    assert engine.routes == {"a.sub.example.test": outer_tunnel}
    assert len(engine.certificates) == 2, "of example.test, and of sub.example.test for the hostname"


def test_a_change_that_failed_is_made_good_by_the_next_or_by_catching_up(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    zone = written(store, zones.create, account_id=account, name="example.test")
    engine.fails = True
    written(store, records.create, zone.id, _routed(tunnel_id, "a"), reach=EVERYTHING)
    assert engine.routes == {}
    engine.fails = False
    written(store, records.create, zone.id, _routed(tunnel_id, "b"), reach=EVERYTHING)
    assert set(engine.routes) == {"a.example.test", "b.example.test"}


def test_concurrent_writers_leave_what_the_store_says(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed
) -> None:
    tunnel_id = _tunnel(store, sealer, account)
    zone = written(store, zones.create, account_id=account, name="example.test")

    def write(worker: int) -> None:
        for n in range(8):
            name = f"w{worker}.n{n % 3}"
            record = written(store, records.create, zone.id, _routed(tunnel_id, name), reach=EVERYTHING)
            assert engine.routes[record.name] == tunnel_id
            if n != 7:
                written(store, records.delete, zone.id, record.id, reach=EVERYTHING)
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
    zone = written(store, zones.create, account_id=account, name="example.test")
    asked: list[object] = []

    def remembering(
        session: Session, hostnames: Collection[str] | None, left_out: LeftOut, *, own: Collection[str]
    ) -> list[Target]:
        asked.append(hostnames)
        return read_routes(session, hostnames, left_out, own=own)

    monkeypatch.setattr("qanat.edge.routes.read_routes", remembering)
    record = written(store, records.create, zone.id, _routed(tunnel_id, "a"), reach=EVERYTHING)
    written(store, records.replace, zone.id, record.id, _routed(tunnel_id, "b"), reach=EVERYTHING)
    assert asked == [{"a.example.test"}, {"a.example.test", "b.example.test"}]
    assert set(engine.routes) == {"b.example.test"}


# ------------------------------------------------------------------------------------------------ rows that fail
@dataclass
class Party:
    """An account with a tunnel and a zone."""

    store: Store
    account: str
    tunnel: str
    zone: str
    domain: str

    def publish(self, name: str) -> str:
        return written(self.store, records.create, self.zone, _routed(self.tunnel, name), reach=EVERYTHING).id


def _party(store: Store, sealer: Sealer, name: str) -> Party:
    account = written(store, accounts.create, name=name).id
    zone = written(store, zones.create, account_id=account, name=f"{name}.test")
    return Party(store, account, _tunnel(store, sealer, account), zone.id, zone.name)


def _codes(skipped: SkippedRows) -> dict[tuple[str, str], str]:
    return {(row.kind, row.name): row.code for row in skipped.rows()}


@pytest.fixture
def attacker(store: Store, sealer: Sealer, feed: Feed) -> Party:
    return _party(store, sealer, "attacker")


@pytest.fixture
def victim(store: Store, sealer: Sealer, feed: Feed) -> Party:
    return _party(store, sealer, "victim")


def _serves(victim: Party, engine: RememberingEngine, name: str) -> None:
    """The victim's new hostname is there with its certificate, and gone when it deletes it."""
    record = victim.publish(name)
    hostname = f"{name}.{victim.domain}"
    assert engine.routes[hostname] == victim.tunnel
    assert [f"{victim.domain}", f"*.{victim.domain}"] in _covered(engine)
    written(victim.store, records.delete, victim.zone, record, reach=EVERYTHING)
    assert hostname not in engine.routes


def _covered(engine: RememberingEngine) -> list[list[str]]:
    return [
        x509.load_pem_x509_certificate(chain)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value.get_values_for_type(x509.DNSName)
        for chain in cast("list[bytes]", engine.certificates)
    ]


def test_the_longest_name_that_there_may_be_is_kept_under_a_short_one(
    engine: RememberingEngine, feed: Feed, attacker: Party, victim: Party, skipped: SkippedRows, tmp_path: Path
) -> None:
    name = ".".join(["a", "b" * 60, "c" * 60, "d" * 60])
    name += "." + "e" * (252 - len(name) - len(attacker.domain) - 2)
    attacker.publish(name)
    hostname = f"{name}.{attacker.domain}"
    assert len(hostname) == 252
    assert engine.routes[hostname] == attacker.tunnel
    assert [hostname[2:], f"*.{hostname[2:]}"] in _covered(engine)
    _serves(victim, engine, "new")
    assert not skipped.rows()
    assert all(len(file.name) < 143 for file in (tmp_path / "certificates").iterdir())
    again = Authority.open(ca_file=tmp_path / "ca.pem", directory=tmp_path / "certificates")
    before = sorted((tmp_path / "certificates").iterdir())
    again.leaf(hostname[2:], (hostname[2:], f"*.{hostname[2:]}"))
    assert sorted((tmp_path / "certificates").iterdir()) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ENAMETOOLONG, errno.EROFS])
def test_a_certificate_that_can_not_be_written_is_served_all_the_same_and_written_later(
    engine: RememberingEngine,
    feed: Feed,
    attacker: Party,
    victim: Party,
    skipped: SkippedRows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    file = tmp_path / "certificates" / "b.attacker.test.pem"

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr("qanat.edge.authority._write", fails)
        attacker.publish("a.b")
        assert engine.routes["a.b.attacker.test"] == attacker.tunnel
        assert ["b.attacker.test", "*.b.attacker.test"] in _covered(engine)
        _serves(victim, engine, "new")
        (row,) = skipped.rows()
        assert (row.kind, row.name, row.code) == ("certificate", "b.attacker.test", "certificate_unkept")
        assert row.account_id == attacker.account
        assert errno.errorcode[number] in row.reason
        feed.retry()
        assert len(skipped.rows()) == 1
    assert not file.exists()
    feed.retry()
    assert not skipped.rows()
    assert file.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")


def test_a_certificate_that_can_not_be_made_leaves_its_route_and_the_others_alone(
    engine: RememberingEngine,
    feed: Feed,
    attacker: Party,
    victim: Party,
    skipped: SkippedRows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = Authority._make

    def fails(self: Authority, names: Sequence[str]) -> Any:
        if names[0] == "b.attacker.test":
            raise ValueError("no such name")
        return make(self, names)

    with monkeypatch.context() as broken:
        broken.setattr(Authority, "_make", fails)
        attacker.publish("a.b")
        assert engine.routes["a.b.attacker.test"] == attacker.tunnel
        _serves(victim, engine, "new")
        feed.load()
        feed.refresh_routes()
        assert engine.routes["a.b.attacker.test"] == attacker.tunnel
        assert _codes(skipped) == {("certificate", "b.attacker.test"): "certificate_unmade"}
    feed.retry()
    assert not skipped.rows()
    assert ["b.attacker.test", "*.b.attacker.test"] in _covered(engine)


def test_an_account_gets_so_many_certificates_and_leaves_the_others_theirs(
    engine: RememberingEngine, feed: Feed, attacker: Party, victim: Party, skipped: SkippedRows, store: Store
) -> None:
    made = [attacker.publish(f"a.b{n}") for n in range(7)]
    assert len([name for name in engine.routes if name.endswith(attacker.domain)]) == 7
    assert len([names for names in _covered(engine) if names[0].endswith(attacker.domain)]) == 5
    assert set(_codes(skipped).values()) == {"certificate_too_many"}
    assert len(skipped.rows()) == 3
    assert {row.account_id for row in skipped.rows()} == {attacker.account}
    victim.publish("a.deep")
    assert ["deep.victim.test", "*.deep.victim.test"] in _covered(engine)
    feed.load()
    assert len(_covered(engine)) == 7
    for record in made[:5]:
        written(store, records.delete, attacker.zone, record, reach=EVERYTHING)
    feed.refresh_routes()
    assert not skipped.rows()
    assert ["b6.attacker.test", "*.b6.attacker.test"] in _covered(engine)


def test_many_certificates_are_made_by_turns_with_other_accounts(
    engine: RememberingEngine,
    feed: Feed,
    attacker: Party,
    victim: Party,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What one import needs is in force when it returns, and what another account publishes meanwhile doesn't wait for it."""
    monkeypatch.setattr("qanat.edge.certificates.AT_ONCE", 2)
    monkeypatch.setattr("qanat.edge.routes.CERTIFIED_AT_ONCE", 1)
    monkeypatch.setattr(feed._routes._certificates, "_most_of_account", 50)
    leaf = Authority.leaf
    made: list[str] = []

    def slowly(self: Authority, keep_as: str, names: Sequence[str]) -> Any:
        made.append(keep_as)
        if len(made) == 3:  # in the midst of the attacker's
            publishing.start()
            wait_until(lambda: publishing.is_alive() or published, "the victim began")
        return leaf(self, keep_as, names)

    published: list[int] = []

    def publish() -> None:
        victim.publish("a.deep")
        published.append(len(made))

    publishing = Thread(target=publish)
    monkeypatch.setattr(Authority, "leaf", slowly)
    lines = [(n, _routed(attacker.tunnel, f"a.b{n}")) for n in range(30)]
    import_zone(store, attacker.zone, lines, reach=EVERYTHING)
    publishing.join(10)
    covered = [names[0] for names in _covered(engine)]
    assert {f"b{n}.attacker.test" for n in range(30)} <= set(covered)
    assert "deep.victim.test" in covered
    assert published
    assert engine.routes["a.deep.victim.test"] == victim.tunnel
    assert not feed._routes._certificates.take_deferred()


def test_files_of_certificates_that_nobody_needs_go(
    feed: Feed, attacker: Party, victim: Party, store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "certificates"
    (folder / "half.test.pem.new").write_bytes(b"cut")
    record = attacker.publish("a.b")
    victim.publish("a.b")
    feed.refresh_routes()
    files = {"ca.key", "attacker.test.pem", "b.attacker.test.pem", "victim.test.pem", "b.victim.test.pem"}
    assert {file.name for file in folder.iterdir()} == files
    written(store, records.delete, attacker.zone, record, reach=EVERYTHING)
    feed.refresh_routes()
    assert {file.name for file in folder.iterdir()} == files - {"b.attacker.test.pem"}


def _spoil(store: Store, model: Any, row_id: str, **values: object) -> None:
    with store.recording() as write:
        write.session.execute(update(model).where(model.id == row_id).values(**values))


def test_a_secret_that_does_not_open_keeps_nobody_else_out(
    store: Store,
    sealer: Sealer,
    engine: RememberingEngine,
    feed: Feed,
    attacker: Party,
    victim: Party,
    skipped: SkippedRows,
) -> None:
    scope: dict[str, Any] = {"account_id": attacker.account, "tunnel_id": attacker.tunnel}
    good, _ = written(store, connector_tokens.create, sealer, **scope, name="good", expires_at=None)
    bad, _ = written(store, connector_tokens.create, sealer, **scope, name="bad", expires_at=None)
    for seal in (b"\x09 of a newer version", b""):
        _spoil(store, Tunnel, attacker.tunnel, sealed_secret=seal)
        _spoil(store, ConnectorToken, bad.id, sealed_secret=seal)
        feed.load()
        assert [token_id for token_id, _ in engine.tunnels[attacker.tunnel].secrets] == [good.id]
        assert [token_id for token_id, _ in engine.tunnels[victim.tunnel].secrets] == [""]
        assert _codes(skipped) == {
            ("connector_token", bad.id): "secret_key_wrong",
            ("tunnel", attacker.tunnel): "secret_key_wrong",
        }
        assert {row.account_id for row in skipped.rows()} == {attacker.account}
    _serves(victim, engine, "new")
    _spoil(store, Tunnel, attacker.tunnel, sealed_secret=sealer.seal(bytes(32), attacker.tunnel))
    _spoil(store, ConnectorToken, bad.id, sealed_secret=sealer.seal(bytes(32), bad.id))
    feed.retry()
    assert not skipped.rows()
    assert {token_id for token_id, _ in engine.tunnels[attacker.tunnel].secrets} == {"", good.id, bad.id}


def test_a_row_that_sqlite_holds_and_nobody_reads_is_left_out_alone(
    store: Store, engine: RememberingEngine, feed: Feed, attacker: Party, victim: Party, skipped: SkippedRows
) -> None:
    if store.file is None:
        pytest.skip("PostgreSQL keeps its columns' types")
    record = attacker.publish("odd")
    other = attacker.publish("even")
    written(
        store,
        configurations.put,
        account_id=attacker.account,
        tunnel_id=attacker.tunnel,
        document={},
        source="cloudflare",
    )
    with store.recording() as write:
        execute = write.session.connection().exec_driver_sql
        execute("UPDATE records SET name = CAST(x'ff2e' AS TEXT) WHERE id = ?", (record,))
        execute("UPDATE tunnels SET name = CAST(x'ff' AS TEXT), created_at = 'soon' WHERE id = ?", (attacker.tunnel,))
        execute("UPDATE configurations SET document = CAST(x'ff' AS TEXT)")
    victim.publish("there")
    feed.load()
    assert set(engine.routes) == {"even.attacker.test", "there.victim.test"}
    assert attacker.tunnel not in engine.tunnels
    assert victim.tunnel in engine.tunnels
    assert _codes(skipped) == {
        ("configuration", attacker.tunnel): "row_unreadable",
        ("record", record): "row_unreadable",
        ("tunnel", attacker.tunnel): "row_unreadable",
    }
    assert written(store, clear_live) == 0
    with store.recording() as write:
        execute = write.session.connection().exec_driver_sql
        execute("UPDATE records SET name = 'odd.attacker.test' WHERE id = ?", (record,))
        execute("UPDATE tunnels SET name = 't' WHERE id = ?", (attacker.tunnel,))
        execute("UPDATE configurations SET document = '{'")
    feed.retry()
    assert not skipped.rows()
    assert attacker.tunnel in engine.tunnels
    assert {"odd.attacker.test", "even.attacker.test"} < set(engine.routes)
    written(store, records.delete, attacker.zone, other, reach=EVERYTHING)


def test_a_route_that_the_engine_does_not_take_is_left_out_alone(
    store: Store,
    engine: RememberingEngine,
    feed: Feed,
    attacker: Party,
    victim: Party,
    skipped: SkippedRows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def takes(**given: Any) -> Row:
        if given["hostname"] == "bad.attacker.test":
            raise ValueError("not this one")
        return Row(given)

    monkeypatch.setattr("qanat.edge.routes.Route", takes)
    attacker.publish("bad")
    attacker.publish("good")
    assert set(engine.routes) == {"good.attacker.test"}
    assert _codes(skipped) == {("hostname", "bad.attacker.test"): "hostname_unroutable"}
    record = attacker.publish("unroutable")
    _spoil(store, Record, record, name="un routable!.attacker.test")
    feed.load()
    _serves(victim, engine, "new")
    assert set(engine.routes) == {"good.attacker.test"}
    assert set(_codes(skipped)) == {("hostname", "bad.attacker.test"), ("hostname", "un routable!.attacker.test")}


def test_a_record_that_was_there_before_the_edge_took_its_name_is_no_route(
    store: Store, engine: RememberingEngine, feed: Feed, attacker: Party, skipped: SkippedRows
) -> None:
    attacker.publish("api")
    attacker.publish("other")
    store.own_names = frozenset({"api.attacker.test"})
    feed.load()
    assert set(engine.routes) == {"other.attacker.test"}
    assert _codes(skipped) == {("hostname", "api.attacker.test"): "record_of_edge"}
    with pytest.raises(QanatError) as refused:
        attacker.publish("api")
    assert refused.value.code == "record_of_edge"


def test_a_start_clears_every_tunnel_though_one_can_not_be_read(store: Store, attacker: Party, victim: Party) -> None:
    if store.file is None:
        pytest.skip("PostgreSQL keeps its columns' types")
    for party in (attacker, victim):
        register(store, party.tunnel, str(uuid4()))
    with store.recording() as write:
        write.session.connection().exec_driver_sql(
            "UPDATE tunnels SET created_at = 'soon' WHERE id = ?", (attacker.tunnel,)
        )
    assert written(store, clear_live) == 2
    with store.reading() as session:
        assert not count_live(session, attacker.tunnel)
        assert session.get_one(Tunnel, victim.tunnel).status == "down"


def test_every_skipped_row_is_logged_once_and_again_when_its_reason_changes() -> None:
    rows = SkippedRows()
    with structlog.testing.capture_logs() as lines:
        for n in range(1000):
            rows.note("hostname", f"h{n}.test", Failure(code="a", reason="x", account_id="attacker"))
        for _ in range(3):
            rows.note("hostname", "v.test", Failure(code="a", reason="x", account_id="victim"))
        rows.note("hostname", "v.test", Failure(code="b", reason="x", account_id="victim"))
    of_victim = [(line["event"], line["code"], line["name"]) for line in lines if line["account"] == "victim"]
    assert of_victim == [("a row is skipped", "a", "v.test"), ("a row is skipped", "b", "v.test")]
    assert len(lines) < 40, "and a flood of them doesn't fill the log"
    assert rows.counts() == {"hostname": 1001}


@pytest.mark.case(60)
@pytest.mark.parametrize("seed", range(4))
def test_changes_one_by_one_leave_the_table_that_a_start_would_make(
    store: Store, sealer: Sealer, account: str, engine: RememberingEngine, feed: Feed, seed: int
) -> None:
    """Wildcards, what stands below them, delegations and zones in zones, in any order (case 60)."""
    tunnel_id = _tunnel(store, sealer, account)
    chance = Random(seed)
    made: dict[str, list[str]] = {"example.test": []}
    ids = {"example.test": written(store, zones.create, account_id=account, name="example.test").id}

    def expected() -> dict[str, str | None]:
        with store.reading() as session:
            routes = compile_routes(read_routes(session))
            stops = set().union(*read_stops(session).values())
        return dict.fromkeys(stops) | dict(routes)

    for _ in range(40):
        zone = chance.choice([*ids, "b.example.test", "a.b.example.test"])
        if zone not in ids:
            ids[zone] = written(store, zones.create, account_id=account, name=zone).id
            made[zone] = []
        elif zone != "example.test" and chance.random() < 0.2:
            written(store, zones.delete, ids.pop(zone), reach=EVERYTHING)
            del made[zone]
        elif chance.random() < 0.1:
            written(store, zones.change, ids[zone], reach=EVERYTHING, paused=chance.random() < 0.5)
        elif made[zone] and chance.random() < 0.4:
            record_id = made[zone].pop(chance.randrange(len(made[zone])))
            written(store, records.delete, ids[zone], record_id, reach=EVERYTHING)
        else:
            name = ".".join(chance.choices("abc", k=chance.randint(1, 3)))
            kinds = [_routed(tunnel_id, name), _routed(tunnel_id, f"*.{name}"), _routed(tunnel_id, "*")]
            kinds += [
                RecordDraft(name=name, type="TXT", content="x"),
                RecordDraft(name=name, type="NS", content="n.net"),
            ]
            try:
                record = written(store, records.create, ids[zone], chance.choice(kinds), reach=EVERYTHING)
            except QanatError:
                continue  # what may not stand beside each other
            made[zone].append(record.id)
        assert engine.routes == expected()
    feed.load()
    assert engine.routes == expected()
