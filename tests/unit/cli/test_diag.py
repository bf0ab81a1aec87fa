"""`tunnel diag` and `tunnel ready` against a connector's endpoints."""

import base64
import json
import os
import stat
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qanat.cli.diagnosis import connector_log, instance, network
from qanat.cli.stock.main import main
from qanat.connector.diagnostic_endpoints import diagnostic_endpoints
from qanat.connector.endpoints import LocalServer, listen, text
from qanat.connector.endpoints import json as json_answer
from qanat.errors import QanatError

SECRET = "eyJhIjoiMDEyMzQ1Njc4OWFiY2RlZiIsInQiOiJ4IiwicyI6InkifQ=="
EVERY_FILE = {
    "systeminformation.json",
    "metrics.txt",
    "heap.pprof",
    "goroutine.pprof",
    "network.json",
    "raw-network.txt",
    "tunnelstate.json",
    "cli-configuration.json",
    "configuration.json",
    "prechecks.json",
    "task-result.json",
    "cloudflared_logs.txt",
}


class Running:
    """A connector's endpoints."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.ready = 200
        endpoints = diagnostic_endpoints(
            settings=settings,
            version="1.2.3",
            tunnel_id="t-id",
            connector_id="c-id",
            connections=lambda: {0: ("quic", "127.0.0.1"), 2: ("http2", "::1")},
            counters=lambda: {"unread_bytes": 7},
        )
        config = {"version": 3, "config": {"ingress": [{"service": "https://user:pw@origin.test"}]}}
        self.server: LocalServer = listen(
            "127.0.0.1:0",
            {
                **endpoints,
                "/metrics": lambda: text("# HELP x\n"),
                "/config": lambda: json_answer(json.dumps(config).encode()),
                "/ready": lambda: text("{}", self.ready),
            },
        )
        self.server.start()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    (tmp_path / "log").write_text(
        f'{{"level":"info","token":"hunter-two","message":"with {SECRET}"}}\nplain token=hunter-two\n'
    )
    settings = {"logfile": str(tmp_path / "log"), "token": "*****", "edge": "[127.0.0.1:1]", "grace-period": "5s"}
    running = Running(settings)
    yield running
    running.server.stop()


def written(folder: Path) -> tuple[dict[str, bytes], Path]:
    (path,) = folder.glob("cloudflared-diag-*.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}, path


def test_the_zip_has_stocks_files_and_no_secret(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(network, "TRACE_S", 5.0)
    monkeypatch.setattr(network.checks, "__kwdefaults__", {"limit_s": 0.5})
    monkeypatch.setenv("PATH", str(tmp_path / "cwd"))
    assert main(["tunnel", "--metrics", running.server.address, "diag"]) == 0
    files, path = written(tmp_path / "cwd")
    assert set(files) == EVERY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = b"".join(files.values())
    for secret in (SECRET.encode(), b"hunter-two", b":pw@"):
        assert secret not in told, secret
    state = json.loads(files["tunnelstate.json"])
    assert state == {
        "tunnelID": "t-id",
        "connectorID": "c-id",
        "connections": [
            {"isConnected": True, "edgeAddress": "127.0.0.1", "protocol": 1},
            {"isConnected": True, "edgeAddress": "::1", "index": 2},
        ],
    }
    configuration = json.loads(files["cli-configuration.json"])
    assert configuration == {
        "logfile": str(tmp_path / "log"),
        "edge": "[127.0.0.1:1]",
        "grace-period": "5s",
        "uid": str(os.getuid()),
    }
    assert json.loads(files["configuration.json"])["version"] == 3
    info = json.loads(files["systeminformation.json"])["info"]
    assert info["cloudflaredVersion"] == "1.2.3"
    assert info["memoryMaximum"] > info["memoryCurrent"] > 0
    assert info["disk"][0].keys() == {"name", "sizeMaximum", "sizeCurrent"}
    assert b"unread_bytes 7" in files["heap.pprof"]
    assert b"endpoints" in files["goroutine.pprof"]
    checks = json.loads(files["prechecks.json"])["Results"]
    assert [check["ProbeStatus"] for check in checks] == [network.PASS, network.FAIL, network.FAIL]
    report = json.loads(files["task-result.json"])
    assert report["tunnel state"] == {"result": "success"}
    assert report["network information"]["error"] == "error starting traceroute: traceroute is not installed"
    assert f"Diagnostic file written: {path.name}" in capsys.readouterr().err


def test_parts_can_be_left_out(running: Running, tmp_path: Path) -> None:
    left_out = [f"--no-diag-{part}" for part in ("logs", "metrics", "system", "runtime", "network")]
    assert main(["tunnel", "--metrics", running.server.address, "diag", *left_out]) == 0
    expected = {"tunnelstate.json", "cli-configuration.json", "configuration.json", "task-result.json"}
    assert set(written(tmp_path / "cwd")[0]) == expected


def test_the_only_one_that_runs_is_found(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = ["--no-diag-network", "--no-diag-logs"]
    dead = "127.0.0.1:1"
    found = instance.find((dead, running.server.address))
    assert [each.address for each in found] == [running.server.address]
    monkeypatch.setattr("qanat.cli.stock.diag.instance.find", lambda: [])
    assert main(["tunnel", "diag", *quiet]) == 0
    assert "WRN No instances found" in capsys.readouterr().err
    monkeypatch.setattr("qanat.cli.stock.diag.instance.find", lambda: [*found, *found])
    assert main(["tunnel", "diag", *quiet]) == 0
    err = capsys.readouterr().err
    assert err.count(f"Instance: tunnel-id=t-id connector-id=c-id metrics-address=http://{running.server.address}") == 2
    assert not list((tmp_path / "cwd").iterdir())
    monkeypatch.setattr("qanat.cli.stock.diag.instance.find", lambda: found)
    assert main(["tunnel", "diag", *quiet]) == 0
    assert "INF Diagnostic completed" in capsys.readouterr().err
    assert "tunnelstate.json" in written(tmp_path / "cwd")[0]


def test_a_connector_that_is_not_there_leaves_a_report_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tunnel", "--metrics", "127.0.0.1:1", "diag", "--no-diag-network"]) == 0
    files, _ = written(tmp_path)
    assert set(files) == {"task-result.json"}
    assert "WRN Diagnostic completed with one or more errors" in capsys.readouterr().err


def test_a_folder_that_takes_no_file_is_told(
    running: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qanat.cli.stock.diag._zip_name", lambda: "/nonexistent/x.zip")
    left_out = ["--no-diag-network", "--no-diag-logs", "--no-diag-runtime", "--no-diag-system"]
    assert main(["tunnel", "--metrics", running.server.address, "diag", *left_out]) == 1
    assert "error creating file /nonexistent/x.zip" in capsys.readouterr().err


def test_a_rolled_log_is_put_together_in_order(tmp_path: Path) -> None:
    names = ("cloudflared-2026-01-02T00-00-00.000.log", "cloudflared-2026-01-01T00-00-00.000.log", "cloudflared.log")
    for number, name in enumerate(names):
        (tmp_path / name).write_text(f"{number}\n")
    (tmp_path / "other").write_text("no")
    assert connector_log.of_host({"log-directory": str(tmp_path)}) == b"1\n0\n2\n"


def test_logs_of_containers_and_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("docker", "kubectl"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\n[ "$2" != gone ] || exit 3\necho {name} "$@"; echo on stderr >&2\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said = connector_log.of_container("web").decode()
    assert said.startswith("docker logs --tail 10000 --since 20")
    assert said.endswith(" web\non stderr\n")
    said = connector_log.of_pod("pod", "box").decode()
    assert said.startswith("kubectl logs pod --since-time 20")
    assert "--tail 10000 -c box\n" in said
    with pytest.raises(QanatError, match="exit status 3"):
        connector_log.of_pod("gone", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(QanatError, match="error running command 'docker logs"):
        connector_log.of_container("web")


def test_no_log_anywhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector_log, "UNIT_FOLDERS", ())
    monkeypatch.setattr(connector_log, "SERVICE_LOGS", ())
    with pytest.raises(connector_log.NoLogError):
        connector_log.of_host({"uid": "1"})


def test_what_traceroute_prints_is_read() -> None:
    text = (
        "traceroute to region1 (1.2.3.4), 5 hops max\n"
        " 1  gateway (192.0.2.1)  0.345 ms  1.5 ms  2 ms\n 2  * * *\n3  2001:db8::1  12.780 ms\nsome letters\n"
    )
    assert network.hops(text) == [
        {"hop": 1, "domain": "gateway (192.0.2.1)", "rtts": [345, 1500, 2000]},
        {"hop": 2, "domain": "*"},
        {"hop": 3, "domain": "2001:db8::1", "rtts": [12780]},
    ]


def test_edges_are_those_of_the_connector(tmp_path: Path) -> None:
    def targets(configuration: dict[str, str]) -> tuple[str, ...]:
        return network.options_of(configuration, {}).edges.targets

    assert targets({"edge": "[a.test:1 b.test:2]"}) == ("a.test:1", "b.test:2")
    assert targets({"edge": "a.test:1,b.test:2"}) == ("a.test:1", "b.test:2")
    assert targets({"region": "us"})[0] == "us-region1.v2.argotunnel.com:7844"
    fields = {"a": "0" * 32, "t": str(uuid.UUID(int=1)), "s": "A" * 43 + "=", "edge": "named.test"}
    (tmp_path / "token").write_text(base64.b64encode(json.dumps(fields).encode()).decode())
    assert targets({"token-file": str(tmp_path / "token")}) == ("named.test:7844",)
    assert targets({"token-file": str(tmp_path / "gone")})[0] == "region1.v2.argotunnel.com:7844"


def test_the_checks_go_by_the_proxy_that_the_connector_goes_by() -> None:
    options = network.options_of({"edge": "192.0.2.1:1"}, {"HTTPS_PROXY": "http://127.0.0.1:1"})
    results = network.checks(options, limit_s=0.2)["Results"]
    assert [(each["Type"], each["ProbeStatus"]) for each in results] == [
        (network.DNS, network.PASS),
        (network.QUIC, network.SKIP),
        (network.HTTP2, network.FAIL),
    ]


def test_a_name_that_is_none_fails_dns_and_skips_the_rest() -> None:
    options = network.options_of({"edge": "nowhere.invalid:7844"}, {})
    results = network.checks(options)["Results"]
    assert [(each["Type"], each["ProbeStatus"]) for each in results] == [(0, 1), (1, 2), (2, 2)]


def test_ready_by_exit_status(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    address = running.server.address
    assert main(["tunnel", "--metrics", address, "ready"]) == 0
    assert capsys.readouterr() == ("", "")
    running.ready = 503
    assert main(["tunnel", "--metrics", address, "ready"]) == 1
    assert capsys.readouterr().err == f"http://{address}/ready endpoint returned status code 503\n{{}}\n"
    assert main(["tunnel", "ready", "--metrics", "127.0.0.1:1"]) == 1
    assert 'Get "http://127.0.0.1:1/ready": Connection refused' in capsys.readouterr().err
    assert main(["tunnel", "ready"]) == 1
    assert "--metrics has to be provided" in capsys.readouterr().err
