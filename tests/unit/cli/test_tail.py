"""`tail` against a management service at the end of a real TLS connection, and what it says when there is none."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from qanat.cli.stock.main import main
from tests.support.certificates import OriginAuthority
from tests.support.control import Control
from tests.unit.connector.management.test_claims import token

LINE = {
    "time": "2026-01-02T15:04:05Z",
    "level": "debug",
    "message": "GET https://app.example.com/\x1b[2J",
    "event": "http",
    "fields": {"b": 1, "a": "x"},
}


class Connector:
    """Answers one viewer after another."""

    def __init__(self, authority: OriginAuthority) -> None:
        self.asked: list[Request] = []
        self.started: list[dict[str, Any]] = []
        self.refuse: tuple[int, bytes] | None = None
        self.close: tuple[int, str] = (1000, "")
        self._context = authority.server_context("localhost")
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        is_ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run(is_ready)))
        self._thread.start()
        assert is_ready.wait(60)

    async def _run(self, is_ready: threading.Event) -> None:
        # in the loop's one thread: a TLS connection bears no second one
        async with serve(self._serve, "localhost", 0, ssl=self._context, process_request=self._admit) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            is_ready.set()
            await self._ended.wait()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.asked.append(request)
        if self.refuse is None:
            return None
        status, body = self.refuse
        return Response(status, "Refused", Headers({"Content-Length": str(len(body)), "Connection": "close"}), body)

    async def _serve(self, connection: ServerConnection) -> None:
        self.started.append(json.loads(await connection.recv()))
        await connection.send(json.dumps({"type": "logs", "logs": [LINE, {**LINE, "message": "two", "fields": None}]}))
        await connection.close(*self.close)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def connector(tmp_path: Path) -> Iterator[Connector]:
    connector = Connector(OriginAuthority.make(tmp_path))
    yield connector
    connector.stop()


def tail(connector: Connector, tmp_path: Path, *arguments: str) -> int | None:
    place = ["--management-hostname", f"localhost:{connector.port}", "--cacert", str(tmp_path / "origin-ca.pem")]
    return main([*place, "tail", *arguments])


def test_lines_are_printed_as_by_stock(
    connector: Connector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = token(host=None)
    assert tail(connector, tmp_path, "--token", given, "--event", "http,tcp", "--event", "udp", "--sample", "0.5") == 0
    out, err = capsys.readouterr()
    assert out == (
        '2026-01-02T15:04:05Z debug http GET https://app.example.com/\\x1b[2J {"a":"x","b":1}\n'
        "2026-01-02T15:04:05Z debug http two null\n"
    )
    assert err == ""
    assert connector.started == [
        {
            "type": "start_streaming",
            "filters": {"events": ["http", "tcp", "udp"], "level": "debug", "sampling": 0.5},
        }
    ]
    assert connector.asked[0].path == f"/logs?access_token={given}"


def test_as_json(connector: Connector, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identity = "11111111-2222-3333-4444-555555555555"
    assert tail(connector, tmp_path, "--token", token(), "--output", "json", "--connector-id", identity.upper()) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == LINE
    assert json.loads(second)["message"] == "two"
    assert connector.asked[0].path.endswith(f"&connector_id={identity}")


def test_what_the_connector_says_at_the_end_is_told(
    connector: Connector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connector.close = (4002, "limit exceeded for streaming sessions")
    assert tail(connector, tmp_path, "--token", token()) == 0
    assert "ERR received remote closure: (4002) limit exceeded for streaming sessions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (530, b"{}", "no cloudflared connector available or reachable via management request"),
        (403, b'{"errors":[{"code":403,"message":"no"}]}', "management request failed validation: (403) no"),
        (500, b"<html>", "unable to start management log streaming session: http response code returned 500"),
    ],
)
def test_a_refusal_is_told_as_by_stock(
    connector: Connector, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, body: bytes, told: str
) -> None:
    connector.refuse = (status, body)
    given = token()
    assert tail(connector, tmp_path, "--token", given) == 0
    out, err = capsys.readouterr()
    assert (out, told in err, given in err) == ("", True, False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--level", "loud"], "invalid --level filter provided"),
        (["--event", "dns"], "invalid --event filter provided"),
        (["--sample", "0"], "invalid --sample value provided"),
        (["--sample", "1.5"], "invalid --sample value provided"),
        (["--sample", "x"], "invalid --sample value provided"),
        (["--token", "x"], "unable to construct management request URL"),
        (["--token", "", "--api", "http://127.0.0.1:1/client/v4"], "unable to construct management request URL"),
    ],
)
def test_bad_input_asks_nobody(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", *arguments]) == 0
    assert told in capsys.readouterr().err


def test_nobody_there_is_told_without_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    given = token(host="127.0.0.1:1")
    assert main(["tail", "--token", given]) == 0
    err = capsys.readouterr().err
    assert "unable to start management log streaming session" in err
    assert given not in err


def test_a_token_of_an_own_edge_says_where_it_is_good(
    connector: Connector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = token(host=f"localhost:{connector.port}")
    assert main(["--cacert", str(tmp_path / "origin-ca.pem"), "tail", "--token", given]) == 0
    assert "two" in capsys.readouterr().out


def test_tokens_are_got_from_the_api(at_control: Control, capsys: pytest.CaptureFixture[str]) -> None:
    tunnel = at_control.call("POST", f"/accounts/{at_control.account}/cfd_tunnel", {"name": "web"})
    for arguments in (
        ["management", "token", "--resource", "logs", tunnel["id"]],
        ["management", "token", "--resource", "admin", "web"],
        ["tail", "token", tunnel["id"]],
    ):
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out)["token"].count(".") == 2
    assert main(["management", "token", "--resource", "all", tunnel["id"]]) == 1
    assert "invalid resource 'all': must be one of: logs, admin, host_details" in capsys.readouterr().err
    assert main(["management", "token", tunnel["id"]]) == 255
    assert 'Required flag "resource" not set' in capsys.readouterr().err
    assert main(["management", "token", "--resource", "logs"]) == 1
    assert "no tunnel ID provided" in capsys.readouterr().err
