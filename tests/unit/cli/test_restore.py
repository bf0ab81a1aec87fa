"""`qanat backup create`, then `qanat edge restore`: the way back, by the commands alone."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from qanat.cli.main import main
from qanat.edge.data_dir import DataDir
from qanat.store import open_store
from qanat.store.models import Tunnel
from tests.support.control import running_control


def test_the_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data, backup, token = tmp_path / "data", tmp_path / "backup.db", tmp_path / "token"
    data.mkdir(mode=0o700)
    with running_control(data) as control:
        token.write_text(control.token)
        monkeypatch.setenv("QANAT_API", control.url)
        monkeypatch.setenv("QANAT_API_TOKEN_FILE", str(token))
        control.create_tunnel("before")
        assert main(["backup", "create", str(backup)]) == 0
        control.create_tunnel("after")
        running = DataDir(data).lock()
        assert main(["edge", "restore", str(backup), "--data-dir", str(data)]) == 1
        assert "another edge runs" in capsys.readouterr().err
        running.unlock()
    capsys.readouterr()
    assert main(["edge", "restore", str(backup), "--data-dir", str(data), "--output", "json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["tunnels"], done["has_key"]) == (1, True)
    assert Path(done["kept"]).exists()
    store = open_store(data / "qanat.db")
    with store.reading() as session:
        assert list(session.scalars(select(Tunnel.name))) == ["before"]
    store.close()
    assert main(["edge", "restore", str(tmp_path / "nothing"), "--data-dir", str(data)]) == 1
    assert "can't read" in capsys.readouterr().err
