import io
import json

from hypothesis import given
from hypothesis import strategies as st

from qanat.connector.log import Level, Log

NOON = 1767366245.0  # 2026-01-02T15:04:05Z


def logged(message: str, *, json_lines: bool = False, level: Level = "info", **fields: str | int | None) -> str:
    stream = io.StringIO()
    Log(level=level, json=json_lines, stream=stream, clock=lambda: NOON).info(message, **fields)
    return stream.getvalue()


def test_a_line_is_as_scripts_match_it() -> None:
    line = logged(
        "Registered tunnel connection", connIndex=0, protocol="quic", event=0, ip="127.0.0.1", connection="c-1"
    )
    assert line == (
        "2026-01-02T15:04:05Z INF Registered tunnel connection connIndex=0 connection=c-1 event=0 ip=127.0.0.1 "
        "protocol=quic\n"
    )


def test_values_with_blanks_are_quoted_and_the_error_comes_first() -> None:
    assert (
        logged("x", a="b c", error='say "no"', z="") == '2026-01-02T15:04:05Z INF x error="say \\"no\\"" a="b c" z=\n'
    )


def test_json_lines_have_stock_keys() -> None:
    assert json.loads(logged("x", json_lines=True, a=1)) == {
        "level": "info",
        "time": "2026-01-02T15:04:05Z",
        "a": 1,
        "message": "x",
    }


def test_below_the_level_nothing_is_written() -> None:
    assert logged("x", level="warn") == ""


def test_the_file_gets_json_whatever_the_console_gets() -> None:
    stream, file = io.StringIO(), io.StringIO()
    Log(stream=stream, file=file, clock=lambda: NOON).error("x", a=1)
    assert stream.getvalue() == "2026-01-02T15:04:05Z ERR x a=1\n"
    assert json.loads(file.getvalue())["level"] == "error"


def test_a_closed_stream_does_not_stop_the_tunnel() -> None:
    stream = io.StringIO()
    log = Log(stream=stream)
    stream.close()
    log.info("x")


@given(st.text(), st.text())
def test_an_event_stays_one_printable_line(message: str, value: str) -> None:
    line = logged(message, value=value)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert (
        json.loads(logged(message, json_lines=True, value=value))["value"] == value.encode("utf-8", "replace").decode()
    )


def test_lines_about_the_transport_have_a_level_of_their_own() -> None:
    log = Log(level="debug", transport_level="error", stream=io.StringIO())
    assert (log.tells_transport("warn"), log.tells_transport("error"), log.tells("debug")) == (False, True, True)
