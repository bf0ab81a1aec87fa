"""The service's unit under a real systemd: a boot without a network, and a new process that takes over (case 44)."""

import json
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from qanat.host.service.systemd import NAME, unit
from qanat.host.service.wanted import read_wanted
from tests.process.test_lifecycle import Load
from tests.support import systemd
from tests.support.loopback import lasting_port
from tests.support.relay import Relay
from tests.support.sites import Fakes
from tests.support.systemd import Systemd
from tests.support.waiting import wait_until

PATIENCE_S = 60.0
LOG = "/run/service.log"
SEEN = "/etc/systemd/system"
"""Where the units' folder is in there."""
BOOT = "[Unit]\nDescription=What a boot waits for\nWants=qanat.service\nAfter=qanat.service\n"
# The unit as it is installed, with its own user and all that shuts it in, but for: mounts for a secret and for /dev, which a
# systemd in name spaces can't make; an interpreter below /root; a start that waits less. RestartSec is its own: of 0.1 s, another
# start begins before systemd has told a boot that the one before failed.
HERE = """[Service]
LoadCredential=
PrivateDevices=no
ProtectHome=read-only
TimeoutStartSec={start_s}s
StandardError=append:{log}
"""

pytestmark = pytest.mark.skipif(bool(systemd.missing()), reason=systemd.missing())


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    host = Systemd(tmp_path_factory.mktemp("systemd") / "host")
    yield host
    host.close()


class Service:
    """The unit that `service install` writes, on `host`."""

    def __init__(self, host: Systemd, folder: Path, fakes: Fakes, token: str, edge: str, *, start_s: int) -> None:
        self.host = host
        # Where the service's own user can read it: its /tmp is another one.
        (host.units / "token").write_text(token)
        shutil.copy(fakes.edge.ca_file, host.units / "ca.pem")
        flags = ("--edge", edge, "--cacert", str(fakes.edge.ca_file), "--ha-connections", "1", "--protocol", "http2")
        wanted = read_wanted([token, *flags], program=(sys.executable, "-m", "qanat"), home=str(folder))
        text = unit(wanted).replace("/etc/qanat/ca.pem", f"{SEEN}/ca.pem")
        (host.units / NAME).write_text(re.sub(r"(?<=--token-file )\S+", f"{SEEN}/token", text))
        (host.units / f"{NAME}.d").mkdir(exist_ok=True)
        (host.units / "boot.target").write_text(BOOT)
        self.limit(start_s)

    def limit(self, start_s: int) -> None:
        """How long a start may take: less than the minute that is installed, where a test waits for its end."""
        (self.host.units / f"{NAME}.d" / "here.conf").write_text(HERE.format(start_s=start_s, log=LOG))
        assert self.host.ctl("daemon-reload")[0] == 0

    def show(self, name: str) -> str:
        return self.host.show(NAME, name)[name]

    def wait(self, name: str, part: str) -> None:
        try:
            wait_until(lambda: self.show(name).startswith(part), f"{name}: {part}", timeout_s=PATIENCE_S)
        except AssertionError as error:
            _, log = self.host.run("tail", "-n", "20", LOG)
            raise AssertionError(f"{error}; {self.host.ctl('status', NAME)[1]}{log}") from None

    def stop(self) -> None:
        assert self.host.ctl("stop", NAME)[0] == 0
        assert self.show("ActiveState") == "inactive"


@pytest.mark.case(44)
def test_a_boot_ends_without_a_network_and_the_service_comes_with_it(host: Systemd, folder: Path, fakes: Fakes) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:204"}])
    way = Relay(fakes.edge.tunnel)
    way.silent = True
    service = Service(host, folder, fakes, tunnel.token, way.address, start_s=8)
    try:
        assert host.ctl("start", "boot.target") == (0, ""), "a boot waits for the limit of a start, and goes on"
        assert "Starting tunnel" in host.run("cat", LOG)[1]
        wait_until(lambda: int(service.show("NRestarts")) >= 1, "it is started anew", timeout_s=PATIENCE_S)
        assert service.show("ActiveState") == "activating", "no number of starts makes systemd give up"
        way.silent = False
        service.limit(60)
        service.wait("ActiveState", "active")
        service.wait("StatusText", "1 of 1 connections")
        assert fakes.lab.status(hostname) == 204
        restarts = service.show("NRestarts")

        fakes.edge.api.delete_tunnel(tunnel.id)
        service.wait("StatusText", "not connected: the edge refuses it")
        assert (service.show("ActiveState"), service.show("NRestarts")) == ("active", restarts)
    finally:
        service.stop()
        way.close()


def test_an_upgrade_under_systemd_loses_no_request_and_is_no_restart(host: Systemd, folder: Path, fakes: Fakes) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:200"}])
    service = Service(host, folder, fakes, tunnel.token, fakes.edge.tunnel, start_s=60)
    try:
        code, said = host.ctl("start", NAME)
        assert code == 0, said + host.ctl("status", NAME)[1]
        wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic", timeout_s=PATIENCE_S)
        load = Load(fakes.edge, hostname)
        try:
            for _ in range(2):
                old = service.show("MainPID")
                command = [sys.executable, "-m", "qanat", "service", "upgrade", "--pid", old, "--output", "json"]
                code, said = host.run(*command)
                assert code == 0, said
                wait_until(
                    partial(_is_gone, host, old),
                    "the old process's end",
                    timeout_s=PATIENCE_S,
                )
                assert service.show("MainPID") == str(json.loads(said)[0]["pid"]) != old
                assert (service.show("ActiveState"), service.show("NRestarts")) == ("active", "0")
                load.wait_more()
        finally:
            load.stop()
        assert load.bad == []
        # It is systemd's in every way: what kills it has it started anew.
        host.run("kill", "-9", service.show("MainPID"))
        service.wait("NRestarts", "1")
        service.wait("ActiveState", "active")
    finally:
        service.stop()


def _is_gone(host: Systemd, pid: str) -> bool:
    return host.run("test", "-e", f"/proc/{pid}")[0] != 0


EDGE = Path(__file__).parents[2] / "deploy/systemd"
# As it is installed as well; its folders are where there is something to write on.
EDGE_HERE = """[Unit]
ConditionPathExists=
[Service]
ExecStart=
ExecStart={python} -m qanat edge --config {seen}/edge.toml --data-dir /run/qanat-edge
ExecReload=
ExecReload={python} -m qanat edge upgrade --pid $MAINPID --timeout 60
StateDirectory=
ConfigurationDirectory=
RuntimeDirectory=qanat-edge
"""


def test_an_edge_by_systemds_sockets_is_upgraded_at_a_reload_and_nobody_is_refused(host: Systemd) -> None:
    ports = {name: lasting_port() for name in ("https", "tunnel", "control")}
    config = host.units / "edge.toml"
    config.write_text(
        f'[public]\nhttps = "127.0.0.1:{ports["https"]}"\nhttp = "off"\n'
        f'[tunnel]\naddress = "127.0.0.1:{ports["tunnel"]}"\n[control]\naddress = "127.0.0.1:{ports["control"]}"\n'
    )
    given = "".join(f"ListenStream=127.0.0.1:{port}\n" for port in ports.values())
    given += "".join(f"ListenDatagram=127.0.0.1:{ports[name]}\n" for name in ("https", "tunnel"))
    written = (EDGE / "qanat-edge.socket").read_text().splitlines(keepends=True)
    others = "".join(line for line in written if not line.startswith("Listen"))
    (host.units / "qanat-edge.socket").write_text(others.replace("[Socket]\n", f"[Socket]\n{given}"))
    shutil.copy(EDGE / "qanat-edge.service", host.units)
    drop_ins = host.units / "qanat-edge.service.d"
    drop_ins.mkdir()
    here = EDGE_HERE.format(python=sys.executable, seen=SEEN) + HERE.format(start_s=120, log="/run/edge.log")
    (drop_ins / "here.conf").write_text(here)
    assert host.ctl("daemon-reload")[0] == 0
    show = partial(host.show, "qanat-edge.service")
    try:
        assert host.ctl("start", "qanat-edge.socket")[0] == 0
        # The first question starts it, and waits for it in systemd's socket.
        with (
            socket.create_connection(("127.0.0.1", ports["control"]), timeout=PATIENCE_S) as asked,
            asked.makefile("rb") as answer,
        ):
            asked.sendall(b"GET /client/v4/user HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            told = answer.read()
        assert told.startswith(b"HTTP/1.1 40"), host.run("tail", "-n", "20", "/run/edge.log")[1]
        old = show("MainPID")["MainPID"]
        code, said = host.ctl("reload", "qanat-edge.service")
        assert code == 0, said + host.run("tail", "-n", "20", "/run/edge.log")[1]
        new = show("MainPID")["MainPID"]
        assert new != old
        config.write_text("nonsense")
        assert host.ctl("reload", "qanat-edge.service")[0] != 0
        assert show("MainPID", "ActiveState", "NRestarts") == {
            "MainPID": new,
            "ActiveState": "active",
            "NRestarts": "0",
        }
    finally:
        host.ctl("stop", "qanat-edge.socket", "qanat-edge.service")
