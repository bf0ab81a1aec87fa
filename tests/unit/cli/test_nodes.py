"""`qanat node` and `qanat tunnel mode`, with whoever runs promotions behind the API and an engine that only remembers."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from qanat.edge.promotions import Promotions
from qanat.health.lines import Line
from tests.support.control import Control
from tests.support.links import register
from tests.support.nodes import FakeSteering
from tests.support.shell import Shell


@pytest.fixture
def shell(at_control: Control, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
def steering(at_control: Control) -> Iterator[FakeSteering]:
    made = FakeSteering()
    running = Promotions(at_control.store, made, put=made.put, facts=at_control.edge.node)
    running.start()
    yield made
    running.stop()


@pytest.fixture
def tokens(shell: Shell, at_control: Control, tmp_path: Path) -> dict[str, Path]:
    """Two connected nodes of the tunnel `web`, and files with their tokens."""
    tunnel_id = at_control.create_tunnel("web")["id"]
    files = {}
    for name in ("web-1", "web-2"):
        text = shell("tunnel", "connector-token", "create", "web", name)
        (found,) = [each for each in shell.json("tunnel", "connector-token", "list", "web") if each["name"] == name]
        register(at_control.store, tunnel_id, str(uuid4()), token_id=found["id"])
        files[name] = tmp_path / name
        files[name].write_text(text)
    return files


def test_a_tunnels_mode_is_shown_and_set(shell: Shell, tokens: dict[str, Path]) -> None:
    assert shell("tunnel", "mode", "web") == "mode replicas\n"
    shell("tunnel", "mode", "web", "active-standby", expect=1)
    assert "Connected now: web-1, web-2" in shell.err
    assert "active web-1, epoch 1" in shell("tunnel", "mode", "web", "active-standby", "--active", "web-1")
    told = shell("tunnel", "mode", "web", "--automatic", "--failover-after", "2", "--most", "5", "--per", "600")
    assert "gone for 2 s" in told and "at most 5 times in 600 s" in told
    assert shell.json("tunnel", "mode", "web")["epoch"] == 1
    shell("tunnel", "mode", "web", "both", expect=2)


def test_a_connections_key_exchange_is_told_or_said_to_be_unknown(
    shell: Shell, tokens: dict[str, Path], at_control: Control
) -> None:
    for connector in shell.json("tunnel", "show", "web")["connectors"]:
        for n, connection in enumerate(connector["connections"]):
            at_control.edge.links[connection["id"]] = Line(0.012, "X25519MLKEM768" if n else "")
    told = shell("tunnel", "show", "web")
    assert "12.0 ms" in told
    assert "unknown" in told


def test_a_tunnel_is_shown_with_its_active_node_and_epoch(shell: Shell, tokens: dict[str, Path]) -> None:
    assert "epoch" not in shell("tunnel", "show", "web")
    shell("tunnel", "mode", "web", "active-standby", "--active", "web-1")
    assert "mode active-standby: the node web-1 is active, epoch 1" in shell("tunnel", "show", "web")
    shown = shell.json("tunnel", "show", "web")
    assert (shown["mode"], shown["active_node"], shown["epoch"]) == ("active-standby", "web-1", 1)


def test_a_node_is_promoted_with_commands_around_the_flip(
    shell: Shell, tokens: dict[str, Path], steering: FakeSteering, tmp_path: Path
) -> None:
    shell("tunnel", "mode", "web", "active-standby", "--active", "web-1")
    note = tmp_path / "note"
    tell = f"sh -c 'echo $QANAT_FROM_NODE $QANAT_TO_NODE $QANAT_EPOCH >> {note}'"
    assert "web-2 is active, epoch 2" in shell("node", "promote", "web", "web-2", "--before", tell, "--after", tell)
    assert note.read_text() == "web-1 web-2\nweb-1 web-2 2\n"
    assert steering.calls == ["hold", "put", "cut", "release"]
    listed = shell("node", "list", "web")
    assert "epoch 2, active web-2" in shell.err
    assert listed.index("web-1") < listed.index("web-2")
    shell("node", "promote", "web", "web-2", expect=1)
    shell("node", "promote", "web", "web-3", expect=3)
    shell("node", "promote", "web", "web-1", "--epoch", "7", expect=1)
    assert "the epoch is 2" in shell.err
    assert "web-2" in shell("node", "promotions", "web")


def test_a_command_that_fails_before_the_flip_changes_nothing_and_one_after_it_is_told(
    shell: Shell, tokens: dict[str, Path], steering: FakeSteering
) -> None:
    shell("tunnel", "mode", "web", "active-standby", "--active", "web-1")
    shell("node", "promote", "web", "web-2", "--before", "false", expect=1)
    assert "false ended with 1; web-1 is active as before" in shell.err
    shell("node", "promote", "web", "web-2", "--before", "/nonexistent", expect=1)
    assert "/nonexistent can't be run" in shell.err
    shell("node", "promote", "web", "web-2", "--after", "false", expect=1)
    assert "after the flip: false ended with 1" in shell.err
    assert shell.json("tunnel", "mode", "web")["active"] == "web-2"
    for flags in (["--before", "'"], ["--before", ""], ["--force", "--before", "true"]):
        shell("node", "promote", "web", "web-1", *flags, expect=2)


def test_a_node_is_taken_out_and_comes_back(shell: Shell, tokens: dict[str, Path], steering: FakeSteering) -> None:
    shell("tunnel", "mode", "web", "active-standby", "--active", "web-1")
    assert "web-2 gets no new requests" in shell("node", "drain", "web", "web-2")
    assert "fenced by operator: drained" in shell("node", "show", "web", "web-2")
    assert "web-2 is not fenced: standby" in shell("node", "unfence", "web", "web-2")
    shell("node", "fence", "web", "web-2", "--reason", "broken")
    shell("node", "promote", "web", "web-2", "--force", expect=1)
    assert "fenced: broken" in shell.err
    shell("node", "fence", "web", "web-1", expect=1)


def test_a_host_asks_by_its_connector_token(
    shell: Shell, tokens: dict[str, Path], steering: FakeSteering, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell("tunnel", "mode", "web", "active-standby", "--active", "web-1")
    monkeypatch.delenv("QANAT_API_TOKEN_FILE")
    own = ["--connector-token-file", str(tokens["web-2"])]
    assert "web-2" in shell("node", "show", *own)
    assert "web-1" in shell("node", "list", *own)
    assert "web-2 is active" in shell("node", "promote", *own)
    shell("node", "drain", "--connector-token-file", str(tokens["web-1"]))
    assert "web-1 is not fenced" in shell("node", "unfence", "--connector-token-file", str(tokens["web-1"]))
    shell("node", "show", "web", "web-1", *own, expect=2)
    shell("node", "show", "web", expect=2)
