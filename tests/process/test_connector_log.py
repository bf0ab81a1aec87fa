"""What a connector logs: the lines that scripts wait for, requests at debug level, a log folder. Ours and stock side by side."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.process.test_cases_tokens import TOKEN
from tests.support.connector import Connector
from tests.support.fixtures import every_connector
from tests.support.processes import QANAT, Process
from tests.support.sites import Fakes, Link
from tests.support.waiting import wait_until

HELLO = [{"service": "hello_world"}]


def start(fakes: Fakes, folder: Path, link: Link, *flags: str, **more: Any) -> tuple[Connector, str]:
    """A connector that serves `hello_world` at the hostname."""
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, HELLO)
    connector = Connector(
        folder / "one", fakes.edge, tunnel.token, kind=link.kind, protocol=link.protocol, flags=flags, **more
    )
    wait_until(lambda: fakes.lab.status(hostname) == 200, "the built-in page")
    return connector, hostname


@every_connector
def test_the_lines_that_scripts_wait_for_are_there(fakes: Fakes, folder: Path, link: Link) -> None:
    connector, _ = start(fakes, folder, link)
    process = connector.process
    for line in (
        "Starting tunnel .*tunnelID=",
        "Settings: map",
        "Generated Connector ID: ",
        "Starting metrics server on ",
    ):
        process.wait_for(line)
    process.wait_for("Starting Hello World server at ")
    process.wait_for("Updated to new configuration .*version=1")
    connector.stop()
    last = ["Tunnel server stopped"] if link.kind == "qanat" else []  # a stock one may be gone before it says so
    for line in (
        "Initiating graceful shutdown due to signal terminated",
        "Unregistered tunnel connection .*connIndex=0 .*ip=127.0.0.1",
        "Metrics server stopped",
        *last,
    ):
        process.wait_for(line)


@every_connector
def test_the_built_in_page_tells_its_clock(fakes: Fakes, folder: Path, link: Link) -> None:
    before = datetime.now(UTC)
    connector, hostname = start(fakes, folder, link)
    with fakes.edge.h1(hostname) as client:
        answer = client.get("/uptime")
    assert answer.value("content-type") == "application/json"
    told = json.loads(answer.body)
    assert set(told) == {"startTime", "uptime"}
    assert re.fullmatch(r"(\d+h)?(\d+m)?[\d.]+(s|ms|µs)", told["uptime"])
    started = datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", told["startTime"]))
    assert abs((started - before).total_seconds()) < 60
    connector.stop()


@every_connector
def test_at_debug_level_a_request_and_its_answer_are_lines(fakes: Fakes, folder: Path, link: Link) -> None:
    connector, hostname = start(fakes, folder, link)  # at debug level
    mark = connector.process.mark()
    with fakes.edge.h1(hostname) as client:
        assert client.get("/_health", [("X-Mark", "canary")]).status == 200
    # stock has a host of its own in the URL over HTTP/2
    line = connector.process.wait_for(r"DBG GET https?://\S+/_health HTTP/", after=mark).string
    for field in (
        "connIndex=0",
        "event=1",
        "ingressRule=0",
        "originService=hello_world",
        "path=/_health",
        f"host={hostname}",
    ):
        assert field in line, line
    assert re.search(r"headers=\{.*X-Mark\W+canary", line), line
    line = connector.process.wait_for("DBG 200 OK ", after=mark).string
    for field in ("connIndex=0", "event=1", "ingressRule=0", "originService=hello_world", "content-length="):
        assert field in line, line
    connector.stop()


@pytest.mark.requirement("S39")
def test_secrets_are_in_no_line_about_a_request_and_its_id_is(fakes: Fakes, folder: Path, link: Link) -> None:
    connector, hostname = start(fakes, folder, link)
    mark = connector.process.mark()
    secret = [
        ("Authorization", "Bearer canary"),
        ("Cookie", "session=canary"),
        ("X-Api-Key", "canary"),
        ("Cf-Access-Jwt-Assertion", "canary"),
        ("Referer", "https://h/?token=canary"),
    ]
    with fakes.edge.h1(hostname) as client:
        answer = client.get("/_health?token=canary", secret)
    assert answer.status == 200
    line = connector.process.wait_for("DBG GET .*/_health", after=mark).string
    told = re.search(r"cfRay=([0-9a-f]{16}-\w+) .*Cf-Ray\W+(\S{16}-\w+)", line)
    assert told is not None and told[1] == told[2], line
    connector.process.wait_for(f"DBG 200 OK cfRay={told[1]} ", after=mark)
    assert "/_health?***** HTTP/1.1" in line
    assert "canary" not in "\n".join(connector.process.since(mark))
    connector.stop()


def test_above_debug_level_no_request_is_a_line(fakes: Fakes, folder: Path, link: Link) -> None:
    connector, hostname = start(fakes, folder, link, "--loglevel", "info")
    with fakes.edge.h1(hostname) as client:
        assert client.get("/_health").status == 200
    connector.stop()
    assert "_health" not in connector.process.log()
    assert " DBG " not in connector.process.log()


@every_connector
def test_a_log_directory_holds_json_lines(fakes: Fakes, folder: Path, link: Link) -> None:
    logs = folder / "a" / "logs"
    connector, _ = start(fakes, folder, link, "--log-directory", str(logs))
    connector.stop()
    lines = [json.loads(line) for line in (logs / "cloudflared.log").read_text().splitlines()]
    assert {"level", "time", "message"} <= set(lines[0])
    assert any(line["message"].startswith("Starting Hello World server at ") for line in lines)
    assert any(line["message"] == "Registered tunnel connection" and line["connIndex"] == 0 for line in lines)


def test_a_log_file_that_cant_be_written_costs_its_lines_only(folder: Path) -> None:
    (folder / "token").write_text(TOKEN)
    (folder / "file").write_text("")
    base = ["tunnel", "run", "--edge", "127.0.0.1:9", "--metrics", "127.0.0.1:0", "--token-file", str(folder / "token")]
    for flag in ("--logfile", "--log-directory"):
        process = Process("connector", [*QANAT, *base, flag, str(folder / "file" / "log")])
        process.wait_for("The log can't be written to a file as well .*file=")
        process.wait_for("Starting metrics server")
        process.kill()
