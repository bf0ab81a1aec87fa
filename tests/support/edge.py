"""The edge process under test: its own data directory, ports chosen by the system, ready when it says so."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tests.support.api import Api
from tests.support.http1 import Http1Client
from tests.support.http2 import Http2Client
from tests.support.loopback import lasting_port
from tests.support.processes import QANAT, Process
from tests.support.waiting import PATIENCE_S, wait_until

ADDRESSES = ("public-https", "public-http", "tunnel-address", "control-address")


def lasting_addresses() -> dict[str, str]:
    """Flags of an edge that takes the same addresses when it starts again, as a real one does."""
    return {name: f"127.0.0.1:{lasting_port()}" for name in ADDRESSES}


class Edge:
    """`qanat edge` on loopback. `flags` are settings as on the command line, without `--`. The first of a session is started as
    a user would start it; later ones are forked from a process that has loaded the same code."""

    _started: ClassVar = 0

    def __init__(self, folder: Path, *, within: Sequence[str] = (), probes: str = "false", **flags: str) -> None:
        """`within`: a command that runs the edge, such as `prlimit`. `probes` true: it asks origins; else they see what a
        test sends."""
        self.folder = folder
        self.within = within
        self.env = {"QANAT_PROBES__ENABLED": probes}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.flags = {
            "location": "lab01",
            **dict.fromkeys(ADDRESSES, "127.0.0.1:0"),
            "grace-period-s": "5",
            "log-level": "debug",
            **{name.replace("_", "-"): text for name, text in flags.items()},
        }
        self.process: Process
        self.ready: dict[str, Any]
        self.api: Api
        self.start()

    def start(self) -> None:
        """Starts the process (again) on the settings it was made with."""
        argv = [*self.within, *QANAT, "edge", "--output", "json", "--data-dir", str(self.folder / "data")]
        for name, text in self.flags.items():
            argv += [f"--{name}", text]
        self.process = Process("edge", argv, self.env, forked=Edge._started > 0 and not self.within)
        Edge._started += 1
        line = self.process.wait_for(r"^\{.*\"ready\".*\}$", stdout=True)
        self.ready = json.loads(line.string)
        self.data_dir = Path(self.ready["data_dir"])
        self.ca_file = Path(self.ready["ca"])
        self.https: str = self.ready["https"]
        self.http: str = self.ready["http"]
        self.tunnel: str = self.ready["tunnel"]
        self.api = Api(self.ready["api"], (self.data_dir / "first-token").read_text().strip())

    def kill(self) -> None:
        """The power is gone."""
        self.api.close()
        self.process.kill()

    def restart(self) -> None:
        self.start()

    def stop(self) -> None:
        self.api.close()
        self.process.stop()

    def h1(
        self,
        hostname: str,
        *,
        timeout_s: float = PATIENCE_S,
        receive_buffer: int | None = None,
        source: str | None = None,
    ) -> Http1Client:
        return Http1Client(
            self.https, hostname, self.ca_file, timeout_s=timeout_s, receive_buffer=receive_buffer, source=source
        )

    def plain(self, hostname: str) -> Http1Client:
        """The plain HTTP listener."""
        return Http1Client(self.http, hostname, None)

    def h2(
        self,
        hostname: str,
        *,
        strict: bool = True,
        timeout_s: float = PATIENCE_S,
        window: int | None = None,
        source: str | None = None,
    ) -> Http2Client:
        return Http2Client(
            self.https, hostname, self.ca_file, strict=strict, timeout_s=timeout_s, window=window, source=source
        )

    def cause(self, request_id: str) -> str:
        """Why the edge answered or cut a request itself."""
        return str(wait_until(lambda: self._facts(request_id), f"what the edge knows of {request_id}")["cause"])

    def _facts(self, request_id: str) -> Any:
        from tests.support.api import ApiError

        try:
            return self.api.request_facts(request_id)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
