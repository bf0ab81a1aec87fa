"""Public hostnames for tests: each test gets its own and its own origin, through connectors that live for the session.

A tunnel is configured once with many rules whose origin ports are bound but not yet listening: taking one costs no push
of a configuration, and a slot that nobody listens on refuses connections.
"""

import json
import signal
import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.api import Tunnel
from tests.support.connector import Connector, Kind, Protocol
from tests.support.connectors import Http2Connector, QuicConnector
from tests.support.edge import Edge
from tests.support.http1 import Answer, Http1Client
from tests.support.http2 import Http2Client
from tests.support.origin import Origin
from tests.support.processes import SHARED
from tests.support.waiting import PATIENCE_S, wait_until

SLOTS = 150


@dataclass(frozen=True)
class Link:
    """Which connector, over which transport."""

    kind: Kind
    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.kind}-{self.protocol}"


@dataclass
class Slot:
    """A hostname with its rule; its origin's port is bound and refuses until somebody listens."""

    hostname: str
    sock: socket.socket


@dataclass
class Tunnelled:
    """A tunnel with a running connector and its published wildcard name, shared by the tests of one link."""

    link: Link
    edge: Edge
    tunnel: Tunnel
    connector: Connector
    domain: str
    slots: list[Slot] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)
    made: int = 0

    def refill(self) -> None:
        for _ in range(SLOTS):
            self.made += 1
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.bind(("127.0.0.1", 0))
            slot = Slot(f"s{self.made}.{self.domain}", sock)
            self.slots.append(slot)
            self.rules.append({"hostname": slot.hostname, "service": f"http://127.0.0.1:{sock.getsockname()[1]}"})
        self.push()

    def push(self, first: list[dict[str, Any]] | None = None) -> int:
        """Puts `first` (kept from then on), the slots' rules and the catch-all in force."""
        self.rules[:0] = first or []
        version = wait_until(
            self._put, "the edge to take another configuration of this minute", timeout_s=90.0, every_s=1.0
        )
        self.connector.wait_version(version)
        return version

    def _put(self) -> int | None:
        """None: the tests of this process were faster than the hundred a minute that an edge takes of one tunnel."""
        from tests.support.api import ApiError

        try:
            return self.edge.api.put_configuration(self.tunnel.id, [*self.rules, {"service": "http_status:404"}])
        except ApiError as error:
            if error.status == 429:
                return None
            raise

    def withdraw(self, rules: list[dict[str, Any]]) -> None:
        """Takes what `push` was given out of force."""
        self.rules = [rule for rule in self.rules if not any(rule is each for each in rules)]
        self.push()

    def take(self) -> Slot:
        if not self.slots:
            self.refill()
        return self.slots.pop(0)

    def close(self) -> None:
        for slot in self.slots:
            slot.sock.close()


class Site:
    """One public hostname, its origin, and clients for it. `origin` None: nobody listens behind it."""

    def __init__(self, tunnelled: Tunnelled, hostname: str, origin: Origin | None) -> None:
        self.tunnelled = tunnelled
        self.edge = tunnelled.edge
        self.link = tunnelled.link
        self.connector = tunnelled.connector
        self.hostname = hostname
        self._origin = origin
        self._opened: list[Http1Client | Http2Client] = []

    @property
    def origin(self) -> Origin:
        assert self._origin is not None, "this site has no origin"
        return self._origin

    def h1(
        self, *, timeout_s: float = PATIENCE_S, receive_buffer: int | None = None, source: str | None = None
    ) -> Http1Client:
        client = self.edge.h1(self.hostname, timeout_s=timeout_s, receive_buffer=receive_buffer, source=source)
        self._opened.append(client)
        return client

    def h2(
        self,
        *,
        strict: bool = True,
        timeout_s: float = PATIENCE_S,
        window: int | None = None,
        source: str | None = None,
    ) -> Http2Client:
        client = self.edge.h2(self.hostname, strict=strict, timeout_s=timeout_s, window=window, source=source)
        self._opened.append(client)
        return client

    def client(self, version: str) -> Http1Client | Http2Client:
        """`h1` or `h2`; both have `request` and `get`."""
        return self.h1() if version == "h1" else self.h2()

    def get(self, target: str = "/", fields: list[tuple[str, str]] | None = None) -> Answer:
        """One GET on a connection of its own."""
        with self.edge.h1(self.hostname) as client:
            return client.get(target, fields or [])

    def settle(self) -> None:
        """Until no request is under way at the edge or the connector: what was to reach the origin has reached it. A
        request that was broken off may arrive there long after its client has its answer."""

        def is_quiet() -> bool:
            counters = self.edge.api.call("GET", "/qanat/status")["counters"]
            serving = self.connector.metric("cloudflared_tunnel_concurrent_requests_per_tunnel")
            return bool(counters["requests_open"] == 0 and serving == 0)

        wait_until(is_quiet, "the edge and the connector to be at rest")
        seen = -1
        while seen != len(self.origin.requests):  # what lies in the origin's own sockets
            seen = len(self.origin.requests)
            time.sleep(0.02)

    def close(self) -> None:
        for client in self._opened:
            client.close()
        if self._origin is not None:
            self._origin.close()


class Publisher:
    """Makes sites with rules of their own, for what a slot can't show. Its rules end with it: a connector goes on fetching the
    keys of an issuer that a rule names, also once the test that was the issuer has ended."""

    def __init__(self, tunnelled: Tunnelled) -> None:
        self.tunnelled = tunnelled
        self._sites: list[Site] = []
        self._rules: list[dict[str, Any]] = []

    def hostname(self) -> str:
        self.tunnelled.made += 1
        return f"p{self.tunnelled.made}.{self.tunnelled.domain}"

    def __call__(
        self,
        service: str,
        *,
        origin: Origin | None = None,
        origin_request: Mapping[str, Any] | None = None,
        hostname: str | None = None,
        path: str | None = None,
    ) -> Site:
        """A site whose rule is `service` with `origin_request`."""
        hostname = hostname or self.hostname()
        rule: dict[str, Any] = {"hostname": hostname, "service": service}
        if path is not None:
            rule["path"] = path
        if origin_request is not None:
            rule["originRequest"] = dict(origin_request)
        return self.rules([rule], origin=origin)

    def rules(self, rules: list[dict[str, Any]], *, origin: Origin | None = None) -> Site:
        """Several rules, in order; the site's hostname is the first one's."""
        self.tunnelled.push(rules)
        self._rules += rules
        site = Site(self.tunnelled, rules[0]["hostname"], origin)
        self._sites.append(site)
        return site

    def close(self) -> None:
        for site in self._sites:
            site.close()
        if self._rules:
            self.tunnelled.withdraw(self._rules)


class Fakes:
    """Tunnels of their own with independent connectors (or none) behind them."""

    def __init__(self, lab: "Lab") -> None:
        self.lab = lab
        self.edge = lab.edge
        self._made: list[QuicConnector | Http2Connector] = []

    def tunnel(self, *, config_src: str = "cloudflare") -> tuple[Tunnel, str]:
        """A new tunnel and its public hostname, which the edge already routes (nothing is connected: 530)."""
        self.lab.fresh += 1
        name = f"f{self.lab.fresh}"
        tunnel = self.edge.api.create_tunnel(name, config_src=config_src)
        hostname = f"{name}.fakes.example.test"
        self.edge.api.publish(self.lab.zone, hostname, tunnel.id)
        wait_until(lambda: self.lab.status(hostname) == 530, f"{hostname} to be routed")
        return tunnel, hostname

    def quic(self, tunnel: Tunnel, **more: Any) -> QuicConnector:
        made = QuicConnector(self.edge.tunnel, self.edge.ca_file, tunnel.token, **more)
        self._made.append(made)
        return made

    def http2(self, tunnel: Tunnel, **more: Any) -> Http2Connector:
        made = Http2Connector(self.edge.tunnel, self.edge.ca_file, tunnel.token, **more)
        self._made.append(made)
        return made

    def connector(self, protocol: Protocol, tunnel: Tunnel, **more: Any) -> QuicConnector | Http2Connector:
        return self.quic(tunnel, **more) if protocol == "quic" else self.http2(tunnel, **more)

    def close(self) -> None:
        """All at once: a QUIC connection stays for some round trips after its end."""
        if self._made:
            with ThreadPoolExecutor(len(self._made)) as pool:
                list(pool.map(lambda made: made.close(), self._made))


class Lab:
    """One edge, and a tunnel a link when it is first asked for. `shared`: the whole session stands on it."""

    def __init__(self, folder: Path, *, shared: bool = True, connections: int = 2, **flags: str) -> None:
        self.folder = folder
        self.shared = shared
        self.connections = connections
        self.access_log = folder / "access.log"
        self.edge = Edge(folder / "edge", **{"access_log_to": str(self.access_log), **flags})
        if shared:
            SHARED.append(self.edge.process)
        self.zone = self.edge.api.create_zone("example.test")
        self.fresh = 0
        self._tunnels: dict[Link, Tunnelled] = {}

    def tunnelled(self, link: Link) -> Tunnelled:
        if link not in self._tunnels:
            name = str(link)
            tunnel = self.edge.api.create_tunnel(name)
            domain = f"{name}.example.test"
            self.edge.api.publish(self.zone, f"*.{domain}", tunnel.id)
            self.edge.api.put_configuration(tunnel.id, [{"service": "http_status:404"}])
            connector = Connector(
                self.folder / name,
                self.edge,
                tunnel.token,
                kind=link.kind,
                protocol=link.protocol,
                connections=self.connections,
            )
            if self.shared:
                SHARED.append(connector.process)
            found = Tunnelled(link, self.edge, tunnel, connector, domain)
            self._tunnels[link] = found
            found.refill()
            wait_until(lambda: self.status(f"any.{domain}") == 404, f"{domain} to be served")
        return self._tunnels[link]

    def access_lines(self, what: str, count: int = 1) -> list[dict[str, Any]]:
        """What the edge's access log has of a request id or a hostname, once it has so many lines of it."""

        def find() -> list[dict[str, Any]]:
            with self.access_log.open("rb") as log:
                found = [json.loads(line) for line in log if what.encode() in line and line.endswith(b"\n")]
            return found if len(found) >= count else []

        return wait_until(find, f"{count} lines of {what}")

    def status(self, hostname: str) -> int | None:
        """What a GET is answered; None when there is no TLS for the name (yet)."""
        try:
            with self.edge.h1(hostname) as client:
                return client.get().status
        except (ssl.SSLError, OSError):
            return None

    def close(self) -> None:
        if self.shared:
            SHARED.clear()
        for tunnelled in self._tunnels.values():
            tunnelled.close()
            tunnelled.connector.process.signal(signal.SIGTERM)
        for tunnelled in self._tunnels.values():
            assert tunnelled.connector.process.wait() == 0
        self.edge.stop()
