"""A CA on loopback that a test makes lie, stall, refuse or answer half. It checks no signatures: Pebble does."""

import json
import threading
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


@dataclass
class Reply:
    """What it is about to answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> "Reply":
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    @classmethod
    def problem(cls, kind: str, detail: str = "no", status: int = 400, **headers: str) -> "Reply":
        problem = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}
        return cls(status, json.dumps(problem).encode(), {"Content-Type": "application/problem+json", **headers})


class FakeCa:
    """`change`: what happens to the answers of a kind (`dir`, `account`, `order`, `authz`, `challenge`, `finalize`, `poll`,
    `cert`, `renewal`); `asked`: all that came. `checks`: whether a name's proof is there; `names`: what certificates are made
    for, in place of what was asked."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = now
        self.change: dict[str, Callable[[Reply], Reply]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.seen: Counter[str] = Counter()
        self.ordered: list[dict[str, Any]] = []
        self.checks: Callable[[str, str], bool] = lambda _name, _kind: True
        self.names: list[str] | None = None
        self.own_key = False
        self.starts_in = timedelta(hours=-1)
        self.life = timedelta(days=90)
        self.kinds = ("http-01", "tls-alpn-01", "dns-01")
        self.window: tuple[datetime, datetime] | None = None
        self.terms: str | None = None
        self.external = False
        self._orders: list[dict[str, Any]] = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.directory = f"{self.url}/dir"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        ca = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer({})

            def do_HEAD(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                payload = _decoded(json.loads(raw)["payload"])
                self._answer(json.loads(payload) if payload else {})

            def _answer(self, asked: dict[str, Any]) -> None:
                kind, _, rest = self.path[1:].partition("/")
                ca.seen[kind] += 1
                ca.asked.append((kind, asked))
                reply = ca._reply(kind, rest, asked)
                change = ca.change.get(kind)
                reply = change(reply) if change is not None else reply
                date = reply.headers.pop("Date", format_datetime(ca.now(), usegmt=True))
                self.send_response_only(reply.status)
                given = {
                    "Date": date,
                    "Replay-Nonce": f"n{sum(ca.seen.values()):011}",
                    "Content-Length": str(len(reply.body)),
                    **reply.headers,
                }
                for name, text in given.items():
                    self.send_header(name, text)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)
                if "Connection" in reply.headers:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def _reply(self, kind: str, rest: str, asked: dict[str, Any]) -> Reply:
        order = self._orders[int(rest)] if rest.isdigit() and int(rest) < len(self._orders) else None
        match kind:
            case "dir":
                made = {f"new{name}": f"{self.url}/{name.lower()}" for name in ("Nonce", "Account", "Order")} | {
                    "renewalInfo": f"{self.url}/renewal"
                }
                meta = {"termsOfService": self.terms} if self.terms else {}
                return Reply.json({**made, "meta": {**meta, "externalAccountRequired": self.external}})
            case "nonce":
                return Reply(200, b"")
            case "account":
                return Reply.json({"status": "valid", "contact": []}, 201, {"Location": f"{self.url}/acct/1"})
            case "order":
                return self._ordered(asked)
            case "renewal":
                start, end = self.window or (self.now() + timedelta(days=50), self.now() + timedelta(days=51))
                window = {"start": start.isoformat(), "end": end.isoformat()}
                return Reply.json({"suggestedWindow": window}, headers={"Retry-After": "21600"})
        if order is None:
            return Reply.problem("malformed", "no such thing", 404)
        match kind:
            case "poll":
                return Reply.json(self._shown(order))
            case "authz":
                return Reply.json(self._authorization(order))
            case "challenge":
                order["kind"] = self.kinds[0]
                order["authorized"] = self.checks(order["name"], order["kind"])
                order["answered"] = True
                shown = {
                    "type": "http-01",
                    "url": f"{self.url}/challenge/{order['id']}",
                    "token": TOKEN,
                    "status": "pending",
                }
                return Reply.json(shown, headers={"Link": f'<{self.url}/authz/{order["id"]}>;rel="up"'})
            case "finalize":
                csr = x509.load_der_x509_csr(_decoded(asked["csr"]))
                order["chain"] = self._issued(order["name"], csr)
                return Reply.json(self._shown(order))
            case "cert":
                return Reply(200, order["chain"], {"Content-Type": "application/pem-certificate-chain"})
        return Reply.problem("malformed", "no such thing", 404)

    def _ordered(self, asked: dict[str, Any]) -> Reply:
        self.ordered.append(asked)
        order: dict[str, Any] = {"id": len(self._orders), "name": asked["identifiers"][0]["value"]}
        order |= {"authorized": None, "answered": False, "chain": None, "kind": ""}
        self._orders.append(order)
        return Reply.json(self._shown(order), 201, {"Location": f"{self.url}/poll/{order['id']}"})

    def _shown(self, order: dict[str, Any]) -> dict[str, Any]:
        ready = "ready" if order["authorized"] else "pending"
        shown = {
            "status": "valid" if order["chain"] else ready,
            "identifiers": [{"type": "dns", "value": order["name"]}],
            "authorizations": [f"{self.url}/authz/{order['id']}"],
            "finalize": f"{self.url}/finalize/{order['id']}",
        }
        return {**shown, "certificate": f"{self.url}/cert/{order['id']}"} if order["chain"] else shown

    def _authorization(self, order: dict[str, Any]) -> dict[str, Any]:
        status = "pending" if not order["answered"] else "valid" if order["authorized"] else "invalid"
        challenges: list[dict[str, Any]] = [
            {"type": kind, "url": f"{self.url}/challenge/{order['id']}", "token": TOKEN, "status": status}
            for kind in self.kinds
        ]
        if status == "invalid":
            detail = {"type": "urn:ietf:params:acme:error:connection", "detail": "192.0.2.1: connection refused"}
            challenges[0]["error"] = detail
        name = order["name"].removeprefix("*.")
        return {"status": status, "identifier": {"type": "dns", "value": name}, "challenges": challenges}

    def _issued(self, name: str, csr: x509.CertificateSigningRequest) -> bytes:
        start = self.now() + self.starts_in
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Fake CA")])
        public: Any = ec.generate_private_key(ec.SECP256R1()).public_key() if self.own_key else csr.public_key()
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + self.life)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(each) for each in self.names or [name]]), critical=True
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
