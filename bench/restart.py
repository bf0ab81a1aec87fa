"""`python -m bench.restart`: requests that fail while an edge is replaced again and again under load of HTTP/1.1 and HTTP/2, with
connectors of both kinds over both transports at once; writes restart.json, with `restart_failed`, into bench/results."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.__main__ import RESULTS, quiet
from bench.chain import QANAT, Rig, Tunnel, rig
from bench.cutover import wrk
from bench.machine import CpuTime, facts
from bench.processes import BenchError, Child
from tests.support import websocket
from tests.support.http1 import Http1Client
from tests.support.origin import Origin
from tests.support.visitors import Visitor

CONNECTIONS = 4
"""Of HTTP/1.1's load, of each tunnel."""
BETWEEN_S = 1.0
"""For the old process to be left, before the next upgrade."""
DRAIN_S = 120.0
LIVES = 3
"""A WebSocket of a connector of ours lives through so many upgrades, in the process that it began in."""
REQUESTS = 100_000
"""At least."""
FAILURES = ("connect", "read", "write", "status", "timeout")


@dataclass(frozen=True)
class Place:
    """The edge as visitors find it."""

    https: str
    ca_file: Path


class Talk:
    """A WebSocket that says something and hears it back."""

    def __init__(self, place: Place, hostname: str) -> None:
        self.client = Http1Client(place.https, hostname, place.ca_file, timeout_s=30)
        try:
            self._socket = websocket.over_http1(self.client)
        except BaseException:
            self.client.close()
            raise
        self.upgrades = 0

    def speak(self) -> bool:
        """Whether it lives."""
        try:
            self._socket.text("still here")
            return self._socket.message() == "still here"
        except (AssertionError, OSError):
            return False


@dataclass
class Side:
    """A tunnel, its connector, and what asks for it."""

    kind: str
    protocol: str
    tunnel: Tunnel
    load: subprocess.Popen[str]
    visitor: Visitor
    talks: list[Talk] = field(default_factory=list)
    talked: int = 0
    """WebSockets that lived as long as they should."""
    died: list[str] = field(default_factory=list)

    def begin_talk(self, place: Place, number: int) -> None:
        """Before an upgrade."""
        try:
            self.talks.append(Talk(place, self.tunnel.target.hostname))
        except (AssertionError, OSError) as refused:
            self.died.append(f"refused before upgrade {number}: {refused}"[:200])

    def listen(self, number: int) -> None:
        """Who has died is no longer heard."""
        for talk in [talk for talk in self.talks if not talk.speak()]:
            self.died.append(f"died at upgrade {number}, its {talk.upgrades + 1}.")
            self.end_talk(talk)

    def count(self, lives: int) -> None:
        """One upgrade more; those that have lived through enough of them end."""
        for talk in list(self.talks):
            talk.upgrades += 1
            if talk.upgrades >= lives:
                self.talked += 1
                self.end_talk(talk)

    def end_talk(self, talk: Talk) -> None:
        self.talks.remove(talk)
        talk.client.close()

    def renew(self, ready: Rig) -> None:
        """Another connector process in its place, which is there before it goes: a stock one waits the longer before it dials
        again the oftener it was sent away lately, up to minutes, which an edge that is upgraded now and then never sees."""
        before = self.tunnel.connector
        self.tunnel.connector, _ = ready.start_connector(self.kind, self.tunnel.token_file, self.protocol)
        before.stop()

    def result(self) -> dict[str, Any]:
        """Ends what asks."""
        self.visitor.stop()
        if self.load.poll() is not None:
            raise BenchError("the load ended before the upgrades did: wrk asks for ten minutes at most")
        self.load.send_signal(2)
        told, _ = self.load.communicate(timeout=60)
        found = re.search(r"^RESULT (\{.*\})$", told, re.MULTILINE)
        if found is None:
            raise BenchError(f"wrk told nothing:\n{told}")
        seen = json.loads(found.group(1))
        failed_h1 = sum(seen[key] for key in FAILURES)
        return {
            "connector": self.kind,
            "protocol": self.protocol,
            "requests_h1": seen["requests"],
            "requests_h2": self.visitor.good,
            "failed": failed_h1 + len(self.visitor.failed) + len(self.died),
            "failed_h1": failed_h1,
            "failed_h2": self.visitor.failed[:10],
            "websockets_lived": self.talked,
            "websockets_died": self.died,
            "told_to_go_h2": self.visitor.told,
            "p99_ms_h1": round(seen["p99_us"] / 1000, 1),
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.restart", description=__doc__)
    parser.add_argument("--upgrades", type=int, default=20)
    parser.add_argument(
        "--kinds", nargs="*", default=("qanat", "cloudflared"), help="connectors; stock ones need a binary"
    )
    parser.add_argument("--protocols", nargs="*", choices=("quic", "http2"), default=("quic", "http2"))
    parser.add_argument("--smoke", action="store_true", help="two upgrades: does it work? Writes nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--anyway", action="store_true", help="measure although the machine is busy")
    chosen = parser.parse_args()
    stock = os.environ.get("QANAT_TEST_CLOUDFLARED") or None
    kinds = [kind for kind in chosen.kinds if kind == "qanat" or stock]
    number = 2 if chosen.smoke else chosen.upgrades
    try:
        machine = {**facts(stock), "busy_before": quiet(chosen.anyway or chosen.smoke)}
        clock, began = CpuTime.now(), time.monotonic()
        with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name:
            Path(name).chmod(0o755)  # nginx workers may run as another user
            with rig(Path(name), stock, "quic", large=1 << 20, drain_timeout_s=f"{DRAIN_S:g}") as ready:
                took, sides = measure(ready, kinds, chosen.protocols, number, 0 if chosen.smoke else REQUESTS)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    machine["steal_share"] = CpuTime.now().steal_share(clock)
    summary = {
        "restart_failed": sum(side["failed"] for side in sides),
        "requests": sum(side["requests_h1"] + side["requests_h2"] for side in sides),
        "requests_h2": sum(side["requests_h2"] for side in sides),
        "upgrades": len(took),
        "websockets_lived": sum(side["websockets_lived"] for side in sides),
        "upgrade_s": round(median(took), 2),
        "upgrade_longest_s": round(max(took), 2),
        "took_s": round(time.monotonic() - began),
    }
    print(json.dumps({"summary": summary, "sides": sides}, indent=1, ensure_ascii=False))
    if not chosen.smoke:
        chosen.out.mkdir(parents=True, exist_ok=True)
        document = {"machine": machine, "summary": summary, "sides": sides}
        (chosen.out / "restart.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return 0 if summary["restart_failed"] == 0 else 2


def measure(
    ready: Rig, kinds: list[str], protocols: list[str], number: int, least: int
) -> tuple[list[float], list[dict[str, Any]]]:
    """How long each upgrade took (s), and what became of the requests of each tunnel, of which there are `least` at least."""
    with ExitStack() as stack:
        origin = Origin()
        stack.callback(origin.close)
        origin.on("/ws", websocket.echo)
        place = Place(ready.ready["https"], Path(ready.ready["ca"]))
        sides = [began(ready, kind, protocol, origin, place, stack) for kind in kinds for protocol in protocols]
        took = []
        for at in range(number):
            for side in sides:
                if side.kind != "qanat" and at:
                    side.renew(ready)
                side.begin_talk(place, at)
            took.append(upgrade(ready, sides, at))
            for side in sides:
                side.listen(at)
                side.count(LIVES if side.kind == "qanat" else 1)
            print(f"bench: upgrade {at + 1} of {number}: {took[-1]:.1f} s", file=sys.stderr, flush=True)
            time.sleep(BETWEEN_S)
        # wrk tells only at its end; it has then asked several times as often
        while sum(side.visitor.good for side in sides) < least // 4:
            time.sleep(BETWEEN_S)
        for side in sides:
            side.count(0)
        return took, [side.result() for side in sides]


def began(ready: Rig, kind: str, protocol: str, origin: Origin, place: Place, stack: ExitStack) -> Side:
    """A tunnel under load."""
    tunnel = ready.tunnel(kind, protocol)
    stack.callback(lambda: tunnel.connector.stop())
    ready.api.put_ingress(tunnel.id, [{"path": "^/ws", "service": origin.service}, {"service": ready.origin}])
    ready.wait_answer(tunnel.target, 200)
    load = subprocess.Popen(wrk(ready, tunnel.target, CONNECTIONS), stdout=subprocess.PIPE, text=True)
    stack.callback(load.kill)
    visitor = Visitor(place, tunnel.target.hostname, "h2", path="/small")
    stack.callback(visitor.stop)
    return Side(kind, protocol, tunnel, load, visitor)


def upgrade(ready: Rig, sides: list[Side], number: int) -> float:
    """Seconds until visitors come to the new process; what talks is heard all the while."""
    began, mark = time.monotonic(), _ready(ready.edge)
    options = ["--data-dir", ready.ready["data_dir"], "--output", "json", "--timeout", "200"]
    command = Child("upgrade", [*QANAT, "edge", "upgrade", *options])
    try:
        while _ready(ready.edge) == mark:
            if time.monotonic() - began > 240:
                raise BenchError("the new process never said that it serves")
            if command.exit_code:
                raise BenchError("an upgrade failed: " + "\n".join(line for _, line in command.lines))
            for side in sides:
                side.listen(number)
            time.sleep(0.05)
        return time.monotonic() - began
    finally:
        command.stop()


def _ready(edge: Child) -> int:
    return sum('"ready"' in line for _, line in edge.lines)


if __name__ == "__main__":
    sys.exit(main())
