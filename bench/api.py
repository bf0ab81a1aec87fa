"""`python -m bench.api`: the control API of a large installation; writes bench/results/api.json and api.svg."""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from bench.__main__ import RESULTS, quiet
from bench.api_report import plot, table, verdicts
from bench.chain import QANAT, Rig, rig
from bench.cores import apart
from bench.load import SCRIPT, Target, paced, percentile, tool
from bench.machine import CpuTime, facts
from bench.measure import Row
from bench.populate import populate
from bench.processes import BenchError, Child

STEPS = ("starts", "lists", "single_writes", "batches", "configuration_puts", "neighbours")
BATCH = 200
BUSY = "while True: pass"

# Full load: eight connections ask without a pause, one request in four a write.
LOAD = """\
local n = 0
function request()
  n = n + 1
  local headers = {["Authorization"] = "Bearer TOKEN", ["Content-Type"] = "application/json"}
  if n % 4 == 0 then
    local body = string.format('{"type":"A","name":"RUN-%d","content":"192.0.2.1"}', n)
    return wrk.format("POST", "/client/v4/zones/ZONE/dns_records", headers, body)
  end
  return wrk.format("GET", "/client/v4/accounts/ACCOUNT/cfd_tunnel?per_page=100&page=" .. (n % 50 + 1), headers)
end
"""


@dataclass(frozen=True)
class Plan:
    """How large and how long."""

    tunnels: int = 10_000
    records: int = 100_000
    starts: int = 5
    lists: int = 1_000
    single_seconds: float = 10.0
    batch_seconds: float = 10.0
    puts: int = 100
    rounds: int = 5
    rate: float = 200.0
    rate_connections: int = 8
    rate_seconds: float = 8.0


SMOKE = Plan(
    tunnels=200, records=1_000, starts=1, lists=20, single_seconds=1, batch_seconds=1, puts=3, rounds=1, rate_seconds=3
)


class Caller:
    """One kept-alive connection, with as little of our own time in the figures as Python can."""

    def __init__(self, base: str, token: str) -> None:
        parts = urlsplit(base)
        assert parts.hostname is not None
        self._prefix = parts.path
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> float:
        """Milliseconds. BenchError when it is refused."""
        content = json.dumps(body) if body is not None else None
        start = time.perf_counter()
        self._connection.request(method, self._prefix + path, body=content, headers=self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        took = (time.perf_counter() - start) * 1000
        if answer.status != 200:
            raise BenchError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return took

    def close(self) -> None:
        self._connection.close()


@dataclass
class Session:
    """What is measured, one figure a function."""

    ready: Rig
    plan: Plan
    rows: list[Row] = field(default_factory=list)
    made: int = 0

    @property
    def token(self) -> str:
        return (Path(self.ready.ready["data_dir"]) / "first-token").read_text().strip()

    def caller(self) -> Caller:
        return Caller(self.ready.ready["api"], self.token)

    def add(self, what: str, number: int, **values: float) -> None:
        self.rows.append({"what": what, "chain": "api", "round": number, **{k: round(v, 3) for k, v in values.items()}})

    def timed(self, what: str, times: list[float], seconds: float, each: int = 1) -> None:
        """One row of many calls: `each` is how many objects one of them wrote."""
        ordered = sorted(times)
        self.add(
            what,
            0,
            p50_ms=percentile(ordered, 0.50),
            p99_ms=percentile(ordered, 0.99),
            per_s=len(times) * each / seconds,
            calls=float(len(times)),
        )

    def name(self) -> str:
        self.made += 1
        return f"w{self.made}"

    def record(self) -> dict[str, Any]:
        return {"type": "A", "name": self.name(), "content": "192.0.2.1"}

    def lists(self) -> None:
        """A page of 100 tunnels, any of them, one after the other: as a dashboard or a plan asks."""
        caller, random = self.caller(), Random(1)
        pages = max(1, self.plan.tunnels // 100)
        path = f"/accounts/{self.ready.api.account}/cfd_tunnel?is_deleted=false&per_page=100&page="
        times = [caller.call("GET", f"{path}{random.randint(1, pages)}") for _ in range(20)]
        start = time.perf_counter()
        times = [caller.call("GET", f"{path}{random.randint(1, pages)}") for _ in range(self.plan.lists)]
        self.timed("list", times, time.perf_counter() - start)
        caller.close()

    def single_writes(self) -> None:
        """Records one by one: one client that waits for each answer, then eight."""
        path = f"/zones/{self.ready.zone}/dns_records"
        for what, clients in (("single", 1), ("single of 8 clients", 8)):
            self._write(
                what, clients, self.plan.single_seconds, lambda caller: caller.call("POST", path, self.record())
            )

    def batches(self) -> None:
        """Records by batch of 200, as external-dns sends them."""
        path = f"/zones/{self.ready.zone}/dns_records/batch"

        def write(caller: Caller) -> float:
            return caller.call("POST", path, {"posts": [self.record() for _ in range(BATCH)]})

        self._write("batch", 1, self.plan.batch_seconds, write, each=BATCH)

    def configuration_puts(self) -> None:
        """The PUT alone; bench.measure has the time until it is in effect."""
        tunnel = self.ready.api.call(
            "POST", f"/accounts/{self.ready.api.account}/cfd_tunnel", {"name": "puts", "config_src": "cloudflare"}
        )
        path = f"/accounts/{self.ready.api.account}/cfd_tunnel/{tunnel['id']}/configurations"
        caller = self.caller()
        start = time.perf_counter()
        times = [
            caller.call("PUT", path, {"config": {"ingress": [{"service": f"http://127.0.0.1:{port}"}]}})
            for port in range(1000, 1000 + self.plan.puts)
        ]
        self.timed("put", times, time.perf_counter() - start)
        caller.close()

    def neighbours(self) -> None:
        """Latency of a published hostname while the API is idle, under full load, and while another process burns a core:
        what the third has as well is the shared cores and not the API. Then idle and loaded again with the edge's Python
        on a core of its own: what is left is what the data path shares with it within the process."""
        tunnel = self.ready.tunnel("qanat", "quic")
        states: list[tuple[str, Callable[[], Any]]] = [
            ("idle", nothing),
            ("api load", self.api_load),
            ("other load", other_load),
        ]
        if len(os.sched_getaffinity(0)) > 1:
            states += [("idle, apart", self.apart_idle), ("api load, apart", self.apart_load)]
        try:
            for number in range(self.plan.rounds):
                shift = number % len(states)
                for name, state in states[shift:] + states[:shift]:
                    before = self.ready.edge.cpu_s()
                    start = time.monotonic()
                    with state():
                        got = self._paced(tunnel.target)
                    cores = (self.ready.edge.cpu_s() - before) / (time.monotonic() - start)
                    self.rows.append(
                        {
                            "what": "data path",
                            "chain": name,
                            "round": number,
                            "p50_ms": round(got.p50_ms, 3),
                            "p99_ms": round(got.p99_ms, 3),
                            "edge_cores": round(cores, 3),
                        }
                    )
        finally:
            tunnel.connector.stop()

    def _paced(self, target: Target) -> Any:
        plan = self.plan
        return paced(
            target,
            "/small",
            connections=plan.rate_connections,
            rate=plan.rate,
            seconds=plan.rate_seconds,
            folder=self.ready.folder,
        )

    @contextmanager
    def apart_idle(self) -> Iterator[None]:
        with apart(self.ready.edge.pid):
            yield

    @contextmanager
    def apart_load(self) -> Iterator[None]:
        with apart(self.ready.edge.pid) as second, self.api_load("taskset", "-c", str(second)):
            yield

    @contextmanager
    def api_load(self, *prefix: str) -> Iterator[None]:
        """wrk on the API, in a process of its own: it takes far less of the cores than a client in Python."""
        script = self.ready.folder / "load.lua"
        text = LOAD.replace("TOKEN", self.token).replace("ZONE", self.ready.zone).replace("RUN", self.name())
        script.write_text(SCRIPT[SCRIPT.index("function done") :] + text.replace("ACCOUNT", self.ready.api.account))
        seconds = int(self.plan.rate_seconds) + 4
        argv = [*prefix, tool("wrk"), "-t1", "-c8", f"-d{seconds}s", "--timeout", "20s", "-s", str(script)]
        load = subprocess.Popen(
            [*argv, self.ready.ready["api"].removesuffix("/client/v4")], stdout=subprocess.PIPE, text=True
        )
        time.sleep(1.0)
        try:
            yield
            said, _ = load.communicate(timeout=60)
        finally:
            load.kill()
        result = json.loads(said[said.index("RESULT ") + 7 :].splitlines()[0])
        if result["status"] or result["timeout"] or result["read"] or not result["requests"]:
            raise BenchError(f"the load on the API failed: {result}")
        self.add("load", 0, per_s=result["requests"] / (result["duration_us"] / 1e6), p99_ms=result["p99_us"] / 1000)

    def _write(
        self, what: str, clients: int, seconds: float, write: Callable[[Caller], float], *, each: int = 1
    ) -> None:
        times: list[float] = []
        failures: list[BaseException] = []
        start = time.perf_counter()

        def client() -> None:
            caller = self.caller()
            try:
                while time.perf_counter() - start < seconds:
                    times.append(write(caller))
            except BaseException as error:
                failures.append(error)
            finally:
                caller.close()

        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise BenchError(f"{what}: {failures[0]}")
        self.timed(what, times, time.perf_counter() - start, each)


@contextmanager
def nothing() -> Iterator[None]:
    yield


@contextmanager
def other_load() -> Iterator[None]:
    """A process that has nothing to do with us takes one core."""
    child = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(1.0)
        yield
    finally:
        child.kill()
        child.wait()


def starts(directory: Path, count: int, rows: list[Row]) -> None:
    """From the start of the process to its line `ready`, with everything loaded."""
    flags = (
        "--public-http",
        "off",
        *(
            part
            for name in ("public-https", "tunnel-address", "control-address")
            for part in (f"--{name}", "127.0.0.1:0")
        ),
    )
    for number in range(-1, count):  # the first makes certificates and byte code, which are there from then on
        edge = Child(
            "edge", [*QANAT, "edge", "--output", "json", "--data-dir", str(directory), "--log-level", "warning", *flags]
        )
        try:
            took, _ = edge.wait_for(r"\"ready\"", timeout_s=120)
            if number < 0:
                continue
            rows.append(
                {
                    "what": "start",
                    "chain": "api",
                    "round": number,
                    "start_s": round(took, 3),
                    "cpu_s": round(edge.cpu_s(), 3),
                    "rss_mb": round(edge.rss_mb(), 1),
                }
            )
        finally:
            edge.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.api", description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="very small and short: does the harness work? Writes nothing"
    )
    parser.add_argument("--only", nargs="*", choices=STEPS, default=STEPS, help="leave the other figures out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--anyway", action="store_true", help="measure although the machine is busy, and say so")
    chosen = parser.parse_args()
    try:
        run(
            SMOKE if chosen.smoke else Plan(),
            chosen.only,
            None if chosen.smoke else chosen.out,
            chosen.anyway or chosen.smoke,
        )
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def run(plan: Plan, steps: tuple[str, ...], out: Path | None, anyway: bool) -> None:
    machine = {**facts(None), "busy_before": quiet(anyway)}
    clock = CpuTime.now()
    with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx workers may run as another user
        said(f"{plan.tunnels} tunnels, {plan.records} records")
        populate(folder / "edge", tunnel_count=plan.tunnels, record_count=plan.records)
        rows: list[Row] = []
        if "starts" in steps:
            said("starts")
            starts(folder / "edge", plan.starts, rows)
        with rig(folder, None, "quic") as ready:
            session = Session(ready, plan, rows)
            for step in STEPS[1:]:
                if step in steps:
                    said(step.replace("_", " "))
                    getattr(session, step)()
            ready.edge.check()
    machine["steal_share"] = CpuTime.now().steal_share(clock)
    told = verdicts(rows)
    print(table(rows, told))
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine, "plan": asdict(plan), "figures": told, "runs": rows}
    (out / "api.json").write_text(json.dumps(document, indent=1) + "\n")
    plot(told, out / "api.svg")
    said(f"written to {out / 'api.json'}")


def said(text: str) -> None:
    print(f"bench: {text} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
