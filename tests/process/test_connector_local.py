"""cases.md 48, 50, 51 (a, b): a connector with rules of its own, from a file or a flag."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.process.test_cases_ingress import CATCH_ALL, ONE, REFUSED
from tests.process.test_cases_tokens import TOKEN
from tests.support.connector import Connector
from tests.support.origin import Origin
from tests.support.processes import QANAT, Process
from tests.support.sites import Fakes, Link
from tests.support.waiting import wait_until

REMOTE_WINS = "This tunnel is remotely managed"


@pytest.fixture
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


def file_with_rules(folder: Path, hostname: str, origin: Origin) -> tuple[str, ...]:
    file = folder / "config.yml"
    file.write_text(
        f"ingress:\n- hostname: {hostname}\n  service: {origin.service}\n  originRequest: {{connectTimeout: 5s}}\n"
        "- service: http_status:404\n"
    )
    return ("--config", str(file))


@pytest.mark.case(51)
def test_rules_of_the_file_serve_a_locally_managed_tunnel(
    fakes: Fakes, folder: Path, origin: Origin, link: Link
) -> None:
    tunnel, hostname = fakes.tunnel(config_src="local")
    flags = file_with_rules(folder, hostname, origin)
    connector = Connector(folder / "one", fakes.edge, tunnel.token, protocol=link.protocol, flags=flags)
    wait_until(lambda: fakes.lab.status(hostname) == 200, "the file's rules")
    assert connector.version == -1
    assert [rule["service"] for rule in connector.local("/config").json()["config"]["ingress"]] == [
        origin.service,
        "http_status:404",
    ]
    assert REMOTE_WINS not in connector.process.log()
    connector.stop()


@pytest.mark.case(51)
def test_a_remotely_managed_tunnel_says_which_rules_win(fakes: Fakes, folder: Path, origin: Origin, link: Link) -> None:
    tunnel, hostname = fakes.tunnel()
    connector = Connector(
        folder / "one", fakes.edge, tunnel.token, protocol=link.protocol, flags=("--url", origin.service)
    )
    wait_until(lambda: fakes.lab.status(hostname) == 200, "the flag's rule until a configuration is pushed")
    connector.process.wait_for(REMOTE_WINS)
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:418"}])
    wait_until(lambda: fakes.lab.status(hostname) == 418, "the pushed rules")
    assert connector.version == 1
    connector.stop()


@pytest.mark.case(48)
def test_a_socket_on_the_command_line_needs_no_url(fakes: Fakes, folder: Path, link: Link) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = folder / "my app.sock"
    listener.bind(str(path))
    origin = Origin(listener)
    tunnel, hostname = fakes.tunnel(config_src="local")
    connector = Connector(
        folder / "one", fakes.edge, tunnel.token, protocol=link.protocol, flags=("--unix-socket", str(path))
    )
    wait_until(lambda: fakes.lab.status(hostname) == 200, "the socket's origin")
    assert origin.last.value("host") == hostname
    assert [rule["service"] for rule in connector.local("/config").json()["config"]["ingress"]] == [f"unix:{path}"]
    connector.stop()
    origin.close()


FIELDS = {
    "hostname": ".hostname",
    "wildcard": ".hostname",
    "service": ".service",
    "status": ".service",
    "path pattern": ".path",
    "timeout": ".originRequest.connectTimeout",
}
"""The field that is to be named, by a word of the case's name."""


def with_file(folder: Path, rules: list[Any], *, before: bool = False) -> Process:
    """`tunnel run` with these rules in a file; what is dialled is nowhere."""
    file = folder / "config.yml"
    file.write_text(json.dumps({"ingress": rules}))  # JSON is YAML
    (folder / "token").write_text(TOKEN)
    config = ["--config", str(file)]
    rest = ["--edge", "127.0.0.1:9", "--metrics", "127.0.0.1:0", "--token-file", str(folder / "token")]
    return Process(
        "connector", [*QANAT, "tunnel", *(config if before else ()), "run", *(() if before else config), *rest]
    )


@pytest.mark.case(50)
@pytest.mark.parametrize("before", [True, False], ids=["before run", "after run"])
@pytest.mark.parametrize("name", REFUSED)
def test_bad_ingress_in_a_file_is_refused_as_by_the_api(folder: Path, name: str, before: bool) -> None:
    rules, where = REFUSED[name]
    process = with_file(folder, rules, before=before)
    assert process.wait() != 0
    said = process.log()
    if where == "ingress":
        where = "ingress[0]"
    field = next((field for word, field in FIELDS.items() if word in name), "")
    assert f"{where}{field}: " in said, said
    assert "Traceback" not in said
    assert "Registered" not in said


@pytest.mark.case(50)
@pytest.mark.parametrize("before", [True, False], ids=["before run", "after run"])
@pytest.mark.parametrize(
    "rule", [{"hostname": "*", **CATCH_ALL}, {"hostname": "", **CATCH_ALL}, {"service": "hello-world"}]
)
def test_all_forms_of_a_catch_all_are_good_in_a_file(folder: Path, rule: dict[str, Any], before: bool) -> None:
    process = with_file(folder, [ONE, rule], before=before)
    process.wait_for(r"Starting metrics server")
    assert process.running
    process.kill()


def test_no_rules_anywhere_is_503_and_said_once(fakes: Fakes, folder: Path, link: Link) -> None:
    tunnel, hostname = fakes.tunnel(config_src="local")
    connector = Connector(folder / "one", fakes.edge, tunnel.token, protocol=link.protocol, connections=2)
    wait_until(lambda: fakes.lab.status(hostname) == 503, "an answer")
    assert connector.process.log().count("No ingress rules were defined") == 1
    connector.stop()


@pytest.mark.requirement("S39")
def test_a_query_reaches_no_log(fakes: Fakes, folder: Path) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http://127.0.0.1:1"}])
    connector = Connector(folder / "one", fakes.edge, tunnel.token)
    wait_until(lambda: fakes.lab.status(hostname) == 502, "the unreachable origin")
    with fakes.edge.h1(hostname) as client:
        assert client.get("/page?key=canary").status == 502
    line = connector.process.wait_for(r"Request failed .*dest=\S*/page\b.*type=http").string
    assert "canary" not in line
    assert "ingressRule=0 originService=http://127.0.0.1:1" in connector.process.log()
    connector.stop()


def test_a_browser_reads_the_metrics_through_a_rule_to_their_port_and_by_no_other_name(
    fakes: Fakes, folder: Path, link: Link
) -> None:
    tunnel, hostname = fakes.tunnel(config_src="local")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = folder / "config.yml"
    file.write_text(
        f"ingress:\n- {{hostname: {hostname}, service: 'http://localhost:{port}'}}\n- service: http_status:404\n"
    )
    flags = ("--config", str(file), "--metrics", f"localhost:{port}")
    connector = Connector(folder / "one", fakes.edge, tunnel.token, protocol=link.protocol, flags=flags)
    browser = [("User-Agent", "Mozilla/5.0"), ("Accept-Language", "en")]
    wait_until(lambda: fakes.lab.status(hostname) == 404, "the rule: nothing is at /")
    with fakes.edge.h1(hostname) as client:
        answer = client.get("/ready", browser)
    assert (answer.status, answer.value("content-type")) == (200, "text/plain; charset=utf-8")
    rebound = {"Host": "evil.example", "Accept-Language": "en"}
    for address in (f"127.0.0.1:{port}", connector.metrics_address):
        answered = httpx.get(f"http://{address}/config", headers=rebound, trust_env=False, timeout=5.0, verify=False)
        assert answered.status_code == 421
    connector.stop()
