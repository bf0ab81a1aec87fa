"""Certificates that a CA issues to a running edge: Pebble, with random refusals of nonces, checks the edge's real listeners."""

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from tests.support.acme import Pebble, needs_pebble
from tests.support.dns import Zone
from tests.support.edge import Edge, lasting_addresses
from tests.support.waiting import wait_until

pytestmark = needs_pebble
ZONE = "acme.test"
API = f"api.{ZONE}"


@dataclass
class Lab:
    edge: Edge
    pebble: Pebble
    tunnel_id: str
    zone_id: str

    def publish(self, hostname: str) -> None:
        """A record in the zone."""
        record = {"type": "CNAME", "name": hostname, "content": f"{self.tunnel_id}.cfargotunnel.com", "proxied": True}
        self.edge.api.call("POST", f"/zones/{self.zone_id}/dns_records", record)

    def entry(self, hostname: str) -> dict[str, Any] | None:
        listed = self.edge.api.call("GET", "/qanat/certificates", per_page="100")
        return next((each for each in listed if hostname in each["names"]), None)

    def until(self, hostname: str, status: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            entry = self.entry(hostname)
            return entry if entry is not None and entry["status"] == status else None

        return wait_until(found, f"{hostname} to be {status}", timeout_s=60.0)

    def served(self, hostname: str) -> str:
        """Who issued what the edge shows: the handshake verifies it by the CA's root alone."""
        context = ssl.create_default_context(cadata=self.pebble.root())
        host, port = self.edge.https.rsplit(":", 1)
        with socket.create_connection((host, int(port)), 10) as sock:
            with context.wrap_socket(sock, server_hostname=hostname) as tls:
                certificate: Any = tls.getpeercert()
        return str(dict(each[0] for each in certificate["issuer"])["commonName"])


class CaDns(Zone):
    """What the CA asks: every name is this host, and TXT records are those of the edge's API."""

    def __init__(self) -> None:
        self.lab: Lab | None = None
        super().__init__({})

    def _answer(self, raw: bytes) -> bytes:
        query = dns.message.from_wire(raw)
        answer = dns.message.make_response(query, our_payload=1232)
        question = query.question[0]
        texts = ["127.0.0.1"] if question.rdtype == dns.rdatatype.A else []
        if question.rdtype == dns.rdatatype.TXT and self.lab is not None:
            name = question.name.to_text(omit_final_dot=True).lower()
            found = self.lab.edge.api.call("GET", f"/zones/{self.lab.zone_id}/dns_records", name=name, type="TXT")
            texts = [each["content"] for each in found]
        if texts:
            answer.answer.append(dns.rrset.from_text(question.name, 0, "IN", question.rdtype, *texts))
        return answer.to_wire()


@contextmanager
def started(folder: Path, external: dict[str, str] | None = None, **settings: str) -> Iterator[Lab]:
    """A CA and an edge that has its certificates from there, with these settings besides; in them `%(control)s` and the like."""
    addresses = lasting_addresses()
    names = CaDns()
    ports = {name: int(addresses[f"public-{name}"].rsplit(":", 1)[1]) for name in ("http", "https")}
    with Pebble(
        folder / "pebble",
        names,
        http_port=ports["http"],
        tls_port=ports["https"],
        refuses_nonces=20,
        external_accounts=external,
    ) as pebble:
        known = {
            "control": addresses["control-address"],
            "data": str(folder / "edge" / "data"),
            "directory": pebble.directory,
            "resolver": names.address,
        }
        edge = Edge(
            folder / "edge",
            **addresses,
            acme_email="you@example.com",
            acme_directory=pebble.directory,
            acme_ca_file=str(pebble.ca_file),
            **{name: text % known for name, text in settings.items()},
        )
        try:
            tunnel = edge.api.create_tunnel("t")
            zone = edge.api.call("POST", "/zones", {"name": ZONE, "account": {"id": edge.api.account}})
            names.lab = Lab(edge, pebble, tunnel.id, zone["id"])
            yield names.lab
        finally:
            edge.stop()
            names.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with started(
        tmp_path_factory.mktemp("acme"),
        control_hostname=API,
        acme_dns_api="http://%(control)s/client/v4",
        acme_dns_token_file="%(data)s/first-token",
        acme_dns_resolver="%(resolver)s",
    ) as lab:
        yield lab


def test_a_hostname_has_a_certificate_soon_after_its_record(lab: Lab) -> None:
    lab.publish(f"app.{ZONE}")
    entry = lab.until(f"app.{ZONE}", "active")
    assert (entry["source"], entry["names"], entry["last_error"]) == ("acme", [f"app.{ZONE}"], None)
    assert lab.served(f"app.{ZONE}").startswith("Pebble")


@pytest.mark.case(35)
def test_wildcard_and_apex_are_proved_by_records_of_our_own_api(lab: Lab) -> None:
    """They share one `_acme-challenge` name."""
    lab.publish(f"*.w.{ZONE}")
    lab.publish(f"w.{ZONE}")
    assert lab.until(f"*.w.{ZONE}", "active")["names"] == [f"*.w.{ZONE}"]
    lab.until(f"w.{ZONE}", "active")
    assert lab.served(f"anything.w.{ZONE}").startswith("Pebble")
    texts = lab.edge.api.call("GET", f"/zones/{lab.zone_id}/dns_records", type="TXT")
    assert texts == [], "the zone is clean again"


def test_a_restart_orders_nothing_and_serves_what_was_there(lab: Lab) -> None:
    lab.publish(f"again.{ZONE}")
    before = lab.until(f"again.{ZONE}", "active")
    lab.edge.stop()
    lab.edge.restart()
    lab.publish(f"later.{ZONE}")
    lab.until(f"later.{ZONE}", "active")
    after = lab.entry(f"again.{ZONE}")
    assert after is not None
    assert {**after, "renew_at": None} == {**before, "renew_at": None}
    assert lab.served(f"again.{ZONE}").startswith("Pebble")


def test_renewal_by_hand_brings_another_certificate(lab: Lab) -> None:
    lab.publish(f"renewed.{ZONE}")
    before = lab.until(f"renewed.{ZONE}", "active")
    lab.edge.api.call("POST", f"/qanat/certificates/{before['id']}/renew")

    def renewed() -> bool:
        entry = lab.entry(f"renewed.{ZONE}")
        return entry is not None and entry["fingerprint"] != before["fingerprint"]

    wait_until(renewed, "another certificate", timeout_s=60.0)
    status = lab.edge.api.call("GET", "/qanat/status")["certificates"]
    assert status["active"] >= 1 and status["failing"] == 0 and status["ends_in_s"] > 0


def test_the_control_hostname_has_one_too_and_the_api_answers_there(lab: Lab) -> None:
    entry = lab.until(API, "active")
    assert (entry["zone_id"], entry["source"]) == (None, "acme")
    assert lab.served(API).startswith("Pebble")
    context = ssl.create_default_context(cadata=lab.pebble.root())
    host, port = lab.edge.https.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as sock, context.wrap_socket(sock, server_hostname=API) as tls:
        tls.sendall(f"GET /client/v4/ips HTTP/1.1\r\nHost: {API}\r\nConnection: close\r\n\r\n".encode())
        assert tls.recv(1 << 16).startswith(b"HTTP/1.1 ")


def test_names_are_proved_by_tls_alpn_for_an_account_that_is_bound_to_one(tmp_path: Path) -> None:
    """The CA wants an external account, and asks on the HTTPS port alone: the other challenge is not offered to it."""
    key = tmp_path / "hmac"
    key.write_text("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W\n")
    external = json.dumps({"directory": "%(directory)s", "key_id": "kid-1", "key_file": str(key)})
    settings = {"acme_challenges": "tls-alpn-01", "acme_external_accounts": external}
    with started(tmp_path, {"kid-1": key.read_text().strip()}, **settings) as lab:
        lab.publish(f"app.{ZONE}")
        entry = lab.until(f"app.{ZONE}", "active")
        assert entry["last_error"] is None
        assert lab.served(f"app.{ZONE}").startswith("Pebble")


@pytest.mark.case(63)
def test_an_edge_without_any_certificate_whose_ca_is_away_starts_and_serves_what_it_can(tmp_path: Path) -> None:
    edge = Edge(
        tmp_path / "edge",
        **lasting_addresses(),
        acme_email="you@example.com",
        acme_directory="https://127.0.0.1:1/directory",
    )
    try:
        tunnel = edge.api.create_tunnel("t")
        edge.api.publish(edge.api.create_zone("wants.test"), "app.wants.test", tunnel.id)
        for _ in range(2):
            (entry,) = wait_until(
                lambda: [each for each in edge.api.call("GET", "/qanat/certificates") if each["status"] == "failing"],
                "the failure to be told",
                timeout_s=60.0,
            )
            assert entry["names"] == ["app.wants.test"]
            with edge.plain("app.wants.test") as client:
                assert client.get().status == 308
            with edge.h1("app.wants.test") as client:  # by its own CA, which browsers don't know
                assert client.get().status == 530
            edge.stop()
            edge.restart()
    finally:
        edge.stop()
