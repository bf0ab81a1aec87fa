"""What every demo stands on: numbered steps in words, checks that end it, processes and origins that end with it, one edge."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from demo.origin import Origin
from demo.processes import Child
from demo.visitor import Visitor
from qanat.client.api import Client

ZONE = "example.test"
HOSTNAME = f"app.{ZONE}"
Seen = TypeVar("Seen")


class SurpriseError(Exception):
    """Something was not as it must be."""


class Stage:
    """Steps in order; each leaves what the next ones need."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.children: list[Child] = []
        self.number = 0

    def run(self) -> None:
        """Every step."""
        raise NotImplementedError

    def end(self) -> None:
        """What is stopped in good order once all is told."""

    def start_edge(self) -> None:
        self.step("The edge starts: the part with the public address. It makes its own CA, database and API token.")
        self.edge = self.child(
            "edge",
            "edge",
            *("--output", "json", "--data-dir", str(self.folder / "edge"), "--location", "demo"),
            *("--public-https", "127.0.0.1:0", "--public-http", "127.0.0.1:0"),
            *("--tunnel-address", "127.0.0.1:0", "--control-address", "127.0.0.1:0"),
        )
        self.facts = json.loads(self.edge.wait_for(r'^\{.*"event": "ready".*\}$').string)
        token = Path(self.facts["token_file"]).read_text(encoding="ascii").strip()
        self.api = self.stack.enter_context(Client(self.facts["api"], token))
        self.account = self.api.account_id()
        self.visitor = Visitor(HOSTNAME, self.facts["https"], Path(self.facts["ca"]))
        self.told(f"public HTTPS   https://{self.facts['https']}")
        self.told(f"tunnels        {self.facts['tunnel']} (UDP and TCP)")
        self.told(f"control API    {self.facts['api']}")

    def step(self, text: str) -> None:
        self.number += 1
        print(f"\n{self.number:>2}. {text}", flush=True)

    def told(self, text: str) -> None:
        print(f"      {text}", flush=True)

    def check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise SurpriseError(otherwise)

    def until(self, look: Callable[[], Seen], what: str, *, timeout_s: float = 20.0) -> Seen:
        """Looks again and again until there is something to see."""
        end = time.monotonic() + timeout_s
        while not (seen := look()):
            if time.monotonic() > end:
                raise SurpriseError(f"waited {timeout_s:g} s for {what}")
            time.sleep(0.02)
        return seen

    def child(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> Child:
        child = Child(name, arguments, environment=environment)
        self.children.append(child)
        self.stack.callback(child.kill)
        return child

    def serve_origin(self, name: str) -> Origin:
        origin = Origin(name)
        self.stack.callback(origin.close)
        return origin

    def run_connector(self, token: str, name: str = "connector", *flags: str) -> Child:
        child = self.child(
            name,
            *("tunnel", "--edge", self.facts["tunnel"], "--cacert", self.facts["ca"]),
            *("--metrics", "127.0.0.1:0", "--grace-period", "5s", *flags, "run"),
            environment={"TUNNEL_TOKEN": token},
        )
        child.wait_for("Registered tunnel connection")
        return child


def perform(kind: type[Stage], *, hold: Callable[[Stage], None] | None = None) -> int:
    """Runs a demo from beginning to end; its exit code. `hold`: what is done before all is stopped."""
    with tempfile.TemporaryDirectory(prefix="qanat-demo-") as folder, ExitStack() as stack:
        stage = kind(Path(folder), stack)
        started = time.monotonic()
        try:
            stage.run()
        except Exception as error:
            print(f"\nThe demo failed at step {stage.number}: {error!r}", file=sys.stderr)
            for child in stage.children:
                print(f"\n--- the last lines of the {child.name}", *list(child.lines)[-25:], sep="\n", file=sys.stderr)
            if not isinstance(error, SurpriseError | RuntimeError):
                raise
            return 1
        print(f"\nDone: {stage.number} steps in {time.monotonic() - started:.1f} s, nothing failed.", flush=True)
        if hold is not None:
            hold(stage)
        stage.end()
    return 0
