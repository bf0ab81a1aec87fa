"""Where the access log's lines go, and what becomes of them when they can't."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from qanat.edge.access_log import AccessLog
from qanat.edge.access_sinks import RotatedFile, UnixSocket, open_sink
from qanat.errors import QanatError
from qanat.settings import AccessLogSettings
from tests.support.waiting import wait_until


class Engine:
    """Has these lots of lines, and no more."""

    def __init__(self, *lots: tuple[bytes, int, list[bytes]]) -> None:
        self.lots = list(lots)

    def next_access(self, *, timeout_s: float) -> tuple[bytes, int, list[bytes]]:
        return self.lots.pop(0) if self.lots else (b"", 0, [])


def run(log: AccessLog) -> None:
    log.start()
    log.stop(timeout_s=10.0)


def test_a_file_begins_anew_when_it_is_large_and_keeps_some(tmp_path: Path) -> None:
    file = RotatedFile(tmp_path / "access.log", rotate_bytes=20, keep=2)
    for number in range(8):
        file.write(b"line %d....\n" % number)
    file.close()
    texts = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert texts == {
        "access.log": b"line 7....\n",
        "access.log.1": b"line 6....\n",
        "access.log.2": b"line 5....\n",
    }


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    file = RotatedFile(tmp_path / "access.log", rotate_bytes=0, keep=0)
    file.write(b"1\n")
    (tmp_path / "access.log").rename(tmp_path / "moved")
    file.write(b"2\n")
    file.close()
    assert ((tmp_path / "moved").read_bytes(), (tmp_path / "access.log").read_bytes()) == (b"1\n", b"2\n")


def test_a_full_disk_is_told_once_with_what_was_lost_and_others_are_served(tmp_path: Path) -> None:
    traced: list[Any] = []
    lot = (b"{}\n{}\n", 2, [b'{"n": 1}\n'])
    log = AccessLog(Engine(lot, lot, lot), RotatedFile(Path("/dev/full"), rotate_bytes=0, keep=0), traced=traced.append)
    with structlog.testing.capture_logs() as lines:
        run(log)
    assert log.lost == 6
    assert [line["reason"] for line in lines] == ["No space left on device"]
    assert traced == [{"n": 1}] * 3


def test_what_works_again_is_told(tmp_path: Path) -> None:
    class Flaky:
        written = b""

        def write(self, lines: bytes) -> None:
            if b"bad" in lines:
                raise OSError(28, "No space left on device")
            self.written += lines

        def close(self) -> None:
            pass

    sink = Flaky()
    with structlog.testing.capture_logs() as lines:
        run(AccessLog(Engine((b"bad\n", 1, []), (b"bad\n", 1, []), (b"good\n", 1, [])), sink))
    assert sink.written == b"good\n"
    assert [line["event"].split(";")[0] for line in lines] == [
        "the access log can't be written",
        "the access log is written again",
    ]
    assert lines[1]["lines_lost"] == 2


def test_a_socket_gets_whole_lines_and_is_connected_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    sink = UnixSocket(path)
    with pytest.raises(OSError, match="No such file"):
        sink.write(b"lost\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        sink.write(b"1\n")
        first, _ = listener.accept()
        assert first.recv(100) == b"1\n"
        first.close()

        def is_away() -> bool:
            try:
                sink.write(b"2\n")
            except OSError:
                return True
            return False

        wait_until(is_away, "the end of the first connection is noticed")
        sink.write(b"3\n")
        second, _ = listener.accept()
        assert second.recv(100) == b"3\n"
        second.close()
    sink.close()


def test_a_file_that_cannot_be_opened_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(QanatError) as refused:
        open_sink(AccessLogSettings(to=str(tmp_path / "none" / "access.log")))
    assert (refused.value.code, refused.value.where) == ("access_log_unwritable", "access_log.to")
    assert open_sink(AccessLogSettings()) is None


def test_a_span_has_the_ids_and_times_of_its_request() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="qanat[otlp] is not installed")
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from qanat.edge.tracing import Spans
    from qanat.settings import TracingSettings

    kept = InMemorySpanExporter()
    spans = Spans(TracingSettings(endpoint="http://127.0.0.1:1/v1/traces"), location="lab01", exporter=kept)
    line = {
        "time": 1700000000.5,
        "request_id": "1-lab01",
        "client_ip": "192.0.2.1",
        "method": "GET",
        "scheme": "https",
        "host": "app.example.test",
        "path": "/x",
        "query": "token=*",
        "protocol": "HTTP/2",
        "status": 502,
        "duration_s": 0.25,
        "cause": "origin_refused",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id": "00f067aa0ba902b7",
        "parent_span_id": "00f067aa0ba902b8",
    }
    spans.add(json.loads(json.dumps(line)))
    spans.close()
    [span] = kept.get_finished_spans()
    assert span.context is not None
    assert f"{span.context.trace_id:032x}-{span.context.span_id:016x}" == f"{line['trace_id']}-{line['span_id']}"
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == line["parent_span_id"]
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 250_000_000
    assert not span.status.is_ok
    assert span.attributes is not None
    assert span.attributes["error.type"] == "origin_refused"
    assert "token" not in str(dict(span.attributes))
