"""Two hosts of one tunnel, active and standby, under load: every request is answered by whoever has the role, and by
nobody else."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import ApiError
from tests.support.checker import Checker, Load, LoggingOrigin
from tests.support.connector import Connector, Kind, Protocol
from tests.support.edge import Edge
from tests.support.fixtures import every_connector
from tests.support.http1 import Http1Client
from tests.support.processes import QANAT, clean_environment
from tests.support.sites import Link
from tests.support.waiting import wait_until

HOSTNAME = "app.nodes.test"


class Pair:
    """An edge, a tunnel whose configuration is each host's own, and two hosts with an origin each."""

    def __init__(self, folder: Path, kind: Kind, protocol: Protocol) -> None:
        self.folder, self.kind, self.protocol = folder, kind, protocol
        self.edge = Edge(folder / "edge")
        api = self.edge.api
        self.tunnel = api.create_tunnel("web", config_src="local")
        api.publish(api.create_zone("nodes.test"), HOSTNAME, self.tunnel.id)
        self.base = f"/accounts/{api.account}/qanat/tunnels/{self.tunnel.id}"
        self.checker = Checker("web-1")
        self.tokens: dict[str, str] = {}
        self.origins: dict[str, LoggingOrigin] = {}
        self.connectors: dict[str, Connector] = {}
        for name in ("web-1", "web-2"):
            made = api.call("POST", f"/qanat/tunnels/{self.tunnel.id}/connector-tokens", {"name": name})
            self.tokens[name] = made["token"]
            self.origins[name] = self.checker.origin(name)
            self.start(name)
        api.call("PUT", self.base + "/mode", {"mode": "active-standby", "active": "web-1"})
        wait_until(lambda: self._answered() == 200, "an answer of the active host", timeout_s=60.0)
        self.checker.log.clear()

    def start(self, name: str, *flags: str) -> None:
        self.connectors[name] = Connector(
            self.folder / name,
            self.edge,
            self.tokens[name],
            kind=self.kind,
            protocol=self.protocol,
            connections=2,
            flags=("--url", self.origins[name].service, *flags),
        )

    def _answered(self) -> int:
        with self.client() as client:
            return client.get("/").status

    def client(self) -> Http1Client:
        return self.edge.h1(HOSTNAME, timeout_s=60.0)

    def load(self, clients: int = 4) -> Load:
        return Load(self.client, clients=clients)

    def call(self, method: str, path: str, body: object = None) -> Any:
        return self.edge.api.call(method, self.base + path, body)

    def nodes(self) -> dict[str, Any]:
        return {each["name"]: each for each in self.call("GET", "/nodes")["nodes"]}

    def active(self) -> str:
        return str(self.call("GET", "/mode")["active"])

    def over(self, promotion_id: str) -> Any:
        def look() -> Any:
            found = self.call("GET", f"/promotions/{promotion_id}")
            return found if found["finished_at"] is not None else None

        return wait_until(look, "the promotion's end", timeout_s=60.0)

    def promote(self, name: str, **asked: object) -> Any:
        with self.checker.promoting(name):
            done = self.over(self.call("POST", f"/nodes/{name}/promote", asked)["id"])
        assert done["state"] == "released", done
        return done

    def stop(self) -> None:
        for connector in self.connectors.values():
            connector.process.signal(signal.SIGCONT)
            connector.process.kill()
        for origin in self.origins.values():
            origin.stop()
        self.edge.stop()


def wait_for_answers(load: Load, name: str, *, since: float = 0.0, count: int = 20) -> None:
    """Of one host, to requests that were sent since then."""
    wait_until(lambda: load.answered_since(since, name) > count, f"answers of {name}", timeout_s=60.0)


@pytest.fixture
def pair(folder: Path, link: Link) -> Iterator[Pair]:
    made = Pair(folder, link.kind, link.protocol)
    yield made
    made.stop()


@every_connector
@pytest.mark.requirement("S48")
def test_planned_promotions_under_load_fail_nobody(pair: Pair) -> None:
    with pair.load() as load:
        wait_for_answers(load, "web-1")
        for number, name in enumerate(["web-2", "web-1", "web-2"], start=2):
            done = pair.promote(name)
            assert (done["epoch"], done["cut"]) == (number, 0)
            wait_for_answers(load, name, since=time.monotonic())
    pair.checker.check(load)
    served = {each.origin for each in pair.checker.log}
    assert served == {"web-1", "web-2"}


@pytest.fixture
def ours(folder: Path) -> Iterator[Pair]:
    made = Pair(folder, "qanat", "quic")
    yield made
    made.stop()


def test_commands_of_a_promotion_run_while_requests_wait(ours: Pair, tmp_path: Path) -> None:
    """By the command line, on the host itself with the token that it has: `--before` when nothing is open, `--after` when it is
    active; and a command that fails undoes all."""
    token_file = ours.connectors["web-2"].token_file
    api = ours.edge.ready["api"]

    def promote(*flags: str) -> subprocess.CompletedProcess[str]:
        argv = [*QANAT, "node", "promote", "--connector-token-file", str(token_file), "--api", api, *flags]
        return subprocess.run(argv, capture_output=True, text=True, timeout=100, env=clean_environment(), check=False)

    with ours.load() as load:
        wait_for_answers(load, "web-1")
        refused = promote("--before", "sh -c 'exit 3'")
        assert (refused.returncode, "sh ended with 3" in refused.stderr) == (1, True), refused.stderr
        assert ours.active() == "web-1"
        note = tmp_path / "told"
        tell = f"sh -c 'echo $QANAT_TO_NODE $QANAT_EPOCH >> {note}'"
        with ours.checker.promoting("web-2"):
            done = promote("--before", tell, "--after", tell)
        assert done.returncode == 0, done.stderr
        assert "web-2 is active, epoch 2" in done.stdout
        assert note.read_text() == "web-2\nweb-2 2\n"
        moment = time.monotonic()
        wait_for_answers(load, "web-2", since=moment)
    ours.checker.check(load)


@pytest.mark.requirement("S48")
def test_an_active_that_is_killed_is_replaced_by_itself_and_comes_back_to_nothing(ours: Pair) -> None:
    ours.call("PUT", "/mode", {"mode": "active-standby", "automatic": True})
    with ours.load() as load:
        wait_for_answers(load, "web-1")
        killed_at = time.monotonic()
        ours.connectors["web-1"].process.kill()
        wait_for_answers(load, "web-2", since=killed_at)
        ours.checker.promoted("web-2", begun_at=killed_at)
        ours.start("web-1")
        wait_until(lambda: ours.nodes()["web-1"]["connections"] == 2, "it is back", timeout_s=60.0)
        moment = time.monotonic()
        wait_for_answers(load, "web-2", since=moment, count=50)
    # in flight on the host that was killed were as many as there are clients, at most
    ours.checker.check(load, failed=load.clients)
    node = ours.nodes()["web-1"]
    assert (node["state"], node["fenced_by"]) == ("fenced", "promotion")
    with pytest.raises(ApiError) as caught:
        ours.call("POST", "/nodes/web-1/promote", {"force": True})
    assert (caught.value.status, "fenced" in caught.value.text) == (409, True)


@pytest.mark.requirement("S48")
def test_a_paused_active_serves_nothing_when_it_goes_on(ours: Pair) -> None:
    """Longer than any lease: its role is somebody else's when it wakes up, with what was sent to it before in its sockets."""
    old = ours.connectors["web-1"].process
    with ours.load() as load:
        wait_for_answers(load, "web-1")
        stopped_at = time.monotonic()
        old.signal(signal.SIGSTOP)
        with ours.checker.promoting("web-2"):
            done = ours.over(ours.call("POST", "/nodes/web-2/promote", {"force": True})["id"])
        assert done["state"] == "released"
        ours.checker.fenced("web-1")
        wait_for_answers(load, "web-2", since=stopped_at)
        old.signal(signal.SIGCONT)
        wait_until(lambda: ours.nodes()["web-1"]["connections"] > 0, "it is back", timeout_s=60.0)
        moment = time.monotonic()
        wait_for_answers(load, "web-2", since=moment, count=100)
    ours.checker.check(load, failed=load.clients)


def test_an_edge_that_is_killed_in_a_promotion_comes_up_with_it_undone(ours: Pair) -> None:
    begun = ours.call("POST", "/nodes/web-2/promote", {"before": True})
    wait_until(lambda: ours.call("GET", f"/promotions/{begun['id']}")["state"] == "before", "the pause", timeout_s=60.0)
    ours.edge.kill()
    ours.edge.restart()
    found = ours.over(begun["id"])
    assert (found["state"], found["undo_reason"]) == ("undone", "the edge was started anew")
    assert ours.active() == "web-1"


def test_a_standby_by_its_role_probe_is_not_promoted_and_the_role_is_followed(ours: Pair, tmp_path: Path) -> None:
    file = tmp_path / "role"
    file.write_text("standby")
    ours.connectors["web-2"].process.kill()
    ours.start("web-2", "--role-probe", f"file:{file}", "--role-probe-interval", "100ms")
    wait_until(lambda: ours.nodes()["web-2"]["role"] == "standby", "what its probe says", timeout_s=60.0)
    with pytest.raises(ApiError, match="role probe says standby"):
        ours.call("POST", "/nodes/web-2/promote", {"force": True})
    ours.call("PUT", "/mode", {"mode": "active-standby", "follows_role": True})
    file.write_text("active")
    wait_until(lambda: ours.active() == "web-2", "the role followed", timeout_s=60.0)
    assert ours.nodes()["web-2"]["role_detail"] == f"{file} says active"
