"""Cutovers with a real edge, connectors and origins, while a client asks without a pause."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from qanat.client import Client
from qanat.cutover.hosted import Hosted
from qanat.cutover.plan import Plan, Rule, checked
from qanat.cutover.public_name import PublicName
from tests.support.api import ApiError, Json, Tunnel
from tests.support.connector import Connector
from tests.support.edge import Edge, lasting_addresses
from tests.support.origin import Exchange, Origin, hello
from tests.support.waiting import wait_until

ENDS = ("done", "refused", "rolled_back", "stopped")
QUICK = {"rule": {"step_s": 0.5, "least_requests": 20}}


class Side:
    """A tunnel with its connector, and an origin that says whose it is."""

    def __init__(self, edge: Edge, folder: Path, name: str, hostname: str, protocol: Any) -> None:
        self.name = name
        self.hostname = hostname
        self.origin = Origin()
        self.status = 200
        self.origin.on("/", self.answer)
        self.tunnel: Tunnel = edge.api.create_tunnel(name)
        rules = [{"hostname": hostname, "service": self.origin.service}, {"service": "http_status:404"}]
        edge.api.put_configuration(self.tunnel.id, rules)
        self.connector = Connector(folder / name, edge, self.tunnel.token, protocol=protocol, connections=2)

    def answer(self, exchange: Exchange) -> None:
        exchange.answer(self.status, self.name.encode(), [("content-type", "text/plain")])


class Load(Thread):
    """Asks for the hostname again and again on kept connections; who answered, in order. What fails is kept with the rest."""

    def __init__(self, edge: Edge, hostname: str) -> None:
        super().__init__(daemon=True)
        self.edge = edge
        self.hostname = hostname
        self.answered: list[str] = []
        self._ending = Event()
        self.start()

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                with self.edge.h1(self.hostname) as client:
                    while not self._ending.is_set():
                        answer = client.get()
                        good = answer.status == 200
                        self.answered.append(answer.body.decode() if good else f"status {answer.status}")
            except OSError as error:
                self.answered.append(f"failed: {error!r}")

    def end(self) -> list[str]:
        self._ending.set()
        self.join(15.0)
        return self.answered


class Stand:
    """The edge and both sides."""

    def __init__(self, folder: Path) -> None:
        self.edge = Edge(folder / "edge", **lasting_addresses())
        self.hostname = "app.example.test"
        self.zone = self.edge.api.create_zone("example.test")
        self.one = Side(self.edge, folder, "one", self.hostname, "quic")
        self.two = Side(self.edge, folder, "two", self.hostname, "http2")
        self.edge.api.publish(self.zone, self.hostname, self.one.tunnel.id)
        wait_until(lambda: self.served_by() == "one", "the hostname to be served")

    @property
    def path(self) -> str:
        return f"/accounts/{self.edge.api.account}/qanat/cutovers"

    def served_by(self) -> str | None:
        try:
            with self.edge.h1(self.hostname) as client:
                answer = client.get()
                return answer.body.decode() if answer.status == 200 else None
        except OSError:
            return None

    def record(self) -> Json:
        (record,) = self.edge.api.call("GET", f"/zones/{self.zone}/dns_records", name=self.hostname)
        return {**record, "modified_on": None}

    def begin(self, **more: Any) -> str:
        body = {
            "from_tunnel": self.one.tunnel.id,
            "to_tunnel": self.two.tunnel.id,
            "hostnames": [self.hostname],
            **more,
        }
        return str(self.edge.api.call("POST", self.path, body)["id"])

    def get(self, cutover_id: str) -> Json:
        found: Json = self.edge.api.call("GET", f"{self.path}/{cutover_id}")
        return found

    def reach(self, cutover_id: str, *states: str) -> Json:
        def arrived() -> Json | None:
            row = self.get(cutover_id)
            assert row["state"] in states or row["state"] not in ENDS, row["timeline"]
            return row if row["state"] in states else None

        return wait_until(arrived, f"the cutover to be {' or '.join(states)}", timeout_s=60.0)

    def back(self, cutover_id: str) -> None:
        self.edge.api.call("POST", f"{self.path}/{cutover_id}/rollback")

    def close(self) -> None:
        for side in (self.one, self.two):
            side.connector.stop()
            side.origin.close()
        self.edge.stop()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    stand = Stand(tmp_path_factory.mktemp("cutover"))
    yield stand
    stand.close()


@pytest.fixture(autouse=True)
def _good(stand: Stand) -> None:
    stand.one.status = stand.two.status = 200


@pytest.mark.case(47)
def test_moved_and_taken_back_under_load_without_a_failed_request(stand: Stand) -> None:
    before = stand.record()
    load = Load(stand.edge, stand.hostname)
    wait_until(lambda: len(load.answered) > 50, "the load")
    cutover = stand.begin(**QUICK)
    row = stand.reach(cutover, "done")
    assert [entry["event"] for entry in row["timeline"]] == ["begin", "repoint", "finish"]
    assert row["timeline"][-1]["numbers"]["new"]["requests"] >= 20
    assert row["timeline"][-1]["numbers"]["new"]["failed"] == 0
    seen = len(load.answered)
    wait_until(lambda: len(load.answered) > seen + 20, "requests to the target")
    stand.back(cutover)
    seen = len(load.answered)
    wait_until(lambda: len(load.answered) > seen + 20, "requests to the source")
    answered = load.end()
    assert set(answered) == {"one", "two"}
    phases = [who for at, who in enumerate(answered) if at == 0 or answered[at - 1] != who]
    assert phases == ["one", "two", "one"]
    assert stand.record() == before


@pytest.mark.case(47)
def test_a_target_that_forbids_is_refused_and_so_is_a_record_that_is_repointed_to_it(stand: Stand) -> None:
    stand.two.status = 403
    row = stand.reach(stand.begin(**QUICK), "refused")
    assert "answered 403" in row["why"]
    gates = {gate["name"]: gate for gate in row["gates"]}
    assert gates["connections"]["passed"] and gates["rule"]["passed"] and gates["certificate"]["passed"]
    assert gates["certificate"]["evidence"]["names"]
    with pytest.raises(ApiError) as refused:
        path = f"/zones/{stand.zone}/dns_records/{stand.record()['id']}"
        stand.edge.api.call("PATCH", path, {"content": f"{stand.two.tunnel.id}.cfargotunnel.com"})
    assert refused.value.status == 409
    assert "answered 403" in refused.value.text
    assert stand.served_by() == "one"


@pytest.mark.case(47)
def test_a_target_that_breaks_after_the_move_is_taken_back_by_itself(stand: Stand) -> None:
    before = stand.record()
    cutover = stand.begin(rule={"step_s": 120.0, "longest_s": 120.0})
    stand.reach(cutover, "settling")
    assert stand.served_by() == "two"
    stand.two.status = 502
    row = stand.reach(cutover, "rolled_back")
    assert "in a row failed: answered 502" in row["why"]
    assert stand.record() == before
    assert stand.served_by() == "one"


@pytest.mark.case(47)
def test_an_edge_that_is_killed_in_the_middle_comes_up_knowing_where_it_was(stand: Stand) -> None:
    cutover = stand.begin(rule={"step_s": 5.0, "least_requests": 0})
    stand.reach(cutover, "settling")
    stand.edge.kill()
    stand.edge.restart()
    wait_until(lambda: stand.served_by() == "two", "the target to serve again", timeout_s=60.0)
    stand.reach(cutover, "done")
    stand.back(cutover)
    assert stand.served_by() == "one"


def test_requests_wait_while_it_holds_and_go_on_at_the_target(stand: Stand) -> None:
    load = Load(stand.edge, stand.hostname)
    wait_until(lambda: len(load.answered) > 20, "the load")
    cutover = stand.begin(hold=True, **QUICK)
    wait_until(lambda: stand.get(cutover)["timeline"][-1]["event"] == "held", "requests to wait")
    wait_until(lambda: stand.edge.api.call("GET", "/qanat/status")["counters"]["requests_open"] >= 1, "one that waits")
    seen = len(load.answered)
    stand.edge.api.call("POST", f"{stand.path}/{cutover}/resume")
    stand.reach(cutover, "done")
    answered = load.end()
    assert set(answered) == {"one", "two"}
    assert set(answered[seen + 1 :]) == {"two"}
    stand.back(cutover)


def test_with_standard_endpoints_alone_the_public_name_is_asked_and_the_records_go_back(
    stand: Stand, tmp_path: Path
) -> None:
    before = stand.record()
    name = PublicName(connect_to=stand.edge.https, ca_file=stand.edge.ca_file)
    plan = checked(
        Plan(
            from_tunnel=stand.one.tunnel.id,
            to_tunnel=stand.two.tunnel.id,
            hostnames=(stand.hostname,),
            rule=Rule(step_s=0.0, longest_s=0.0),
        )
    )
    told: list[str] = []

    def tell(entry: Any) -> None:
        told.append(entry["event"])
        if entry["event"] == "settling" and told.count("settling") == 2:
            stand.two.status = 502

    with Client(stand.edge.ready["api"], (stand.edge.data_dir / "first-token").read_text().strip()) as client:
        hosted = Hosted(client, client.account_id(), name, tell=tell, sleep=lambda _s: None)
        gates, sources = hosted.gates(plan)
        assert {gate.name: gate.passed for gate in gates} == {
            "connections": True,
            "rule": True,
            "request": None,
            "certificate": True,
            "dns": None,
        }
        assert sources[stand.hostname].body == b"one"
        done = hosted.apply(plan, tmp_path / "state.json")
        assert (done.state, stand.served_by()) == ("done", "two")
        assert hosted.roll_back(done, "it was asked for").state == "rolled_back"
        assert stand.record() == before
        broken = hosted.apply(plan, tmp_path / "state.json")
    assert broken.state == "rolled_back"
    assert "answered 502" in broken.why
    assert stand.record() == before


def test_in_steps_the_canary_gets_its_share_and_no_request_fails(stand: Stand) -> None:
    load = Load(stand.edge, stand.hostname)
    wait_until(lambda: len(load.answered) > 50, "the load")
    cutover = stand.begin(steps=[20, 100], rule={"step_s": 1.0, "least_requests": 20})
    stand.reach(cutover, "moving")
    row = stand.reach(cutover, "done")
    answered = load.end()
    assert [entry["event"] for entry in row["timeline"]] == ["begin", "shift", "repoint", "finish"]
    numbers = row["timeline"][2]["numbers"]
    assert 20 <= numbers["new"]["requests"] < numbers["old"]["requests"]
    assert set(answered) == {"one", "two"}
    stand.back(cutover)


@pytest.mark.case(47)
def test_a_canary_that_fails_costs_no_more_than_its_share(stand: Stand) -> None:
    stand.two.origin.on("/", lambda exchange: exchange.answer(503, b"two", [("content-type", "text/plain")]))
    stand.two.origin.on("/up", hello)
    stand.one.origin.on("/up", hello)
    load = Load(stand.edge, stand.hostname)
    wait_until(lambda: len(load.answered) > 50, "the load")
    cutover = stand.begin(steps=[20, 100], check={"path": "/up"}, rule={"step_s": 60.0})
    row = stand.reach(cutover, "rolled_back")
    seen = len(load.answered)
    wait_until(lambda: len(load.answered) > seen + 20, "requests after it")
    answered = load.end()
    stand.two.origin.on("/", stand.two.answer)
    assert "requests to app.example.test failed" in row["why"]
    failed = answered.count("status 503")
    assert failed
    assert "status 503" not in answered[seen + 1 :]
    assert answered.count("one") > failed


def test_weights_share_real_requests_and_no_change_of_them_loses_one(stand: Stand) -> None:
    path = f"/accounts/{stand.edge.api.account}/qanat/hostnames/{stand.hostname}/targets"
    wait_until(lambda: stand.served_by() == "one", "the old tunnel")
    load = Load(stand.edge, stand.hostname)

    def put(one: int, two: int) -> None:
        targets = [{"tunnel_id": stand.one.tunnel.id, "weight": one}, {"tunnel_id": stand.two.tunnel.id, "weight": two}]
        stand.edge.api.call("PUT", path, {"targets": targets})

    def answered_by(*names: str) -> None:
        seen = len(load.answered)
        wait_until(lambda: len(load.answered) >= seen + 40, "some requests")
        assert set(load.answered[seen + 1 : seen + 40]) == set(names)

    put(50, 50)
    answered_by("one", "two")
    put(0, 100)
    answered_by("two")
    stand.edge.api.call("DELETE", path)
    answered_by("one")
    assert set(load.end()) == {"one", "two"}
