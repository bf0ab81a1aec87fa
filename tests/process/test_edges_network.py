"""The way to the edge gets narrow, or another one: in a network of the test's own, which needs `unshare` and `ip`."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.edge import Edge
from tests.support.processes import QANAT, Process
from tests.support.waiting import wait_until

INSIDE = "QANAT_TEST_INSIDE_NETWORK"
inside = pytest.mark.skipif(INSIDE not in os.environ, reason="runs within the test above")
EDGE_IP, HOST_IP, OTHER_IP = "10.97.0.1", "10.97.0.2", "10.97.0.3"
EDGE_IP6, HOST_IP6 = "fd97::1", "fd97::2"
HOSTS = f"127.0.0.1 localhost\n::1 localhost\n{EDGE_IP} edge.test\n{EDGE_IP6} edge.test\n"
SIZE = 1 << 20
REGISTERED = "Registered tunnel connection .*protocol="


def _why_not() -> str:
    if not shutil.which("ip") or not shutil.which("unshare") or not shutil.which("nsenter"):
        return "there is no ip, unshare or nsenter"
    tried = subprocess.run(
        ["unshare", "-Urn", "ip", "link", "add", "edge0", "type", "veth", "peer", "name", "host0"],
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"no network namespace may be made here: {tried.stderr.decode().strip()}"


@pytest.mark.skipif(INSIDE in os.environ, reason="this is that network")
def test_narrow_paths_and_other_addresses_in_a_network_of_its_own() -> None:
    if why_not := _why_not():
        pytest.skip(why_not)
    argv = ["unshare", "-Urn", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", __file__]
    done = subprocess.run(argv, env={**os.environ, INSIDE: "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20000:]
    assert "4 passed" in done.stdout


class Lab:
    """An edge, and a host with a connector and an origin, on two ends of a cable."""

    def __init__(self, folder: Path) -> None:
        self._other = subprocess.Popen(
            ["unshare", "-n", "sleep", "300"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.host = ["nsenter", "-t", str(self._other.pid), "-n"]
        here, there = Path("/proc/self/ns/net"), Path(f"/proc/{self._other.pid}/ns/net")
        wait_until(lambda: there.readlink() != here.readlink(), "a namespace beside this one")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "edge0", "type", "veth", "peer", "name", "host0")
        run("ip", "link", "set", "host0", "netns", str(self._other.pid))
        run("ip", "addr", "add", f"{EDGE_IP}/24", "dev", "edge0")
        run("ip", "addr", "add", f"{EDGE_IP6}/64", "dev", "edge0", "nodad")
        run("ip", "link", "set", "edge0", "up")
        for words in (
            ["link", "set", "lo", "up"],
            ["addr", "add", f"{HOST_IP}/24", "dev", "host0"],
            ["addr", "add", f"{HOST_IP6}/64", "dev", "host0", "nodad"],
            ["link", "set", "host0", "up"],
        ):
            self.on_host("ip", *words)
        (folder / "file").write_bytes(os.urandom(SIZE))
        self.origin = Process(
            "origin",
            [*self.host, sys.executable, "-m", "http.server", "8000", "--bind", "127.0.0.1", "-d", str(folder)],
        )
        self.edge = Edge(folder / "edge", **{"tunnel-address": "[::]:7844"})
        tunnel = self.edge.api.create_tunnel("lab")
        self.edge.api.publish(self.edge.api.create_zone("example.test"), "app.example.test", tunnel.id)
        rules = [{"hostname": "app.example.test", "service": "http://localhost:8000"}, {"service": "http_status:404"}]
        self.edge.api.put_configuration(tunnel.id, rules)
        token = folder / "token"
        token.write_text(tunnel.token)
        general = [
            "--edge",
            f"{EDGE_IP}:7844",
            "--cacert",
            str(self.edge.ca_file),
            "--no-prechecks",
            "--ha-connections",
            "1",
        ]
        self._argv = [
            *self.host,
            *QANAT,
            "tunnel",
            *general,
            "--metrics",
            "127.0.0.1:0",
            "run",
            "--token-file",
            str(token),
        ]
        self.connector = self.connected("quic")

    def by_name(self, folder: Path) -> Process:
        """Another connector, which finds the edge by a name with addresses of both kinds, and has no flag for either."""
        (folder / "hosts").write_text(HOSTS)
        within = ["unshare", "-m", "sh", "-c", f'mount --bind {folder}/hosts /etc/hosts && exec "$@"', "sh"]
        argv = [word.replace(f"{EDGE_IP}:7844", "edge.test:7844") for word in self._argv]
        return Process("connector by name", [*argv[: len(self.host)], *within, *argv[len(self.host) :]])

    def connected(self, protocol: str) -> Process:
        connector = Process("connector", self._argv)
        connector.wait_for(f"{REGISTERED}{protocol}", timeout_s=60.0)
        return connector

    def on_host(self, *words: str) -> None:
        run(*self.host, *words)

    def gets_the_file(self) -> bool:
        try:
            with self.edge.h1("app.example.test", timeout_s=30.0) as client:
                answer = client.get("/file")
                return answer.status == 200 and len(answer.body) == SIZE
        except (OSError, httpx.HTTPError):
            return False

    def close(self) -> None:
        self.connector.stop()
        self.origin.kill()
        self.edge.stop()
        self._other.kill()
        self._other.wait()


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.close()


@inside
@pytest.mark.case(24)
@pytest.mark.parametrize(("gone", "used"), [(f"{HOST_IP}/24", EDGE_IP6), (f"{HOST_IP6}/64", EDGE_IP)], ids=["6", "4"])
def test_a_host_with_one_version_of_ip_connects_and_its_origin_is_found_by_localhost(
    lab: Lab, tmp_path: Path, gone: str, used: str
) -> None:
    """The origin listens on 127.0.0.1 alone, and localhost is ::1 as well."""
    lab.connector.stop()
    lab.on_host("ip", "addr", "del", gone, "dev", "host0")
    connector = lab.by_name(tmp_path)
    try:
        connector.wait_for(f"Registered tunnel connection .*ip={used} ")
        wait_until(lab.gets_the_file, "a request by the only way")
    finally:
        connector.stop()
        lab.on_host("ip", "addr", "add", gone, "dev", "host0", *(["nodad"] if ":" in gone else []))
        lab.connector = lab.connected("quic")


@inside
def test_another_address_of_the_host_costs_no_connection_more_than_a_moment(lab: Lab) -> None:
    assert lab.gets_the_file()
    lab.on_host("ip", "addr", "del", f"{HOST_IP}/24", "dev", "host0")
    lab.on_host("ip", "addr", "add", f"{OTHER_IP}/24", "dev", "host0")
    start = time.monotonic()
    wait_until(lab.gets_the_file, "a request by the other address")
    print(f"after {time.monotonic() - start:.2f} s")


@inside
def test_a_path_that_got_narrow_without_a_word_carries_large_answers_and_below_quics_least_over_http2(lab: Lab) -> None:
    """The kernel drops what is larger than the receiving end's MTU, and sends no ICMP: a black hole."""
    assert lab.gets_the_file()
    run("ip", "link", "set", "edge0", "mtu", "1300")
    start = time.monotonic()
    wait_until(lab.gets_the_file, "a large answer on the narrow path", timeout_s=60.0)
    print(f"MTU 1300: after {time.monotonic() - start:.2f} s")
    run("ip", "link", "set", "edge0", "mtu", "1000")
    lab.connector.kill()
    start = time.monotonic()
    lab.connector = lab.connected("http2")
    print(f"MTU 1000: HTTP/2 after {time.monotonic() - start:.2f} s")
    wait_until(lab.gets_the_file, "a large answer on the narrower path", timeout_s=60.0)
