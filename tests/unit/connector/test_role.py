"""What says whether a host may be active, and how the edge gets to know."""

import io
import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from qanat.connector.flags import read_command_line
from qanat.connector.log import Log
from qanat.connector.options import read_options
from qanat.connector.role import probe
from qanat.connector.role.keeper import RoleKeeper
from qanat.connector.role.probe import PostgresServer, RoleProbe, Said, ask_command, ask_file, ask_http
from qanat.connector.sources import gather
from qanat.errors import QanatError
from tests.support.postgres import Postgres
from tests.unit.connector.test_options import token


def options(*flags: str) -> RoleProbe | None:
    line = read_command_line(["tunnel", *flags, "run", "--token", token(), "--edge", "h:1"])
    return read_options(gather(line, {})).role_probe


@pytest.mark.parametrize(
    ("content", "role"),
    [("primary\n", "active"), ("", "active"), ("Standby of a", "standby"), (None, "standby"), ("what", "unknown")],
)
def test_a_file_says_it(tmp_path: Path, content: str | None, role: str) -> None:
    file = tmp_path / "role"
    if content is not None:
        file.write_text(content)
    assert ask_file(str(file)).role == role


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert ask_file(str(tmp_path)) == Said("unknown", f"{tmp_path}: Is a directory")


@pytest.mark.parametrize(("status", "role"), [(0, "active"), (1, "standby"), (2, "unknown")])
def test_a_commands_exit_code_says_it(status: int, role: str) -> None:
    said = ask_command(["/bin/sh", "-c", f"echo because; exit {status}"])
    assert said == Said(role, "because")  # type: ignore[arg-type]


def test_a_command_that_is_not_there_or_hangs_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask_command(["/nonexistent"]) == Said("unknown", "/nonexistent: No such file or directory")
    monkeypatch.setattr(probe, "TIMEOUT_S", 0.1)
    assert ask_command(["/bin/sleep", "60"]).role == "unknown"


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path[1:]))
        if self.path == "/302":
            self.send_header("location", "/200")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = HTTPServer(("127.0.0.1", 0), Answering)
    Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize(
    ("status", "role"),
    [(200, "active"), (204, "active"), (302, "standby"), (404, "standby"), (503, "standby"), (500, "unknown")],
)
def test_an_answers_status_says_it(server: str, status: int, role: str) -> None:
    assert ask_http(f"{server}/{status}") == Said(role, f"answered {status}")  # type: ignore[arg-type]


def test_nobody_who_answers_says_nothing() -> None:
    assert ask_http("http://127.0.0.1:1/").role == "unknown"


def test_a_postgresql_server_that_is_not_in_recovery_is_active(postgres: Postgres) -> None:
    ask = PostgresServer(postgres.database())
    assert ask() == Said("active", "pg_is_in_recovery() is false")
    ask._connection.close()  # as when the server was started anew
    assert ask() == Said("active", "pg_is_in_recovery() is false")
    ask._close()
    assert PostgresServer("postgres://127.0.0.1:1/x")().role == "unknown"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "no role probe"),
        ("file:relative", "whole path"),
        ("exec:", "empty"),
        ("exec:'", "can't be read"),
        ("postgres://me:hunter2@db/x", "password"),
        ("postgres://me@db/x?password=hunter2", "password"),
        ("http://me:hunter2@h/", "password"),
        ("http:///x", "names no host"),
        ("postgres://h:99999/", "can't be read"),
    ],
)
def test_what_is_no_probe_is_refused_at_the_flag(text: str, message: str) -> None:
    with pytest.raises(QanatError) as caught:
        options("--role-probe", text)
    assert (caught.value.code, caught.value.where) == ("flag_value_invalid", "--role-probe")
    assert message in caught.value.message
    assert "hunter2" not in str(caught.value)


def test_the_interval_has_a_least_and_a_default() -> None:
    assert options() is None
    found = options("--role-probe", "file:/run/role")
    assert found is not None and found.interval_s == 2.0
    with pytest.raises(QanatError, match="100ms"):
        options("--role-probe", "file:/run/role", "--role-probe-interval", "1ms")


def test_a_connector_with_a_probe_announces_it() -> None:
    line = read_command_line(["tunnel", "--role-probe", "file:/r", "run", "--token", token(), "--edge", "h:1"])
    assert read_options(gather(line, {})).features == ("qanat_role",)


def test_the_edge_is_answered_what_was_said_last_and_a_change_is_logged(tmp_path: Path) -> None:
    file = tmp_path / "role"
    output = io.StringIO()
    log = Log(level="info", transport_level="info", json=True, file=output)
    keeper = RoleKeeper(RoleProbe("file:role", 2.0, lambda: ask_file(str(file))), log, clock=lambda: 7.0)
    assert json.loads(keeper.answer().body)["role"] == "unknown"
    for content in ("standby", "standby", "active"):
        file.write_text(content)
        keeper.ask()
        told = json.loads(keeper.answer().body)
        assert told == {"role": content, "detail": f"{file} says {content}", "at": 7.0}
    lines = [line for line in output.getvalue().splitlines() if "role is" in line]
    assert len(lines) == 2


def test_nothing_of_it_is_loaded_before_it_is_asked() -> None:
    code = (
        "import sys, qanat.connector.command\n"
        "print([m for m in ('psycopg', 'urllib.request', 'subprocess', 'qanat.connector.role.keeper') if m in sys.modules])"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "psycopg" not in done.stdout and "urllib.request" not in done.stdout and "keeper" not in done.stdout
