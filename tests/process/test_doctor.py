"""`qanat doctor` against an edge."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.support.processes import QANAT, clean_environment
from tests.support.sites import Fakes


def doctor(*arguments: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Exit status and findings, by check."""
    command = [*QANAT, "doctor", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)
    told = json.loads(done.stdout)
    assert told["status"] == done.returncode
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in told["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return done.returncode, found


def test_the_way_to_the_edge_and_to_each_origin(fakes: Fakes, folder: Path) -> None:
    tunnel, _ = fakes.tunnel()
    token = folder / "token"
    token.write_text(tunnel.token)
    token.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as origin:
        rules = folder / "config.yml"
        rules.write_text(
            "ingress:\n"
            f"  - hostname: app.example.test\n    service: http://127.0.0.1:{origin.getsockname()[1]}\n"
            "  - hostname: gone.example.test\n    service: http://127.0.0.1:1\n"
            "  - service: http_status:404\n"
        )
        common = ("--config", str(rules), "--token-file", str(token), "--edge", fakes.edge.tunnel)
        status, found = doctor(*common, "--cacert", str(fakes.edge.ca_file))
        address = fakes.edge.tunnel
        assert found["token"][0]["message"] == f"of tunnel {tunnel.id}"
        for check in ("DNS", f"TCP {address}", f"UDP {address}", "origin of app.example.test"):
            assert found[check][0]["level"] == "ok", found[check]
        gone = found["origin of gone.example.test"][0]
        assert (gone["level"], status) == ("failure", 2)
        assert gone["fix"]
        assert "edge" not in found, "nothing is wrong with the edge"

        _, found = doctor(*common)  # as if it were of a public CA
        refused = found[f"TCP {address}"][0]
        assert (refused["level"], refused["fix"]) == ("failure", "give the edge's CA by --cacert FILE")
