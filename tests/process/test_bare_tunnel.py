"""`qanat tunnel` without a command: quick tunnels, and `--name`, which makes, routes and runs a tunnel in one."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.edge import Edge
from tests.support.origin import Origin
from tests.support.processes import QANAT, Process, clean_environment
from tests.support.waiting import wait_until

ZONE = "quick.example"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    edge = Edge(tmp_path_factory.mktemp("bare") / "edge", control_quick_tunnels_zone=ZONE)
    edge.api.create_zone(ZONE)
    yield edge
    edge.stop()


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@contextmanager
def running(edge: Edge, home: Path, *flags: str) -> Iterator[Process]:
    general = ["--edge", edge.tunnel, "--cacert", str(edge.ca_file), "--metrics", "127.0.0.1:0", "--grace-period", "1s"]
    process = Process("connector", [*QANAT, "tunnel", *general, *flags], {"HOME": str(home)})
    try:
        process.wait_for("Registered tunnel connection")
        yield process
    finally:
        process.signal(signal.SIGTERM)
        process.wait()


def status(edge: Edge, hostname: str) -> int:
    with edge.h1(hostname) as client:
        return client.get().status


def test_a_quick_tunnel_serves_under_the_name_in_the_box(edge: Edge, origin: Origin, tmp_path: Path) -> None:
    with running(edge, tmp_path, "--quick-service", edge.ready["api"], "--url", origin.service) as connector:
        line = connector.wait_for(r"INF \|  (https://[a-z0-9-]+\.quick\.example) +\|$")
        hostname = line.group(1).removeprefix("https://")
        wait_until(lambda: status(edge, hostname) == 200, "an answer through the tunnel")
        metrics = connector.wait_for(r"Starting metrics server on (\S+)/metrics").group(1)
        assert httpx.get(f"http://{metrics}/quicktunnel", verify=False).json() == {"hostname": hostname}
        assert len([line for line in connector.since(0) if "Registered" in line]) == 1, "one connection, as stock"


def test_name_makes_routes_and_runs_and_the_next_time_runs_it_again(edge: Edge, origin: Origin, tmp_path: Path) -> None:
    zone = edge.api.create_zone("named.example")
    certificate = edge.api.call("POST", f"/qanat/zones/{zone}/origin-certificate", {})["certificate"]
    folder = tmp_path / ".cloudflared"
    folder.mkdir()
    (folder / "cert.pem").write_text(certificate)
    flags = (
        "--api-url",
        edge.ready["api"],
        "--name",
        "ad-hoc",
        "--hostname",
        "app.named.example",
        "--url",
        origin.service,
    )
    with running(edge, tmp_path, *flags) as connector:
        connector.wait_for("Added CNAME app.named.example which will route to this tunnel")
        wait_until(lambda: status(edge, "app.named.example") == 200, "an answer through the tunnel")
    (file,) = folder.glob("*.json")
    assert json.loads(file.read_text())["TunnelID"] == file.stem
    with running(edge, tmp_path, *flags) as connector:
        connector.wait_for("Reusing existing tunnel with this name")
        connector.wait_for("app.named.example is already configured to route to your tunnel")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "You did not specify any valid additional argument"),
        (["--hostname", "app.example.com"], "Classic tunnels have been deprecated"),
        (["--url", "http://localhost:1", "--quick-service", "http://127.0.0.1:1"], "Connection refused"),
        (["--url", "http://localhost:1", "--quick-service", "nonsense"], "--quick-service: this is no address"),
        (["--name", "x", "--url", "http://localhost:1"], "client didn't specify origincert path"),
    ],
    ids=["nothing", "classic", "refused", "nonsense", "no-certificate"],
)
def test_what_is_missing_is_named(flags: list[str], said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*QANAT, "tunnel", *flags],
        env={**clean_environment(), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30.0,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(re.escape(said), done.stderr), done.stderr


def test_a_service_that_gives_none_says_why(tmp_path: Path) -> None:
    """The edge's own reason: a stock cloudflared shows none."""
    edge = Edge(tmp_path / "edge")
    try:
        done = subprocess.run(
            [*QANAT, "tunnel", "--quick-service", edge.ready["api"], "--hello-world"],
            env={**clean_environment(), "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30.0,
            check=False,
        )
    finally:
        edge.stop()
    assert done.returncode == 1
    assert "quick tunnels are not switched on" in done.stderr


def test_a_quick_tunnel_that_is_handed_over_keeps_its_name(edge: Edge, origin: Origin, tmp_path: Path) -> None:
    """The new process makes no tunnel of its own."""
    with running(edge, tmp_path, "--quick-service", edge.ready["api"], "--url", origin.service) as connector:
        found = connector.wait_for(r"INF \|  (https://[a-z0-9-]+\.quick\.example) +\|$")
        hostname = found.group(1).removeprefix("https://")
        wait_until(lambda: status(edge, hostname) == 200, "an answer through the tunnel")
        metrics = connector.wait_for(r"Starting metrics server on (\S+)/metrics").group(1)
        mark = connector.mark()
        connector.signal(signal.SIGUSR2)
        connector.wait_for("The new process is in charge", after=mark, timeout_s=60.0)
        wait_until(lambda: status(edge, hostname) == 200, "an answer through the new process")
        assert httpx.get(f"http://{metrics}/quicktunnel", verify=False).json() == {"hostname": hostname}
        assert not [line for line in connector.since(mark) if "Requesting new quick Tunnel" in line]
