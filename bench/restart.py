"""`python -m bench.restart`: requests that fail while an edge is replaced again and again under load, h1 and h2; writes
restart.json, with `restart_failed`, into bench/results."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.__main__ import RESULTS, quiet
from bench.chain import QANAT, Rig, rig
from bench.cutover import wrk
from bench.machine import CpuTime, facts
from bench.processes import BenchError
from tests.support import websocket
from tests.support.http1 import Http1Client
from tests.support.origin import Origin
from tests.support.visitors import Visitor

H2_VISITORS = 4
BETWEEN_S = 2.0
"""For the old process to be left, before the next upgrade."""
DRAIN_S = "60"


@dataclass(frozen=True)
class Place:
    """The edge as visitors find it."""

    https: str
    ca_file: Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.restart", description=__doc__)
    parser.add_argument("--upgrades", type=int, default=20)
    parser.add_argument("--connections", type=int, default=16, help="of HTTP/1.1's load, which never pauses")
    parser.add_argument(
        "--kinds", nargs="*", default=("qanat", "cloudflared"), help="connectors; stock ones need a binary"
    )
    parser.add_argument("--protocols", nargs="*", choices=("quic", "http2"), default=("quic", "http2"))
    parser.add_argument("--smoke", action="store_true", help="two upgrades of ours: does it work? Writes nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--anyway", action="store_true", help="measure although the machine is busy")
    chosen = parser.parse_args()
    stock = os.environ.get("QANAT_TEST_CLOUDFLARED") or None
    kinds = [kind for kind in chosen.kinds if kind == "qanat" or (stock and not chosen.smoke)]
    runs: list[dict[str, Any]] = []
    try:
        machine = {**facts(stock), "busy_before": quiet(chosen.anyway or chosen.smoke)}
        clock = CpuTime.now()
        for kind in kinds:
            for protocol in chosen.protocols:
                with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name:
                    Path(name).chmod(0o755)  # nginx workers may run as another user
                    with rig(Path(name), stock, protocol, large=1 << 20, drain_timeout_s=DRAIN_S) as ready:
                        number = 2 if chosen.smoke else chosen.upgrades
                        runs.append(measure(ready, kind, protocol, number, chosen.connections))
                        print(f"{kind} over {protocol}: {runs[-1]}", flush=True)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    machine["steal_share"] = CpuTime.now().steal_share(clock)
    failed = sum(run["failed"] for run in runs)
    print(f"restart_failed {failed} of {sum(run['requests'] for run in runs)}")
    if not chosen.smoke:
        chosen.out.mkdir(parents=True, exist_ok=True)
        document = {"machine": machine, "summary": {"restart_failed": failed}, "runs": runs}
        (chosen.out / "restart.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return 0 if failed == 0 else 2


def measure(ready: Rig, kind: str, protocol: str, number: int, connections: int) -> dict[str, Any]:
    """So many upgrades, with a WebSocket of each process that lives on in it."""
    with ExitStack() as stack:
        origin = Origin()
        stack.callback(origin.close)
        origin.on("/ws", websocket.echo)
        tunnel = ready.tunnel(kind, protocol)
        stack.callback(tunnel.connector.stop)
        ready.api.put_ingress(tunnel.id, [{"path": "^/ws", "service": origin.service}, {"service": ready.origin}])
        ready.wait_answer(tunnel.target, 200)
        place = Place(ready.ready["https"], Path(ready.ready["ca"]))
        load = subprocess.Popen(wrk(ready, tunnel.target, connections), stdout=subprocess.PIPE, text=True)
        stack.callback(load.kill)
        visitors = [Visitor(place, tunnel.target.hostname, "h2", path="/small") for _ in range(H2_VISITORS)]
        took: list[float] = []
        sockets = 0
        refusals: list[str] = []
        for _ in range(number):
            client = stack.enter_context(Http1Client(place.https, tunnel.target.hostname, place.ca_file, timeout_s=30))
            try:
                talk = websocket.over_http1(client)
            except AssertionError as refused:
                refusals.append(str(refused)[:200])
                time.sleep(BETWEEN_S)
                continue
            said: list[bool] = []

            def speak(talk: websocket.WebSocket = talk, said: list[bool] = said) -> None:
                try:
                    talk.text("still here")
                    said.append(talk.message() == "still here")
                except (AssertionError, OSError):  # it has ended
                    said.append(False)

            took.append(upgrade(ready, speak))
            speak()
            sockets += all(said)
            client.close()
            time.sleep(BETWEEN_S)
        for visitor in visitors:
            visitor.stop()
        load.send_signal(2)
        told, _ = load.communicate(timeout=60)
    found = re.search(r"^RESULT (\{.*\})$", told, re.MULTILINE)
    if found is None:
        raise BenchError(f"wrk told nothing:\n{told}")
    result = json.loads(found.group(1))
    failures = [failure for visitor in visitors for failure in visitor.failed]
    failed = sum(result[key] for key in ("connect", "read", "write", "status", "timeout"))
    return {
        "connector": kind,
        "protocol": protocol,
        "upgrades": len(took),
        "requests": result["requests"] + sum(visitor.good for visitor in visitors),
        "requests_h2": sum(visitor.good for visitor in visitors),
        "failed": failed + len(failures) + number - sockets,
        "failed_h1": failed,
        "failed_h2": failures[:10],
        "websockets_refused": refusals,
        "websockets_that_lived": sockets,
        "seconds_each": round(median(took), 3),
        "slowest_ms": round(result["p99_us"] / 1000, 1),
    }


def upgrade(ready: Rig, meanwhile: Callable[[], None]) -> float:
    """Seconds until visitors come to the new process; `meanwhile` is called again and again."""
    began, mark = time.monotonic(), sum('"ready"' in line for _, line in ready.edge.lines)
    options = ["--data-dir", ready.ready["data_dir"], "--output", "json", "--timeout", "200"]
    command = [*QANAT, "edge", "upgrade", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise BenchError(f"an upgrade failed: {done.stderr}")
    while sum('"ready"' in line for _, line in ready.edge.lines) == mark:
        if time.monotonic() - began > 240:
            raise BenchError("the new process never said that it serves")
        time.sleep(0.2)
        meanwhile()
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
