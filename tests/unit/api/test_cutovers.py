"""`/accounts/{account_id}/qanat/cutovers`."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from qanat.control import connector_tokens
from qanat.cutover.course import Course
from tests.support.control import Control
from tests.support.cutovers import REFUSED, RULES, FakeCutoverEdge, Steady
from tests.support.links import register
from tests.support.writes import written
from tests.unit.api.conftest import ZoneDesk

_NUMBERS = count(1)


class Desk:
    """A hostname on one tunnel, and another tunnel for it."""

    def __init__(self, desk: ZoneDesk, edge: FakeCutoverEdge) -> None:
        self.zone = desk
        self.control: Control = desk.control
        self.edge = edge
        self.path = f"/accounts/{self.control.account}/qanat/cutovers"
        self.hostname = f"app.{desk.name}"
        self.source, self.target = self.tunnel(), self.tunnel()
        self.record = desk.post(
            type="CNAME", name="app", content=f"{self.source}.cfargotunnel.com", proxied=True, comment="ours"
        )

    def tunnel(self, *, connected: bool = True, ingress: list[dict[str, str]] | None = None) -> str:
        made: str = self.control.create_tunnel(f"cutover-{next(_NUMBERS)}")["id"]
        rules = ingress or [{"hostname": self.hostname, "service": "http://127.0.0.1:1"}, *RULES["ingress"][1:]]
        self.control.call("PUT", f"{self.control.tunnels()}/{made}/configurations", {"config": {"ingress": rules}})
        if connected:
            register(self.control.store, made, str(uuid4()))
        return made

    def body(self, **more: Any) -> dict[str, Any]:
        return {"from_tunnel": self.source, "to_tunnel": self.target, "hostnames": [self.hostname], **more}

    def plan(self, **more: Any) -> Any:
        return self.control.call("POST", f"{self.path}/plan", self.body(**more))

    def gate(self, name: str, **more: Any) -> Any:
        return next(gate for gate in self.plan(**more)["gates"] if gate["name"] == name)

    def begin(self, **more: Any) -> Any:
        return self.control.call("POST", self.path, self.body(**more))

    def course(self, cutover: Any) -> Course:
        return Course(self.control.store, self.edge, cutover["id"])

    def get(self, cutover: Any) -> Any:
        return self.control.call("GET", f"{self.path}/{cutover['id']}")

    def leads_to(self) -> str:
        return str(self.zone.get(self.record)["content"]).partition(".")[0]


@pytest.fixture
def desk(desk: ZoneDesk) -> Iterator[Desk]:
    edge = FakeCutoverEdge()
    before, desk.control.context.cutover_edge = desk.control.context.cutover_edge, edge
    yield Desk(desk, edge)
    desk.control.context.cutover_edge = before


def test_a_plan_shows_every_gate_with_its_evidence_and_changes_nothing(desk: Desk) -> None:
    rows = desk.control.audit_count()
    plan = desk.plan(check={"path": "/up", "status": 200}, steps=[1, 100])
    assert plan["is_open"] is True
    assert [gate["name"] for gate in plan["gates"]] == ["connections", "rule", "request", "certificate", "dns"]
    gates = {gate["name"]: gate for gate in plan["gates"]}
    assert gates["connections"]["evidence"]["nodes"][0]["connections"] == 1
    assert gates["rule"]["evidence"]["hostname"] == desk.hostname
    assert gates["request"]["evidence"]["nodes"]["default"]["status"] == 200
    assert gates["request"]["evidence"]["path"] == "/up"
    assert gates["dns"]["passed"] is None
    assert plan["plan"]["steps"] == [1, 100]
    assert desk.plan()["version"] == plan["version"]
    assert desk.control.audit_count() == rows


def test_a_target_that_cannot_serve_is_told_gate_by_gate(desk: Desk) -> None:
    desk.target = desk.tunnel(connected=False)
    gate = desk.gate("connections")
    assert (gate["passed"], gate["says"]) == (False, "0 connections from 0 nodes; 1 from 1 are needed")
    assert desk.gate("request")["passed"] is False
    desk.target = desk.tunnel(ingress=[{"service": "http://127.0.0.1:1"}])
    assert "only the catch-all" in desk.gate("rule")["says"]
    desk.target = desk.tunnel()
    gate = desk.gate("connections", least_connections=2, least_nodes=2)
    assert (gate["passed"], gate["evidence"]["needed"]) == (False, {"connections": 2, "nodes": 2})
    desk.edge.illnesses[desk.target] = "3 probes failed"
    assert desk.gate("health")["passed"] is False


@pytest.mark.parametrize("end", ["expired", "revoked"])
def test_connections_of_a_token_that_is_over_count_for_nothing(desk: Desk, end: str) -> None:
    store = desk.control.store
    desk.target = desk.tunnel(connected=False)
    token, _ = written(
        store,
        connector_tokens.create,
        desk.control.sealer,
        account_id=desk.control.account,
        tunnel_id=desk.target,
        name="web-1",
        expires_at=store.clock() + timedelta(hours=1),
    )
    register(store, desk.target, str(uuid4()), token_id=token.id)
    assert desk.gate("connections")["passed"] is True
    before = store.clock
    if end == "expired":
        Steady(store).move(7200)
    else:
        path = f"/qanat/tunnels/{desk.target}/connector-tokens/{token.id}"
        desk.control.call("DELETE", path)
    try:
        gate = desk.gate("connections")
    finally:
        store.clock = before
    assert gate["passed"] is False
    assert f"web-1 is {end}" in gate["says"]


def test_of_an_active_and_a_standby_only_the_active_one_is_asked_and_counted(desk: Desk) -> None:
    store = desk.control.store
    desk.target = desk.tunnel(connected=False)
    tokens = [
        desk.control.call("POST", f"/qanat/tunnels/{desk.target}/connector-tokens", {"name": name})["id"]
        for name in ("web-1", "web-2")
    ]
    for token_id in tokens:
        register(store, desk.target, str(uuid4()), token_id=token_id)
    assert {node["serves"] for node in desk.gate("connections")["evidence"]["nodes"]} == {True}
    path = f"/accounts/{desk.control.account}/qanat/tunnels/{desk.target}/mode"
    desk.control.call("PUT", path, {"mode": "active-standby", "active": "web-2"})
    desk.edge.asked.clear()
    gate = desk.gate("connections", least_nodes=2)
    assert (gate["passed"], gate["says"]) == (False, "1 connections from 1 nodes; 1 from 2 are needed")
    assert {token for tunnel, token, _, _ in desk.edge.asked if tunnel == desk.target} == {tokens[1]}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (lambda desk: {"to_tunnel": desk.source}, "cutover_onto_itself"),
        (lambda desk: {"to_tunnel": str(uuid4())}, "tunnel_unknown"),
        (lambda desk: {"from_tunnel": desk.target, "to_tunnel": desk.source}, "cutover_not_from"),
        (lambda desk: {"hostnames": [f"none.{desk.zone.name}"]}, "cutover_hostname_unknown"),
        (lambda desk: {"hostnames": ["elsewhere.test"]}, "cutover_hostname_unknown"),
        (lambda desk: {"hostnames": []}, "cutover_bad_plan"),
        (lambda desk: {"steps": [50]}, "cutover_bad_plan"),
        (lambda desk: {"hold": True, "steps": [1, 100]}, "cutover_bad_plan"),
        (lambda desk: {"check": {"path": "up"}}, "cutover_bad_plan"),
        (lambda desk: {"wait": 1}, "body_malformed"),
        (lambda desk: {"base_version": "0" * 16}, "cutover_stale"),
    ],
)
def test_what_cannot_be_cut_over_is_refused_and_nothing_begins(desk: Desk, more: Any, code: str) -> None:
    answer = desk.control.http.post(desk.path, json=desk.body(**more(desk)))
    assert answer.status_code >= 400
    assert answer.json()["errors"][0]["qanat_code"] == code, answer.text
    assert desk.leads_to() == desk.source


@pytest.mark.case(47)
def test_of_two_that_begin_with_the_same_version_one_wins(desk: Desk) -> None:
    version = desk.plan()["version"]
    first = desk.begin(base_version=version)
    assert first["state"] == "checking"
    second = desk.control.http.post(desk.path, json=desk.body(base_version=version))
    assert second.status_code == 409
    error = second.json()["errors"][0]
    assert error["qanat_code"] == "cutover_under_way"
    assert first["id"] in error["message"]
    assert "at version 1" in error["message"]


def test_begun_moved_paused_resumed_and_rolled_back(desk: Desk) -> None:
    before = desk.zone.get(desk.record)
    cutover = desk.begin()
    desk.course(cutover).tick()
    shown = desk.get(cutover)
    assert (shown["state"], shown["share"], desk.leads_to()) == ("settling", 100, desk.target)
    assert shown["gates"][0]["name"] == "connections"
    path = f"{desk.path}/{cutover['id']}"
    assert desk.control.call("POST", f"{path}/pause")["is_paused"] is True
    assert desk.control.call("POST", f"{path}/resume")["is_paused"] is False
    done = desk.control.call("POST", f"{path}/rollback")
    assert (done["state"], done["share"], desk.leads_to()) == ("rolled_back", 0, desk.source)
    assert [each["event"] for each in done["timeline"]] == ["begin", "repoint", "pause", "resume", "rollback_asked"]
    after = desk.zone.get(desk.record)
    assert {**after, "modified_on": None} == {**before, "modified_on": None}
    status, _, message = desk.control.refused("POST", f"{path}/pause")
    assert (status, "rolled back" in message) == (409, True)


def test_a_rollback_to_a_tunnel_that_is_down_must_be_forced(desk: Desk) -> None:
    cutover = desk.begin()
    desk.course(cutover).tick()
    desk.edge.up[desk.source] = 0
    path = f"{desk.path}/{cutover['id']}/rollback"
    answer = desk.control.http.post(path)
    assert (answer.status_code, answer.json()["errors"][0]["qanat_code"]) == (409, "cutover_source_down")
    assert desk.control.call("POST", path, force="true")["state"] == "rolled_back"


def test_history_is_newest_first_and_by_hostname(desk: Desk) -> None:
    desk.edge.answers[desk.target] = REFUSED
    first = desk.begin()
    desk.course(first).tick()
    second = desk.begin()
    listed = desk.control.call("GET", desk.path, hostname=desk.hostname)
    assert [(each["id"], each["state"]) for each in listed] == [(second["id"], "checking"), (first["id"], "refused")]
    active = desk.control.call("GET", desk.path, hostname=desk.hostname, is_active="true")
    assert [each["id"] for each in active] == [second["id"]]


def test_another_accounts_cutover_is_as_unknown_as_any(desk: Desk) -> None:
    cutover = desk.begin()
    other = desk.control.call("POST", "/accounts", {"name": f"other {next(_NUMBERS)}"})["id"]
    status, code, _ = desk.control.refused("GET", f"/accounts/{other}/qanat/cutovers/{cutover['id']}")
    assert (status, code) == (404, 7003)
