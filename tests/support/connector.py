"""The connector process under test, ours or a stock cloudflared: the same flags, endpoints and log lines."""

import os
from pathlib import Path
from typing import Any, Literal

import httpx

from tests.support.edge import Edge
from tests.support.processes import QANAT, Process
from tests.support.waiting import PATIENCE_S, wait_until

Kind = Literal["qanat", "cloudflared"]
Protocol = Literal["quic", "http2"]

STOCK = os.environ.get("QANAT_TEST_CLOUDFLARED")
REGISTERED = r"Registered tunnel connection .*connIndex=(\d+)"


class Connector:
    """`tunnel run` with a token file. Ready once `connections` are registered (0: does not wait)."""

    def __init__(
        self,
        folder: Path,
        edge: Edge | str,
        token: str,
        *,
        kind: Kind = "qanat",
        protocol: Protocol | Literal["auto"] = "quic",
        connections: int = 1,
        ca_file: Path | None = None,
        wait: bool = True,
        grace_period: str | None = None,
        env: dict[str, str] | None = None,
        flags: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.kind = kind
        self.protocol = protocol
        self.token_file = folder / "token"
        self.token_file.write_text(token + "\n")
        self.token_file.chmod(0o600)
        address = edge if isinstance(edge, str) else edge.tunnel
        ca_file = ca_file or (None if isinstance(edge, str) else edge.ca_file)
        # a stock connector always waits for the whole of its grace period
        grace_period = grace_period or ("1s" if kind == "cloudflared" else "5s")
        general = [
            *(("--cacert", str(ca_file)) if ca_file else ()),
            *(
                "--protocol",
                protocol,
                "--metrics",
                "127.0.0.1:0",
                "--loglevel",
                "debug",
                "--grace-period",
                grace_period,
            ),
            *flags,
        ]
        # a stock connector opens no more connections than it was given addresses
        addresses = ["--edge", address] * (connections if kind == "cloudflared" else 1) if address else []
        if kind == "cloudflared":
            assert STOCK, "QANAT_TEST_CLOUDFLARED names no stock cloudflared"
            argv = [STOCK, "tunnel", "--no-autoupdate", "--no-prechecks", *addresses, *general]
        else:
            if "--no-prechecks=false" not in flags:
                general.append("--no-prechecks")  # they cost handshakes, and are tested by themselves
            argv = [*QANAT, "tunnel", *addresses, *general, "--ha-connections", str(connections)]
        self.process = Process(f"{kind} {protocol}", [*argv, "run", "--token-file", str(self.token_file)], env)
        if wait:
            self.wait_registered(connections)

    def wait_registered(self, count: int = 1, *, after: int = 0, timeout_s: float = PATIENCE_S) -> None:
        """Until `count` connections said that they are registered (in lines from `after` on)."""
        for _ in range(count):
            found = self.process.wait_for(REGISTERED, after=after, timeout_s=timeout_s)
            after = self.process.lines.index(found.string, after) + 1

    @property
    def metrics_address(self) -> str:
        return self.process.wait_for(r"Starting metrics server on ([0-9.:]+)/metrics").group(1)

    def local(self, path: str) -> httpx.Response:
        """GET of a local endpoint."""
        return httpx.get(f"http://{self.metrics_address}{path}", trust_env=False, timeout=PATIENCE_S, verify=False)

    @property
    def version(self) -> int:
        """The version of the configuration in force."""
        return int(self.local("/config").json()["version"])

    @property
    def connector_id(self) -> str:
        found: dict[str, Any] = self.local("/ready").json()
        return str(found["connectorId"])

    def wait_version(self, version: int, *, timeout_s: float = PATIENCE_S) -> None:
        wait_until(lambda: self.version >= version, f"version {version} at the connector", timeout_s=timeout_s)

    def metric(self, name: str, label: str = "") -> float:
        """The sum of a metric over its labels (those with `label`, such as `code="200"`); 0 when there is none."""
        total = 0.0
        for line in self.local("/metrics").text.splitlines():
            if line.startswith((f"{name} ", f"{name}{{")) and label in line:
                total += float(line.rpartition(" ")[2])
        return total

    def errors(self) -> list[str]:
        """Log lines of level ERR or above."""
        return [line for line in self.process.lines if " ERR " in line or " FTL " in line]

    def stop(self) -> None:
        self.process.stop()
