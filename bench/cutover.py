"""`python -m bench.cutover`: requests that fail while a hostname is moved between two tunnels again and again under load; writes
bench/results/cutover.json, with `cutover_failed`."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.chain import Rig, Tunnel, rig
from bench.command import Measured, switches, told
from bench.load import SCRIPT, Target, tool
from bench.processes import BenchError

ENDS = ("done", "refused", "rolled_back", "stopped")


def main() -> int:
    parser = switches("cutover", __doc__, smoke="two cutovers of ours")
    parser.add_argument("--cutovers", type=int, default=20)
    parser.add_argument("--connections", type=int, default=16, help="of the load, which never pauses")
    parser.add_argument(
        "--kinds", nargs="*", default=("qanat", "cloudflared"), help="connectors; stock ones need a binary"
    )
    chosen = parser.parse_args()
    stock = os.environ.get("QANAT_TEST_CLOUDFLARED") or None
    kinds = ["qanat"] if chosen.smoke or stock is None else list(chosen.kinds)
    number = 2 if chosen.smoke else chosen.cutovers

    def found() -> Measured:
        runs: list[dict[str, Any]] = []
        for kind in kinds:
            for protocol in ("quic", "http2"):
                with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name:
                    Path(name).chmod(0o755)  # nginx workers may run as another user
                    with rig(Path(name), stock, protocol) as ready:
                        runs.append(measure(ready, kind, protocol, number, chosen.connections, smoke=chosen.smoke))
                        print(f"{kind} over {protocol}: {runs[-1]}", flush=True)
        failed = sum(run["failed"] for run in runs)
        print(f"cutover_failed {failed} of {sum(run['requests'] for run in runs)}")
        return {"summary": {"cutover_failed": failed}, "runs": runs}, 0 if failed == 0 else 2

    return told("cutover", chosen, found, stock=stock)


def measure(ready: Rig, kind: str, protocol: str, number: int, connections: int, *, smoke: bool) -> dict[str, Any]:
    """A hostname there and back, until there were so many cutovers and so many requests."""
    sides = [ready.tunnel(kind, protocol, name=f"{kind}-{protocol}-{side}") for side in ("one", "two")]
    try:
        target = sides[0].target
        for side in sides:
            rules = [{"hostname": target.hostname, **rule} for rule in ready.rules()]
            ready.api.put_ingress(side.id, [*rules, {"service": "http_status:404"}])
        ready.wait_answer(target, 200)
        load = subprocess.Popen(wrk(ready, target, connections), stdout=subprocess.PIPE, text=True)
        took = [move(ready, sides[at % 2], sides[1 - at % 2], target.hostname) for at in range(number)]
        end = time.monotonic() + (0 if smoke else 30)
        while time.monotonic() < end:
            took.append(move(ready, sides[len(took) % 2], sides[1 - len(took) % 2], target.hostname))
        load.send_signal(2)
        output, _ = load.communicate(timeout=30)
    finally:
        for side in sides:
            side.connector.stop()
    found = re.search(r"^RESULT (\{.*\})$", output, re.MULTILINE)
    if found is None:
        raise BenchError(f"wrk told nothing:\n{output}")
    result = json.loads(found.group(1))
    failed = sum(result[key] for key in ("connect", "read", "write", "status", "timeout"))
    return {
        "connector": kind,
        "protocol": protocol,
        "cutovers": len(took),
        "requests": result["requests"],
        "failed": failed,
        "seconds_each": round(median(took), 3),
    }


def wrk(ready: Rig, target: Target, connections: int) -> list[str]:
    script = ready.folder / "wrk.lua"
    script.write_text(SCRIPT)
    return [
        tool("wrk"),
        "-t1",
        f"-c{connections}",
        "-d600s",
        "--timeout",
        "10s",
        "-s",
        str(script),
        target.url("/small"),
    ]


def move(ready: Rig, source: Tunnel, target: Tunnel, hostname: str) -> float:
    """One cutover, from its request to its end; seconds."""
    began, path = time.monotonic(), f"/accounts/{ready.api.account}/qanat/cutovers"
    plan = {
        "from_tunnel": source.id,
        "to_tunnel": target.id,
        "hostnames": [hostname],
        "check": {"path": "/small"},
        # how slow it gets is not what is measured, and a busy machine is slow at times
        "rule": {"step_s": 1.0, "least_requests": 100, "slower": 1000.0},
    }
    row = ready.api.call("POST", path, plan)
    while row["state"] not in ENDS:
        time.sleep(0.05)
        row = ready.api.call("GET", f"{path}/{row['id']}")
    if row["state"] != "done":
        raise BenchError(f"a cutover was {row['state']}: {row['why']}")
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
