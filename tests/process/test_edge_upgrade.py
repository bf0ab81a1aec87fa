"""`qanat edge upgrade`: a new process takes an edge over under load, or the old one goes on; `qanat edge drain`."""

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wsproto.events import Message

from qanat.store.schema import downgrade, newest_revision
from qanat.store.sqlite import open_file
from qanat.succession.local_socket import Question, ask, running
from tests.support import websocket
from tests.support.connector import Connector
from tests.support.edge import Edge
from tests.support.manager import Manager
from tests.support.origin import Held, Origin
from tests.support.processes import QANAT, clean_environment
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

PATIENCE_S = 90.0
HOSTNAME = "app.example.test"


class Command:
    """A command about the edge of a data directory."""

    def __init__(self, edge: "Upgraded", name: str, *options: str) -> None:
        argv = [*QANAT, "edge", name, "--data-dir", str(edge.data_dir), "--output", "json", *options]
        self._started = subprocess.Popen(
            argv, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ended(self) -> tuple[int, Any, str]:
        """Exit code, the answer, and what it said."""
        out, said = self._started.communicate(timeout=PATIENCE_S)
        return self._started.returncode, json.loads(out)[0] if out else {}, said


class Upgraded(Edge):
    """An edge whose process changes; settings in a file as well, which a new process reads anew."""

    def __init__(self, folder: Path, **flags: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "edge.toml"
        self.config.write_text("")
        super().__init__(folder, config=str(self.config), **flags)

    @property
    def in_charge(self) -> int:
        """The process that is, by what it says of itself."""
        for each in running("edge"):
            with contextlib.suppress(Exception):
                if ask(each, Question("describe"), limit_s=5.0)["data_dir"] == str(self.data_dir):
                    return each.pid
        return 0

    def upgrade(self, *options: str) -> tuple[int, Any, str]:
        return Command(self, "upgrade", *options).ended()

    def wait_in_charge(self, pid: int) -> None:
        """Visitors and all come to this process."""
        self.process.wait_for(rf'"ready".*"pid": {pid}\b', stdout=True, timeout_s=PATIENCE_S)


class Writer:
    """Asks the API for one write after the other over one client, as a program does."""

    def __init__(self, edge: Edge) -> None:
        self._api = edge.api
        self.written: list[str] = []
        self.failed: list[str] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.is_set():
            name = f"t{len(self.written) + len(self.failed)}"
            try:
                self.written.append(self._api.create_tunnel(name).id)
            except Exception as error:
                self.failed.append(repr(error))
            self._end.wait(0.02)

    def stop(self) -> None:
        self._end.set()
        self._thread.join(PATIENCE_S)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin()
    origin.on("/ws", websocket.echo)
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Iterator[Upgraded]:
    """One edge for all of them, with a connector of each transport."""
    folder = tmp_path_factory.mktemp("upgraded")
    # whoever writes all the while writes more on a slow machine
    edge = Upgraded(folder / "edge", grace_period_s="20", drain_timeout_s="120", account_limits_tunnels="100000")
    connectors: list[Connector] = []
    try:
        tunnel = edge.api.create_tunnel("app")
        edge.api.publish(edge.api.create_zone("example.test"), HOSTNAME, tunnel.id)
        edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
        for protocol in ("quic", "http2"):
            connectors.append(Connector(folder / protocol, edge, tunnel.token, protocol=protocol, connections=2))
        yield edge
        edge.api.close()
        edge.process.signal(signal.SIGTERM)  # the first process is known to whoever started it, and passes it on
        assert edge.process.wait(timeout_s=PATIENCE_S) == 0
    finally:
        for connector in connectors:
            connector.process.kill()
        edge.process.kill()


def has_ended(socket: websocket.WebSocket) -> bool:
    """Talking, so that it does not end because nobody does."""
    try:
        socket.text("still here")
    except OSError:
        return True
    return not isinstance(socket.next(), Message)


def listed(edge: Upgraded) -> set[str]:
    """The ids of all tunnels."""
    found: set[str] = set()
    for page in itertools.count(1):
        some = edge.api.call(
            "GET", f"/accounts/{edge.api.account}/cfd_tunnel", per_page="1000", page=str(page), is_deleted="false"
        )
        found.update(each["id"] for each in some)
        if len(some) < 1000:
            return found
    raise AssertionError


def test_no_request_or_write_fails_through_upgrades_and_what_is_open_goes_on(edge: Upgraded, origin: Origin) -> None:
    held = Held()
    origin.on("/slow", held)
    visitors: list[Visitor] = []
    writer = Writer(edge)
    with edge.h1(HOSTNAME, timeout_s=PATIENCE_S) as slow, edge.h1(HOSTNAME, timeout_s=PATIENCE_S) as talking:
        try:
            wait_until(lambda: slow.get().status == 200, "traffic", timeout_s=PATIENCE_S)
            slow.start("GET", "/slow")
            pieces = slow.body_of(slow.head())
            assert next(pieces) == b"first"
            socket = websocket.over_http1(talking)
            visitors = [Visitor(edge, HOSTNAME, kind) for kind in ("h1", "h2")]
            for _ in range(2):
                old = edge.in_charge
                code, answer, said = edge.upgrade()
                assert (code, answer.get("old_pid")) == (0, old), said
                edge.wait_in_charge(answer["pid"])
                assert edge.in_charge == answer["pid"]
                for visitor in visitors:
                    visitor.wait_more()
                wait_until(
                    lambda: all(each.told for each in visitors), "visitors to be told to go", timeout_s=PATIENCE_S
                )
                socket.text("still here")
                assert socket.message() == "still here"
            held.let_go()
            assert b"".join(pieces) == b"later"
            for visitor in visitors:
                visitor.stop()
            # The first one is left with its WebSocket, the second has ended; what is decided in the third is so in both.
            edge.process.wait_for(rf'"pid": {old}, "event": "a process before this one has ended"')
            tunnel = edge.api.call("GET", f"/accounts/{edge.api.account}/cfd_tunnel", name="app")[0]["id"]
            edge.api.disconnect(tunnel)
            wait_until(lambda: has_ended(socket), "the WebSocket to be cut", timeout_s=PATIENCE_S)
        finally:
            writer.stop()
            for visitor in visitors:
                visitor.stop()
    assert [failed for visitor in visitors for failed in visitor.failed] == []
    assert writer.failed == []
    assert listed(edge) >= set(writer.written)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("nonsense", "ended with 1: "),
        ('[store]\nkey_command = ["sleep", "600"]', "the new process was not ready within 4 s"),
    ],
)
def test_a_new_process_that_fails_leaves_the_old_one_and_says_why(edge: Upgraded, broken: str, reason: str) -> None:
    old = edge.in_charge
    edge.config.write_text(broken)
    try:
        code, _, said = edge.upgrade("--timeout", "4" if "sleep" in broken else "60")
    finally:
        edge.config.write_text("")
    assert code == 1
    assert f"error[upgrade_failed]: process {old}: " in said
    assert reason in said
    assert edge.in_charge == old
    with edge.h2(HOSTNAME) as client:  # its connectors may be on their way back: they were told to go before
        wait_until(lambda: client.get().status == 200, "traffic", timeout_s=PATIENCE_S)
    assert edge.api.create_tunnel(f"after {reason}").id


def test_a_migration_waits_for_the_old_ones_writes_and_leaves_a_copy(edge: Upgraded) -> None:
    database = edge.data_dir / "qanat.db"
    before = {each.name for each in edge.data_dir.glob("qanat.db.before-*")}
    engine = open_file(database, busy_timeout_s=30.0)
    downgrade(engine, f"{int(newest_revision()) - 1:04}")
    engine.dispose()
    code, answer, said = edge.upgrade()
    assert code == 0, said
    edge.wait_in_charge(answer["pid"])
    with contextlib.closing(sqlite3.connect(database)) as now:
        assert now.execute("SELECT version_num FROM alembic_version").fetchone() == (newest_revision(),)
    (copy,) = {each.name for each in edge.data_dir.glob("qanat.db.before-*Z")} - before
    with contextlib.closing(sqlite3.connect(edge.data_dir / copy)) as kept:
        assert kept.execute("SELECT version_num FROM alembic_version").fetchone() != (newest_revision(),)
    with edge.h1(HOSTNAME) as client:
        assert client.get().status == 200
    assert edge.api.create_tunnel("after the migration").id


def test_a_signal_upgrades_a_service_manager_follows_and_a_drain_ends_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager("path", folder)
    for name, text in manager.environment(watchdog_s=0.2).items():
        monkeypatch.setenv(name, text)
    origin = Origin()
    held = Held()
    origin.on("/slow", held)
    edge = Upgraded(folder / "edge")
    connector: Connector | None = None
    try:
        tunnel = edge.api.create_tunnel("app")
        edge.api.publish(edge.api.create_zone("example.test"), HOSTNAME, tunnel.id)
        edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
        connector = Connector(folder / "c", edge, tunnel.token)
        wait_until(lambda: edge.in_charge, "it to be found", timeout_s=PATIENCE_S)
        edge.process.signal(signal.SIGUSR2)
        assert edge.process.wait(timeout_s=PATIENCE_S) == 0, "nobody waits for it: it is known where the new one is"
        wait_until(lambda: edge.in_charge, "the new process", timeout_s=PATIENCE_S)
        new = edge.in_charge
        told = manager.heard.index(f"MAINPID={new}")
        wait_until(lambda: "READY=1" in manager.heard[told:], "READY=1 of the new one", timeout_s=PATIENCE_S)
        wait_until(lambda: "WATCHDOG=1" in manager.heard[told:], "its keep-alives", timeout_s=PATIENCE_S)

        with edge.h1(HOSTNAME, timeout_s=PATIENCE_S) as client:
            wait_until(lambda: client.get().status == 200, "traffic", timeout_s=PATIENCE_S)
            client.start("GET", "/slow")
            pieces = client.body_of(client.head())
            assert next(pieces) == b"first"
            command = Command(edge, "drain", "--drain-timeout", "120")
            described = wait_until(
                lambda: next((d for d in [_described(edge, new)] if d.get("draining")), None),
                "it to drain",
                timeout_s=PATIENCE_S,
            )
            assert described["requests"] >= 1
            held.let_go()
            assert b"".join(pieces) == b"later"
        code, answer, said = command.ended()
        assert (code, answer) == (0, {"pid": new, "left": 0}), said
        wait_until(lambda: "STOPPING=1" in manager.heard[told:], "STOPPING=1", timeout_s=PATIENCE_S)
    finally:
        edge.api.close()
        if connector is not None:
            connector.process.kill()
        for each in running("edge"):
            with contextlib.suppress(Exception):
                if str(folder) in ask(each, Question("describe"), limit_s=5.0)["data_dir"]:
                    os.kill(each.pid, signal.SIGKILL)
        origin.close()
        manager.close()


def test_the_end_of_the_process_in_charge_is_that_of_those_before_it(folder: Path) -> None:
    origin = Origin()
    origin.on("/ws", websocket.echo)
    edge = Upgraded(folder / "edge", grace_period_s="2", drain_timeout_s="600")
    connector: Connector | None = None
    try:
        tunnel = edge.api.create_tunnel("app")
        edge.api.publish(edge.api.create_zone("example.test"), HOSTNAME, tunnel.id)
        edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
        connector = Connector(folder / "c", edge, tunnel.token)
        with edge.h1(HOSTNAME, timeout_s=PATIENCE_S) as talking:
            socket = websocket.over_http1(talking)
            code, answer, said = edge.upgrade()
            assert code == 0, said
            edge.wait_in_charge(answer["pid"])
            edge.api.close()
            os.kill(answer["pid"], signal.SIGTERM)
            assert not has_ended(socket), "it may go on as long as what the process in charge has open"
            assert edge.process.wait(timeout_s=PATIENCE_S) == 0, (
                "the first one has ended, and what is left waited for the other"
            )
            assert has_ended(socket)
    finally:
        if connector is not None:
            connector.process.kill()
        edge.process.kill()
        origin.close()


def _described(edge: Upgraded, pid: int) -> dict[str, Any]:
    for each in running("edge"):
        if each.pid == pid:
            with contextlib.suppress(Exception):
                return ask(each, Question("describe"), limit_s=5.0)
    return {}


def test_who_waits_for_the_first_process_hears_how_the_last_one_died(folder: Path) -> None:
    """Also by way of one between, which still had something open."""
    origin = Origin()
    origin.on("/ws", websocket.echo)
    edge = Upgraded(folder / "edge", grace_period_s="2", drain_timeout_s="600")
    connector: Connector | None = None
    try:
        tunnel = edge.api.create_tunnel("app")
        edge.api.publish(edge.api.create_zone("example.test"), HOSTNAME, tunnel.id)
        edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
        connector = Connector(folder / "c", edge, tunnel.token)
        code, second, said = edge.upgrade()
        assert code == 0, said
        edge.wait_in_charge(second["pid"])
        wait_until(lambda: b"watcher.py" in command_line(edge.process.pid), "the watcher", timeout_s=PATIENCE_S)
        with edge.h1(HOSTNAME, timeout_s=PATIENCE_S) as talking:
            socket = websocket.over_http1(talking)
            code, third, said = edge.upgrade()
            assert code == 0, said
            edge.wait_in_charge(third["pid"])
            edge.api.close()
            assert not has_ended(socket)
            os.kill(third["pid"], signal.SIGKILL)
            assert edge.process.wait(timeout_s=PATIENCE_S) == 128 + signal.SIGKILL
    finally:
        if connector is not None:
            connector.process.kill()
        edge.process.kill()
        origin.close()


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
