"""One tenant's names and rows are no other tenant's business: whatever an account puts into the store, the others' hostnames
come and go, and the edge starts again."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.support.connectors import QuicConnector
from tests.support.edge import Edge
from tests.support.waiting import wait_until


@dataclass
class Tenant:
    """An account with a tunnel and a zone on an edge."""

    edge: Edge
    account: str
    tunnel: str
    token: str
    zone: str
    domain: str

    @classmethod
    def make(cls, edge: Edge, name: str) -> "Tenant":
        account = edge.api.call("POST", "/accounts", {"name": name})["id"]
        tunnel = edge.api.call("POST", f"/accounts/{account}/cfd_tunnel", {"name": name, "config_src": "cloudflare"})
        zone = edge.api.call("POST", "/zones", {"name": f"{name}.test", "account": {"id": account}})["id"]
        return cls(edge, account, tunnel["id"], tunnel["token"], zone, f"{name}.test")

    def publish(self, name: str) -> str:
        return self.edge.api.publish(self.zone, f"{name}.{self.domain}", self.tunnel)

    def status(self, name: str) -> int:
        """What a visitor of the hostname is answered, over HTTPS with its certificate checked."""
        with self.edge.h1(f"{name}.{self.domain}") as client:
            return client.get().status

    def comes_and_goes(self, name: str) -> None:
        """A new hostname is there at once, and a deleted one is gone."""
        record = self.publish(name)
        assert self.status(name) == 530
        self.edge.api.delete_record(self.zone, record)
        assert self.status(name) == 404


@pytest.fixture
def own_edge(folder: Path) -> Iterator[Edge]:
    edge = Edge(folder / "edge")
    yield edge
    if edge.process.running:
        edge.stop()


def longest(domain: str) -> str:
    """The part before the domain of a hostname of 252 characters."""
    name = ".".join(["a", "b" * 60, "c" * 60, "d" * 60])
    return name + "." + "e" * (252 - len(name) - len(domain) - 2)


def test_a_name_as_long_as_may_be_stops_neither_the_others_nor_the_next_start(own_edge: Edge) -> None:
    edge = own_edge
    attacker, victim = Tenant.make(edge, "attacker"), Tenant.make(edge, "victim")
    name = longest(attacker.domain)
    attacker.publish(name)
    assert len(f"{name}.{attacker.domain}") == 252
    zone = f"{'z' * 60}.{'y' * 60}.{'x' * 60}.{'w' * 60}.test"
    edge.api.call("POST", "/zones", {"name": zone, "account": {"id": attacker.account}})
    victim.comes_and_goes("app")
    assert attacker.status(name) == 530, "it is served too"
    victim.publish("kept")
    edge.stop()
    edge.restart()
    assert victim.status("kept") == 530
    assert attacker.status(name) == 530
    victim.comes_and_goes("app")
    assert edge.api.call("GET", "/qanat/status")["skipped"] == {}


def _spoil(edge: Edge, attacker: Tenant) -> None:
    """What damage, or a newer version, may have written into the rows and files of one tenant."""
    database = sqlite3.connect(edge.data_dir / "qanat.db")
    scope = {"tunnel": attacker.tunnel, "zone": attacker.zone, "account": attacker.account}
    for statement in (
        "UPDATE tunnels SET sealed_secret = x'09ff', created_at = 'soon' WHERE id = :tunnel",
        "UPDATE configurations SET document = '{\"ingress\":[', created_at = 'soon' WHERE tunnel_id = :tunnel",
        "UPDATE connector_tokens SET expires_at = '2020-01-01 00:00:00.000000', created_at = 'soon'"
        " WHERE tunnel_id = :tunnel",
        "UPDATE records SET data = '{', tags = '[', settings = 'x' WHERE zone_id = :zone",
        "UPDATE records SET type = 'NEWER', modified_at = 'soon' WHERE zone_id = :zone AND name LIKE 'newer.%'",
        "UPDATE records SET name = 'no host!.attacker.test' WHERE zone_id = :zone AND name LIKE 'odd.%'",
        "UPDATE records SET name = CAST(x'ff' AS TEXT) WHERE zone_id = :zone AND name LIKE 'bytes.%'",
        "UPDATE zones SET created_at = 'soon', type = 'newer' WHERE id = :zone",
        "UPDATE accounts SET settings = '{', created_at = 'soon' WHERE id = :account",
        'INSERT INTO connections (id, tunnel_id, connector_id, token_id, "index", protocol, origin_ip, location, opened_at,'
        " config_error) VALUES ('c1', :tunnel, 'k1', '', 0, 'quic', '127.0.0.1', 'lab01', 'soon', '')",
    ):
        database.execute(statement, scope)
    database.commit()
    database.close()
    certificates = edge.data_dir / "certificates"
    kept = (certificates / "attacker.test.pem").read_bytes()
    (certificates / "attacker.test.pem").write_bytes(kept[: kept.index(b"PRIVATE KEY") + 40])
    (certificates / "deep.attacker.test.pem").unlink()
    (certificates / "deep.attacker.test.pem").mkdir()


def test_a_tenants_damaged_rows_and_files_stop_neither_the_others_nor_the_start(own_edge: Edge) -> None:
    edge = own_edge
    attacker, victim = Tenant.make(edge, "attacker"), Tenant.make(edge, "victim")
    for name in ("app", "newer", "odd", "bytes", "a.deep"):
        attacker.publish(name)
    tunnels = f"/accounts/{attacker.account}/cfd_tunnel/{attacker.tunnel}"
    edge.api.call("PUT", f"{tunnels}/configurations", {"config": {"ingress": [{"service": "http_status:200"}]}})
    tokens = f"/qanat/tunnels/{attacker.tunnel}/connector-tokens"
    edge.api.call("POST", tokens, {"name": "host", "expires_at": "2999-01-01T00:00:00Z"})
    victim.publish("kept")
    edge.stop()
    _spoil(edge, attacker)
    edge.restart()
    assert victim.status("kept") == 530
    with QuicConnector(edge.tunnel, edge.ca_file, victim.token):
        wait_until(lambda: victim.status("kept") == 200, "the victim's tunnel")
    victim.comes_and_goes("new")
    assert attacker.status("app") == 530
    assert attacker.status("a.deep") == 530
    wait_until(lambda: edge.api.call("GET", "/qanat/status")["skipped"].get("token_expiry"), "the expiry's failure")
    skipped: list[dict[str, Any]] = edge.api.call("GET", "/qanat/skipped")
    told = {(row["kind"], row["code"]) for row in skipped}
    assert told >= {
        ("tunnel", "secret_key_wrong"),
        ("record", "row_unreadable"),
        ("hostname", "hostname_unroutable"),
        ("certificate", "certificate_unkept"),
        ("token_expiry", "row_unreadable"),
    }, skipped
    assert not any(victim.domain in row["name"] or row["account_id"] == victim.account for row in skipped)
    log = edge.process.log()
    assert all(code in log for _, code in told)


def test_large_imports_fail_nobody_elses_writes(own_edge: Edge) -> None:
    """The store has one writer: who imports much, in several calls at once, gets it by turns with the others."""
    edge = own_edge
    attacker, victim = Tenant.make(edge, "attacker"), Tenant.make(edge, "victim")
    answers: list[int] = []

    def attack(number: int) -> None:
        lines = "\n".join(f"r{number}-{line} 300 IN A 192.0.2.1" for line in range(2000))
        answer = httpx.post(
            f"{edge.ready['api']}/zones/{attacker.zone}/dns_records/import",
            files={"file": ("zone.txt", lines)},
            headers={"authorization": f"Bearer {(edge.data_dir / 'first-token').read_text().strip()}"},
            trust_env=False,
            timeout=60,
            verify=False,
        )
        answers.append(answer.status_code)

    attackers = [Thread(target=attack, args=(number,)) for number in range(4)]
    for thread in attackers:
        thread.start()
    rounds = 0
    while any(thread.is_alive() for thread in attackers) or not rounds:
        victim.comes_and_goes(f"app{rounds}")
        rounds += 1
    for thread in attackers:
        thread.join()
    assert answers == [200] * 4
    assert edge.api.call("GET", f"/qanat/accounts/{attacker.account}/limits")[1]["used"] == 8000
