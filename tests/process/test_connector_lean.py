"""The connector's process imports only what it uses, and keeps its token to itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.connector import Connector
from tests.support.edge import Edge
from tests.support.processes import QANAT, clean_environment
from tests.support.sites import Fakes, Link, Site

FORBIDDEN = [
    "qanat.store",
    "qanat.api",
    "qanat.edge",
    "qanat.cli",
    "sqlalchemy",
    "alembic",
    "psycopg",
    "fastapi",
    "starlette",
    "uvicorn",
    "pydantic",
    "pydantic_settings",
    "typer",
    "click",
    "rich",
    "structlog",
    "httpx",
    "asyncio",
    # a megabyte and more of what only international names, key sets or other Pythons need
    "typing_extensions",
    "inspect",
    "dataclasses",
    "idna",
    "json",
]


def test_connector_imports_only_what_it_uses(fakes: Fakes, folder: Path) -> None:
    """`sys.modules` of a started connector, late imports included: Python itself tells by -v."""
    tunnel, _ = fakes.tunnel()
    version = fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:404"}])
    connector = Connector(folder / "c", fakes.edge, tunnel.token, env={"PYTHONVERBOSE": "1"}, connections=1)
    try:
        connector.wait_version(version)
        for path in ("/ready", "/healthcheck", "/metrics", "/config"):
            assert connector.local(path).status_code == 200
    finally:
        connector.stop()
    imported = {m.group(1) for line in connector.process.lines if (m := re.match(r"import '?([\w.]+)'? #", line))}
    assert "qanat.connector.engine" in imported, "the trace of imports is not there"
    found = [name for name in imported if any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN)]
    assert found == []


def test_connector_is_small(site: Site) -> None:
    """A bare Python is 14 MB, a stock connector 41; this is a debug build after other tests, so the bound is wide."""
    assert site.connector.process.rss_bytes() < 120 << 20


@pytest.mark.requirement("S7")
def test_no_secret_in_the_process_list_or_the_log(fakes: Fakes, folder: Path, link: Link) -> None:
    tunnel, _ = fakes.tunnel()
    connector = Connector(folder / "c", fakes.edge, tunnel.token, protocol=link.protocol)
    try:
        assert tunnel.token not in connector.process.argv_seen()
        environment = Path(f"/proc/{connector.process.pid}/environ").read_bytes()
        assert tunnel.token.encode() not in environment
        config = connector.local("/config").text + connector.local("/metrics").text + connector.local("/ready").text
        assert tunnel.token not in config
    finally:
        connector.stop()
    log = connector.process.log() + "\n".join(connector.process.out)
    assert tunnel.token not in log
    from tests.support.rpc import Token

    secret = Token.parse(tunnel.token).secret
    assert secret.hex() not in log
    import base64

    assert base64.b64encode(secret).decode() not in log


def test_token_given_on_the_command_line_is_not_shown_in_the_log(fakes: Fakes) -> None:
    from tests.support.processes import Process

    tunnel, _ = fakes.tunnel()
    process = Process(
        "connector",
        [
            *QANAT,
            "tunnel",
            "run",
            "--edge",
            fakes.edge.tunnel,
            "--cacert",
            str(fakes.edge.ca_file),
            "--metrics",
            "127.0.0.1:0",
            "--ha-connections",
            "1",
            "--loglevel",
            "debug",
            "--token",
            tunnel.token,
        ],
    )
    process.wait_for("Registered tunnel connection")
    process.stop()
    assert tunnel.token not in process.log()


@pytest.mark.parametrize("arguments", [["--version"], ["tunnel", "run", "--help"], ["edge", "--help"], ["--help"]])
def test_help_and_version_work(arguments: list[str]) -> None:
    done = subprocess.run([*QANAT, *arguments], env=clean_environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_both_ways_to_start_are_the_same(edge: Edge) -> None:
    script = Path(sys.executable).with_name("qanat")
    if not script.exists():
        pytest.skip("qanat is not installed as a script here")
    answers = [
        subprocess.run([*way, "--version"], env=clean_environment(), capture_output=True, text=True, timeout=30).stdout
        for way in ([str(script)], QANAT)
    ]
    assert answers[0] == answers[1] != ""


def test_metrics_port_in_use_is_a_clear_end(fakes: Fakes, folder: Path) -> None:
    import socket

    tunnel, _ = fakes.tunnel()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        from tests.support.processes import Process

        (folder / "token").write_text(tunnel.token)
        process = Process(
            "connector",
            [
                *QANAT,
                "tunnel",
                "run",
                "--edge",
                fakes.edge.tunnel,
                "--cacert",
                str(fakes.edge.ca_file),
                "--token-file",
                str(folder / "token"),
                "--metrics",
                address,
            ],
        )
        assert process.wait() != 0
        assert "--metrics" in process.log() or "metrics" in process.log()
        assert address in process.log()
        assert "Traceback" not in process.log()


def test_connector_needs_no_home_and_no_terminal(fakes: Fakes, folder: Path) -> None:
    tunnel, _ = fakes.tunnel()
    connector = Connector(folder / "c", fakes.edge, tunnel.token, env={"HOME": "/nonexistent", "TERM": "dumb"})
    connector.stop()
    assert connector.token_file.exists()
