"""`python -m bench.configuration`: how long a configuration PUT takes to reach every connector of a tunnel with very many;
writes bench/results/configuration.json. The connectors are crates/transport/examples/stubs.rs, all in one process."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.chain import Rig, rig
from bench.command import Measured, switches, told
from bench.processes import BenchError, Child

STUBS = ["cargo", "build", "--release", "--quiet", "-p", "qanat-transport", "--example", "stubs"]
WANTED_S = 2.0


def main() -> int:
    parser = switches("configuration", __doc__, smoke="few connectors")
    parser.add_argument("--connectors", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=4, help="of each connector")
    parser.add_argument("--puts", type=int, default=10)
    parser.add_argument("--protocol", choices=("quic", "http2"), default="quic")
    parser.add_argument("--stubs", type=Path, help="the built example; made when it isn't given")
    chosen = parser.parse_args()
    connectors, puts = (20, 2) if chosen.smoke else (chosen.connectors, chosen.puts)

    def found() -> Measured:
        stubs = chosen.stubs or build()
        with tempfile.TemporaryDirectory(prefix="qanat-bench-") as name:
            Path(name).chmod(0o755)  # nginx workers may run as another user
            with rig(Path(name), None, chosen.protocol) as ready:
                rows, registered = measure(ready, stubs, chosen.protocol, connectors, chosen.connections, puts)
                ready.edge.check()
        summary = {
            "register_all_s": registered,
            "answered_s": median(row["answered_s"] for row in rows),
            "every_connector_s": median(row["every_connector_s"] for row in rows),
            "every_connector_worst_s": max(row["every_connector_s"] for row in rows),
            "every_connection_s": median(row["every_connection_s"] for row in rows),
        }
        for figure, seconds in summary.items():
            print(f"{figure:<24} {seconds:8.3f}")
        plan = {
            "connectors": connectors,
            "connections_each": chosen.connections,
            "puts": puts,
            "protocol": chosen.protocol,
        }
        document = {"plan": plan, "wanted_s": WANTED_S, "summary": summary, "runs": rows}
        return document, 0 if summary["every_connector_worst_s"] < WANTED_S else 2

    return told("configuration", chosen, found)


def build() -> Path:
    """The stubs, built for release."""
    try:
        subprocess.run(STUBS, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"the stubs can't be built: {error}") from None
    return Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release" / "examples" / "stubs"


def measure(
    ready: Rig, stubs: Path, protocol: str, connectors: int, connections: int, puts: int
) -> tuple[list[dict[str, float]], float]:
    """One row a PUT, in seconds from sending it, and how long it took until all had registered."""
    made = ready.api.call(
        "POST", f"/accounts/{ready.api.account}/cfd_tunnel", {"name": "many", "config_src": "cloudflare"}
    )
    token_file = ready.folder / "many.token"
    token_file.touch(0o600)
    token_file.write_text(made["token"])
    argv = [str(stubs), ready.ready["tunnel"], ready.ready["ca"], str(token_file), protocol]
    child = Child("stubs", [*argv, str(connectors), str(connections)])
    try:
        registered, _ = child.wait_for("^registered$", timeout_s=300)
        rest(ready, made["id"], connectors * connections, 0)
        rows = []
        for n in range(puts):
            sent = time.time()
            version = ready.api.put_ingress(made["id"], [{"service": f"http_status:{400 + n % 100}"}])
            answered = time.time() - sent
            row = {"answered_s": answered}
            for what in ("connector", "connection"):
                _, found = child.wait_for(rf"^version {version} at every {what} ([0-9.]+)$", timeout_s=60)
                row[f"every_{what}_s"] = float(found.group(1)) - sent
            rows.append(row)
            rest(ready, made["id"], connectors * connections, version)
        return rows, registered
    finally:
        child.stop()


def rest(ready: Rig, tunnel_id: str, connections: int, version: int) -> None:
    """Until the edge has written down who has applied what: that is no part of the next change."""
    for _ in range(120):
        found = ready.api.call("GET", f"/accounts/{ready.api.account}/cfd_tunnel/{tunnel_id}/connections")
        live = sum(len(each["conns"]) for each in found)
        if live == connections and all(each["config_version"] >= version for each in found):
            return
        time.sleep(1.0)
    raise BenchError(f"the API shows {live} of {connections} connections, or not version {version} at each connector")


if __name__ == "__main__":
    sys.exit(main())
