"""What is measured, one figure a function; each gives one value per run."""

import statistics
import time
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from bench import nodes
from bench.chain import LARGE, Rig, Tunnel
from bench.load import Target, burst, paced, suffered, transfer
from bench.neighbours import ATTACKS
from bench.processes import BenchError, Child, PeakRss

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int = 5
    seconds: float = 10.0
    warm_up_s: float = 2.0
    connections: int = 64
    rate: float = 400.0
    rate_connections: int = 16
    rate_seconds: float = 5.0
    transfers: int = 5
    changes: int = 20
    registrations: int = 5
    neighbour_seconds: float = 5.0
    promotions: int = 3


@dataclass
class Contest:
    """The chains of one run: nginx, ours, and the stock one when there is a binary."""

    rig: Rig
    plan: Plan
    ours: Tunnel
    stock: Tunnel | None
    rows: list[Row] = field(default_factory=list)

    @property
    def chains(self) -> list[tuple[Target, Child | None]]:
        found: list[tuple[Target, Child | None]] = [(self.rig.nginx, None), (self.ours.target, self.ours.connector)]
        if self.stock is not None:
            found.append((self.stock.target, self.stock.connector))
        return found

    def alternating(self, number: int) -> list[tuple[Target, Child | None]]:
        """The chains in another order each round, so that none always comes first or last."""
        shift = number % len(self.chains)
        turned = self.chains[shift:] + self.chains[:shift]
        return turned if number % 2 == 0 else turned[::-1]

    def add(self, what: str, chain: str, number: int, **values: float) -> None:
        self.rows.append({"what": what, "chain": chain, "round": number, **{k: round(v, 3) for k, v in values.items()}})

    def bursts(self) -> None:
        """Requests per second of 1 KiB answers, CPU per request, RSS under load."""
        for number in range(self.plan.rounds):
            for target, connector in self.alternating(number):
                arguments = {"connections": self.plan.connections, "folder": self.rig.folder}
                burst(target, "/small", seconds=self.plan.warm_up_s, **arguments)  # type: ignore[arg-type]
                watched = [child for child in (connector, self.rig.edge) if child and connector]
                before = {child.name: child.cpu_s() for child in watched}
                with PeakRss(watched) as peak:
                    got = burst(target, "/small", seconds=self.plan.seconds, **arguments)  # type: ignore[arg-type]
                values = {"rps": got.rps, "p50_ms": got.p50_ms, "p99_ms": got.p99_ms, "requests": float(got.requests)}
                for child in watched:
                    who = "edge" if child is self.rig.edge else "connector"
                    values[f"cpu_us_per_request_{who}"] = (child.cpu_s() - before[child.name]) / got.requests * 1e6
                    values[f"rss_{who}_mb"] = peak.mb[child.name]
                self.add("burst", target.name, number, **values)

    def latencies(self) -> None:
        """Latency at a fixed rate, evenly and in clusters, and that of nginx answering by TLS itself: the difference is what is
        added."""
        for number, (what, spread) in product(range(self.plan.rounds), (("paced", True), ("clustered", False))):
            for target in [self.rig.direct, *(target for target, _ in self.alternating(number))]:
                got = paced(
                    target,
                    "/small",
                    connections=self.plan.rate_connections,
                    rate=self.plan.rate,
                    seconds=self.plan.rate_seconds,
                    folder=self.rig.folder,
                    spread=spread,
                )
                figures = {"p50_ms": got.p50_ms, "p99_ms": got.p99_ms, "together": got.together}
                self.add(what, target.name, number, requests=float(got.requests), **figures)

    def neighbours(self) -> None:
        """A visitor's p99 without and with an attacker on the same tunnel, whose downloads or uploads stay unread."""
        arguments = {
            "connections": self.plan.rate_connections,
            "rate": self.plan.rate,
            "seconds": self.plan.neighbour_seconds,
            "folder": self.rig.folder,
        }
        for number in range(self.plan.rounds):
            for tunnel in filter(None, (self.ours, self.stock)):
                name = tunnel.target.name
                self.rig.wait_answer(tunnel.target, 200, within_s=120)  # the attack before may still be felt
                quiet = paced(tunnel.target, "/small", **arguments)  # type: ignore[arg-type]
                self.add("neighbour quiet", name, number, p99_ms=quiet.p99_ms)
                ratios = []
                for kind, attack in ATTACKS.items():
                    with attack(tunnel.target, self.rig.context()):
                        got = suffered(tunnel.target, "/small", **arguments)  # type: ignore[arg-type]
                    ratios.append(got.p99_ms / quiet.p99_ms)
                    self.add(f"neighbour {kind}", name, number, p99_ms=got.p99_ms, failed=float(got.failed))
                    self.rig.wait_answer(tunnel.target, 200, within_s=120)
                self.add("neighbour", name, number, p99_ratio=max(ratios))

    def promotions(self) -> None:
        """The longest time without an answered request when the active host of two is replaced: planned, and killed."""
        for number in range(self.plan.promotions):
            for kind, tunnel in (("qanat", self.ours), ("cloudflared", self.stock)):
                if tunnel is not None:
                    for how, gap in nodes.promotions(self.rig, kind, number).items():
                        name = tunnel.target.name
                        self.add(f"promotion {how}", name, number, gap_s=gap.gap_s, failed=float(gap.failed))

    def transfers(self) -> None:
        """One large body on one connection, each way."""
        for number in range(self.plan.transfers):
            for target, _ in self.alternating(number):
                self.add("download", target.name, number, mb_per_s=transfer(target, "/large", size=LARGE))
                up = transfer(target, "/upload", size=LARGE, upload=self.rig.upload)
                self.add("upload", target.name, number, mb_per_s=up)

    def at_rest(self) -> None:
        """RSS with four registered connections before any load."""
        time.sleep(2.0)
        for tunnel in (self.ours, self.stock):
            if tunnel is not None:
                self.add("rest", tunnel.target.name, 0, rss_mb=tunnel.connector.rss_mb())
        self.add("rest", "edge", 0, rss_mb=self.rig.edge.rss_mb())

    def configuration_changes(self) -> None:
        """From sending the PUT to the first answer that shows it, asked over a kept-alive connection without a pause."""
        rig, tunnel = self.rig, self.ours
        with rig.client() as client:
            for number in range(self.plan.changes):
                status = 418 if number % 2 == 0 else 200
                rule = {"path": "^/small", "service": f"http_status:{status}"}
                rig.get(client, tunnel.target)
                start = time.monotonic()
                rig.api.put_ingress(tunnel.id, [rule, *rig.rules()])
                answered = time.monotonic()
                while rig.get(client, tunnel.target) != status:
                    if time.monotonic() - start > 10:
                        raise BenchError(f"a configuration had no effect within 10 s (number {number})")
                took = time.monotonic() - start
                self.add("configuration", "ours", number, effect_ms=took * 1000, put_ms=(answered - start) * 1000)
        rig.api.put_ingress(tunnel.id, rig.rules())

    def registrations(self) -> None:
        """From the start of the process to its first registered connection."""
        for number in range(self.plan.registrations):
            for kind, tunnel in (("qanat", self.ours), ("cloudflared", self.stock)):
                if tunnel is not None:
                    child, took = self.rig.start_connector(kind, tunnel.token_file, self.rig.protocol, wait_all=False)
                    child.stop()
                    self.add("registration", tunnel.target.name, number, register_s=took)


def median(rows: list[Row], what: str, chain: str, key: str) -> float | None:
    values = [row[key] for row in rows if row["what"] == what and row["chain"] == chain and key in row]
    return statistics.median(values) if values else None


def paired(rows: list[Row], what: str, one: str, other: str, key: str) -> float | None:
    """The median of one chain's figure over another's in the same round: what slows a whole round cancels out."""
    values = {
        (row["chain"], row["round"]): row[key] for row in rows if row["what"] == what and row["chain"] in (one, other)
    }
    shares = [value / values[other, n] for (chain, n), value in values.items() if chain == one and (other, n) in values]
    return statistics.median(shares) if shares else None


def spread(rows: list[Row], what: str, chain: str, key: str) -> float | None:
    """(max - min) / median: how far the rounds lie apart."""
    values = [row[key] for row in rows if row["what"] == what and row["chain"] == chain and key in row]
    return (max(values) - min(values)) / statistics.median(values) if values and statistics.median(values) else None
