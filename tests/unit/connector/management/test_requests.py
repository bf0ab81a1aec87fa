"""The management's answers over a socket, as the engine hands it over; a real WebSocket client on the other end."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect  # noqa: TID251  (no TLS)

from qanat.connector.endpoints import text
from qanat.connector.log import HTTP, Log
from qanat.connector.management import logs
from qanat.connector.management.requests import own_address
from qanat.connector.management.service import Facts, ManagementService
from qanat.connector.management.viewers import MOST_VIEWERS, Filters, Viewer, Viewers
from tests.support.waiting import wait_until
from tests.unit.connector.management.test_claims import ACCOUNT, TUNNEL, token

NOW = time.time()


class Managed:
    """A service, and a client's way to it."""

    def __init__(self, *, label: str = "", diagnostics: bool = True) -> None:
        endpoints = {"/metrics": lambda: text("# HELP build_info x\n")} if diagnostics else {}
        self.tokens = 0
        self.viewers = Viewers()
        self.log = Log(level="fatal")
        self.log.attend(self.viewers)
        facts = Facts("c-id", TUNNEL, ACCOUNT, label, "127.0.0.1:9", endpoints)
        self.service = ManagementService(facts, self.viewers)

    def socket(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self.service.take(theirs.fileno())
        return ours

    def ask(
        self, path: str, resource: str = "admin", *, method: str = "GET", origin: str = "", query: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        query = f"access_token={good(resource)}" if query is None else query
        with self.socket() as connection:
            field = f"Origin: {origin}\r\n" if origin else ""
            head = f"{method} {path}?{query} HTTP/1.1\r\nHost: management.argotunnel.com\r\n{field}\r\n"
            connection.sendall(head.encode())
            answer, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
        lines = answer.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), fields, body

    @contextmanager
    def follow(self, filters: dict[str, Any] | None = None, **more: Any) -> Iterator[ClientConnection]:
        with self.viewer(**more) as client:
            client.send(json.dumps({"type": "start_streaming", **({"filters": filters} if filters else {})}))
            yield client

    @contextmanager
    def viewer(self, *, again: bool = False, **more: Any) -> Iterator[ClientConnection]:
        """Each has a token of its own; `again`: that of the one before."""
        self.tokens += not again
        url = f"ws://management.argotunnel.com/logs?access_token={token(exp=NOW + 3600 + self.tokens)}"
        with connect(
            url, sock=self.socket(), compression=None, proxy=None, close_timeout=2, ping_interval=None, **more
        ) as client:
            yield client

    def wait_for_viewers(self, count: int = 1) -> None:
        wait_until(lambda: len(self.viewers._viewers) == count, f"{count} viewers")


def good(resource: str) -> str:
    return token(exp=NOW + 3600, iat=NOW, res=[resource])


def lines(client: ClientConnection) -> list[dict[str, Any]]:
    message = json.loads(client.recv(timeout=10))
    assert message["type"] == "logs"
    found: list[dict[str, Any]] = message["logs"]
    return found


def test_ping_host_details_and_metrics() -> None:
    managed = Managed()
    assert managed.ask("/ping")[::2] == (200, b"")
    assert managed.ask("/ping", method="HEAD")[::2] == (200, b"")
    status, fields, body = managed.ask("/host_details", "host_details")
    assert (status, fields["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"connector_id": "c-id", "ip": "127.0.0.1", "hostname": socket.gethostname()}
    assert managed.ask("/metrics")[2].startswith(b"# HELP build_info")
    assert managed.ask("/ping", method="POST")[0] == 405
    assert managed.ask("/else")[0] == 404


def test_a_label_names_the_connector() -> None:
    details = json.loads(Managed(label="blue").ask("/host_details", "host_details")[2])
    assert details["hostname"] == "custom:blue"


def test_diagnostics_can_be_switched_off() -> None:
    managed = Managed(diagnostics=False)
    assert (managed.ask("/metrics")[0], managed.ask("/ping")[0]) == (404, 200)


@pytest.mark.requirement("S55")
def test_without_a_token_for_it_nothing_is_told() -> None:
    managed = Managed()
    for query in ("", "access_token=", "access_token=a.b.c", f"token={good('admin')}"):
        status, _, body = managed.ask("/metrics", query=query)
        errors = {"errors": [{"code": 1001, "message": "missing access_token query parameter"}]}
        assert (status, json.loads(body)) == (400, errors)
    assert managed.ask("/metrics", "logs")[0] == 403
    assert managed.ask("/logs", "admin")[0] == 403
    first = f"access_token={good('logs')}&access_token={good('admin')}"
    assert managed.ask("/metrics", query=first)[0] == 403


def test_a_hosted_dashboards_pages_may_read_answers_and_others_may_not() -> None:
    managed = Managed()
    own = "https://dash.cloudflare.com"
    assert managed.ask("/ping", origin=own)[1]["Access-Control-Allow-Origin"] == own
    for other in ("https://evil.test", "http://dash.cloudflare.com", "https://cloudflare.com.evil.test"):
        assert "Access-Control-Allow-Origin" not in managed.ask("/ping", origin=other)[1]
        with pytest.raises(InvalidStatus) as refused, managed.viewer(origin=other):
            pass
        assert refused.value.response.status_code == 403
    with managed.viewer(origin=own):
        pass


def test_no_address_is_no_failure() -> None:
    assert own_address("127.0.0.1:9") == "127.0.0.1"
    for none in ("", "nowhere", "x.invalid:1", "127.0.0.1:port"):
        assert own_address(none) is None


def test_a_viewer_is_sent_what_he_asks_for() -> None:
    managed = Managed()
    with managed.follow({"events": ["http"], "level": "debug", "sampling": 1}) as client:
        managed.wait_for_viewers()
        managed.log.debug("not this")
        managed.log.debug("GET https://app.example.com/", event=HTTP, host="app.example.com")
        (line,) = lines(client)
        assert (line["level"], line["event"], line["fields"]) == ("debug", "http", {"host": "app.example.com"})
        client.send('{"type":"stop_streaming"}')
        managed.wait_for_viewers(0)
        client.send('{"type":"start_streaming"}')
        managed.wait_for_viewers()
        managed.log.info("this")
        assert [line["message"] for line in lines(client)] == ["this"]
    managed.wait_for_viewers(0)


def test_several_follow_at_once_also_for_one_actor() -> None:
    managed = Managed()
    with managed.follow() as first, managed.follow({"level": "error"}) as second:
        managed.wait_for_viewers(2)
        managed.log.info("one")
        managed.log.error("two")
        assert [line["message"] for line in lines(first)][:1] == ["one"]
        assert [line["message"] for line in lines(second)] == ["two"]


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ('{"type":"start_streaming","filters":{"level":"loud"}}', 4001, "expected start streaming as first event"),
        ('{"type":"start_streaming","filters":{"events":["dns"]}}', 4001, "expected start streaming as first event"),
        ('{"type":"start_streaming","filters":[]}', 4001, "expected start streaming as first event"),
        ('{"type":"dance"}', 1003, "invalid message type was provided"),
        ("{}", 1003, "invalid message type was provided"),
        ("no JSON", 1003, "invalid message type was provided"),
        (b'{"type":"start_streaming"}', 1003, "invalid message type was provided"),
        ("[" * 60_000, 1003, "invalid message type was provided"),
    ],
)
def test_what_is_no_command_ends_the_session(message: str | bytes, code: int, reason: str) -> None:
    with Managed().viewer() as client:
        client.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)


def test_a_message_in_pieces_is_one() -> None:
    managed = Managed()
    with managed.viewer() as client:
        client.send(iter(['{"type":"start', '_streaming"}']))
        managed.wait_for_viewers()


def test_one_too_many_is_told_so() -> None:
    managed = Managed()
    for _ in range(MOST_VIEWERS):
        managed.viewers.add(Viewer(Filters(), lambda: None, lambda: 0.0))
    with managed.follow() as client, pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4002


def test_who_asks_for_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "IDLE_S", 0.05)
    with Managed().viewer() as client, pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4003


def test_a_connection_at_rest_is_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "PING_S", 0.05)
    ours = Managed().socket()
    with ours:
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        head = f"GET /logs?access_token={good('logs')} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        ours.sendall((head + key + "\r\n").encode())
        received = b""
        while b"\x89\x00" not in received:
            received += ours.recv(4096)
    assert b" 101 " in received


def test_who_does_not_read_loses_lines_is_told_how_many_and_holds_nobody_up() -> None:
    managed = Managed()
    with managed.follow(max_queue=1) as asleep, managed.follow() as awake:
        managed.wait_for_viewers(2)
        text = "x" * 1000
        seen, dropped = 0, 0

        def read() -> None:
            nonlocal seen, dropped
            while seen + dropped < 1501:
                for line in lines(awake):
                    seen += line["message"] in (text, "last")
                    dropped += line["fields"].get("dropped", 0)

        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(1500):
            managed.log.info(text)
        managed.log.info("last")
        reader.join(30)
        assert seen + dropped == 1501
        counted = lost = 0
        while counted + lost < 1501:
            for line in lines(asleep):
                counted += line["message"] in (text, "last")
                lost += line["fields"].get("dropped", 0)
        assert lost > 0
        assert managed.viewers.dropped >= lost


def test_requests_that_came_too_fast_to_be_told_are_counted_too() -> None:
    managed = Managed()
    untold = [3]
    managed.viewers._untold = lambda: untold[0]
    with managed.follow() as client:
        managed.wait_for_viewers()
        untold[0] = 10
        managed.log.info("line")
        told, lost = lines(client)
        assert (told["message"], lost["fields"]) == ("line", {"dropped": 7, "droppedInAll": 7})


def test_who_comes_again_with_the_same_token_takes_his_own_place() -> None:
    managed = Managed()
    with managed.follow() as other, managed.follow() as first:
        managed.wait_for_viewers(2)
        with managed.follow(again=True) as second:
            with pytest.raises(ConnectionClosed) as closed:
                first.recv(timeout=10)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "context closed")
            managed.wait_for_viewers(2)
            managed.log.info("line")
            assert lines(other)[0]["message"] == lines(second)[0]["message"] == "line"


def test_a_connector_that_stops_sends_its_viewers_away_after_what_waits() -> None:
    managed = Managed()
    with managed.follow() as client:
        managed.wait_for_viewers()
        managed.log.info("the last line")
        managed.viewers.end()
        assert [line["message"] for line in lines(client)] == ["the last line"]
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


def test_a_viewer_that_is_gone_leaves_nothing_behind() -> None:
    managed = Managed()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with managed.follow():
            managed.wait_for_viewers()
        managed.wait_for_viewers(0)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "its descriptors to be closed")


def test_half_a_head_and_a_huge_one_are_survived() -> None:
    managed = Managed()
    managed.socket().close()
    with managed.socket() as connection:
        connection.sendall(b"GET /" + b"x" * 20_000)
        assert b" 431 " in connection.recv(4096)
    assert managed.ask("/ping")[0] == 200
