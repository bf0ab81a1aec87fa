"""`access tcp` and `ssh`, ours and a stock cloudflared's, through an edge and a connector to a TCP service: every byte arrives.

`QANAT_TEST_CLOUDFLARED` names the binary, which is a client and a connector here; without it ours are tested alone.
"""

import hashlib
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.connector import STOCK, Connector, Kind
from tests.support.edge import Edge
from tests.support.fixtures import NO_STOCK
from tests.support.processes import QANAT, Process, clean_environment
from tests.support.waiting import wait_until

HOST = "tcp.example.test"
SIZE = int(os.environ.get("QANAT_TEST_CARRIED_MIB", "4")) << 20
PIECE = random.Random(7).randbytes(1 << 20)

BOTH = [
    "qanat",
    pytest.param("cloudflared", marks=[pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]),
]


class Service:
    """Answers `up`: how many bytes came until the announced number, and their hash; `down`: so many bytes; `echo`: what comes."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as lines:
            first = lines.readline()
            if not first:
                return
            asked, number = first.split()
            left = int(number)
            if asked == b"down":
                while left:
                    peer.sendall(PIECE[: min(left, len(PIECE))])
                    left -= min(left, len(PIECE))
                return
            found = hashlib.sha256()
            while left and (piece := lines.read(min(left, 1 << 16))):
                found.update(piece)
                left -= len(piece)
            peer.sendall(found.hexdigest().encode())

    def close(self) -> None:
        self.listener.close()


def expected() -> str:
    found = hashlib.sha256()
    for _ in range(SIZE // len(PIECE)):
        found.update(PIECE)
    return found.hexdigest()


@pytest.fixture(scope="module", params=BOTH)
def edge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge with a connector in front of the service."""
    service = Service()
    edge = Edge(tmp_path_factory.mktemp("access") / "edge")
    zone = edge.api.create_zone("example.test")
    tunnel = edge.api.create_tunnel("tcp")
    edge.api.publish(zone, HOST, tunnel.id)
    edge.api.put_configuration(
        tunnel.id,
        [{"hostname": HOST, "service": f"tcp://{service.address}"}, {"service": "http_status:404"}],
    )
    connector = Connector(tmp_path_factory.mktemp("connector"), edge, tunnel.token, kind=request.param)
    connector.process.wait_for("Updated to new configuration")
    yield edge
    connector.stop()
    edge.stop()
    service.close()


def command(kind: Kind, edge: Edge, name: str, *arguments: str) -> list[str]:
    port = edge.https.rpartition(":")[2]
    elsewhere = f"{HOST}:{port}:127.0.0.1"
    program = QANAT if kind == "qanat" else [str(STOCK)]
    return [*program, "access", name, "--hostname", HOST, "--connect-to", elsewhere, *arguments]


@pytest.mark.parametrize("kind", BOTH)
def test_a_listener_carries_both_directions_unharmed(kind: Kind, edge: Edge) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = Process("access", command(kind, edge, "tcp", "--url", f"localhost:{port}"))
    try:
        process.wait_for("Start Websocket listener")
        wait_until(lambda: listens(port), "the listener")  # a stock client says so before it listens
        found = hashlib.sha256()
        with connected(port) as peer:
            peer.sendall(f"down {SIZE}\n".encode())
            received = 0
            while received < SIZE and (piece := peer.recv(1 << 20)):
                found.update(piece)
                received += len(piece)
        assert (received, found.hexdigest()) == (SIZE, expected())
        with connected(port) as peer:
            peer.sendall(f"up {SIZE}\n".encode())
            for _ in range(SIZE // len(PIECE)):
                peer.sendall(PIECE)
            assert peer.makefile("rb").read(64).decode() == expected()
    finally:
        if kind == "qanat":
            process.stop()
        else:
            process.kill()  # at SIGTERM a stock client ends as if it had no handler


def listens(port: int) -> bool:
    try:
        connected(port).close()
    except ConnectionRefusedError:
        return False
    return True


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60.0)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("name", ["tcp", "ssh"])
def test_standard_input_and_output_carry_both_directions(kind: Kind, name: str, edge: Edge) -> None:
    """As a ProxyCommand of ssh: standard input stays open until the far side has ended."""
    client = subprocess.Popen(
        command(kind, edge, name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment()
    )
    with client:
        assert client.stdin and client.stdout
        client.stdin.write(f"up {SIZE}\n".encode())
        for _ in range(SIZE // len(PIECE)):
            client.stdin.write(PIECE)
        client.stdin.flush()
        assert client.stdout.read(64).decode() == expected()
        assert client.wait(timeout=30.0) == 0, "it ends when the far side has"


def test_an_answer_after_the_end_of_input_arrives(edge: Edge) -> None:
    """`printf … | qanat access tcp`, of which a stock client loses the answer."""
    done = subprocess.run(
        command("qanat", edge, "tcp"),
        input=f"down {SIZE}\n".encode(),
        env=clean_environment(),
        capture_output=True,
        timeout=60.0,
        check=False,
    )
    assert (done.returncode, hashlib.sha256(done.stdout).hexdigest()) == (0, expected())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 255, "--hostname: no input provided"),
        (["--hostname", "a b"], 255, "failed to parse Host"),
        (["--hostname", HOST, "--url", "nonsense"], 1, "is not host:port"),
        (["--hostname", HOST, "--url", "127.0.0.1:1", "127.0.0.1:2"], 255, "both --url and argument"),
        (["--hostname", HOST, "--header", "nonsense"], 1, "--header: this is not a header"),
        (["--hostname", HOST, "--connect-to", "a:b:c:d"], 1, "invalid connection override"),
        (["--hostname", HOST, "--connect-to", "127.0.0.1:1"], 1, "Connection refused"),
        (["--hostname", HOST, "--log-level", "loud"], 1, "--log-level: 'loud' is not a log level"),
        (["--hostname", HOST, "--nonsense"], 255, "flag provided but not defined: -nonsense"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qanat", "access", "tcp", *arguments],
        stdin=subprocess.DEVNULL,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30.0,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert re.search(re.escape(said), done.stderr), done.stderr


def test_an_edge_that_has_no_such_service_says_so(edge: Edge) -> None:
    argv = [each.replace(HOST, "nothing.example.test") for each in command("qanat", edge, "tcp")]
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30.0,
        check=False,
    )
    assert done.returncode == 1
    assert "not with a WebSocket" in done.stderr


def test_folder_of_logs(edge: Edge, tmp_path: Path) -> None:
    """Standard error belongs to whoever gave standard input; the file gets the lines."""
    done = subprocess.run(
        [*command("qanat", edge, "ssh"), "--logfile", str(tmp_path / "log"), "--log-level", "debug"],
        input=b"down 1\n",
        env=clean_environment(),
        capture_output=True,
        timeout=30.0,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, PIECE[:1], b"")
    assert "Using insecure SSL connection" in (tmp_path / "log").read_text()
