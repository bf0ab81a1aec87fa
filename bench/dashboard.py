"""`python -m bench.dashboard`: what the dashboard of a large edge costs, how soon it is there, and whether requests notice it;
writes dashboard.json into bench/results."""

import asyncio
import http.client
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode, urlsplit

from bench.chain import rig
from bench.command import Measured, say, switches, told
from bench.load import paced, percentile
from bench.populate import populate
from bench.processes import BenchError, Child

PAGES = {"overview": "/", "tunnels": "/tunnels", "hostnames": "/hostnames"}
STREAM = "/live?view=overview&map=1"
READERS_NICE = 10
"""Who reads the streams would be on other machines: they give way to what is measured."""
SEEN = """() => {
  const from = performance.getEntriesByType("navigation")[0], paint = performance.getEntriesByType("paint");
  const first = paint.find(each => each.name === "first-contentful-paint");
  return { first_paint_ms: first ? first.startTime : null, interactive_ms: from.domContentLoadedEventEnd };
}"""


@dataclass(frozen=True)
class Plan:
    """How large, how many and how long. `apart_s`: between two requests, so that none gets what the one before was made of."""

    tunnels: int = 1_000
    hostnames: int = 10_000
    ordinary: tuple[int, int] = (6, 20)
    requests: int = 30
    list_requests: int = 10
    apart_s: float = 1.1
    loads: int = 5
    dashboards: int = 100
    watched_s: float = 20.0
    rounds: int = 5
    rate: float = 200.0
    rate_s: float = 7.0


SMOKE = Plan(
    tunnels=50,
    hostnames=500,
    requests=3,
    list_requests=3,
    apart_s=0.1,
    loads=1,
    dashboards=10,
    watched_s=5,
    rounds=1,
    rate=50,
    rate_s=3,
)
MOST = {
    "overview_server_p95_ms": 300.0,
    "interactive_p50_ms": 1000.0,
    "ordinary_first_paint_p50_ms": 500.0,
    "dashboards_core_share": 0.05,
    "data_path_p50_ms_ratio": 1.1,
}


@dataclass
class Viewer:
    """Who is signed in to a dashboard."""

    url: str
    cookie: str

    @classmethod
    def sign_in(cls, url: str, token: str) -> "Viewer":
        parts = urlsplit(url)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/sign-in", body=urlencode({"token": token}), headers=form)
        answer = connection.getresponse()
        cookie = (answer.headers["set-cookie"] or "").partition(";")[0]
        connection.close()
        if answer.status != 303 or not cookie:
            raise BenchError(f"signing in was answered {answer.status}")
        return cls(url, cookie)

    def timed(self, path: str, count: int, *, apart_s: float) -> tuple[list[float], int]:
        """Milliseconds of each, sorted, over one kept connection; and bytes of the last."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        took, size = [], 0
        for _ in range(count):
            time.sleep(apart_s)
            began = time.perf_counter()
            connection.request("GET", path, headers={"Cookie": self.cookie})
            answer = connection.getresponse()
            size = len(answer.read())
            took.append((time.perf_counter() - began) * 1000)
            if answer.status != 200:
                raise BenchError(f"{path} was answered {answer.status}")
        connection.close()
        return sorted(took), size


class Watching:
    """Dashboards that are open, without a browser around them: `with Watching(viewer, 100) as open_ones`."""

    def __init__(self, viewer: Viewer, count: int) -> None:
        self._viewer = viewer
        self._count = count
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._tasks: list[asyncio.Task[None]] = []
        self.bytes = self.events = 0
        self.heard = [0] * count

    def __enter__(self) -> "Watching":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(60)
        end = time.monotonic() + 60
        while not all(self.heard):
            if time.monotonic() > end:
                raise BenchError(f"{self.heard.count(0)} of {self._count} open dashboards hear nothing")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        os.nice(READERS_NICE)  # of this thread alone
        self._loop.run_forever()

    async def _open(self) -> None:
        self._tasks = [asyncio.create_task(self._watch(number)) for number in range(self._count)]

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, number: int) -> None:
        parts = urlsplit(self._viewer.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)
        try:
            head = f"GET {STREAM} HTTP/1.1\r\nHost: {parts.netloc}\r\nCookie: {self._viewer.cookie}\r\n\r\n"
            writer.write(head.encode())
            status = await reader.readline()
            if b" 200 " not in status:
                raise BenchError(f"a stream was answered {status!r}")
            while line := await reader.readline():
                self.bytes += len(line)
                if line.startswith(b"event: "):
                    self.events += 1
                    self.heard[number] += 1
        finally:
            writer.close()


def main() -> int:
    chosen = switches("dashboard", __doc__, smoke="very small").parse_args()
    plan = SMOKE if chosen.smoke else Plan()

    def found() -> Measured:
        figures, rows = measure(plan)
        for name, value in figures.items():
            bound = f"  (at most {MOST[name]:g}: {'NO' if name in missed(figures) else 'yes'})" if name in MOST else ""
            print(f"{name:36} {value}{bound}")
        document = {"plan": asdict(plan), "most": MOST, "missed": missed(figures), "figures": figures, "runs": rows}
        return document, 2 if missed(figures) and not chosen.smoke else 0

    return told("dashboard", chosen, found)


def missed(figures: dict[str, Any]) -> list[str]:
    """What is above its bound, or wasn't measured."""
    return [name for name, most in MOST.items() if figures[name] is None or figures[name] > most]


def measure(plan: Plan) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Everything, one after the other."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {"tunnels": plan.tunnels, "hostnames": plan.hostnames}
    with served(plan.tunnels, plan.hostnames) as (child, viewer):
        idle = share(child, plan.watched_s)
        figures |= pages(plan, child, viewer, idle, rows)
        figures |= browsed("", plan.loads, viewer, rows)
        figures |= dashboards(plan, child, viewer, idle, rows)
    with served(*plan.ordinary) as (_, viewer):
        figures |= browsed("ordinary_", plan.loads, viewer, rows)
    figures |= data_path(plan, rows)
    return figures, rows


@contextmanager
def served(tunnels: int, hostnames: int) -> Iterator[tuple[Child, Viewer]]:
    """A dashboard with so many, and somebody signed in to it."""
    say(f"{tunnels} tunnels, {hostnames} hostnames")
    argv = [sys.executable, "-m", "bench.dashboard_served", str(tunnels), str(hostnames)]
    child = Child("dashboard", argv)
    try:
        ready = json.loads(child.wait_for(r"^\{.*\}$", timeout_s=300)[1].string)
        yield child, Viewer.sign_in(ready["url"], ready["token"])
    finally:
        child.stop()


def share(child: Child, seconds: float) -> float:
    """Of a core, that it takes in the next seconds."""
    before, began = child.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (child.cpu_s() - before) / (time.monotonic() - began)


def pages(plan: Plan, child: Child, viewer: Viewer, idle: float, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """From the request to the last byte, over loopback; what the process does for nobody (`idle`, of a core) is taken off its
    CPU time."""
    figures: dict[str, Any] = {}
    for name, path in PAGES.items():
        say(name)
        viewer.timed(path, 2, apart_s=0)
        count = plan.requests if name == "overview" else plan.list_requests
        before, began = child.cpu_s(), time.monotonic()
        took, size = viewer.timed(path, count, apart_s=plan.apart_s)
        cpu = child.cpu_s() - before - idle * (time.monotonic() - began)
        found = {
            "server_p50_ms": round(percentile(took, 0.5), 1),
            "server_p95_ms": round(percentile(took, 0.95), 1),
            "cpu_ms": round(max(0.0, cpu) / count * 1000, 1),
            "bytes": size,
        }
        rows.append({"what": "page", "page": name, "took_ms": [round(each, 2) for each in took], **found})
        figures |= {f"{name}_{key}": value for key, value in found.items()}
    return figures


def browsed(kind: str, loads: int, viewer: Viewer, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """In Chromium with an empty cache: first paint; interactive (its scripts have run); live (the stream has spoken)."""
    names = ("first_paint_ms", "interactive_ms", "live_ms")
    path = os.environ.get("QANAT_TEST_CHROMIUM") or shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        why = "no Chromium on PATH, or no Playwright"
        return {f"{kind}{name.replace('_ms', '_p50_ms')}": None for name in names} | {f"{kind}browser_reason": why}
    say(f"{kind or 'large_'}overview in a browser".replace("_", " "))
    name, _, value = viewer.cookie.partition("=")
    seen: list[dict[str, float]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for number in range(loads + 1):
            context = browser.new_context(base_url=viewer.url, viewport={"width": 1280, "height": 860})
            context.add_cookies([{"name": name, "value": value, "url": viewer.url}])
            page = context.new_page()
            page.goto("/")
            page.wait_for_selector("#age[data-state=live]")
            live = page.evaluate("performance.now()")
            page.wait_for_function("performance.getEntriesByType('paint').length > 1")
            found = {**page.evaluate(SEEN), "live_ms": live}
            context.close()
            if number:  # the first starts the browser's processes
                seen.append(found)
                rows.append({"what": "browser", "store": kind or "large", **found})
        browser.close()
    return {f"{kind}{each.replace('_ms', '_p50_ms')}": round(median(one[each] for one in seen), 1) for each in names}


def dashboards(plan: Plan, child: Child, viewer: Viewer, idle: float, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The share of a core that so many open dashboards take, over what the process takes without them."""
    say(f"{plan.dashboards} open dashboards")
    with Watching(viewer, 1):
        one = share(child, plan.watched_s)
    with Watching(viewer, plan.dashboards) as watching:
        bytes_before, events_before = watching.bytes, watching.events
        began = time.monotonic()
        all_of_them = share(child, plan.watched_s)
        seconds = time.monotonic() - began
        bytes_each = (watching.bytes - bytes_before) / plan.dashboards / seconds
        events_each = (watching.events - events_before) / plan.dashboards / seconds
    rows.append({"what": "open dashboards", "without": idle, "one": one, "all": all_of_them})
    return {
        "dashboards": plan.dashboards,
        "dashboards_core_share": round(all_of_them - idle, 4),
        "one_dashboard_core_share": round(one - idle, 4),
        "dashboard_bytes_per_s": round(bytes_each),
        "dashboard_events_per_s": round(events_each, 2),
    }


def data_path(plan: Plan, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A visitor's latency with the dashboards open and without, in turns, on a real edge with as many tunnels and hostnames."""
    say("requests with and without open dashboards")
    with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # nginx workers may run as another user
        populate(
            folder / "edge",
            tunnel_count=plan.tunnels,
            record_count=plan.hostnames + 1,
            published_count=plan.hostnames,
        )
        ready = stack.enter_context(rig(folder, None, "quic", large=1 << 20))
        tunnel = ready.tunnel("qanat", "quic")
        stack.callback(tunnel.connector.stop)
        token = (Path(ready.ready["data_dir"]) / "first-token").read_text().strip()
        viewer = Viewer.sign_in(ready.ready["api"].removesuffix("/client/v4"), token)

        def once() -> dict[str, float]:
            before = ready.edge.cpu_s()
            got = paced(tunnel.target, "/small", connections=16, rate=plan.rate, seconds=plan.rate_s, folder=folder)
            return {"p50_ms": got.p50_ms, "p99_ms": got.p99_ms, "edge_cpu_s": ready.edge.cpu_s() - before}

        once()
        rounds = []
        for number in range(plan.rounds):
            say(f"round {number + 1} of {plan.rounds}")
            found: dict[str, dict[str, float]] = {}
            for side in ("with", "without") if number % 2 else ("without", "with"):
                with Watching(viewer, plan.dashboards if side == "with" else 0):
                    found[side] = once()
                rows.append({"what": "data path", "dashboards": side, "round": number, **found[side]})
            rounds.append(found)
    keys = ("p50_ms", "p99_ms")
    extra = median(each["with"]["edge_cpu_s"] - each["without"]["edge_cpu_s"] for each in rounds)
    return (
        {f"data_path_{key}": round(median(each["without"][key] for each in rounds), 3) for key in keys}
        | {
            f"data_path_{key}_ratio": round(median(each["with"][key] / each["without"][key] for each in rounds), 3)
            for key in keys
        }
        | {"data_path_dashboards_core_share": round(extra / plan.rate_s, 4)}
    )


if __name__ == "__main__":
    sys.exit(main())
