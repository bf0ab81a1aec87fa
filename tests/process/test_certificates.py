"""Certificates that a CA issues to a running edge: Pebble, with random refusals of nonces, checks the edge's real listeners."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
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


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("acme")
    addresses = lasting_addresses()
    names = CaDns()
    ports = {name: int(addresses[f"public-{name}"].rsplit(":", 1)[1]) for name in ("http", "https")}
    with Pebble(
        folder / "pebble", names, http_port=ports["http"], tls_port=ports["https"], refuses_nonces=20
    ) as pebble:
        edge = Edge(
            folder / "edge",
            **addresses,
            acme_email="you@example.com",
            acme_directory=pebble.directory,
            acme_ca_file=str(pebble.ca_file),
            acme_dns_api=f"http://{addresses['control-address']}/client/v4",
            acme_dns_token_file=str(folder / "edge" / "data" / "first-token"),
            acme_dns_resolver=names.address,
        )
        try:
            tunnel = edge.api.create_tunnel("t")
            zone = edge.api.call("POST", "/zones", {"name": ZONE, "account": {"id": edge.api.account}})
            names.lab = Lab(edge, pebble, tunnel.id, zone["id"])
            yield names.lab
        finally:
            edge.stop()
            names.close()


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
