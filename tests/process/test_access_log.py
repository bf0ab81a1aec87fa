"""Access log and traces of a real edge, where they go and where they can't: no request waits for them, or fails with them."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.connectors import QuicConnector
from tests.support.disks import fill, small_disk
from tests.support.edge import Edge
from tests.support.http1 import Fields
from tests.support.receivers import Hook
from tests.support.waiting import wait_until

HOST, DARK = "app.example.test", "dark.example.test"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@contextmanager
def served(folder: Path, **flags: str) -> Iterator[Edge]:
    """An edge with HOST, which answers, and DARK, whose tunnel has no connection."""
    edge = Edge(folder / "edge", **flags)
    try:
        zone = edge.api.create_zone("example.test")
        tunnel = edge.api.create_tunnel("site")
        edge.api.publish(zone, HOST, tunnel.id)
        edge.api.publish(zone, DARK, edge.api.create_tunnel("dark").id)
        with QuicConnector(edge.tunnel, edge.ca_file, tunnel.token):
            wait_until(lambda: get(edge)[0] == 200, "the site is served")
            yield edge
    finally:
        edge.stop()


def get(edge: Edge, hostname: str = HOST, fields: Fields = []) -> tuple[int, str]:  # noqa: B006
    """Status and request id."""
    with edge.h1(hostname) as client:
        answer = client.get("/", fields)
    return answer.status, answer.request_id


def counter(edge: Edge, name: str) -> int:
    return int(edge.api.call("GET", "/qanat/status")["counters"][name])


def test_under_a_full_disk_visitors_are_served_and_the_lines_lost_are_counted(folder: Path) -> None:
    with small_disk(folder / "disk", size="256k") as disk:
        log = disk / "access.log"
        with served(folder, access_log_to=str(log)) as edge:
            _, first = get(edge)
            wait_until(lambda: first in log.read_text(), "a line while there is room")
            fill(disk / "ballast")

            def is_full() -> bool:
                assert get(edge)[0] == 200
                return counter(edge, "access_lines_lost") > 0

            wait_until(is_full, "a line that finds no room")
            told = edge.process.wait_for("the access log can't be written; requests go on")
            assert "No space left on device" in told.string
            for _ in range(20):
                assert get(edge)[0] == 200
            wait_until(lambda: counter(edge, "access_lines_lost") >= 20, "each is counted")
            assert sum("can't be written" in line for line in edge.process.lines) == 1, "it is told once"
            (disk / "ballast").unlink()
            _, last = get(edge)
            wait_until(lambda: last in log.read_text(), "a line when there is room again")
            edge.process.wait_for("the access log is written again")
        for line in log.read_text().splitlines():
            json.loads(line)


def test_lines_go_to_standard_output_a_sample_of_those_served_and_all_that_failed(folder: Path) -> None:
    with served(folder, access_log_to="stdout", access_log_sample="1e-9") as edge:
        good = [get(edge)[1] for _ in range(10)]
        failed = [get(edge, DARK)[1] for _ in range(3)]

        def lines() -> list[dict[str, Any]]:
            return [json.loads(line) for line in edge.process.out if '"request_id"' in line]

        wait_until(lambda: {line["request_id"] for line in lines()} >= set(failed), "the lines of what failed")
        assert not {line["request_id"] for line in lines()} & set(good)
        assert {line["cause"] for line in lines() if line["request_id"] in failed} == {"no_connection"}


def test_a_reader_that_takes_nothing_holds_no_request_and_what_finds_no_room_is_counted(folder: Path) -> None:
    path = folder / "socket"
    with closing(socket.socket(socket.AF_UNIX)) as reader:
        reader.bind(str(path))
        reader.listen()  # it never accepts: what is sent waits in the system, until that is full
        with served(folder, access_log_to=f"unix:{path}", access_log_queue_bytes="65536") as edge:
            long = [("user-agent", "x" * 1000), ("referer", f"https://x.test/{'y' * 1000}")]

            def has_no_room() -> bool:
                with edge.h1(HOST) as client:
                    assert all(client.get("/", long).status == 200 for _ in range(50))
                return counter(edge, "access_lines_dropped") > 0 and counter(edge, "access_lines_lost") > 0

            wait_until(has_no_room, "lines that find no room")
            assert get(edge)[0] == 200


@pytest.fixture
def collector() -> Iterator[Hook]:
    """Takes spans by OTLP over HTTP."""
    pytest.importorskip("opentelemetry.sdk", reason="qanat[otlp] is not installed")
    with Hook() as hook:
        hook.answer = lambda: (200, {})
        yield hook


def spans(hook: Hook) -> list[Any]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    bodies = [ExportTraceServiceRequest.FromString(body) for _, body in list(hook.got)]
    return [span for body in bodies for of in body.resource_spans for scope in of.scope_spans for span in scope.spans]


def test_a_request_is_a_span_of_its_callers_trace_at_a_collector(folder: Path, collector: Hook) -> None:
    with served(folder, tracing_endpoint=collector.url.partition("?")[0], tracing_sample="1") as edge:
        _, request_id = get(edge, fields=[("traceparent", f"00-{TRACE}-{PARENT}-01")])

        def found() -> Any:
            return next((span for span in spans(collector) if span.trace_id.hex() == TRACE), None)

        span = wait_until(found, "the span")
        attributes = {each.key: each.value for each in span.attributes}
        assert span.parent_span_id.hex() == PARENT
        assert attributes["qanat.request_id"].string_value == request_id
        assert attributes["http.response.status_code"].int_value == 200


@pytest.mark.parametrize("answer", [None, lambda: (503, {})], ids=["it is away", "it is overloaded"])
def test_a_collector_that_takes_nothing_costs_no_visitor_anything(
    folder: Path, collector: Hook, answer: Callable[[], tuple[int, dict[str, str]]] | None
) -> None:
    endpoint = "http://127.0.0.1:9/v1/traces"
    if answer is not None:
        endpoint, collector.answer = collector.url.partition("?")[0], answer
    with served(folder, tracing_endpoint=endpoint, tracing_sample="1") as edge:
        for _ in range(20):
            assert get(edge)[0] == 200
    assert edge.process.exit_code == 0
