"""kamal-proxy as an origin: the real one where `QANAT_TEST_KAMAL_PROXY` names its binary, and a stand-in that behaves like it.

Facts of kamal-proxy 0.9: a deploy waits until the new target answers its health check with 2xx, gives it all new requests, and
ends when the old target's requests are done or the drain time is over; a target that stays ill changes nothing. The Host is
passed on as it came; the peer's address is added to X-Forwarded-For; X-Forwarded-Proto and -Host stay if they are there.
"""

import http.client
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.support.loopback import lasting_port
from tests.support.origin import Exchange, Origin
from tests.support.processes import Process
from tests.support.waiting import wait_until

REAL = os.environ.get("QANAT_TEST_KAMAL_PROXY")
HEALTH = "/up"
HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}


class KamalProxy(Protocol):
    """What the tests do with either."""

    service: str
    """Its address as an ingress rule has it."""

    def deploy(self, target: str, *, health_host: str = "", timeout_s: float = 10.0) -> bool:
        """Whether `target` (host:port) serves now; what is open at the one before is done by then."""


class _Target:
    def __init__(self, address: str) -> None:
        self.address = address
        self.open = 0


class StandIn:
    """One service, one target."""

    def __init__(self) -> None:
        self.origin = Origin(script=self._forward)
        self.service = self.origin.service
        self._change = threading.Condition()
        self._target: _Target | None = None

    def deploy(self, target: str, *, health_host: str = "", timeout_s: float = 10.0) -> bool:
        end = time.monotonic() + timeout_s
        while not self._is_healthy(target, health_host):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        with self._change:
            before, self._target = self._target, _Target(target)
            if before is not None:
                self._change.wait_for(lambda: before.open == 0, 30.0)
        return True

    def close(self) -> None:
        self.origin.close()

    def _is_healthy(self, target: str, health_host: str) -> bool:
        try:
            return 200 <= _ask(target, "GET", HEALTH, {"Host": health_host or target}, b"").status < 300
        except (OSError, http.client.HTTPException):
            return False

    def _forward(self, exchange: Exchange) -> None:
        with self._change:
            target = self._target
            if target is None:
                exchange.answer(503)
                return
            target.open += 1
        try:
            request = exchange.request
            headers = {name: text for name, text in request.fields if name.lower() not in HOP_BY_HOP}
            known = {name.lower(): text for name, text in headers.items()}
            assert isinstance(exchange.sock, socket.socket)
            peer = exchange.sock.getpeername()[0]
            forwarded = {
                "x-forwarded-for": ", ".join(filter(None, [known.get("x-forwarded-for"), peer])),
                "x-forwarded-proto": known.get("x-forwarded-proto", "http"),
                "x-forwarded-host": known.get("x-forwarded-host", known["host"]),
            }
            kept = {name: text for name, text in headers.items() if name.lower() not in forwarded}
            try:
                answer = _ask(target.address, request.method, request.target, {**kept, **forwarded}, exchange.body())
            except (OSError, http.client.HTTPException):
                exchange.answer(502)
                return
            fields = [(name, text) for name, text in answer.headers.items() if name.lower() not in HOP_BY_HOP]
            exchange.answer(answer.status, answer.body, fields)
        finally:
            with self._change:
                target.open -= 1
                self._change.notify_all()


class _Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()


def _ask(address: str, method: str, target: str, headers: dict[str, str], body: bytes) -> _Answer:
    connection = http.client.HTTPConnection(address, timeout=10.0)
    try:
        connection.request(method, target, body=body or None, headers=headers)
        return _Answer(connection.getresponse())
    finally:
        connection.close()


class RealProxy:
    """The binary, with a socket and a state of its own."""

    def __init__(self, folder: Path) -> None:
        assert REAL
        port = lasting_port()
        self.service = f"http://127.0.0.1:{port}"
        folder.mkdir(parents=True)
        self._env = {"HOME": str(folder), "KAMAL_PROXY_SOCKET": str(folder / "socket")}
        self.process = Process("kamal-proxy", [REAL, "run", "--http-port", str(port), "--https-port", "0"], self._env)
        wait_until(lambda: _listens(port) and (folder / "socket").exists(), "kamal-proxy to listen")

    def deploy(self, target: str, *, health_host: str = "", timeout_s: float = 10.0) -> bool:
        assert REAL
        command = [REAL, "deploy", "web", "--target", target, "--health-check-interval", "50ms"]
        command += ["--deploy-timeout", f"{timeout_s}s", "--drain-timeout", "30s"]
        command += ["--health-check-host", health_host] if health_host else []
        return subprocess.run(command, env=self._env, capture_output=True, timeout=60.0, check=False).returncode == 0

    def close(self) -> None:
        self.process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def kamal_proxy(kind: str, folder: Path) -> Iterator[KamalProxy]:
    """`stand-in` or `kamal-proxy`."""
    proxy = StandIn() if kind == "stand-in" else RealProxy(folder / "kamal-proxy")
    try:
        yield proxy
    finally:
        proxy.close()
