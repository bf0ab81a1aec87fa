from collections.abc import Iterator
from pathlib import Path

import pytest

from qanat.store import SYSTEM, Store, open_store
from qanat.store.accounts import ensure_first_account
from qanat.store.sealing import Sealer
from tests.support.control import KEY, Control, running_control


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store with the first account."""
    opened = open_store(tmp_path / "qanat.db")
    ensure_first_account(opened, SYSTEM, name="first")
    yield opened
    opened.close()


@pytest.fixture
def account(store: Store) -> str:
    """The first account's id."""
    return ensure_first_account(store, SYSTEM, name="first").id


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(KEY)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    """A control plane without an engine."""
    with running_control(tmp_path) as running:
        yield running
