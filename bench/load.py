"""Load generators from the system's packages. A run with a single failed request is an error, not a result."""

import json
import math
import re
import shutil
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.processes import BenchError

PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client", "nginx": "nginx"}
SCRIPT = """\
-- The hostname is for SNI and Host only: every connection goes to loopback.
function wrk.resolve(host, service)
  wrk.addrs = wrk.lookup("127.0.0.1", service)
end
function done(summary, latency, requests)
  local e = summary.errors
  local form = '\\nRESULT {"duration_us":%d,"requests":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,'
  io.write(string.format(form .. '"p50_us":%d,"p99_us":%d}\\n', summary.duration, summary.requests,
    e.connect, e.read, e.write, e.status, e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


def tool(name: str) -> str:
    """The path of a tool; BenchError names the package when it is missing."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise BenchError(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return path


@dataclass(frozen=True)
class Burst:
    """A closed loop of as many requests as the connections can carry."""

    requests: int
    rps: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Target:
    """Where a chain is reached: a name that only SNI and Host carry, a port on loopback, and a path."""

    name: str
    hostname: str
    port: int

    def url(self, path: str) -> str:
        return f"https://{self.hostname}:{self.port}{path}"


def burst(target: Target, path: str, *, connections: int, seconds: float, folder: Path) -> Burst:
    """wrk, one thread, keep-alive."""
    script = folder / "wrk.lua"
    script.write_text(SCRIPT)
    argv = [tool("wrk"), "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--timeout", "10s", "-s", str(script)]
    done = subprocess.run([*argv, target.url(path)], capture_output=True, text=True, timeout=seconds + 60)
    found = re.search(r"^RESULT (\{.*\})$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or found is None:
        raise BenchError(f"wrk on {target.name} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    result = json.loads(found.group(1))
    failed = {key: result[key] for key in ("connect", "read", "write", "status", "timeout") if result[key]}
    if failed or not result["requests"]:
        raise BenchError(f"wrk on {target.name}: failed requests {failed}, good ones {result['requests']}")
    return Burst(
        result["requests"],
        result["requests"] / (result["duration_us"] / 1e6),
        result["p50_us"] / 1000,
        result["p99_us"] / 1000,
    )


def h2load_argv(target: Target, path: str, *arguments: str) -> list[str]:
    return [tool("h2load"), "--h1", f"--connect-to=127.0.0.1:{target.port}", *arguments, target.url(path)]


def h2load(target: Target, path: str, *arguments: str, timeout_s: float) -> str:
    """h2load over HTTP/1.1; every request must succeed."""
    argv = h2load_argv(target, path, *arguments)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s)
    found = re.search(
        r"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout
    )
    codes = re.search(r"status codes: (\d+) 2xx", done.stdout)
    if done.returncode != 0 or found is None or codes is None:
        raise BenchError(f"h2load on {target.name} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    succeeded, failed, errored, timed_out = (int(text) for text in found.groups()[1:])
    if failed or errored or timed_out or not succeeded or int(codes.group(1)) != succeeded:
        raise BenchError(f"h2load on {target.name}: {found.group(0)}, {codes.group(0)}")
    return done.stdout


@dataclass(frozen=True)
class Latency:
    """At a fixed rate. `together`: the share of requests that were sent within a millisecond of the one before."""

    requests: int
    p50_ms: float
    p99_ms: float
    together: float


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def paced(
    target: Target, path: str, *, connections: int, rate: float, seconds: float, folder: Path, spread: bool = False
) -> Latency:
    """A moderate fixed rate over all connections together; the first second is left out. Each asks at intervals from its
    handshake on. `spread`: they are opened one by one, so that requests come evenly; else all at once, so that requests come in
    clusters, the larger the faster the handshakes are."""
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    each = rate / connections
    h2load(
        target,
        path,
        f"-c{connections}",
        f"-n{int(rate * seconds)}",
        f"--rps={each}",
        *(["-r1", f"--rate-period={math.ceil(1000 / rate)}ms"] if spread else []),
        f"--log-file={log}",
        timeout_s=seconds + 60,
    )
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    first = min(int(row[0]) for row in rows)
    good = [row for row in rows if int(row[0]) - first > 1_000_000]
    times = sorted(int(row[2]) / 1000 for row in good)
    sent = sorted(int(row[0]) for row in good)
    together = sum(after - before < 1000 for before, after in pairwise(sent)) / len(sent)
    return Latency(len(times), percentile(times, 0.50), percentile(times, 0.99), together)


@dataclass(frozen=True)
class Suffered:
    """At a fixed rate, while somebody may be in the way. A request that failed took as long as the whole run."""

    p99_ms: float
    failed: int


def suffered(target: Target, path: str, *, connections: int, rate: float, seconds: float, folder: Path) -> Suffered:
    """As `paced`, but a failed request is a result. What is not answered 5 s after the end has failed."""
    log = folder / "h2load.log"
    log.write_text("")
    count = int(rate * seconds)
    flags = (f"-c{connections}", f"-n{count}", f"--rps={rate / connections}", f"--log-file={log}")
    argv = h2load_argv(target, path, *flags)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 5)
        if done.returncode != 0:
            raise BenchError(f"h2load on {target.name} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    except subprocess.TimeoutExpired:
        pass  # h2load itself waits for ever; its log has a line for each request that is over
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    good = [int(row[2]) / 1000 for row in rows if row[1].startswith("2")]
    failed = count - len(good)
    times = sorted([*good, *([seconds * 1000] * failed)])
    return Suffered(percentile(times, 0.99), failed)


def transfer(target: Target, path: str, *, size: int, upload: Path | None = None) -> float:
    """MB/s (10^6 bytes) of one large body on one connection, by h2load's own clock."""
    arguments = ["-c1", "-n1", *(["-d", str(upload)] if upload else [])]
    said = h2load(target, path, *arguments, timeout_s=180)
    found = re.search(r"finished in ([0-9.]+)(us|ms|s|m)?,", said)
    if found is None:
        raise BenchError(f"h2load on {target.name} said no time:\n{said}")
    seconds = float(found.group(1)) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, None: 1.0}[found.group(2)]
    traffic = re.search(r"traffic: .* \((\d+)\) data", said)
    if upload is None and (traffic is None or int(traffic.group(1)) != size):
        raise BenchError(f"h2load on {target.name} got {traffic.group(1) if traffic else '?'} bytes, not {size}")
    return size / seconds / 1e6
