"""How long nobody is answered when the active host of two changes: planned, and when it is killed and replaced by itself."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import httpx

from bench.chain import Rig
from bench.load import Target
from bench.processes import BenchError, Child

CLIENTS = 16
SETTLED = 200
"""Answers before and after, between which the longest gap is looked for."""


@dataclass
class Clients:
    """Each asks over a connection of its own, without a pause."""

    rig: Rig
    target: Target
    answered: list[float] = field(default_factory=list)
    failed: int = 0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """As long as the block runs."""
        ending = threading.Event()

        def ask() -> None:
            with self.rig.client() as client:
                while not ending.is_set():
                    try:
                        is_good = self.rig.get(client, self.target) == 200
                    except httpx.TransportError:
                        is_good = False
                    self.failed += not is_good
                    if is_good:
                        self.answered.append(time.monotonic())

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        yield
        ending.set()
        for thread in threads:
            thread.join(30)

    def wait(self, count: int, *, since: float) -> None:
        end = time.monotonic() + 60
        while sum(at > since for at in self.answered) < count:
            if time.monotonic() > end:
                raise BenchError(f"{self.target.name}: nobody is answered any more")
            time.sleep(0.01)

    @property
    def longest_gap_s(self) -> float:
        return max((after - before for before, after in pairwise(sorted(self.answered))), default=0.0)


@dataclass(frozen=True)
class Gap:
    """The longest time without an answered request, and how many failed."""

    gap_s: float
    failed: int


def promotions(rig: Rig, kind: str, number: int) -> dict[str, Gap]:
    """`planned`, and `killed`: the active host ends by SIGKILL."""
    api, name = rig.api, f"nodes-{kind}-{number}"
    made = api.call("POST", f"/accounts/{api.account}/cfd_tunnel", {"name": name, "config_src": "cloudflare"})
    api.put_ingress(made["id"], rig.rules())
    target = Target(name, f"{name}.bench.test", int(rig.ready["https"].rpartition(":")[2]))
    content = f"{made['id']}.cfargotunnel.com"
    record = {"type": "CNAME", "name": target.hostname, "content": content, "proxied": True, "ttl": 1}
    api.call("POST", f"/zones/{rig.zone}/dns_records", record)
    hosts: dict[str, Child] = {}
    try:
        for host in ("web-1", "web-2"):
            token = api.call("POST", f"/qanat/tunnels/{made['id']}/connector-tokens", {"name": host})["token"]
            file = rig.folder / f"{name}-{host}.token"
            file.touch(0o600)
            file.write_text(token)
            hosts[host], _ = rig.start_connector(kind, file, rig.protocol)
        base = f"/accounts/{api.account}/qanat/tunnels/{made['id']}"
        api.call("PUT", f"{base}/mode", {"mode": "active-standby", "active": "web-1", "automatic": True})
        rig.wait_answer(target, 200)

        def promote() -> None:
            begun = api.call("POST", f"{base}/nodes/web-2/promote", {})
            while (found := api.call("GET", f"{base}/promotions/{begun['id']}"))["finished_at"] is None:
                time.sleep(0.01)
            if found["state"] != "released":
                raise BenchError(f"{name}: {found['undo_reason']}")

        planned = _measured(rig, target, promote)
        api.call("POST", f"{base}/nodes/web-1/unfence")
        killed = _measured(rig, target, lambda: os.kill(hosts["web-2"].pid, signal.SIGKILL))
    finally:
        for child in hosts.values():
            child.stop()
    return {"planned": planned, "killed": killed}


def _measured(rig: Rig, target: Target, change: Callable[[], None]) -> Gap:
    clients = Clients(rig, target)
    with clients.asking():
        clients.wait(SETTLED, since=0.0)
        change()
        clients.wait(SETTLED, since=time.monotonic())
    return Gap(clients.longest_gap_s, clients.failed)
