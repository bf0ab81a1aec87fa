"""Where things are when nobody says so."""

from pathlib import Path

import pytest

from qanat.client import profiles
from qanat.defaults import default_data_dir


def test_a_user_that_the_system_does_not_know_has_defaults_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container without HOME."""

    def unknown(_uid: int) -> None:
        raise KeyError

    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("os.geteuid", lambda: 65532)
    assert default_data_dir() == Path("/.local/state/qanat")
    assert profiles.default_folder() == Path("/.config/qanat")
