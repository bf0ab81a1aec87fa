"""`python -m bench.link`: transfers between connector and edge over a long line, simulated in user space
(crates/transport/examples/link.rs); writes bench/results/link.json (over HTTP/2: link-http2.json)."""

import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.chain import LARGE, Rig, Tunnel, rig
from bench.command import Measured, switches, told
from bench.load import Target
from bench.processes import BenchError, Child

LINK = ["cargo", "build", "--release", "--quiet", "-p", "qanat-transport", "--example", "link"]
PIECE = 1 << 16
WARM_UP_S = 4.0
STEPS = ("transfers", "beside")


@dataclass(frozen=True)
class Line:
    """A line between connector and edge, the same both ways. `loss`: share of the datagrams, at random."""

    name: str
    rtt_ms: float
    mbit_s: float
    loss: float
    queue_ms: float

    @property
    def mb_s(self) -> float:
        return self.mbit_s / 8


LINES = (
    Line("long", rtt_ms=100, mbit_s=200, loss=0, queue_ms=100),
    Line("lossy", rtt_ms=50, mbit_s=200, loss=0.005, queue_ms=50),
)


def main() -> int:
    parser = switches("link", __doc__, smoke="very short")
    parser.add_argument("--protocol", choices=("quic", "http2"), default="quic", help="transport of both connectors")
    parser.add_argument("--congestion", default="tolerant", help="of our edge and connector")
    parser.add_argument("--lines", nargs="*", choices=[line.name for line in LINES], default=None)
    parser.add_argument("--only", nargs="*", choices=STEPS, default=STEPS, help="leave the other figures out")
    parser.add_argument("--transfers", nargs="*", type=int, default=(1, 8), help="how many at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of one transfer, after the first four")
    parser.add_argument("--link", type=Path, help="the built example; made when it isn't given")
    chosen = parser.parse_args()
    stock = os.environ.get("QANAT_TEST_CLOUDFLARED") or None
    rounds, seconds = (1, 1.0) if chosen.smoke else (chosen.rounds, chosen.seconds)
    lines = [line for line in LINES if chosen.lines is None or line.name in chosen.lines]

    def found() -> Measured:
        link = chosen.link or build()
        with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name:
            Path(name).chmod(0o755)  # nginx workers may run as another user
            with rig(Path(name), stock, chosen.protocol, tunnel_congestion=chosen.congestion) as ready:
                bench = Bench(ready, link, chosen.protocol, chosen.congestion, seconds)
                for line in lines:
                    if "transfers" in chosen.only:
                        bench.transfers(line, chosen.transfers, rounds)
                    if "beside" in chosen.only and not line.loss and chosen.protocol == "quic":
                        bench.beside(line, rounds)
                ready.edge.check()
        summary = summarise(bench.rows)
        for figure, value in summary.items():
            print(f"{figure:<44} {value:8.2f}")
        plan = {
            "protocol": chosen.protocol,
            "congestion": chosen.congestion,
            "rounds": rounds,
            "seconds": seconds,
            "lines": [asdict(line) for line in lines],
        }
        return {"plan": plan, "summary": summary, "runs": bench.rows}, 0

    return told("link" if chosen.protocol == "quic" else f"link-{chosen.protocol}", chosen, found, stock=stock)


def build() -> Path:
    """The relay, built for release."""
    try:
        subprocess.run(LINK, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"the link can't be built: {error}") from None
    return Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release" / "examples" / "link"


class Bench:
    """Measures; one row a transfer."""

    def __init__(self, ready: Rig, link: Path, protocol: str, congestion: str, seconds: float) -> None:
        self.rig = ready
        self.link = link
        self.protocol = protocol
        self.congestion = congestion
        self.seconds = seconds
        self.rows: list[dict[str, Any]] = []
        self._tunnels = 0

    def transfers(self, line: Line, counts: Sequence[int], rounds: int) -> None:
        """One and several transfers, up and down, ours and stock in turn."""
        kinds = ["qanat", *(["cloudflared"] if self.rig.stock_binary else [])]
        with self._connectors(line, [(kind, self.congestion) for kind in kinds]) as tunnels:
            for number in range(rounds):
                for count in counts:
                    for direction in ("download", "upload"):
                        for kind, tunnel in list(zip(kinds, tunnels, strict=True))[:: 1 if number % 2 == 0 else -1]:
                            print(f"bench: {line.name} {kind} {count} {direction} …", file=sys.stderr, flush=True)
                            (mb_s,) = self._measure([tunnel.target], direction, count)
                            row = {"line": line.name, "connector": kind, "direction": direction, "transfers": count}
                            self.rows.append({"step": "transfers", **row, "round": number, "mb_per_s": mb_s})

    def beside(self, line: Line, rounds: int) -> None:
        """Two downloads at once through one line, ours and another's: who gets how much."""
        others = [("qanat", "cubic"), *([("cloudflared", "stock")] if self.rig.stock_binary else [])]
        for other in others:
            with self._connectors(line, [("qanat", self.congestion), other]) as tunnels:
                for number in range(rounds):
                    print(f"bench: {line.name}, ours beside {' '.join(other)} …", file=sys.stderr, flush=True)
                    targets = [tunnel.target for tunnel in tunnels]
                    ours, theirs = self._measure(targets, "download", 1, seconds=2 * self.seconds)
                    row = {"line": line.name, "beside": other[1], "round": number, "ours_mb_per_s": ours}
                    self.rows.append({"step": "beside", **row, "other_mb_per_s": theirs})

    @contextmanager
    def _connectors(self, line: Line, kinds: Sequence[tuple[str, str]]) -> Iterator[list[Tunnel]]:
        """Connectors at the far end of a new line of their own."""
        target, *shape = self.rig.ready["tunnel"], line.rtt_ms, line.mbit_s, line.loss, line.queue_ms
        link = Child("link", [str(self.link), target, *map(str, shape)])
        started: list[Tunnel] = []
        try:
            port = link.wait_for(r"^port (\d+)$")[1].group(1)
            for kind, congestion in kinds:
                self._tunnels += 1
                flags = ("--congestion", congestion) if kind == "qanat" else ()
                name = f"line{self._tunnels}"
                started.append(self.rig.tunnel(kind, self.protocol, name=name, edge=f"127.0.0.1:{port}", flags=flags))
            yield started
            for child in (link, *(tunnel.connector for tunnel in started)):
                child.check()
        finally:
            for tunnel in started:
                tunnel.connector.stop()
            link.stop()

    def _measure(
        self, targets: Sequence[Target], direction: str, count: int, *, seconds: float | None = None
    ) -> list[float]:
        """MB/s of each target's transfers together, over `seconds` after the warm-up."""
        loads = [[Transfer(self.rig, target, direction) for _ in range(count)] for target in targets]
        each = [transfer for load in loads for transfer in load]
        try:
            for transfer in each:
                transfer.start()
            time.sleep(WARM_UP_S)
            start = time.monotonic()
            before = [sum(transfer.bytes for transfer in load) for load in loads]
            time.sleep(seconds or self.seconds)
            took = time.monotonic() - start
            after = [sum(transfer.bytes for transfer in load) for load in loads]
            for transfer in each:
                if transfer.problem is not None:
                    raise BenchError(f"a transfer of {transfer.target.name} failed: {transfer.problem}")
            return [(end - begin) / took / 1e6 for begin, end in zip(before, after, strict=True)]
        finally:
            for transfer in each:
                transfer.end()


class Transfer(threading.Thread):
    """Large bodies over one HTTP/1.1 connection, one after the other, until it is told to end. `bytes`: so far."""

    def __init__(self, ready: Rig, target: Target, direction: str) -> None:
        super().__init__(daemon=True)
        self.target = target
        self.bytes = 0
        self.problem: Exception | None = None
        self._direction = direction
        self._ended = False
        context = ready.context()
        raw = socket.create_connection(("127.0.0.1", target.port), timeout=30)
        self._sock: ssl.SSLSocket = context.wrap_socket(raw, server_hostname=target.hostname)

    def run(self) -> None:
        try:
            while not self._ended:
                if self._direction == "download":
                    self._download()
                else:
                    self._upload()
        except Exception as error:
            if not self._ended:
                self.problem = error

    def _head(self) -> tuple[int, bytes]:
        """An answer's length, and what came of its body."""
        buffer = b""
        while b"\r\n\r\n" not in buffer:
            data = self._sock.recv(PIECE)
            if not data:
                raise BenchError("closed before an answer")
            buffer += data
        head, _, rest = buffer.partition(b"\r\n\r\n")
        status, *fields = head.split(b"\r\n")
        if b" 200 " not in status + b" ":
            raise BenchError(status.decode("latin-1"))
        return int(dict(field.lower().split(b": ", 1) for field in fields)[b"content-length"]), rest

    def _download(self) -> None:
        self._sock.sendall(b"GET /large HTTP/1.1\r\nHost: %s\r\n\r\n" % self.target.hostname.encode())
        length, rest = self._head()
        left = length - len(rest)
        self.bytes += len(rest)
        buffer = bytearray(4 * PIECE)
        while left > 0:
            got = self._sock.recv_into(buffer, min(left, len(buffer)))
            if not got:
                raise BenchError("a cut answer")
            left -= got
            self.bytes += got

    def _upload(self) -> None:
        head = b"POST /upload HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n"
        self._sock.sendall(head % (self.target.hostname.encode(), LARGE))
        piece = bytes(PIECE)
        for _ in range(LARGE // PIECE):
            self._sock.sendall(piece)
            self.bytes += PIECE
        self._head()

    def end(self) -> None:
        """Breaks off what is under way."""
        self._ended = True
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if self.ident is not None:
            self.join(10)
        self._sock.close()


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Medians over the rounds; `…_share`: of the line's rate; `…_to_stock`: median of the ratios within a round; `…_beside_…`:
    ratio of the sums, since which of two flows is ahead changes from round to round."""
    found: dict[str, float] = {}
    rates = {line.name: line.mb_s for line in LINES}
    transfers = [row for row in rows if row["step"] == "transfers"]
    for line, direction, count in dict.fromkeys((r["line"], r["direction"], r["transfers"]) for r in transfers):
        by_kind: dict[str, dict[int, float]] = {}
        for row in transfers:
            if (row["line"], row["direction"], row["transfers"]) == (line, direction, count):
                by_kind.setdefault(row["connector"], {})[row["round"]] = row["mb_per_s"]
        for kind, by_round in by_kind.items():
            found[f"{line}_{direction}_{count}_{kind}_mb_per_s"] = median(by_round.values())
        ours = by_kind["qanat"]
        found[f"{line}_{direction}_{count}_share"] = median(ours.values()) / rates[line]
        if stock := by_kind.get("cloudflared"):
            found[f"{line}_{direction}_{count}_to_stock"] = median(ours[n] / max(stock[n], 0.001) for n in ours)
    beside = [row for row in rows if row["step"] == "beside"]
    for line, other in dict.fromkeys((row["line"], row["beside"]) for row in beside):
        some = [row for row in beside if (row["line"], row["beside"]) == (line, other)]
        ours, theirs = (sum(row[name] for row in some) for name in ("ours_mb_per_s", "other_mb_per_s"))
        found[f"{line}_beside_{other}_ours_to_theirs"] = ours / max(theirs, 0.001)
    return found


if __name__ == "__main__":
    sys.exit(main())
