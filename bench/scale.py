"""`python -m bench.scale`: what many tunnels, hostnames and idle visitors cost an edge; writes scale.json into bench/results."""

import http.client
import resource
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.chain import SMALL, Rig, Tunnel, rig
from bench.command import Measured, say, switches, told
from bench.load import Target, h2load
from bench.populate import populate
from bench.processes import BenchError

MIB_PER_GIB, KIB_PER_MIB = 1024, 1024
WANTED_IDLE = 50_000
KEPT_OF_DESCRIPTORS = 0.9
"""Of the half of its descriptors that the edge leaves to public connections."""
HEAD = "GET /small HTTP/1.1\r\nHost: {}\r\n\r\n"


@dataclass(frozen=True)
class Plan:
    """How many, and how often the two edges take turns."""

    tunnels: int = 10_000
    hostnames: int = 100_000
    idle: int = WANTED_IDLE
    rounds: int = 7
    requests: int = 20_000


SMOKE = Plan(tunnels=100, hostnames=1_000, idle=200, rounds=1, requests=500)


def main() -> int:
    chosen = switches("scale", __doc__, smoke="very small").parse_args()
    plan = SMOKE if chosen.smoke else Plan()

    def found() -> Measured:
        figures, rows = measure(plan)
        for name, value in figures.items():
            print(f"{name:44} {value}")
        return {"plan": asdict(plan), "figures": figures, "runs": rows}, 0

    return told("scale", chosen, found)


def measure(plan: Plan) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An edge with everything beside one with a single tunnel, in turns; then who comes and says nothing more."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name, ExitStack() as stack:
        Path(name).chmod(0o755)  # nginx workers may run as another user
        sides: dict[str, tuple[Rig, Tunnel]] = {}
        for side in ("one", "many"):
            folder = Path(name) / side
            folder.mkdir()
            if side == "many":
                say(f"{plan.tunnels} tunnels, {plan.hostnames} hostnames")
                populate(
                    folder / "edge",
                    tunnel_count=plan.tunnels,
                    record_count=plan.hostnames,
                    published_count=plan.hostnames,
                )
            ready = stack.enter_context(rig(folder, None, "quic", large=1 << 20, limits_keep_alive_timeout_s="3600"))
            tunnel = ready.tunnel("qanat", "quic")
            stack.callback(tunnel.connector.stop)
            sides[side] = (ready, tunnel)
        at_rest = {side: ready.edge.rss_mb() for side, (ready, _) in sides.items()}
        for number in range(-1, plan.rounds):  # the first warms both up
            order = list(sides.items())
            for side, (ready, tunnel) in order if number % 2 else reversed(order):
                before = ready.edge.cpu_s()
                h2load(tunnel.target, "/small", "-c16", f"-n{plan.requests}", timeout_s=600)
                cost = (ready.edge.cpu_s() - before) / plan.requests * 1e6
                if number >= 0:
                    rows.append({"what": "lookup", "edge": side, "round": number, "cpu_us": round(cost, 2)})
        loaded = {side: ready.edge.rss_mb() for side, (ready, _) in sides.items()}
        costs = {side: [row["cpu_us"] for row in rows if row["edge"] == side] for side in sides}
        ready, tunnel = sides["one"]
        count = min(plan.idle, most_idle())
        before_mb = ready.edge.rss_mb()
        say(f"{count} idle visitors")
        with idle(tunnel.target, ready.context(), count):
            held_mb = ready.edge.rss_mb()
            ready.wait_answer(tunnel.target, 200)
    each_kib = (held_mb - before_mb) * KIB_PER_MIB / count
    rows.append({"what": "idle", "edge": "one", "visitors": count, "before_mb": before_mb, "held_mb": held_mb})
    figures = {
        "tunnels": plan.tunnels,
        "hostnames": plan.hostnames,
        "rss_at_rest_mb": round(at_rest["many"], 1),
        "rss_loaded_mb": round(loaded["many"], 1),
        "rss_at_rest_one_tunnel_mb": round(at_rest["one"], 1),
        "lookup_cpu_us": median(costs["many"]),
        "lookup_cpu_us_one_tunnel": median(costs["one"]),
        "lookup_ratio": round(median(many / one for many, one in zip(costs["many"], costs["one"], strict=True)), 3),
        "idle_visitors": count,
        "idle_kib_each": round(each_kib, 2),
        f"idle_{plan.idle}_gib": round((before_mb + each_kib * plan.idle / KIB_PER_MIB) / MIB_PER_GIB, 3),
        f"idle_{plan.idle}_gib_is": "measured" if count == plan.idle else f"calculated from {count} visitors",
    }
    return figures, rows


def most_idle() -> int:
    """What the descriptors of the edge, and of this process, allow."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return int(hard / 2 * KEPT_OF_DESCRIPTORS)


@contextmanager
def idle(target: Target, context: ssl.SSLContext, count: int) -> Iterator[None]:
    """Visitors who have asked once and keep their connection."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(visitor(target, context))
        yield


def visitor(target: Target, context: ssl.SSLContext) -> ssl.SSLSocket:
    """BenchError when it isn't answered."""
    plain = socket.create_connection(("127.0.0.1", target.port), timeout=30)
    secured = context.wrap_socket(plain, server_hostname=target.hostname)
    secured.sendall(HEAD.format(target.hostname).encode())
    with http.client.HTTPResponse(secured) as answer:
        answer.begin()
        if answer.status != 200 or len(answer.read()) != SMALL:
            raise BenchError(f"an idle visitor was answered {answer.status}")
    return secured


if __name__ == "__main__":
    sys.exit(main())
