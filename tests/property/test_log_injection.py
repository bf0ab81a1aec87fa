"""security.md S39: whatever bytes come, one event is one line of valid JSON, and no credential is in it."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from qanat.api.http.context import Context
from qanat.api.http.gate import Gate
from qanat.api.http.routes import PREFIX
from qanat.auth import Guesses
from qanat.log import set_up_logging
from tests.support.control import Control, running_control

pytestmark = pytest.mark.requirement("S39")

tokens = st.text("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=36, max_size=36)
hostile = st.text(
    st.characters() | st.sampled_from('\r\n\x00\x1b\x07\x85\u2028\u2029\u202e\ud800"\\{}'), min_size=1, max_size=60
)
# As a server hands them on: HTTP allows any byte but the line's end and NUL in a value.
values = st.binary(min_size=1, max_size=60).map(lambda raw: bytes(each for each in raw if each not in b"\r\n\x00"))
nested = st.recursive(
    hostile | st.binary(max_size=40) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3),
    max_leaves=8,
)


@contextmanager
def captured() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    before = list(root.handlers), root.level
    set_up_logging(level="debug", form="json", stream=stream)
    try:
        yield stream
    finally:
        root.handlers[:], root.level = before
        structlog.reset_defaults()


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with running_control(tmp_path_factory.mktemp("log")) as control:
        control.context.guesses = Guesses(limit=10**9)
        yield control


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    """Each line is an event, and there is no other kind of line."""
    text = stream.getvalue()
    # what readers of logs take for a line's end
    assert not [each for each in text if each in "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"]
    return [json.loads(line) for line in text.split("\n") if line]


@pytest.mark.requirement("S57")
@given(event=hostile, value=nested, token=tokens)
def test_any_event_is_one_line_without_a_token(event: str, value: object, token: str) -> None:
    secret = f"qnt_{token}"
    with captured() as stream:
        log = structlog.get_logger()
        log.info(
            f"{event}{secret}",
            value=value,
            raw=b"x" + secret.encode() + b"\xff",
            inside=[{"deep": (secret, event)}],
            headers={"X-Auth-Key": secret},
        )
        logging.getLogger("uvicorn.error").warning("%s: %s", event, secret)
    found = events(stream)
    assert len(found) == 2
    assert secret not in stream.getvalue()


def test_a_traceback_with_hostile_text_is_one_line() -> None:
    with captured() as stream:
        try:
            raise ValueError("first\r\nsecond\u2028third qnt_" + "x" * 36)
        except ValueError:
            structlog.get_logger().exception("failed")
    assert len(events(stream)) == 1
    assert "qnt_x" not in stream.getvalue()


async def _ask(context: Context, scope: Scope, body: bytes) -> int:
    """The gate before an application that fails and tells all that it was given."""
    statuses = []

    async def failing(scope: Scope, receive: Receive, _send: Send) -> None:
        raise RuntimeError(f"failed on {scope['path']!r} {scope['method']} {await receive()}")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await Gate(failing, context, [])(scope, receive, send)
    return int(statuses[0])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(path=hostile, method=hostile, name=values, value=values, body=st.binary(max_size=80), token=tokens)
def test_a_hostile_request_that_fails_is_one_line_without_credentials(
    control: Control, path: str, method: str, name: bytes, value: bytes, body: bytes, token: str
) -> None:
    key = "0123456789abcdef0123456789abcdef01234"
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": f"{PREFIX}/{path}",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "headers": [
            (b"host", b"localhost"),
            (b"authorization", f"Bearer {control.token}".encode()),
            (b"x-auth-key", key.encode()),
            (b"x-auth-email", b"owner@qanat.invalid"),
            (name.lower(), value),
        ],
    }
    with captured() as stream:
        status = asyncio.run(_ask(control.context, scope, body))
        # and one with a bad token, which nobody needs to read either
        scope["headers"][1] = (b"authorization", f"Bearer qnt_{token}".encode())
        asyncio.run(_ask(control.context, scope, body))
    found = events(stream)
    if status == 500:
        assert [each["event"] for each in found] == ["the API failed"]
    for secret in (control.token, key, f"qnt_{token}"):
        assert secret not in stream.getvalue()


def test_bytes_that_are_no_request_leave_only_whole_events(control: Control, tmp_path: Path) -> None:
    import socket

    host, port = control.url.removeprefix("http://").partition("/")[0].split(":")
    secret = "qnt_" + "s" * 36
    with captured() as stream:
        for raw in (
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"GET / HTTP/1.1\r\nAuthorization: Bearer " + secret.encode() + b"\r\nbad header\x00\r\n\r\n",
            b'\r\n\r\n{"event": "forged"}\r\n',
            b"GET /"
            + b"\xff" * 40
            + b" HTTP/1.1\r\nHost: localhost\r\nAuthorization: "
            + secret.encode()
            + b"\r\n\r\n",
        ):
            with socket.create_connection((host, int(port)), timeout=5) as sock:
                sock.sendall(raw)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
    for event in events(stream):
        assert event["event"] != "forged"
    assert secret not in stream.getvalue()
