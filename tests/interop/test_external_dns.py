"""external-dns keeps a zone of ours as its sources say: create, update, delete by batch, ownership in TXT records.

`QANAT_TEST_EXTERNAL_DNS` names the binary. Its source is `connector`: a socket that the test answers on.
"""

import os
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import gob
from tests.support.control import Control
from tests.support.processes import Process

EXTERNAL_DNS = os.environ.get("QANAT_TEST_EXTERNAL_DNS")
pytestmark = pytest.mark.skipif(not EXTERNAL_DNS, reason="QANAT_TEST_EXTERNAL_DNS does not name an external-dns binary")

FIELDS = {"DNSName": str, "Targets": list, "RecordType": str, "RecordTTL": int}
TUNNEL_SUFFIX = ".cfargotunnel.com"
Endpoint = dict[str, gob.Value]


class Source:
    """What external-dns finds on this machine: `endpoints`."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []
        source = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.sendall(gob.rows(FIELDS, source.endpoints))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)


class ExternalDns:
    """Rounds of external-dns over one zone."""

    def __init__(self, control: Control, zone: Any, source: Source) -> None:
        self.control = control
        self.zone = zone
        self.source = source

    def round(self, *flags: str, token: str | None = None) -> Process:
        assert EXTERNAL_DNS
        process = Process(
            "external-dns",
            [
                EXTERNAL_DNS,
                *("--once", "--provider=cloudflare", "--source=connector", "--log-level=debug", "--policy=sync"),
                f"--connector-source-server={self.source.address}",
                # a prefix of its own label: without one the owner of the apex would be written beside the zone
                *(
                    "--registry=txt",
                    "--txt-owner-id=tests",
                    "--txt-prefix=_owner-%{record_type}.",
                    f"--domain-filter={self.zone['name']}",
                ),
                *("--managed-record-types=A", "--managed-record-types=AAAA", "--managed-record-types=CNAME"),
                *flags,
            ],
            {"CLOUDFLARE_BASE_URL": self.control.url, "CF_API_TOKEN": token or self.control.token},
        )
        process.wait(timeout_s=60.0)
        return process

    def succeeds(self, *flags: str) -> None:
        process = self.round(*flags)
        assert process.exit_code == 0, process.log()

    def records(self) -> list[Any]:
        found: list[Any] = self.control.call("GET", f"/zones/{self.zone['id']}/dns_records", per_page="1000")
        return found

    def hosts(self) -> dict[str, list[str]]:
        """Addresses and aliases by name; its TXT records are not shown."""
        found: dict[str, list[str]] = {}
        for record in self.records():
            if record["type"] != "TXT":
                found.setdefault(record["name"], []).append(record["content"])
        return {name: sorted(contents) for name, contents in found.items()}


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    source.close()


@pytest.fixture
def external_dns(control: Control, source: Source, request: pytest.FixtureRequest) -> ExternalDns:
    zone = control.create_zone(f"{request.node.originalname.replace('_', '-')}.test")
    return ExternalDns(control, zone, source)


def endpoint(name: str, kind: str, *targets: str, ttl: int = 0) -> Endpoint:
    return {"DNSName": name, "RecordType": kind, "Targets": list(targets), "RecordTTL": ttl}


def test_create_update_delete(external_dns: ExternalDns, source: Source) -> None:
    zone = external_dns.zone["name"]
    source.endpoints = [
        endpoint(f"a.{zone}", "A", "192.0.2.1", "192.0.2.2", ttl=300),
        endpoint(f"b.{zone}", "CNAME", "elsewhere.example.net"),
        endpoint(f"c.{zone}", "AAAA", "2001:db8::1"),
        endpoint(zone, "A", "192.0.2.9"),
    ]
    external_dns.succeeds()
    assert external_dns.hosts() == {
        f"a.{zone}": ["192.0.2.1", "192.0.2.2"],
        f"b.{zone}": ["elsewhere.example.net"],
        f"c.{zone}": ["2001:db8::1"],
        zone: ["192.0.2.9"],
    }
    source.endpoints = [
        endpoint(f"a.{zone}", "A", "192.0.2.2", "192.0.2.3", ttl=600),
        endpoint(f"b.{zone}", "CNAME", "other.example.net"),
        endpoint(zone, "A", "192.0.2.9"),
    ]
    external_dns.succeeds()
    assert external_dns.hosts() == {
        f"a.{zone}": ["192.0.2.2", "192.0.2.3"],
        f"b.{zone}": ["other.example.net"],
        zone: ["192.0.2.9"],
    }
    source.endpoints = []
    external_dns.succeeds()
    assert external_dns.records() == []


@pytest.mark.case(67)
def test_ten_rounds_write_once(external_dns: ExternalDns, source: Source, control: Control) -> None:
    """With a ttl beside proxied, and a CNAME with its ownership TXT: what was written the first time stays untouched."""
    zone = external_dns.zone["name"]
    tunnel = control.create_tunnel("external-dns")["id"]
    source.endpoints = [
        endpoint(f"a.{zone}", "A", "192.0.2.1", ttl=300),
        endpoint(f"t.{zone}", "CNAME", f"{tunnel}{TUNNEL_SUFFIX}", ttl=300),
    ]
    external_dns.succeeds("--cloudflare-proxied")
    written = external_dns.records()
    assert {record["ttl"] for record in written if record["type"] != "TXT"} == {1}
    for _ in range(9):
        external_dns.succeeds("--cloudflare-proxied")
    assert external_dns.records() == written


@pytest.mark.case(68)
def test_from_address_to_alias(external_dns: ExternalDns, source: Source) -> None:
    """The old and the new of one name are one batch: the deletion is first."""
    zone = external_dns.zone["name"]
    source.endpoints = [endpoint(f"a.{zone}", "A", "192.0.2.1")]
    external_dns.succeeds()
    source.endpoints = [endpoint(f"a.{zone}", "CNAME", "elsewhere.example.net")]
    external_dns.succeeds()
    external_dns.succeeds()
    assert external_dns.hosts() == {f"a.{zone}": ["elsewhere.example.net"]}


def test_one_bad_record_in_a_batch(external_dns: ExternalDns, source: Source) -> None:
    """The batch is refused whole; external-dns goes on one by one, and the others are there."""
    zone = external_dns.zone["name"]
    source.endpoints = [
        endpoint(f"a.{zone}", "A", "192.0.2.1"),
        endpoint(f"bad.{zone}", "A", "192.0.2.2", ttl=100_000),
        endpoint(f"c.{zone}", "A", "192.0.2.3"),
    ]
    log = external_dns.round().log()
    assert "Batch DNS operation failed" in log
    assert "9021" in log
    assert external_dns.hosts() == {f"a.{zone}": ["192.0.2.1"], f"c.{zone}": ["192.0.2.3"]}


@pytest.mark.case(64)
def test_many_records(external_dns: ExternalDns, source: Source) -> None:
    """Several batches and several pages, and then nothing to do."""
    zone = external_dns.zone["name"]
    source.endpoints = [endpoint(f"n{number}.{zone}", "A", "192.0.2.1") for number in range(310)]
    external_dns.succeeds()
    written = external_dns.records()
    assert len(external_dns.hosts()) == 310
    external_dns.succeeds()
    assert external_dns.records() == written


def test_a_wrong_token_ends_it(external_dns: ExternalDns, source: Source) -> None:
    source.endpoints = [endpoint(f"a.{external_dns.zone['name']}", "A", "192.0.2.1")]
    process = external_dns.round(token="x" * 40)
    assert process.exit_code != 0
    assert "9109" in process.log()
