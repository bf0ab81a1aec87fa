"""`qanat alert …` against a real edge: channels that take messages, rules that fire, silence, and what a mistake is answered."""

import base64
import hashlib
import hmac
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.connectors import QuicConnector
from tests.support.edge import Edge
from tests.support.receivers import Hook, Mailbox
from tests.support.shell import Shell
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge that may send to loopback."""
    edge = Edge(tmp_path_factory.mktemp("alerting") / "edge", alerts_networks="127.0.0.0/8")
    yield edge
    edge.stop()


@pytest.fixture
def shell(alerting: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("QANAT_API", str(alerting.ready["api"]))
    monkeypatch.setenv("QANAT_API_TOKEN_FILE", str(alerting.data_dir / "first-token"))
    return Shell(capsys)


def signed(headers: dict[str, str], body: bytes, key: str) -> bool:
    """As Standard Webhooks' receivers check."""
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(base64.b64decode(key.removeprefix("whsec_")), text, hashlib.sha256).digest()
    return headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_a_webhook_is_made_tried_given_another_key_and_deleted(shell: Shell, tmp_path: Path) -> None:
    with Hook() as hook:
        url = tmp_path / "url"
        url.write_text(hook.url + "\n")
        key = shell("alert", "add-webhook", "ops", "--url-file", str(url)).strip()
        assert key.startswith("whsec_")
        assert key not in shell.err
        assert "ops" in shell.err
        assert "ops took it" in shell("alert", "test", "ops")
        assert signed(*hook.got[-1], key)
        another = shell("alert", "roll-key", "ops").strip()
        assert shell.json("alert", "test", "ops")["delivered"]
        assert signed(*hook.got[-1], another)
        assert not signed(*hook.got[-1], key)
        hook.answer = lambda: (500, {})
        shell("alert", "test", "ops", expect=1)
        assert "500" in shell.err
        (channel,) = shell.json("alert", "channels")
        listed = shell("alert", "channels")
        assert channel["last_error"]
        assert channel["last_error"] in listed
        assert not {"secret", "a=b", key, another} & set(listed.split()), "neither the URL's query nor a key"
        states = [row["state"] for row in shell.json("alert", "deliveries")]
        assert sorted(states) == ["delivered", "delivered", "failed"]
        assert "failed" in shell("alert", "deliveries")
    shell("alert", "delete-channel", channel["id"])
    assert "there are no channels" in shell("alert", "channels")


def test_a_mailbox_is_made_with_a_password_from_standard_input(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with Mailbox() as mailbox:
        monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
        made = shell(
            "alert", "add-email", "box", "--host", "127.0.0.1", "--port", str(mailbox.port), "--security", "none",
            "--from", "qanat@example.com", "--to", "a@example.com", "--to", "b@example.com",
        )  # fmt: skip
        assert "qanat alert test box" in made
        assert "a@example.com, b@example.com" in shell("alert", "channels")
        shell("alert", "test", "box")
        assert len(mailbox.mails) == 1
        shell(
            "alert", "add-email", "other", "--host", "127.0.0.1", "--port", str(mailbox.port), "--security", "none",
            "--from", "qanat@example.com", "--to", "a@example.com", "--username", "mir", "--password-file", "-",
            expect=1,
        )  # fmt: skip
        assert "secret" not in shell.err, "a password goes over TLS or nowhere"
    shell("alert", "delete-channel", "box")


def test_a_rule_is_made_silenced_and_deleted(shell: Shell, alerting: Edge, tmp_path: Path) -> None:
    tunnel = alerting.api.create_tunnel("shop")
    assert "there are no rules" in shell("alert", "list")
    assert "nothing holds" in shell("alert", "firings", "--open")
    with Hook() as hook:
        url = tmp_path / "url"
        url.write_text(hook.url)
        shell("alert", "add-webhook", "ops", "--url-file", str(url))
        made = shell.json(
            "alert", "add", "tunnel_degraded", "--name", "shop", "--tunnel", "shop", "--channel", "ops", "--set", "for_s=0"
        )  # fmt: skip
        assert (made["tunnel_id"], made["settings"]) == (tunnel.id, {"for_s": 0})
        (line,) = [line for line in shell("alert", "list").splitlines() if made["id"] in line]
        assert "for_s=0" in line
        assert "ops" in line
        assert line.rstrip().endswith("on")
        assert "silent until" in shell("alert", "silence", "shop", "--for", "2d")
        assert "silent until" in shell("alert", "list")
        assert "told again" in shell("alert", "silence", made["id"], "--for", "0")
        alerting.api.delete_tunnel(tunnel.id)
        shell("alert", "delete", "shop")
        shell("alert", "delete", "shop", expect=3)
        assert not hook.got, "a tunnel that was never connected is not told of"
        assert len(shell.json("alert", "defaults", "--channel", "ops")) == 9
        assert "already" in shell("alert", "defaults")
        assert len(shell.json("alert", "list")) == 9
        for rule in shell.json("alert", "list"):
            shell("alert", "delete", rule["id"])
        shell("alert", "delete-channel", "ops")


def test_what_fired_is_listed_with_whom_it_was_told(shell: Shell, alerting: Edge) -> None:
    tunnel = alerting.api.create_tunnel("gone")
    shell("alert", "add", "tunnel_down", "--set", "for_s=0", "--tunnel", "gone")
    with QuicConnector(alerting.tunnel, alerting.ca_file, tunnel.token):
        wait_until(lambda: alerting.api.tunnel(tunnel.id)["status"] != "inactive", "the tunnel is up")
    (firing,) = wait_until(lambda: shell.json("alert", "firings", "--open"), "an alert", timeout_s=120.0)
    listed = shell("alert", "firings")
    assert firing["subject"] == "tunnel gone"
    assert "tunnel gone" in listed
    assert firing["why"] in listed
    assert "nobody" in listed
    shell("alert", "delete", "tunnel_down")


def test_a_mistake_is_told_with_what_is_right(shell: Shell) -> None:
    kinds = shell("alert", "kinds")
    assert {each["kind"] for each in shell.json("alert", "kinds")} <= set(kinds.split())
    for arguments, status, told in (
        (("alert", "add", "tunnel_down", "--set", "for_s"), 2, "NAME=NUMBER"),
        (("alert", "add", "tunnel_down", "--set", "for_s=soon"), 2, "NAME=NUMBER"),
        (("alert", "add", "tunnel_down", "--set", "for_s=-1"), 1, "for_s"),
        (("alert", "add", "tunnel_up"), 1, "tunnel_down"),
        (("alert", "add", "tunnel_down", "--tunnel", "none"), 3, "none"),
        (("alert", "add", "tunnel_down", "--channel", "none"), 3, "none"),
        (("alert", "silence", "none", "--for", "1h"), 3, "none"),
        (("alert", "test", "none"), 3, "none"),
        (("alert", "roll-key", "none"), 3, "none"),
        (("alert", "delete-channel", "none"), 3, "none"),
    ):
        shell(*arguments, expect=status)
        assert told in shell.err, (arguments, shell.err)
    shell("alert", "add", "tunnel_down")
    shell("alert", "silence", "tunnel_down", "--for", "soon", expect=2)
    assert "30m, 4h or 2d" in shell.err
    shell("alert", "delete", "tunnel_down")
