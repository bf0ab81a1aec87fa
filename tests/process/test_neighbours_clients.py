"""One client of the API can't hurt the others, nor the visitors (security.md S28, S29, S33)."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

import httpx
import pytest

from tests.support.edge import Edge
from tests.support.fixtures import quic_only
from tests.support.neighbours import API_S, ATTACKER, Tenant, Victim, lab, repeated, unharmed  # noqa: F401
from tests.support.sites import Lab

# how the tunnel is carried doesn't matter to the API
pytestmark = [pytest.mark.alone, quic_only, pytest.mark.requirement("S28", "S29", "S33")]


def dialled(edge: Edge) -> socket.socket:
    host, _, port = edge.ready["api"].split("/")[2].rpartition(":")
    return socket.create_connection((host, int(port)), 10.0, (ATTACKER, 0))


def foreign(edge: Edge) -> httpx.Client:
    """A client from the attacker's address."""
    transport = httpx.HTTPTransport(local_address=ATTACKER, verify=False)
    return httpx.Client(base_url=edge.ready["api"], transport=transport, timeout=10.0, verify=False)


def test_idle_connections(lab: Lab, victim: Victim, api_victim: Victim) -> None:  # noqa: F811
    @contextmanager
    def attack() -> Iterator[None]:
        with ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(dialled(lab.edge))
            yield

    unharmed(victim, api_victim, attack=attack, seconds=API_S)


@pytest.mark.case(55)
def test_slow_heads(lab: Lab, victim: Victim, api_victim: Victim) -> None:  # noqa: F811
    @contextmanager
    def attack() -> Iterator[None]:
        with ExitStack() as stack:
            socks = [stack.enter_context(dialled(lab.edge)) for _ in range(100)]
            for sock in socks:
                sock.sendall(b"GET /client/v4/zones HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")

            def drip() -> None:
                for sock in list(socks):
                    try:
                        sock.sendall(b"x")
                    except OSError:  # thrown out
                        socks.remove(sock)

            stack.enter_context(repeated(drip, per_second=3))
            yield

    unharmed(victim, api_victim, attack=attack, seconds=API_S)


def test_large_bodies(lab: Lab, victim: Victim, api_victim: Victim, tenant: Tenant) -> None:  # noqa: F811
    """Without credentials, and with those of another account: 1 MB of JSON for what takes little, 70 MB announced."""
    body = b'{"name":"' + b"x" * 1_000_000 + b'"}'
    numbers = count()

    def step() -> None:
        number = next(numbers)
        lines = [f"POST /client/v4/zones/{tenant.zone}/dns_records HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"Content-Length: {len(body) if number % 3 else 70_000_000}"]
        lines += [f"Authorization: Bearer {tenant.token}"] if number % 2 else []
        with dialled(lab.edge) as sock:
            sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            sock.recv(65536)

    unharmed(victim, api_victim, attack=lambda: repeated(step, per_second=4, threads=2), seconds=API_S)


def test_bad_tokens(lab: Lab, victim: Victim, api_victim: Victim) -> None:  # noqa: F811
    """60 a second, each another one."""
    numbers = count()

    def step() -> None:
        with foreign(lab.edge) as client:
            for _ in range(6):
                token = f"qnt_{next(numbers):036d}"
                assert client.get("/zones", headers={"authorization": f"Bearer {token}"}).status_code in (400, 403, 429)

    unharmed(victim, api_victim, attack=lambda: repeated(step, per_second=10), seconds=API_S)
