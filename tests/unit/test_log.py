import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from qanat.auth.tokens import make_token
from qanat.log import REDACTED, set_up_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    before = list(root.handlers), root.level
    set_up_logging(form="json", stream=stream)
    yield stream
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_one_event_is_one_line_of_json(lines: io.StringIO) -> None:
    structlog.get_logger().info("hello\r\nworld\x1b[31m", host="a\nb\u2028c", ray=b"\x00\xff")
    (line,) = lines.getvalue().splitlines()
    event = json.loads(line)
    assert event["event"] == r"hello\r\nworld\x1b[31m"
    assert event["host"] == r"a\nb\u2028c"
    assert event["ray"] == r"\x00\xff"
    assert event["level"] == "info"
    assert event["timestamp"].endswith("Z")


def test_secrets_are_blanked_by_name_and_by_form(lines: io.StringIO) -> None:
    token = make_token()
    structlog.get_logger().warning(
        f"refused {token}", token="x", tunnel_secret="y", Authorization="z", path=f"/?t={token}"
    )
    assert token not in lines.getvalue()
    event = json.loads(lines.getvalue())
    assert event["event"] == f"refused {REDACTED}"
    assert (event["token"], event["tunnel_secret"], event["Authorization"]) == (REDACTED, REDACTED, REDACTED)


def test_the_standard_librarys_loggers_go_the_same_way(lines: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").error("bad\nthing %s", make_token())
    event = json.loads(lines.getvalue())
    assert event["event"] == rf"bad\nthing {REDACTED}"
    assert event["level"] == "error"


def test_a_traceback_is_in_the_same_event(lines: io.StringIO) -> None:
    try:
        raise ValueError("with\x07bell")
    except ValueError:
        structlog.get_logger().exception("it failed")
    (line,) = lines.getvalue().splitlines()
    assert r"with\x07bell" in json.loads(line)["exception"]


def test_levels_below_the_one_asked_for_are_silent() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before = list(root.handlers), root.level
    set_up_logging(level="warning", form="json", stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("x").info("quiet")
    root.handlers[:], root.level = before
    structlog.reset_defaults()
    assert stream.getvalue() == ""


def test_a_traceback_on_a_terminal_shows_no_values() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before = list(root.handlers), root.level
    set_up_logging(form="console", stream=stream)
    plain_secret = "correct horse battery staple"
    try:
        raise ValueError(len(plain_secret))
    except ValueError:
        structlog.get_logger().exception("it failed")
    root.handlers[:], root.level = before
    structlog.reset_defaults()
    assert "ValueError" in stream.getvalue()
    assert "battery staple" not in stream.getvalue().replace('plain_secret = "correct horse battery staple"', "")
