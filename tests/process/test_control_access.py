"""Who may ask the running edge: its settings take effect, and what its log holds afterwards."""

import json
from pathlib import Path

import httpx

from tests.support.edge import Edge


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
