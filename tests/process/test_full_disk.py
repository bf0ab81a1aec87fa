"""A disk that is really full: 507 told clearly, reads go on, nothing acknowledged is lost, and with room again writes do."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from qanat.store import sqlite
from tests.support import disks
from tests.support.mortal import MortalControl

SIZE = "3m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disks.small_disk(tmp_path / "disk", size=SIZE) as disk:
        yield disk


def test_a_full_disk_is_a_507_and_loses_nothing(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    mortal = MortalControl(small_disk / "data")
    where = mortal.start()
    with httpx.Client(
        base_url=where["url"],
        headers={"authorization": f"Bearer {where['token']}"},
        trust_env=False,
        timeout=30.0,
        verify=False,
    ) as api:
        account = api.get("/accounts").json()["result"][0]["id"]
        tunnels = f"/accounts/{account}/cfd_tunnel"
        acknowledged: list[str] = []
        refused: httpx.Response | None = None
        for number in range(5000):
            answer = api.post(tunnels, json={"name": f"t{number}-{'x' * 200}", "config_src": "cloudflare"})
            if answer.status_code != 200:
                refused = answer
                break
            acknowledged.append(answer.json()["result"]["id"])
        assert refused is not None
        assert refused.status_code == 507, refused.text
        assert refused.json()["errors"][0]["code"] == 10507
        assert refused.headers["x-should-retry"] == "false"
        assert "nothing was written" in refused.text
        assert len(acknowledged) > 10
        for tunnel_id in (acknowledged[0], acknowledged[-1]):
            assert api.get(f"{tunnels}/{tunnel_id}").status_code == 200
        backup = api.get("/qanat/backup")
        assert backup.status_code == 507, "there is no room for a copy either"
        ballast.unlink()
        after = api.post(tunnels, json={"name": "after", "config_src": "cloudflare"})
        assert after.status_code == 200, after.text
        acknowledged.append(after.json()["result"]["id"])
    mortal.kill()
    assert sqlite.check_file(small_disk / "data" / "qanat.db", whole=True)
    where = mortal.start()
    with httpx.Client(
        base_url=where["url"],
        headers={"authorization": f"Bearer {where['token']}"},
        trust_env=False,
        timeout=30.0,
        verify=False,
    ) as api:
        for tunnel_id in acknowledged:
            assert api.get(f"{tunnels}/{tunnel_id}").status_code == 200
    mortal.kill()
    mortal.close()
    assert not list((small_disk / "data").glob("*.tmp"))
