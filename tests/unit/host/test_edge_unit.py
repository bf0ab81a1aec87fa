"""The unit for an edge (deploy/systemd): it may listen below 1024, and little else."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from qanat.settings import EdgeSettings

UNIT = Path(__file__).parents[3] / "deploy/systemd/qanat-edge.service"


@pytest.mark.requirement("S51")
def test_the_unit_holds_one_capability_and_shuts_the_edge_in() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation does it
    parser.read(UNIT)
    service = parser["Service"]
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "ProtectClock"):
        assert service[name] == "yes", name
    assert service["ProtectSystem"] == "strict"
    assert service["UMask"] == "0077"
    grace_s = EdgeSettings.model_fields["grace_period_s"].default
    assert float(service["TimeoutStopSec"].removesuffix("s")) > grace_s
    assert f"--data-dir /var/lib/{service['StateDirectory']}" in service["ExecStart"]


@pytest.mark.requirement("S51")
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_edges_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    file, program = tmp_path / UNIT.name, tmp_path / "qanat"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    file.write_text(UNIT.read_text().replace("/usr/bin/qanat", str(program)))
    verified = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)
    assert UNIT.name not in verified.stderr, verified.stderr
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(file)]
    rated = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in rated.stderr:
        pytest.skip("this systemd-analyze rates no files")
    assert rated.returncode == 0, rated.stdout[-300:] + rated.stderr
