from collections.abc import Iterator

import pytest

from tests.support.control import Control, running_control
from tests.support.dashboard import Visitor, visitor


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """One control plane with its dashboard, for a module whose tests keep to things of their own."""
    with running_control(tmp_path_factory.mktemp("control"), dashboard=True) as running:
        yield running


@pytest.fixture
def stranger(control: Control) -> Iterator[Visitor]:
    """Nobody who is signed in."""
    made = visitor(control)
    with made.http:
        yield made


@pytest.fixture
def me(stranger: Visitor) -> Visitor:
    """Signed in with a token that may everything."""
    assert stranger.sign_in().status_code == 303
    return stranger


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test changes it sees at once."""
    monkeypatch.setattr("qanat.dashboard.overview.KEPT_S", 0.0)
