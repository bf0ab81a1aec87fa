"""Who may ask the running edge: its settings take effect, and what its log holds afterwards."""

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.edge import Edge
from tests.support.processes import QANAT


@pytest.mark.requirement("S33", "S36", "S39")
def test_hosts_and_legacy_keys_are_settings_and_the_log_holds_no_credentials(folder: Path) -> None:
    """security.md S33, S36, S39."""
    file = folder / "edge.toml"
    file.write_text('[control]\nhosts = ["API.example.test"]\nlegacy_keys = true\n')
    edge = Edge(folder, config=str(file))
    try:
        url = str(edge.ready["api"])
        token = (edge.data_dir / "first-token").read_text().strip()
        made = edge.api.call("POST", "/qanat/user/key", {})
        bad = "qnt_" + "x" * 36
        with httpx.Client(base_url=url, trust_env=False, verify=False) as client:

            def status(**headers: str) -> int:
                sent = {name.replace("_", "-"): value for name, value in headers.items()}
                return client.get("/zones", headers=sent).status_code

            good = f"Bearer {token}"
            assert status(authorization=good) == 200
            assert status(authorization=good, host="api.example.test:443") == 200
            assert status(authorization=good, host="evil.test") == 421
            assert status(x_auth_email=made["email"], x_auth_key=made["key"]) == 200
            refused = [status(authorization=f"Bearer {bad}") for _ in range(6)]
            assert refused == [403] * 5 + [429]
            assert status(authorization=good) == 200
            client.get("/nowhere%0a{}%1b[31m", headers={"authorization": good})
    finally:
        edge.stop()
    for secret in (bad, made["key"], token):
        assert secret not in edge.process.log()
    assert edge.process.lines
    assert all(isinstance(json.loads(line), dict) for line in edge.process.lines)


def test_who_has_the_host_comes_back_in_when_the_last_powerful_token_is_gone(folder: Path) -> None:
    edge = Edge(folder / "edge")
    api, file = edge.api, edge.data_dir / "first-token"
    command = [*QANAT, "edge", "new-token", "--data-dir", str(edge.data_dir), "--output", "json"]
    try:
        groups = {group["name"]: group["id"] for group in api.call("GET", "/user/tokens/permission_groups")}
        policy = {
            "effect": "allow",
            "resources": {f"com.cloudflare.api.account.{api.account}": "*"},
            "permission_groups": [{"id": groups["Zone Read"]}],
        }
        api.call("POST", "/user/tokens", {"name": "weak", "policies": [policy]})
        lost = file.read_text()
        (first,) = (each["id"] for each in api.call("GET", "/user/tokens") if each["name"] != "weak")
        api.call("DELETE", f"/user/tokens/{first}")
        running = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert running.returncode == 1
        assert "another edge runs" in running.stderr
        assert file.read_text() == lost
    finally:
        edge.stop()
    stopped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert stopped.returncode == 0, stopped.stderr
    token = file.read_text().strip()
    assert token != lost.strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert token not in stopped.stdout + stopped.stderr
    edge.restart()
    try:
        assert {each["name"] for each in edge.api.call("GET", "/user/tokens")} == {"weak", "made on the edge's host"}
        assert token not in edge.process.log()
    finally:
        edge.stop()
