"""The management commands of a stock cloudflared against our API, with a cert.pem that our API made."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.connector import STOCK
from tests.support.edge import Edge
from tests.support.processes import Process, clean_environment

RUN_S = 30.0


@dataclass
class Outcome:
    """How a command ended. `text` is stderr, where the log goes, after stdout."""

    code: int
    out: str
    text: str


class Cloudflared:
    """One user's folder. `--api-url` and `--edge` are all that is changed."""

    def __init__(self, folder: Path, live: Edge, certificate: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.live = live
        self.cert = folder / "cert.pem"
        self.cert.write_text(certificate)

    def _argv(self, *arguments: str) -> list[str]:
        assert STOCK
        return [STOCK, "tunnel", "--api-url", self.live.ready["api"], "--origincert", str(self.cert), *arguments]

    def run(self, *arguments: str) -> Outcome:
        """`cloudflared tunnel …`, to its end."""
        done = subprocess.run(
            self._argv(*arguments),
            env={**clean_environment(), "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stdout + done.stderr)

    def succeeds(self, *arguments: str) -> str:
        """Its stdout and stderr."""
        outcome = self.run(*arguments)
        assert outcome.code == 0, outcome.text
        return outcome.text

    def fails(self, *arguments: str) -> str:
        outcome = self.run(*arguments)
        assert outcome.code != 0, outcome.text
        return outcome.text

    def json(self, command: str, *arguments: str) -> Any:
        """What a command says with `--output json`, which stock wants before the names."""
        outcome = self.run(*command.split(), "--output", "json", *arguments)
        assert outcome.code == 0, outcome.text
        return json.loads(outcome.out)

    def create(self, name: str) -> str:
        """A tunnel's id."""
        made: str = self.json("create", name)["id"]
        return made

    def connects(self, *arguments: str, connections: int = 1) -> Process:
        """`tunnel run …` (or no subcommand); returns when it is registered."""
        general = [
            *(["--edge", self.live.tunnel] * connections),
            *("--cacert", str(self.live.ca_file), "--metrics", "127.0.0.1:0", "--grace-period", "1s"),
            *("--no-autoupdate", "--no-prechecks", "--protocol", "quic"),
        ]
        argv = self._argv(*general, *arguments)
        process = Process("cloudflared", argv, {"HOME": str(self.folder)})
        for index in range(connections):
            process.wait_for(f"Registered tunnel connection .*connIndex={index}")
        return process
