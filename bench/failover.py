"""`python -m bench.failover`: how long nobody is answered when one of two connectors dies, halts or is cut off; writes
failover.json into bench/results."""

import http.client
import os
import signal
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from bench.chain import Rig, rig
from bench.command import Measured, say, switches, told
from bench.load import Target
from bench.processes import BenchError
from tests.support.relay import Relay

CLIENTS = 16
BEFORE_S, AFTER_S = 1.5, 7.0
FAULTS = ("killed", "stopped", "cut")
PROTOCOLS = ("quic", "http2")


def main() -> int:
    parser = switches("failover", __doc__, smoke="one round")
    parser.add_argument("--protocols", nargs="*", choices=PROTOCOLS, default=PROTOCOLS)
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=FAULTS)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    stock = os.environ.get("QANAT_TEST_CLOUDFLARED") or None

    def found() -> Measured:
        rows: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name:
            Path(name).chmod(0o755)  # nginx workers may run as another user
            with rig(Path(name), stock, "quic") as ready:
                for number in range(1 if chosen.smoke else chosen.rounds):
                    for protocol in chosen.protocols:
                        for fault in chosen.faults:
                            for kind in ("qanat", *(["cloudflared"] if stock else [])):
                                say(f"{protocol} {kind} {fault}")
                                rows.append(measure(ready, kind, protocol, fault, number))
                ready.edge.check()
        summary = summarise(rows)
        for figure, value in summary.items():
            print(f"{figure:<48} {value:8.3f}")
        return {"clients": CLIENTS, "summary": summary, "runs": rows}, 0

    return told("failover", chosen, found, stock=stock)


def measure(ready: Rig, kind: str, protocol: str, fault: str, number: int) -> dict[str, Any]:
    """One fault: the longest time without an answer, and how many requests failed."""
    with ExitStack() as stack:
        stays = ready.tunnel(kind, protocol, name=f"failover-{kind}-{protocol}-{fault}-{number}")
        stack.callback(stays.connector.stop)
        relay = Relay(ready.ready["tunnel"])
        stack.callback(relay.close)
        suffers, _ = ready.start_connector(
            kind, stays.token_file, protocol, edge=relay.address if fault == "cut" else None
        )
        stack.callback(suffers.stop)
        if fault == "stopped":
            stack.callback(os.kill, suffers.pid, signal.SIGCONT)  # it must run to be stopped in order
        happens: dict[str, Callable[[], object]] = {
            "killed": lambda: os.kill(suffers.pid, signal.SIGKILL),
            "stopped": lambda: os.kill(suffers.pid, signal.SIGSTOP),
            "cut": lambda: setattr(relay, "silent", True),
        }
        with clients(ready, stays.target) as load:
            time.sleep(BEFORE_S)
            at = time.monotonic()
            happens[fault]()
            time.sleep(AFTER_S)
        answered = [at, *(moment for moment in sorted(load.answered) if at < moment < at + AFTER_S), at + AFTER_S]
        gap = max(later - earlier for earlier, later in pairwise(answered))
        before = sum(moment < at for moment in load.answered) / BEFORE_S
    return {
        "connector": kind,
        "protocol": protocol,
        "fault": fault,
        "round": number,
        "gap_s": round(gap, 4),
        "slowest_s": round(max(load.took), 4),
        "failed": load.failed,
        "answered": len(load.answered),
        "rps_before": round(before, 1),
    }


@dataclass
class Load:
    """What the clients saw."""

    answered: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def clients(ready: Rig, target: Target) -> Iterator[Load]:
    """Each asks on a connection of its own, one request after the other."""
    load = Load()
    threads = [threading.Thread(target=ask, args=(load, target, ready.context())) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.over.set()
        for thread in threads:
            thread.join(20)


def ask(load: Load, target: Target, context: ssl.SSLContext) -> None:
    """Until it is over; what fails is counted and asked again on a new connection."""
    connection = Connection(target, context)
    while not load.over.is_set():
        began = time.monotonic()
        try:
            connection.request("GET", "/small", headers={"Host": target.hostname})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise BenchError(f"{answer.status} {answer.getheader('x-qanat-error')}")
        except (OSError, http.client.HTTPException, BenchError) as error:
            load.failed.append(f"{type(error).__name__}: {error} after {time.monotonic() - began:.1f} s")
            connection.close()
            connection = Connection(target, context)
            continue
        now = time.monotonic()
        load.answered.append(now)
        load.took.append(now - began)
    connection.close()


class Connection(http.client.HTTPSConnection):
    """To the edge on loopback, under a hostname of the tunnel's."""

    def __init__(self, target: Target, context: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1", target.port, timeout=15)
        self._hostname, self._tls = target.hostname, context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._hostname)


def summarise(rows: list[dict[str, Any]]) -> dict[str, float]:
    """`failover_gap_s`: the longest of all with our connector; then by transport, fault and connector the median, the longest,
    and how many requests failed."""
    found = {"failover_gap_s": max((row["gap_s"] for row in rows if row["connector"] == "qanat"), default=0.0)}
    for key in dict.fromkeys((row["protocol"], row["fault"], row["connector"]) for row in rows):
        some = [row for row in rows if (row["protocol"], row["fault"], row["connector"]) == key]
        name = "failover_gap_s " + " ".join(key)
        found[name] = median(row["gap_s"] for row in some)
        found[f"{name} longest"] = max(row["gap_s"] for row in some)
        found[f"{name} failed"] = float(sum(len(row["failed"]) for row in some))
    return found


if __name__ == "__main__":
    sys.exit(main())
