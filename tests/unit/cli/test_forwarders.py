"""`forwarders` of a config.yml: what is read of them, and a listener whose address is still taken."""

import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from qanat.cli.stock import forwarders
from qanat.cli.stock.carry import Destination
from qanat.connector.flags import CommandLine
from qanat.connector.log import Log
from qanat.connector.sources import Sources, lay_over
from qanat.errors import QanatError
from tests.support.processes import QANAT, Process
from tests.support.waiting import wait_until


def of_file(text: str) -> Sources:
    return lay_over("config.yml", text.encode(), CommandLine((), {}, False), {})


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, int], Destination]]:
    """What would be carried: the address that is listened on, and where to."""
    found: list[tuple[tuple[str, int], Destination]] = []

    async def record(server: socket.socket, where: Destination, _: Log) -> None:
        with server:
            found.append((server.getsockname()[:2], where))

    monkeypatch.setattr(forwarders, "serve_all", record)
    return found


def test_each_has_a_listener_and_its_headers(served: list[tuple[tuple[str, int], Destination]]) -> None:
    file = of_file(
        "forwarders:\n"
        "  - url: ssh.example.com\n    listener: 127.0.0.1:0\n"
        "  - url: https://db.example.com/x\n    listener: tcp://127.0.0.1:0\n    destination: 10.0.0.1:5432\n"
        "    serviceTokenID: id.access\n    serviceTokenSecret: hunter2\n    isFedramp: false\n"
    )
    assert forwarders.start(file, Log(level="panic"))
    wait_until(lambda: len(served) == 2, "both listeners")
    first, second = sorted((where for _, where in served), key=lambda where: where.url, reverse=True)
    assert (first.url, first.headers) == ("https://ssh.example.com", [])
    assert second.url == "https://db.example.com/x"
    assert second.headers == [
        ("Cf-Access-Client-Id", "id.access"),
        ("Cf-Access-Client-Secret", "hunter2"),
        ("Cf-Access-Jump-Destination", "10.0.0.1:5432"),
    ]
    assert not forwarders.start(of_file("forwarders: []\n"), Log(level="panic"))


@pytest.mark.parametrize(
    "entry", ["{url: a.example.com}", "{url: '', listener: '127.0.0.1:1'}", "{url: a.b, listener: here}", "text"]
)
def test_one_that_is_not_sound_is_named(entry: str) -> None:
    file = of_file(f"forwarders:\n  - {{url: a.example.com, listener: '127.0.0.1:0'}}\n  - {entry}\n")
    with pytest.raises(QanatError) as refused:
        forwarders.start(file, Log(level="panic"))
    assert refused.value.code == "configuration_file_invalid"
    assert refused.value.where == "config.yml: forwarders[1]"


def test_a_listener_whose_address_is_taken_is_there_once_it_is_free(
    served: list[tuple[tuple[str, int], Destination]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()
    monkeypatch.setattr("time.sleep", lambda _: tried.wait(0.01))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        forwarders.start(of_file(f"forwarders: [{{url: a.b, listener: '127.0.0.1:{port}'}}]"), Log(level="panic"))
    tried.set()
    wait_until(lambda: served, "the listener")
    assert served[0][0] == ("127.0.0.1", port)


def test_a_service_with_nothing_else_in_its_file_forwards_alone(tmp_path: Path) -> None:
    (tmp_path / ".cloudflared").mkdir()
    text = "forwarders:\n  - url: ssh.example.com\n    listener: 127.0.0.1:0\n"
    (tmp_path / ".cloudflared/config.yml").write_text(text)
    process = Process("service", list(QANAT), {"HOME": str(tmp_path)})
    try:
        told: Any = process.wait_for(r"Start Websocket listener host=127\.0\.0\.1:(\d+) ")
        socket.create_connection(("127.0.0.1", int(told.group(1)))).close()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
