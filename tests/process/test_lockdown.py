"""`qanat lockdown` in network namespaces: a host with a web server of its own and a published port, a stranger outside, a machine
of the tailnet, and a container."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qanat.host.lockdown.lockdown import apply, backend_of, status, undo
from qanat.host.lockdown.wanted import Lockdown
from qanat.host.machine import Machine
from tests.support.namespaces import PATH, Namespace, missing

NEEDED = missing() or (
    "" if all(shutil.which(each, path=PATH) for each in ("iptables", "nft")) else "needs iptables and nft"
)
pytestmark = pytest.mark.skipif(bool(NEEDED), reason=NEEDED or "runs")

OWN, PUBLISHED, OPEN = 80, 443, 8022
HOST = {4: "192.0.2.1", 6: "2001:db8:1::1"}
CONTAINER = {4: "172.17.0.2", 6: "2001:db8:17::2"}

DIALLED = """
import socket, sys
client = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
print(client.recv(100).decode(), flush=True)
for line in sys.stdin:
    client.sendall(b"x")
    print("sent", flush=True)
"""


class Site:
    """Everything joined. Ports are published as Docker does it: rewritten before routing, and let through in FORWARD."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host, self.stranger, self.peer, self.container = map(Namespace, ("host", "stranger", "peer", "container"))
        self.all = (self.host, self.stranger, self.peer, self.container)
        cables = (
            ("eth0", ["192.0.2.1/24", "2001:db8:1::1/64"], self.stranger, ["192.0.2.9/24", "2001:db8:1::9/64"]),
            ("tailscale0", ["100.64.0.1/10", "2001:db8:2::1/64"], self.peer, ["100.64.0.9/10", "2001:db8:2::9/64"]),
            ("docker0", ["172.17.0.1/16", "2001:db8:17::1/64"], self.container, ["172.17.0.2/16", "2001:db8:17::2/64"]),
        )
        for name, own, other, others in cables:
            self.host.join(name, own, other, "eth0", others)
        self.host.forwards()
        self.container.ip("route", "add", "default", "via", "172.17.0.1")
        self.container.ip("route", "add", "default", "via", "2001:db8:17::1")
        for namespace, gateway in ((self.stranger, HOST), (self.peer, {4: "100.64.0.1", 6: "2001:db8:2::1"})):
            for version in (4, 6):
                namespace.ip("route", "add", "default", "via", gateway[version])
        for tool, version in (("iptables", 4), ("ip6tables", 6)):
            to = f"[{CONTAINER[version]}]:8080" if version == 6 else f"{CONTAINER[version]}:8080"
            run = self.host.run
            run(tool, "--new-chain", "DOCKER-USER")
            run(tool, "--insert", "FORWARD", "--jump", "DOCKER-USER")
            run(tool, "--append", "FORWARD", "--jump", "ACCEPT")
            run(tool, "--table", "nat", "--append", "PREROUTING", "--match", "addrtype", "--dst-type", "LOCAL",
                "--protocol", "tcp", "--dport", str(PUBLISHED), "--jump", "DNAT", "--to-destination", to)  # fmt: skip
        self.servers = [
            self.host.serve(OWN, folder),
            self.host.serve(OPEN, folder),
            self.container.serve(8080, folder),
            self.stranger.serve(443, folder),
        ]

    def dial(self, source: Namespace, address: str, port: int, patience_s: float = 20.0) -> "subprocess.Popen[str]":
        command = source.inside(sys.executable, "-c", DIALLED, address, str(port), str(patience_s))
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def answer(self, source: Namespace, address: str, port: int, patience_s: float = 20.0) -> str:
        """Who answers; "" where nobody does within the patience."""
        return self.dial(source, address, port, patience_s).communicate()[0].strip()

    def close(self) -> None:
        for server in self.servers:
            server.kill()
            server.communicate()
        for namespace in self.all:
            namespace.close()


class HostMachine(Machine):
    """The host, by its files in a folder and its packet filter in a namespace."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.folder / "machine")
        self._host = site.host

    @property
    def live(self) -> bool:
        return True

    def try_run(self, *argv: str, given: str | None = None) -> tuple[int, str, str]:
        if argv[0] == "systemctl":
            return 1, "", "this host has none"
        done = subprocess.run(self._host.inside(*argv), capture_output=True, text=True, input=given or "", check=False)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=["nftables", "iptables"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, str]]:
    made = Site(tmp_path)
    yield made, request.param
    made.close()


def test_the_public_is_kept_out_and_nobody_else(site: tuple[Site, str]) -> None:
    where, backend = site
    stranger, peer, container, host = where.stranger, where.peer, where.container, where.host
    for version in (4, 6):
        assert where.answer(stranger, HOST[version], OWN) == "host", "before"
        assert where.answer(stranger, HOST[version], PUBLISHED) == "container", "before"
    open_since = where.dial(stranger, HOST[4], PUBLISHED)
    assert open_since.stdout is not None
    assert open_since.stdin is not None
    assert open_since.stdout.readline().strip() == "container"

    machine = HostMachine(where)
    assert not status(machine, backend_of(machine, backend)).in_force
    for _ in range(2):  # again: nothing is there twice
        assert apply(machine, backend_of(machine, backend), Lockdown()).in_force

    for version in (4, 6):
        assert where.answer(stranger, HOST[version], OWN, 1.0) == "", f"IPv{version}: the host's own server"
        assert where.answer(stranger, HOST[version], PUBLISHED, 1.0) == "", f"IPv{version}: the published port"
        assert where.answer(stranger, HOST[version], OPEN) == "host", "other ports are as they were"
        loopback = {4: "127.0.0.1", 6: "::1"}[version]
        assert where.answer(host, loopback, OWN) == "host", "loopback"
        tailnet = {4: "100.64.0.1", 6: "2001:db8:2::1"}[version]
        assert where.answer(peer, tailnet, OWN) == "host", "the tailnet"
        assert where.answer(peer, tailnet, PUBLISHED) == "container", "the tailnet"
        outside = {4: "192.0.2.9", 6: "2001:db8:1::9"}[version]
        assert where.answer(container, outside, 443) == "stranger", "a container goes out to others' port 443"
    assert _dropped(host, backend) > 0
    open_since.stdin.write("go on\n")
    open_since.stdin.flush()
    assert open_since.stdout.readline() == "sent\n", "what is open stays open"
    open_since.communicate()

    assert undo(machine)
    assert undo(machine) == ()
    assert not status(machine, backend_of(machine, backend)).in_force
    assert "qanat" not in host.run("nft", "list", "ruleset").lower()
    assert where.answer(stranger, HOST[4], PUBLISHED) == "container", "after"


def _dropped(host: Namespace, backend: str) -> int:
    if backend == "nftables":
        table = json.loads(host.run("nft", "--json", "list", "table", "inet", "qanat_lockdown"))["nftables"]
        rules = [each["rule"]["expr"] for each in table if "rule" in each]
        return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)
    lines = [host.run(tool, "-nvxL", "QANAT-CLOSED") for tool in ("iptables", "ip6tables")]
    return sum(int(line.split()[0]) for text in lines for line in text.splitlines() if " DROP " in line)
