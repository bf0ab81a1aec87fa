from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control import Control, running_control

VARIABLES = (
    "QANAT_API",
    "QANAT_API_TOKEN",
    "QANAT_API_TOKEN_FILE",
    "QANAT_ACCOUNT",
    "QANAT_PROFILE",
    "QANAT_PASSPHRASE",
    "QANAT_FROM_TOKEN",
    "QANAT_INSECURE_HTTP",
    "CLOUDFLARE_API_TOKEN",
    "TUNNEL_ORIGIN_CERT",
    "TUNNEL_API_URL",
)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's user is read or written."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("qanat.cli.control_plane.default_data_dir", lambda: tmp_path / "state" / "qanat")
    monkeypatch.setenv("COLUMNS", "400")
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    """A control plane; the store behind it is the API's business, so one kind will do."""
    with running_control(tmp_path) as running:
        yield running


@pytest.fixture
def at_control(control: Control, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Control:
    """The environment points to it."""
    monkeypatch.setenv("QANAT_API", control.url)
    file = tmp_path / "token"
    file.write_text(control.token + "\n")
    monkeypatch.setenv("QANAT_API_TOKEN_FILE", str(file))
    return control
