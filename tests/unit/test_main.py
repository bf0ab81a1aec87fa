"""Which part of qanat a command line starts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from qanat import __main__ as program


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str] | None]:
    """What a connector is started with; None when none is."""
    seen: list[list[str]] = []

    def connector(arguments: Sequence[str], **more: Any) -> int:
        seen.append(list(arguments))
        return 0

    monkeypatch.setattr("qanat.connector.command.main", connector)
    monkeypatch.setattr("qanat.connector.sources.SEARCH_PATHS", ("~/.cloudflared",))
    monkeypatch.setenv("HOME", str(tmp_path))

    def start(*arguments: str) -> list[str] | None:
        seen.clear()
        with pytest.raises(SystemExit):
            program.main(arguments)
        return seen[0] if seen else None

    return start


def test_without_a_word_a_connector_runs_by_the_file_that_is_there(
    started: Callable[..., list[str] | None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert started() is None
    assert "Usage" in capsys.readouterr().out
    (tmp_path / ".cloudflared").mkdir()
    (tmp_path / ".cloudflared" / "config.yaml").write_text("tunnel: x\n")
    assert started() == ["tunnel", "run"]
    assert started("zone") is None


def test_a_tunnels_name_is_looked_up_where_nothing_but_the_api_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from qanat.connector.command import main

    asked: list[str] = []
    tunnel = "0c9e8b5a-7d3f-4f6e-9b1a-2f4d6c8e0a13"

    def tunnel_id_of(name: str, line: object) -> str:
        asked.append(name)
        return tunnel

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("qanat.connector.sources.SEARCH_PATHS", ("~/.cloudflared",))
    (tmp_path / "c.yml").write_text("tunnel: web\n")
    for words in (["web"], ["--config", str(tmp_path / "c.yml")]):
        assert main(["tunnel", "run", "--edge", "h:1", *words], tunnel_id_of=tunnel_id_of) == 1
        assert f"there is no {tunnel}.json" in capsys.readouterr().err
    assert asked == ["web", "web"]
    for words in ([tunnel], ["--token", "x", "web"], ["--credentials-file", "/nonexistent", "web"]):
        main(["tunnel", "run", "--edge", "h:1", *words], tunnel_id_of=tunnel_id_of)
    assert asked == ["web", "web"]
