"""`qanat service upgrade`: a new process takes over, on one host, under load, or the old one goes on."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qanat.succession.local_socket import running
from tests.process.test_lifecycle import Load
from tests.support.connector import Connector
from tests.support.fixtures import quic_only
from tests.support.manager import Manager
from tests.support.origin import Held, Origin
from tests.support.processes import QANAT, clean_environment
from tests.support.sites import Fakes, Link
from tests.support.waiting import wait_until

PATIENCE_S = 60.0


@pytest.fixture
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


def in_charge(connector: Connector) -> int:
    """The process that serves, by its id at the endpoint that all of them have in turn."""
    return next(each.pid for each in running("connector") if each.id == connector.connector_id)


def upgrade(pid: int, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the answer, and what it said."""
    done = subprocess.run(
        [*QANAT, "service", "upgrade", "--pid", str(pid), "--output", "json", *options],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)[0] if done.stdout else {}, done.stderr


def test_no_request_fails_through_upgrades_and_an_open_one_is_finished(
    fakes: Fakes, folder: Path, origin: Origin, link: Link
) -> None:
    held = Held()
    origin.on("/slow", held)
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
    connector = Connector(folder, fakes.edge, tunnel.token, protocol=link.protocol, connections=2, grace_period="120s")
    first = connector.process.pid
    wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
    ids = [connector.connector_id]
    load = Load(fakes.edge, hostname)
    try:
        with fakes.edge.h1(hostname, timeout_s=PATIENCE_S) as client:
            client.start("GET", "/slow")
            pieces = client.body_of(client.head())
            assert next(pieces) == b"first"
            for _ in range(2):
                old = in_charge(connector)
                code, answer, said = upgrade(old)
                assert (code, answer["old_pid"]) == (0, old), said
                ids.append(connector.connector_id)
                assert in_charge(connector) == answer["pid"], "the metrics address is the same"
                load.wait_more()
            assert connector.process.running, "whoever started it must not think that it ended"
            held.let_go()
            assert b"".join(pieces) == b"later"
        assert len(set(ids)) == 3, "each is a replica of its own to the edge"
        wait_until(
            lambda: b"watcher.py" in Path(f"/proc/{first}/cmdline").read_bytes(),
            "the first process to keep nothing but the wait",
            timeout_s=PATIENCE_S,
        )
        assert load.bad == []
    finally:
        load.stop()
        connector.process.signal(signal.SIGTERM)
        assert connector.process.wait(timeout_s=PATIENCE_S) == 0
    assert load.bad == []
    assert not [each for each in running("connector") if each.id in ids]


@quic_only
def test_who_waits_for_the_first_process_hears_how_the_last_one_died(
    fakes: Fakes, folder: Path, origin: Origin, link: Link
) -> None:
    """Also by way of one between, which still had something open."""
    held = Held()
    origin.on("/slow", held)
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
    connector = Connector(folder, fakes.edge, tunnel.token, protocol=link.protocol, grace_period="120s")
    try:
        wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
        second = upgrade(in_charge(connector))[1]["pid"]
        wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
        with fakes.edge.h1(hostname, timeout_s=PATIENCE_S) as client:
            client.start("GET", "/slow")
            pieces = client.body_of(client.head())
            assert next(pieces) == b"first"
            third = upgrade(second)[1]["pid"]
            os.kill(third, signal.SIGKILL)
            held.let_go()
            assert b"".join(pieces) == b"later"
        assert connector.process.wait(timeout_s=PATIENCE_S) == 128 + signal.SIGKILL
    finally:
        connector.process.kill()


@quic_only
def test_when_the_new_process_fails_the_old_one_goes_on_and_the_reason_is_told(
    fakes: Fakes, folder: Path, link: Link
) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:204"}])
    connector = Connector(folder, fakes.edge, tunnel.token, protocol=link.protocol)
    wait_until(lambda: fakes.lab.status(hostname) == 204, "traffic")
    token = connector.token_file.read_text()
    pid = connector.process.pid

    connector.token_file.write_text("no token")
    code, _, said = upgrade(pid)
    assert code == 1
    assert f"error[upgrade_failed]: process {pid}: the new process ended with 255: " in said
    assert "not a tunnel token" in said or "token" in said

    other, _ = fakes.tunnel()
    connector.token_file.write_text(other.token)
    fakes.edge.api.delete_tunnel(other.id)
    code, _, said = upgrade(pid, "--timeout", "5")
    assert code == 1
    assert "did not register within 5 s: the edge refuses it: " in said

    assert fakes.lab.status(hostname) == 204
    assert in_charge(connector) == pid
    connector.token_file.write_text(token)
    code, answer, said = upgrade(pid)
    assert (code, answer["connections"]) == (0, 1), said
    assert fakes.lab.status(hostname) == 204
    connector.stop()


@quic_only
def test_a_signal_upgrades_and_a_service_manager_follows(fakes: Fakes, folder: Path, link: Link) -> None:
    manager = Manager("path", folder)
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:204"}])
    pidfile = folder / "pid"
    connector = Connector(
        folder / "c",
        fakes.edge,
        tunnel.token,
        protocol=link.protocol,
        env=manager.environment(watchdog_s=0.2),
        flags=("--pidfile", str(pidfile)),
    )
    old = connector.process.pid
    new = 0
    try:
        wait_until(pidfile.exists, "the pidfile", timeout_s=PATIENCE_S)
        connector.process.signal(signal.SIGUSR2)
        assert connector.process.wait(timeout_s=PATIENCE_S) == 0, (
            "nobody waits for it: it is known where the new one is"
        )
        new = int(pidfile.read_text())
        told = manager.heard.index(f"MAINPID={new}")
        wait_until(lambda: "READY=1" in manager.heard[told:], "READY=1 of the new one", timeout_s=PATIENCE_S)
        wait_until(lambda: "WATCHDOG=1" in manager.heard[told:], "its keep-alives", timeout_s=PATIENCE_S)
        assert manager.heard.count("READY=1") == 2
        assert "STOPPING=1" not in manager.heard, "the service doesn't stop"
        assert new != old
        assert fakes.lab.status(hostname) == 204
    finally:
        connector.process.kill()
        if new:
            os.kill(new, signal.SIGTERM)
            wait_until(lambda: not _runs(new), "the end of the new one", timeout_s=PATIENCE_S)
    wait_until(lambda: "STOPPING=1" in manager.heard, "STOPPING=1")
    manager.close()


@quic_only
def test_a_connector_that_is_told_to_stop_takes_the_one_that_it_starts_along(
    fakes: Fakes, folder: Path, link: Link
) -> None:
    tunnel, _ = fakes.tunnel()
    connector = Connector(folder, fakes.edge, tunnel.token, protocol=link.protocol)
    connector.token_file.unlink()
    os.mkfifo(connector.token_file)  # the new process waits for it
    connector.process.signal(signal.SIGUSR2)
    new = wait_until(lambda: _children(connector.process.pid), "the new process", timeout_s=PATIENCE_S)
    connector.process.stop(timeout_s=PATIENCE_S)
    assert not [pid for pid in new if _runs(pid)]


def _children(parent: int) -> list[int]:
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = each.read_text().partition(" ")
        except OSError:
            continue
        if int(rest.rpartition(")")[2].split()[1]) == parent:
            found.append(int(pid))
    return found


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
