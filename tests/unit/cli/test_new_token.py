"""`qanat edge new-token`: nobody is locked out of an edge whose host they have."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from qanat.auth import Verifier
from qanat.cli.main import main
from qanat.edge.data_dir import DataDir
from qanat.store import open_store
from qanat.store.models import ApiToken
from tests.support.control import running_control


def test_the_last_powerful_token_was_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with running_control(data) as control:
        groups = {group["name"]: group["id"] for group in control.call("GET", "/user/tokens/permission_groups")}
        policy = {
            "effect": "allow",
            "resources": {f"com.cloudflare.api.account.{control.account}": "*"},
            "permission_groups": [{"id": groups["Zone Read"]}],
        }
        control.call("POST", "/user/tokens", {"name": "weak", "policies": [policy]})
        for each in control.call("GET", "/user/tokens"):
            if each["name"] != "weak":
                control.call("DELETE", f"/user/tokens/{each['id']}")
        running = DataDir(data).lock()
        assert main(["edge", "new-token", "--data-dir", str(data)]) == 1
        assert "another edge runs" in capsys.readouterr().err
        running.unlock()
    assert main(["edge", "new-token", "--data-dir", str(data), "--output", "json"]) == 0
    told = capsys.readouterr().out
    file = Path(json.loads(told)["token_file"])
    assert file.read_text().strip() not in told
    store = open_store(data / "qanat.db")
    Verifier(store).verify(file.read_text().strip(), address="127.0.0.1").reach("token.edit")
    with store.reading() as session:
        assert set(session.scalars(select(ApiToken.name))) == {"weak", "made on the edge's host"}
    store.close()
    assert main(["edge", "new-token", "--data-dir", str(tmp_path / "nothing")]) == 1
    assert "no edge was started" in capsys.readouterr().err
