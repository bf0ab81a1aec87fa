"""`python -m bench`: measures and writes bench/results/latest.json and latest.svg."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench import report
from bench.chain import rig
from bench.load import tool
from bench.machine import CpuTime, busy_before, facts
from bench.measure import Contest, Plan
from bench.processes import BenchError

RESULTS = Path(__file__).parent / "results"
STEPS = (
    "at_rest",
    "registrations",
    "configuration_changes",
    "bursts",
    "latencies",
    "transfers",
    "neighbours",
    "promotions",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--protocol", choices=("quic", "http2"), default="quic", help="transport of both connectors")
    parser.add_argument("--rounds", type=int, default=Plan.rounds, help="alternating rounds of each load")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="length of one burst")
    parser.add_argument("--only", nargs="*", choices=STEPS, default=STEPS, help="leave the other figures out")
    parser.add_argument("--smoke", action="store_true", help="very short: does the harness work? Writes nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--anyway", action="store_true", help="measure although the machine is busy")
    chosen = parser.parse_args()
    stock = os.environ.get("QANAT_TEST_CLOUDFLARED") or None
    try:
        if stock is not None and shutil.which(stock) is None:
            raise BenchError(f"QANAT_TEST_CLOUDFLARED names no program: {stock}")
        for name in ("wrk", "h2load", "nginx"):
            tool(name)
        plan = Plan(rounds=chosen.rounds, seconds=chosen.seconds)
        if chosen.smoke:
            plan = Plan(
                rounds=1,
                seconds=1,
                warm_up_s=1,
                rate_seconds=2,
                transfers=1,
                changes=2,
                registrations=1,
                rate=100,
                neighbour_seconds=3,
                promotions=1,
            )
        run(
            plan,
            stock,
            chosen.protocol,
            chosen.only,
            None if chosen.smoke else chosen.out,
            anyway=chosen.anyway or chosen.smoke,
        )
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def quiet(anyway: bool) -> float:
    """How busy the machine is without us; BenchError when numbers would say more of that than of us."""
    for _ in range(15):
        busy = busy_before()
        if busy < 0.1 or anyway:
            return busy
        print(f"bench: waiting, the machine is {busy:.0%} busy with something else …", file=sys.stderr, flush=True)
    raise BenchError(f"the machine is {busy:.0%} busy with something else: stop that, or say --anyway")


def run(
    plan: Plan, stock: str | None, protocol: str, steps: tuple[str, ...], out: Path | None, *, anyway: bool
) -> None:
    machine = {**facts(stock), "busy_before": quiet(anyway)}
    clock = CpuTime.now()
    with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name:
        Path(name).chmod(0o755)  # nginx workers may run as another user
        with rig(Path(name), stock, protocol) as ready:
            started = []
            try:
                ours = ready.tunnel("qanat", protocol)
                started.append(ours)
                theirs = ready.tunnel("cloudflared", protocol) if stock else None
                started += [theirs] if theirs else []
                contest = Contest(ready, plan, ours, theirs)
                for step in STEPS:
                    if step in steps:
                        print(f"bench: {step.replace('_', ' ')} …", file=sys.stderr, flush=True)
                        getattr(contest, step)()
                for child in (ready.edge, *(tunnel.connector for tunnel in started)):
                    child.check()
            finally:
                for tunnel in started:
                    tunnel.connector.stop()
    names = {"ours": f"qanat-{protocol}", "stock": f"cloudflared-{protocol}"}
    machine["steal_share"] = CpuTime.now().steal_share(clock)
    told = report.ratios(contest.rows, **names)
    print(report.table(contest.rows, told))
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": machine,
        "plan": {**asdict(plan), "protocol": protocol},
        "ratios": told,
        "summary": report.summary(contest.rows),
        "runs": contest.rows,
    }
    (out / "latest.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    report.plot(contest.rows, out / "latest.svg", **names)
    print(f"bench: written to {out / 'latest.json'}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
