"""An authoritative name server on loopback for tests of ACME clients: it answers what the API's records say at that moment."""

import socketserver
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.support.control import Control

TTL = 0


class Nameserver:
    """UDP and TCP on one port of 127.0.0.1: SOA at each zone's apex, and the records of the API."""

    def __init__(self, control: Control) -> None:
        self._control = control
        answer = self._answer
        self._udp = _Udp(("127.0.0.1", 0), _udp_handler(answer))
        port = self._udp.server_address[1]
        self._tcp = _Tcp(("127.0.0.1", port), _tcp_handler(answer))
        self.address = f"127.0.0.1:{port}"
        self.asked: list[tuple[str, str]] = []
        self._threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            for server in (self._udp, self._tcp)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join(5.0)

    def _answer(self, raw: bytes) -> bytes:
        try:
            query = dns.message.from_wire(raw)
        except dns.exception.DNSException:
            return b""
        answer = dns.message.make_response(query, our_payload=1232)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((kind, name))
        zone = self._zone(name)
        if zone is None:
            answer.set_rcode(dns.rcode.REFUSED)
            return answer.to_wire()
        answer.flags |= dns.flags.AA
        soa = dns.rrset.from_text(
            f"{zone['name']}.", TTL, "IN", "SOA", f"ns.{zone['name']}. hostmaster.{zone['name']}. 1 60 60 60 0"
        )
        if kind == "SOA" and name == zone["name"]:
            answer.answer.append(soa)
            return answer.to_wire()
        if kind == "NS" and name == zone["name"]:
            answer.answer.append(dns.rrset.from_text(f"{name}.", TTL, "IN", "NS", f"ns.{name}."))
            return answer.to_wire()
        records = self._control.call("GET", f"/zones/{zone['id']}/dns_records", name=name)
        texts = [_rdata(record) for record in records if record["type"] == kind]
        if texts:
            answer.answer.append(dns.rrset.from_text(question.name, TTL, "IN", kind, *texts))
        else:
            answer.authority.append(soa)
            if not records:
                answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire()

    def _zone(self, name: str) -> Any | None:
        """The longest zone that the name is in."""
        while name:
            for zone in self._control.call("GET", "/zones", name=name):
                return zone
            name = name.partition(".")[2]
        return None


class Zone:
    """A name server on loopback that answers what `records` holds at that moment: by kind and name, the texts of the data."""

    port = 0

    def __init__(self, records: dict[tuple[str, str], list[str]]) -> None:
        self.records = records
        self._udp = _Udp(("127.0.0.1", self.port), _udp_handler(self._answer))
        self.address = f"127.0.0.1:{self._udp.server_address[1]}"
        threading.Thread(target=self._udp.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._udp.shutdown()
        self._udp.server_close()

    def _answer(self, raw: bytes) -> bytes:
        query = dns.message.from_wire(raw)
        answer = dns.message.make_response(query, our_payload=1232)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        texts = self.records.get((kind, name))
        if texts:
            answer.answer.append(dns.rrset.from_text(question.name, TTL, "IN", kind, *texts))
        elif not any(name == known for _, known in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire()


def _rdata(record: dict[str, Any]) -> str:
    content: str = record["content"]
    if record["type"] == "TXT" and not content.startswith('"'):
        return '"' + content.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return content


Answer = Callable[[bytes], bytes]


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def _udp_handler(answer: Answer) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            raw, sock = self.request
            if reply := answer(raw):
                sock.sendto(reply, self.client_address)

    return Handler


def _tcp_handler(answer: Answer) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while len(size := self.rfile.read(2)) == 2:
                reply = answer(self.rfile.read(struct.unpack("!H", size)[0]))
                self.wfile.write(struct.pack("!H", len(reply)) + reply)

    return Handler
