"""A control plane in a process of its own that can be killed at any moment. It is forked from one that has everything
imported, so that a life takes a tenth of a second to begin."""

import json
import os
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL
from typing import Any

ROOT = Path(__file__).parents[2]


class MortalControl:
    """Starts, dies and starts again on one data directory (and PostgreSQL database)."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.folder = folder
        self.lives = 0
        self._pid = 0
        self._spawner = subprocess.Popen(
            [sys.executable, "-m", "tests.support.mortal", str(folder), database or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def start(self) -> dict[str, Any]:
        """Where the API is, and the token: `url`, `token`."""
        self._say("start")
        told = json.loads(self._hear())
        assert "url" in told, told
        self._pid = told["pid"]
        self.lives += 1
        return dict(told)

    def kill(self) -> None:
        """Between two instructions, whichever they are."""
        os.kill(self._pid, SIGKILL)
        assert self._hear().strip() == "dead"

    def close(self) -> None:
        assert self._spawner.stdin is not None
        self._spawner.stdin.close()
        assert self._spawner.stdout is not None
        self._spawner.stdout.close()
        self._spawner.wait(30)

    def _say(self, line: str) -> None:
        assert self._spawner.stdin is not None
        self._spawner.stdin.write(line + "\n")
        self._spawner.stdin.flush()

    def _hear(self) -> str:
        assert self._spawner.stdout is not None
        return self._spawner.stdout.readline()


def serve(folder: Path, url: str) -> None:
    """One life."""
    from qanat.api.app import create_app
    from qanat.api.http.context import Context
    from qanat.edge.data_dir import DataDir
    from qanat.edge.server import ApiServer
    from qanat.errors import QanatError
    from qanat.settings import StoreSettings
    from qanat.store.limits import AccountLimits
    from tests.support.control import StillEdge

    data_dir = DataDir(folder).lock()
    try:
        state = data_dir.open(StoreSettings(url=url or None), account="first")
    except QanatError as error:
        print(json.dumps({"pid": os.getpid(), "refused": str(error)}), flush=True)
        return
    state.store.limits = AccountLimits(tunnels=1_000_000, records=1_000_000)
    context = Context(
        store=state.store, keys=state.keys, live=StillEdge(state.store), location="lab01", version="0.0.1"
    )
    server = ApiServer(create_app(context), "127.0.0.1:0")
    server.start()
    token = data_dir.token_file.read_text().strip()
    print(json.dumps({"pid": os.getpid(), "url": server.url, "token": token}), flush=True)
    server._thread.join()


def main() -> None:
    import tests.support.control  # noqa: F401

    folder, url = sys.argv[1:]
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                serve(Path(folder), url)
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    main()
