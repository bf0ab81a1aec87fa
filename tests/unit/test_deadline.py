"""Whoever is asked and drips its answer is cut off in time: in its part of TLS, in its head, in its body."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Timer
from time import monotonic

import josepy
import pytest
from acme import errors
from cryptography.hazmat.primitives.asymmetric import ec

from qanat.auth.oidc import fetching
from qanat.certificates import network
from qanat.client import transport
from qanat.client.transport import Transport, TransportError
from qanat.connector import key_sets
from qanat.connector.role import probe
from qanat.cutover.plan import Check
from qanat.cutover.public_name import PublicName
from qanat.deadline import Deadline, LateError
from qanat.errors import QanatError
from tests.support.certificates import OriginAuthority
from tests.support.dripping import Part, dripping

QUICK_S = 0.3


def ask_a_ca(url: str) -> str:
    key = josepy.JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    ends_at = monotonic() + 3600
    asked = network.Network(key, ca_file=None, now=lambda: datetime.now(UTC), ends_at=ends_at, stopping=Event())
    with pytest.raises(errors.TimeoutError) as caught:
        asked.get(url)
    return str(caught.value)


def ask_a_provider(url: str) -> str:
    with pytest.raises(QanatError) as caught:
        fetching.fetch(url, closest=fetching.LOOPBACK)
    assert caught.value.code == "oidc_failed"
    return caught.value.message


def ask_an_api(url: str) -> str:
    asked = Transport(url, timeout_s=QUICK_S, use_proxies=False)
    with pytest.raises(TransportError) as caught:
        asked.request("GET", "/", query={}, headers=[], body=None)
    return str(caught.value)


def ask_an_api_for_a_stream(url: str) -> str:
    asked = Transport(url, timeout_s=QUICK_S, use_proxies=False)
    with pytest.raises(TransportError) as caught, asked.stream("GET", "/", query={}, headers=[]):
        pytest.fail("there is no head")
    return str(caught.value)


def ask_an_issuer(url: str) -> str:
    with pytest.raises(LateError) as caught:
        key_sets.fetch_key_set(url)
    return str(caught.value)


def ask_a_role(url: str) -> str:
    said = probe.ask_http(url)
    assert said.role == "unknown"
    return said.detail


def ask_a_public_name(url: str) -> str:
    answer = PublicName(connect_to=url.partition("://")[2]).ask("app.example.test", Check(), timeout_s=QUICK_S)
    assert answer.cause == "unreachable"
    return answer.detail or ""


ASK: dict[str, tuple[Callable[[str], str], tuple[Part, ...]]] = {
    "a CA": (ask_a_ca, ("tls", "head", "body")),
    "a provider": (ask_a_provider, ("tls", "head", "body")),
    "an API": (ask_an_api, ("tls", "head", "body")),
    "an API for a stream": (ask_an_api_for_a_stream, ("tls", "head")),
    "an issuer": (ask_an_issuer, ("tls", "head", "body")),
    "a role": (ask_a_role, ("tls", "head")),
    "a public name": (ask_a_public_name, ("tls",)),
}


@pytest.mark.parametrize(("whom", "part"), [(whom, part) for whom, (_, parts) in ASK.items() for part in parts])
def test_who_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch, whom: str, part: Part) -> None:
    monkeypatch.setattr(network, "ANSWER_S", QUICK_S)
    monkeypatch.setattr(fetching, "WHOLE_S", QUICK_S)
    monkeypatch.setattr(transport, "PATIENCE", 1)
    monkeypatch.setattr(key_sets, "_TIMEOUT_S", QUICK_S)
    monkeypatch.setattr(probe, "TIMEOUT_S", QUICK_S)
    ask, _ = ASK[whom]
    with dripping(part) as url:
        assert f"within {QUICK_S:g} s" in ask(url)


@pytest.mark.requirement("S37")
@pytest.mark.parametrize("part", ["head", "body"])
def test_a_provider_that_drips_behind_tls_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: Part
) -> None:
    """A socket that TLS is put on is another one: what ends the first ends nothing."""
    authority = OriginAuthority.make(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    monkeypatch.setattr(fetching, "WHOLE_S", QUICK_S)
    with dripping(part, authority.server_context("127.0.0.1")) as url:
        assert f"within {QUICK_S:g} s" in ask_a_provider(url)


def test_a_sockets_own_timeout_is_told_as_the_end_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as long as what is left, and may come before the timer's thread has its turn."""
    monkeypatch.setattr(Timer, "run", lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(LateError, match=r"of it within 0\.01 s"):
        with Deadline(0.01, "it") as ends, ends.dial(listener.getsockname(), timeout=0.01) as connection:
            connection.recv(1)


def test_what_begins_when_time_is_over_is_cut_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(LateError):
        with Deadline(0.01, "it") as deadline:
            with deadline.dial(listener.getsockname()) as first:
                assert first.recv(1) == b""
            with deadline.dial(listener.getsockname()) as second:
                assert second.recv(1) == b""


def test_what_is_done_in_time_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with Deadline(3600, "it") as deadline:
            dialled = deadline.dial(listener.getsockname())
        with dialled, listener.accept()[0] as accepted:
            accepted.sendall(b"x")
            assert dialled.recv(1) == b"x"
