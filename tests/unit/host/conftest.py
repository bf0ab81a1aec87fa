import base64
import json
from pathlib import Path

import pytest

from tests.support.host import FakeManager, LiveMachine

TUNNEL, OTHER_TUNNEL = "11111111-2222-3333-4444-555555555555", "11111111-2222-3333-4444-666666666666"


def token_of(tunnel: str, secret: bytes = b"x" * 32) -> str:
    """A token as an edge gives it."""
    fields = {"a": "0" * 32, "t": tunnel, "s": base64.b64encode(secret).decode()}
    return base64.b64encode(json.dumps(fields).encode()).decode()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveMachine:
    """A machine in a folder, of which we are root."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    root = tmp_path / "machine"
    root.mkdir()
    return LiveMachine(root)


@pytest.fixture
def manager(machine: LiveMachine) -> FakeManager:
    return FakeManager(machine)
