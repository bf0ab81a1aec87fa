"""A message on its way: what receivers get, what they may answer, and what can't be sent at all."""

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email import message_from_string
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from qanat.alerts import line, mail
from qanat.alerts.channels import Opened
from qanat.alerts.guard import Guard
from qanat.alerts.messages import About, Told, written
from qanat.alerts.sending import Sending
from qanat.errors import QanatError, RetryLaterError
from tests.support.certificates import OriginAuthority
from tests.support.receivers import Hook, Mailbox

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LOOPBACK = Guard.of(["127.0.0.0/8"])
KEY = b"k" * 24
EVIL = "web <!channel>\r\nBcc: x@y.z & \x1b[2J\u202e"


def message(label: str = "tunnel web", **more: Any) -> dict[str, Any]:
    about = About(account_id="a" * 32, account="home", rule_id="b" * 32, rule="Tunnel down", kind="tunnel_down")
    return written("alert.fired", about, [Told(id="c" * 32, label=label, why="it is gone", since=NOW, **more)], at=NOW)


def hook_of(url: str) -> Opened:
    return Opened("d" * 32, "webhook", {}, url, KEY, "")


def mailbox_of(port: int, security: str = "none", username: str = "", password: str = "") -> Opened:
    document = {"host": "127.0.0.1", "port": port, "security": security, "username": username}
    document |= {"sender": "qanat@example.com", "recipients": ["ops@example.com", "mir@example.com"]}
    return Opened("e" * 32, "email", document, "", b"", password)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> OriginAuthority:
    return OriginAuthority.make(tmp_path_factory.mktemp("ca"))


def send(to: Opened, told: dict[str, Any], *, guard: Guard = LOOPBACK, ca_file: Path | None = None) -> None:
    Sending(guard, ca_file=str(ca_file) if ca_file else None).send(to, "f" * 32, told, at=NOW)


def test_a_webhook_is_signed_as_standard_webhooks_has_it(hook: Hook) -> None:
    send(hook_of(hook.url), message())
    [(headers, body)] = hook.got
    stamp = str(int(NOW.timestamp()))
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("f" * 32, stamp)
    signed = b".".join((b"f" * 32, stamp.encode(), body))
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    told = json.loads(body)
    assert (told["id"], told["type"], told["data"]["count"]) == ("f" * 32, "alert.fired", 1)
    assert told["text"].startswith("Firing: Tunnel down: tunnel web\n")


def test_text_mentions_nobody_in_slack(hook: Hook) -> None:
    send(hook_of(hook.url), message(EVIL))
    text = hook.messages[0]["text"]
    assert "<" not in text
    assert "&lt;!channel&gt;" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("status", "fields", "code", "is_later"),
    [
        (302, {"location": "http://127.0.0.1:1/"}, "alert_refused", False),
        (404, {}, "alert_refused", False),
        (410, {}, "alert_refused", False),
        (429, {"retry-after": "120"}, "alert_unreachable", True),
        (503, {"retry-after": "soon"}, "alert_unreachable", True),
    ],
)
def test_what_a_receiver_answers_says_whether_it_is_tried_again(
    hook: Hook, status: int, fields: dict[str, str], code: str, is_later: bool
) -> None:
    hook.answer = lambda: (status, fields)
    with pytest.raises(QanatError) as caught:
        send(hook_of(hook.url), message())
    assert (caught.value.code, isinstance(caught.value, RetryLaterError)) == (code, is_later)
    assert f"answered {status}" in caught.value.message
    if isinstance(caught.value, RetryLaterError):
        assert caught.value.retry_after_s == (120 if status == 429 else 0)
    assert len(hook.got) == 1  # no redirect is followed


@pytest.mark.requirement("S40")
def test_nothing_goes_to_loopback_or_without_tls_unless_it_is_listed(hook: Hook) -> None:
    with pytest.raises(QanatError) as caught:
        send(hook_of(hook.url), message(), guard=Guard())
    assert caught.value.code == "alert_address_denied"
    with pytest.raises(QanatError) as caught:
        send(mailbox_of(hook.port), message(), guard=Guard())
    assert caught.value.code == "alert_address_denied"
    assert hook.got == []


def test_a_certificate_that_nobody_trusts_is_refused_and_one_of_the_setting_is_not(authority: OriginAuthority) -> None:
    with Hook(authority.server_context("127.0.0.1")) as hook:
        with pytest.raises(QanatError) as caught:
            send(hook_of(hook.url), message())
        assert "not trusted" in caught.value.message
        send(hook_of(hook.url), message(), ca_file=authority.ca_file)
        assert hook.types() == ["alert.fired"]


def test_a_receiver_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    while True:
                        connection.sendall(b"H")
                        connection.recv(1)
                except OSError:
                    pass

        thread = Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(QanatError) as caught:
            send(hook_of(f"http://127.0.0.1:{listener.getsockname()[1]}/"), message())
        thread.join(60)
    assert caught.value.code == "alert_unreachable"


@pytest.mark.parametrize("security", ["https", "tls", "starttls"])
def test_a_receiver_that_drips_its_part_of_tls_is_cut_off(monkeypatch: pytest.MonkeyPatch, security: str) -> None:
    """Each byte within the time of one read, and far more of them than there is time for."""
    monkeypatch.setattr(line, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                if security == "starttls":
                    for said in (b"220 hello", b"250-hello\r\n250 STARTTLS", b"220 go on"):
                        connection.sendall(said + b"\r\n")
                        connection.recv(1000)
                connection.settimeout(0.05)
                for byte in b"\x16\x03\x03\x40\x00" + bytes(1000):  # a record of 16 KiB, announced
                    connection.sendall(bytes([byte]))
                    with suppress(TimeoutError):
                        while connection.recv(1000):
                            pass

        thread = Thread(target=drip, daemon=True)
        thread.start()
        to = hook_of(f"https://127.0.0.1:{port}/") if security == "https" else mailbox_of(port, security)
        with pytest.raises(QanatError) as caught:
            send(to, message())
        thread.join(60)
    assert (caught.value.code, "no answer within" in caught.value.message) == ("alert_unreachable", True)


def test_a_mail_is_whole_and_no_name_breaks_its_headers() -> None:
    with Mailbox() as mailbox:
        send(mailbox_of(mailbox.port), message(EVIL))
    [text] = mailbox.mails
    got = message_from_string(text)
    assert got["To"] == "ops@example.com, mir@example.com"
    assert got["Bcc"] is None
    assert "Firing: Tunnel down: web" in got["Subject"]
    assert got["Message-ID"] == f"<{'f' * 32}@example.com>"
    assert [line.upper() for line in mailbox.said if line.upper().startswith("RCPT")] == [
        "RCPT TO:<OPS@EXAMPLE.COM>",
        "RCPT TO:<MIR@EXAMPLE.COM>",
    ]


def test_a_password_goes_only_over_tls(authority: OriginAuthority) -> None:
    with Mailbox(authority.server_context("127.0.0.1")) as mailbox:
        to = mailbox_of(mailbox.port, "starttls", "mir", "secret")
        send(to, message(), ca_file=authority.ca_file)
        assert len(mailbox.mails) == 1
        with pytest.raises(QanatError) as caught:
            send(to, message())
        assert "not trusted" in caught.value.message
        wrong = mailbox_of(mailbox.port, "starttls", "mir", "wrong")
        with pytest.raises(QanatError) as caught:
            send(wrong, message(), ca_file=authority.ca_file)
        assert (caught.value.code, "535" in caught.value.message) == ("alert_refused", True)
    with Mailbox() as plain:  # which strips STARTTLS
        with pytest.raises(QanatError) as caught:
            send(mailbox_of(plain.port, "starttls", "mir", "secret"), message(), ca_file=authority.ca_file)
        assert caught.value.code == "alert_unreachable"
        assert not any("AUTH" in line for line in plain.said)


def test_a_mailbox_that_is_full_for_now_is_tried_again() -> None:
    with Mailbox() as mailbox:
        for answer, is_later in (("452 full", True), ("550 unknown", False)):
            mailbox.refuse = answer
            with pytest.raises(QanatError) as caught:
                send(mailbox_of(mailbox.port), message())
            assert isinstance(caught.value, RetryLaterError) == is_later


def test_many_at_once_are_one_message() -> None:
    about = About(account_id="a" * 32, account="home", rule_id="b" * 32, rule="Down", kind="hostname_down")
    told = [Told(id=f"{number:032}", label=f"h{number}.test", why="gone", since=NOW) for number in range(500)]
    made = written("alert.fired", about, told, at=NOW)
    assert made["title"] == "Firing: Down: h0.test, h1.test, h2.test and 497 more"
    assert (made["data"]["count"], len(made["data"]["alerts"])) == (500, 20)
    assert len(json.dumps(made)) < 16_000
    assert mail.written({"sender": "a@b.c", "recipients": ["d@e.f"]}, "f" * 32, made, at=NOW)["Date"]
