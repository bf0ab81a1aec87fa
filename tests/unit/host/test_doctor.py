"""`qanat doctor`: each check by itself; tests/process/test_doctor.py has an edge."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from qanat.cli.main import main
from qanat.connector.flags import read_command_line
from qanat.connector.options import Options, read_options
from qanat.connector.prechecks import EdgeCheck
from qanat.connector.sources import gather
from qanat.host.doctor import edges, host, origins
from qanat.host.doctor.findings import Finding, exit_status
from qanat.host.doctor.subject import service_arguments, subject_of
from qanat.host.service.install import install
from qanat.host.service.manager import State
from qanat.host.service.systemd import PREVIOUS
from qanat.host.service.wanted import TOKEN, read_wanted
from tests.support.host import Clock, FakeManager, LiveMachine
from tests.unit.host.conftest import TUNNEL, token_of

FIRST = token_of(TUNNEL)


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


@pytest.mark.parametrize(
    ("found", "status"),
    [([], 0), (["ok", "note"], 0), (["ok", "warning", "note"], 1), (["warning", "failure"], 2)],
)
def test_the_exit_status_is_that_of_the_worst(found: list[Any], status: int) -> None:
    assert exit_status(Finding("c", level, "m") for level in found) == status


def test_a_clock_before_this_version_was_made_fails(machine: LiveMachine) -> None:
    assert host.clock(machine, now=0.0).level == "failure"
    assert host.clock(machine).level == "ok"
    machine.answers["timedatectl",] = (0, "no\n", "")
    assert host.clock(machine).level == "warning"


@pytest.mark.case(58)
def test_small_buffers_are_a_note_with_the_value_and_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "net/core"
    folder.mkdir(parents=True)
    (folder / "rmem_max").write_text("212992\n")
    (folder / "wmem_max").write_text("7500000\n")
    small, enough = host.buffers(proc=tmp_path)
    assert (small.level, enough.level) == ("note", "ok")
    assert "it works" in small.message
    assert small.fix == "on the host: sysctl -w net.core.rmem_max=7500000"


def test_the_service_is_asked_for_its_state(machine: LiveMachine, manager: FakeManager) -> None:
    assert levels(host.service(machine, manager, installed=False)[0]) == ["note"]
    manager.now = State(running=False, ready=False)
    assert levels(host.service(machine, manager, installed=True)[0]) == ["failure"]
    manager.now = State(running=True, ready=False, text="not connected: refused", restarts=9)
    machine.write(PREVIOUS, b"")
    found, _ = host.service(machine, manager, installed=True)
    assert levels(found) == ["failure", "warning", "warning"]
    assert "not connected: refused" in found[0].message


def test_a_token_that_others_can_read_is_a_warning(machine: LiveMachine) -> None:
    machine.write(TOKEN, b"", 0o600)
    assert host.secret_files(machine) == []
    machine.path(TOKEN).chmod(0o640)
    assert host.secret_files(machine)[0].fix == f"chmod 600 {TOKEN}"


def test_public_ports_are_noted_until_they_are_closed(machine: LiveMachine, tmp_path: Path) -> None:
    head = "  sl  local_address rem_address   st tx_queue\n"
    (tmp_path / "tcp").write_text(
        f"{head}   0: 00000000:0050 00000000:0000 0A x x\n   1: 0100007F:01BB 00000000:0000 0A x x\n"
    )
    (found,) = host.public_ports(_without_lockdown(machine), proc=tmp_path)
    assert "port 80 listens" in found.message
    machine.answers.clear()
    assert host.public_ports(machine, proc=tmp_path) == []


def _without_lockdown(machine: LiveMachine) -> LiveMachine:
    machine.answers["nft", "list"] = (1, "", "No such file or directory")
    return machine


def test_the_installed_service_is_what_is_examined(machine: LiveMachine, manager: FakeManager, tmp_path: Path) -> None:
    arguments = [FIRST, "--edge", "edge.example.net:7844", "--label", "50% of $x", "--no-autoupdate"]
    wanted = read_wanted(arguments, program=("/usr/bin/qanat",), home="/nonexistent")
    install(machine, manager, wanted, wait_s=0, clock=Clock(), pause=Clock().pause)
    unit = machine.path("/etc/systemd/system/qanat.service").read_text()
    assert list(service_arguments(unit)) == wanted.arguments(TOKEN)
    subject = subject_of(machine, (), {})
    assert subject.from_service
    assert subject.refusal is not None, "this test's machine is no real one, and its token is elsewhere"
    assert subject.refusal.code == "token_file_unreadable"
    (tmp_path / "token").write_text(FIRST)
    given = subject_of(machine, ["--token-file", str(tmp_path / "token"), "--edge", "e.example.net:7844"], {})
    assert not given.from_service
    assert given.options is not None
    assert given.options.credentials.tunnel_id == TUNNEL


def test_each_origin_is_dialled_and_asked_for_nothing(tmp_path: Path) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as on_path:
        on_path.bind(str(tmp_path / "app.sock"))
        on_path.listen()
        (tmp_path / "file").touch()

        def accept() -> None:
            client, _ = server.accept()
            heard.append(client.recv(1))
            client.close()

        thread = threading.Thread(target=accept)
        thread.start()
        good = f"http://127.0.0.1:{server.getsockname()[1]}"
        rules = [
            ("a.example.com", good),
            ("b.example.com", good),
            ("c.example.com", f"unix:{tmp_path}/app.sock"),
            ("d.example.com", f"unix:{tmp_path}/file"),
            ("e.example.com", f"unix+tls:{tmp_path}/missing"),
            ("f.example.com", "tcp://127.0.0.1:1"),
            ("", "http_status:404"),
        ]
        found = origins.check(rules)
        thread.join()
    assert levels(found) == ["ok", "ok", "ok", "failure", "failure", "failure"]
    assert heard == [b""], "one dial for both rules, and not a byte"
    assert "it is no socket" in found[3].message
    assert "there is no such socket" in found[4].message
    assert all(each.fix for each in found[3:])


class _Config(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        rules = [{"hostname": "a.example.com", "path": "/x", "service": "http://b:1"}, {"service": "http_status:404"}]
        self.wfile.write(json.dumps({"version": 3, "config": {"ingress": rules}}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def connector_address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Config)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_rules_of_a_running_connector_are_its_own_words(connector_address: str) -> None:
    assert origins.pushed_rules(connector_address) == [("a.example.com/x", "http://b:1"), ("", "http_status:404")]
    assert origins.pushed_rules("127.0.0.1:1") is None


def options_for(edge: str, *more: str, **environment: str) -> Options:
    arguments = ["tunnel", "run", "--token", FIRST, "--edge", edge, *more]
    return read_options(gather(read_command_line(arguments), environment))


def test_an_edge_without_an_address_or_a_listener_is_told() -> None:
    (name,) = edges.check(options_for("no-such-name.invalid:7844"))
    assert (name.check, name.level) == ("DNS", "failure")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = edges.check(options_for(f"127.0.0.1:{unused.getsockname()[1]}"), limit_s=0.3)
    assert levels(found) == ["ok", "warning", "warning", "failure"]
    assert "neither over TCP nor over UDP" in found[-1].message


def test_the_way_that_is_examined_is_the_connectors_own_its_proxy_included() -> None:
    options = options_for("192.0.2.1:1", HTTPS_PROXY="http://127.0.0.1:1")
    found = edges.check(options, limit_s=0.3)
    assert [(each.check, each.level) for each in found] == [
        ("DNS", "ok"),
        ("TCP 192.0.2.1:1", "warning"),
        ("edge", "failure"),
    ], "QUIC can't go through a proxy, and isn't tried"


@pytest.mark.parametrize(
    ("check", "protocol", "level", "fix"),
    [
        (("e:1", "", "", "invalid peer certificate: UnknownIssuer", []), "auto", "failure", "--cacert"),
        (("e:1", "", "", "invalid peer certificate: certificate expired", []), "auto", "failure", "clock"),
        (("e:1", "", "", "certificate not valid for name", []), "auto", "failure", "`tls` settings"),
        (("e:1", "", None, "407 Proxy Authentication Required", []), "auto", "warning", "HTTPS_PROXY"),
        (("e:1", "", "no answer", "", []), "auto", "warning", "let UDP out"),
    ],
)
def test_each_reason_has_its_fix(check: EdgeCheck, protocol: str, level: str, fix: str) -> None:
    bad = [each for each in edges.findings(check, protocol) if each.level != "ok"]
    assert (bad[0].level, fix in bad[0].fix) == (level, True), bad


@pytest.mark.parametrize(("protocol", "is_lost"), [("quic", True), ("http2", False), ("auto", False)])
def test_a_transport_that_is_pinned_and_blocked_is_a_failure(protocol: str, is_lost: bool) -> None:
    found = edges.findings(("e:1", "", "no answer", "", []), protocol)
    assert ("failure" in levels(found)) is is_lost


def test_a_small_mtu_is_a_note() -> None:
    """What passes 1 200 bytes and no more, on loopback: it answers to those alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            while True:
                packet, peer = server.recvfrom(2048)
                if len(packet) == 1200:
                    server.sendto(b"\xf0\0\0\0\0" + packet[5:40], peer)
                    return

        thread = threading.Thread(target=answer)
        thread.start()
        found = edges.path_mtu(f"127.0.0.1:{server.getsockname()[1]}", answer_s=0.3)
        thread.join()
    assert found is not None
    assert (found.level, "1200" in found.message) == ("note", True)


def test_the_command_says_what_is_wrong_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--token", "no token", "--edge", "127.0.0.1:1"]
    assert main(["doctor", *arguments]) == 2
    text = capsys.readouterr().out
    assert "FAILURE  settings: --token: " in text
    assert main(["doctor", "--json", *arguments]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == 2
    assert {"check", "level", "message"} <= set(told["findings"][0])
