"""A connector's log on the tunnel's page: asked for as `tail` does, handed on as text, and ended with its page."""

import json
from collections.abc import Callable, Iterator, Sequence
from socket import create_connection, socket
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from qanat.store.models import Audit
from tests.support.control import Control
from tests.support.dashboard import Visitor, shown
from tests.support.waiting import wait_until
from tests.unit.dashboard.test_overview import XSS, connected

Lines = Sequence[object]


class Log:
    """A connector's management at the other end of the edge's sockets: it tells `lines`, then waits, or ends with `code`."""

    def __init__(self, lines: Lines = (), *, code: int | None = None) -> None:
        self.lines, self.code = lines, code
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.gone = Event()
        self._server = serve(self._serve, "127.0.0.1", 0, ping_interval=None)
        Thread(target=self._server.serve_forever, daemon=True).start()

    def __call__(self) -> socket:
        return create_connection(self._server.socket.getsockname())

    def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        self.asked.append(json.loads(connection.recv()))
        if self.lines:
            connection.send(json.dumps({"type": "logs", "logs": list(self.lines)}))
        if self.code is not None:
            connection.close(self.code, "")
        try:
            connection.recv()
        except ConnectionClosed:
            self.gone.set()


def line(message: str, **more: object) -> dict[str, object]:
    return {"time": "2026-01-02T03:04:05.678Z", "level": "info", "event": "http", "message": message, **more}


def events(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    """As a browser reads them."""
    kind = ""
    for text in answer.iter_lines():
        if text.startswith("event: "):
            kind = text.removeprefix("event: ")
        elif text.startswith("data: "):
            yield kind, json.loads(text.removeprefix("data: "))


def followed(me: Visitor, tunnel: str, until: Callable[[str, Any], bool], **query: Any) -> list[tuple[str, Any]]:
    """What comes until something is there; then the page is closed."""
    found = []
    with me.http.stream("GET", f"/tunnels/{tunnel}/tail", params=query) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        for kind, value in events(answer):
            found.append((kind, value))
            if until(kind, value):
                break
    return found


def has_lines(kind: str, value: Any) -> bool:
    return kind == "lines" and bool(value["lines"])


@pytest.fixture
def tunnel(control: Control, request: pytest.FixtureRequest) -> str:
    return connected(control, request.node.name[:40].replace("_", "-"))


def test_lines_come_as_they_are_with_the_filters_told_to_the_connector(
    control: Control, me: Visitor, tunnel: str
) -> None:
    log = control.edge.viewers = Log([line("GET /a", fields={"host": "a.test"}), line(XSS), "no line", line("other")])
    found = followed(me, tunnel, has_lines, level="warn", event=["http", "no such"], sample="0.5", text="A")
    assert log.asked == [{"type": "start_streaming", "filters": {"events": ["http"], "level": "warn", "sampling": 0.5}}]
    (shown_lines,) = [value["lines"] for kind, value in found if has_lines(kind, value)]
    assert [each["message"] for each in shown_lines] == ["GET /a", XSS]
    assert shown_lines[0]["fields"] == '{"host": "a.test"}'
    assert log.gone.wait(60), "it ends with its page"


def test_whoever_follows_is_in_the_audit_log(control: Control, me: Visitor, tunnel: str) -> None:
    connector = "1bedc50d-42b3-473c-b108-ff3d10c0d925"
    log = control.edge.viewers = Log([line("x")])
    followed(me, tunnel, has_lines, connector=connector)
    assert f"connector_id={connector}" in log.paths[0]
    with control.store.reading() as session:
        (row,) = session.scalars(select(Audit).where(Audit.action == "tunnel.tail", Audit.object_id == tunnel))
        assert json.loads(row.detail) == {"connector_id": connector, "level": "debug", "events": []}


def test_a_connector_that_is_followed_already_says_so(control: Control, me: Visitor, tunnel: str) -> None:
    control.edge.viewers = Log(code=4002)
    found = followed(me, tunnel, lambda kind, _: kind == "over")
    assert "one person at a time" in found[-1][1]["why"]


def test_what_a_page_does_not_take_is_dropped_and_counted(
    control: Control, me: Visitor, tunnel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qanat.dashboard.tail.MOST_WAITING", 10)
    control.edge.viewers = Log([line(str(number)) for number in range(50)])
    found = followed(me, tunnel, has_lines)
    _, value = found[-1]
    assert ([each["message"] for each in value["lines"]], value["dropped"]) == ([str(n) for n in range(40, 50)], 40)


def test_it_is_offered_and_given_to_who_may_change_tunnels_alone(
    control: Control, stranger: Visitor, me: Visitor, tunnel: str
) -> None:
    assert "Log" in shown(me.page(f"/tunnels/{tunnel}"))
    assert me.get("/tunnels/f70ff985-a4ef-4643-bbbc-4a0ed4fc8415/tail").status_code == 404
    answer = me.http.get(f"/tunnels/{tunnel}/tail", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    me.post("/sign-out")
    assert stranger.get(f"/tunnels/{tunnel}/tail").status_code == 401


def test_streams_end_when_the_edge_does(control: Control, me: Visitor, tunnel: str) -> None:
    log = control.edge.viewers = Log([line("x")])

    def end(kind: str, value: Any) -> bool:
        if has_lines(kind, value):
            control.beside.close()
        return False

    followed(me, tunnel, end)
    wait_until(log.gone.is_set, "the connector to hear of it")
    control.hub._is_closed = False
