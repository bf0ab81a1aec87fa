"""A record that would go from a tunnel that serves its hostname to one that doesn't: refused in every way that writes it."""

from collections.abc import Iterator
from itertools import count
from typing import Any
from uuid import uuid4

import httpx
import pytest

from qanat.cutover.answers import Answer
from tests.support.control import Control
from tests.support.cutovers import GOOD, REFUSED, RULES, FakeCutoverEdge
from tests.support.links import register
from tests.unit.api.conftest import ZoneDesk

_NUMBERS = count(1)
OFF = {"qanat-cutover-policy": "off"}


class Moving:
    """A hostname that a connected tunnel serves, and other tunnels to move it to."""

    def __init__(self, desk: ZoneDesk, edge: FakeCutoverEdge) -> None:
        self.desk = desk
        self.control = desk.control
        self.edge = edge
        self.number = next(_NUMBERS)
        self.hostname = f"app.{desk.name}"
        self.source = self.tunnel("source")
        self.record = desk.post(**self.fields(self.source))

    def tunnel(self, name: str, *, connected: bool = True, answer: Answer = GOOD, rule: bool = True) -> str:
        made: str = self.control.create_tunnel(f"{name}-{self.number}")["id"]
        if rule:
            ingress = [{"hostname": self.hostname, "service": "http://127.0.0.1:8000"}, {"service": "http_status:404"}]
        else:
            ingress = RULES["ingress"][1:]
        self.control.call("PUT", f"{self.control.tunnels()}/{made}/configurations", {"config": {"ingress": ingress}})
        if connected:
            register(self.control.store, made, str(uuid4()))
        self.edge.answers[made] = answer
        return made

    def fields(self, tunnel_id: str) -> dict[str, Any]:
        return {"type": "CNAME", "name": self.hostname, "content": f"{tunnel_id}.cfargotunnel.com", "proxied": True}

    def ways(self, tunnel_id: str) -> dict[str, tuple[str, str, dict[str, Any]]]:
        """Every write that repoints the hostname."""
        fields, path = self.fields(tunnel_id), f"{self.desk.path}/{self.record['id']}"
        record_id, batch = self.record["id"], f"{self.desk.path}/batch"
        return {
            "put": ("PUT", path, fields),
            "patch": ("PATCH", path, {"content": fields["content"]}),
            "batch put": ("POST", batch, {"puts": [{"id": record_id, **fields}]}),
            "batch patch": ("POST", batch, {"patches": [{"id": record_id, "content": fields["content"]}]}),
            "batch anew": ("POST", batch, {"deletes": [{"id": record_id}], "posts": [fields]}),
            "route dns": (
                "PUT",
                f"/zones/{self.desk.id}/tunnels/{tunnel_id}/routes",
                {"type": "dns", "user_hostname": self.hostname, "overwrite_existing": True},
            ),
        }

    def ask(self, way: str, tunnel_id: str, headers: dict[str, str] | None = None) -> httpx.Response:
        method, path, body = self.ways(tunnel_id)[way]
        return self.control.http.request(method, path, json=body, headers=headers)

    def leads_to(self) -> str:
        (record,) = self.desk.listed(name=self.hostname)
        return str(record["content"]).partition(".")[0]


WAYS = ("put", "patch", "batch put", "batch patch", "batch anew", "route dns")


@pytest.fixture
def moving(desk: ZoneDesk) -> Iterator[Moving]:
    edge = FakeCutoverEdge()
    before, desk.control.context.cutover_edge = desk.control.context.cutover_edge, edge
    yield Moving(desk, edge)
    desk.control.context.cutover_edge = before


def refusal(answer: httpx.Response) -> str:
    assert answer.status_code == 409, answer.text
    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["errors"][0]
    assert (error["code"], error["qanat_code"]) == (10409, "record_target_down")
    return str(error["message"])


@pytest.mark.parametrize("way", WAYS)
def test_a_tunnel_without_connections_is_refused_in_every_write_and_overridden_by_the_header(
    moving: Moving, way: str
) -> None:
    dead = moving.tunnel("dead", connected=False)
    message = refusal(moving.ask(way, dead))
    assert f"dead-{moving.number} has no connections" in message
    assert "qanat cutover" in message
    assert moving.leads_to() == moving.source
    assert moving.ask(way, dead, OFF).status_code == 200
    assert moving.leads_to() == dead


def test_a_tunnel_whose_origin_refuses_is_refused_with_the_answer(moving: Moving) -> None:
    assert "connection refused" in refusal(moving.ask("put", moving.tunnel("broken", answer=REFUSED)))
    forbidden = Answer(status=403, headers={"content-type": "text/html"})
    assert "answered 403" in refusal(moving.ask("put", moving.tunnel("forbidding", answer=forbidden)))
    ill = moving.tunnel("ill")
    moving.edge.illnesses[ill] = "3 probes failed"
    assert "3 probes failed" in refusal(moving.ask("put", ill))


def test_an_only_catch_all_that_answers_like_a_missing_page_is_refused_and_told(moving: Moving) -> None:
    missing = Answer(status=404, headers={"content-type": "text/html"})
    assert "only the catch-all" in refusal(moving.ask("put", moving.tunnel("bare", rule=False, answer=missing)))


def test_without_an_edge_to_ask_connections_and_rules_decide(moving: Moving) -> None:
    good, bare = moving.tunnel("good"), moving.tunnel("bare", rule=False)
    moving.control.context.cutover_edge = None
    assert "only the catch-all" in refusal(moving.ask("patch", bare))
    assert moving.ask("patch", good).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_a_tunnel_that_serves_is_taken(moving: Moving, way: str) -> None:
    good = moving.tunnel("good")
    assert moving.ask(way, good).status_code == 200
    assert moving.leads_to() == good


def test_a_hostname_that_nobody_serves_may_go_anywhere(moving: Moving) -> None:
    moving.edge.answers[moving.source] = REFUSED
    dead = moving.tunnel("dead", connected=False)
    assert moving.ask("put", dead).status_code == 200
    assert moving.ask("put", moving.tunnel("dead2", connected=False)).status_code == 200


def test_a_first_record_is_never_refused_and_other_changes_ask_nothing(moving: Moving) -> None:
    dead = moving.tunnel("dead", connected=False)
    moving.edge.asked.clear()
    made = moving.desk.post(**{**moving.fields(dead), "name": f"new.{moving.desk.name}"})
    moving.desk.patch(made, comment="x")
    moving.desk.patch(moving.record, comment="x", name=f"renamed.{moving.desk.name}")
    moving.desk.put(moving.record, **moving.fields(moving.source))
    zone_file = f"other.{moving.desk.name}. 1 IN CNAME {dead}.cfargotunnel.com. ; cf_tags=cf-proxied:true\n"
    assert moving.desk.upload(zone_file).status_code == 200
    assert not moving.edge.asked
    # a zone file adds and never replaces: a name that has a CNAME is refused as ever
    again = f"{moving.hostname}. 1 IN CNAME {dead}.cfargotunnel.com. ; cf_tags=cf-proxied:true\n"
    assert moving.desk.upload(again).status_code == 400
    assert moving.leads_to() == moving.source


def test_a_zone_has_a_policy_of_its_own_and_the_header_wins(moving: Moving) -> None:
    path = f"/qanat/zones/{moving.desk.id}/cutover-policy"
    assert moving.control.call("GET", path) == {"policy": None, "in_force": "enforce"}
    assert moving.control.call("PUT", path, {"policy": "warn"}) == {"policy": "warn", "in_force": "warn"}
    exported = moving.control.call("GET", f"/qanat/accounts/{moving.control.account}/export")
    (zone,) = [each for each in exported["zones"] if each["id"] == moving.desk.id]
    assert zone["cutover_policy"] == "warn"
    report = moving.control.call("POST", f"/qanat/accounts/{moving.control.account}/import", exported)
    assert {each["action"] for each in report["steps"] if each["id"] == zone["id"]} == {"same"}
    dead = moving.tunnel("dead", connected=False)
    refusal(moving.ask("put", dead, {"qanat-cutover-policy": "enforce"}))
    assert moving.ask("put", dead).status_code == 200
    (detail,) = moving.control.audit_details("record.repoint_warned", moving.desk.id)
    assert (detail["hostname"], detail["to"]) == (moving.hostname, dead)
    moving.control.context.cutover_policy = "off"
    try:
        assert moving.control.call("PUT", path, {"policy": None}) == {"policy": None, "in_force": "off"}
    finally:
        moving.control.context.cutover_policy = "enforce"
    status, _, message = moving.control.refused("PUT", path, {"policy": "strict"})
    assert (status, "enforce, warn, off" in message) == (400, True)
    answer = moving.ask("put", dead, {"qanat-cutover-policy": "no"})
    assert (answer.status_code, answer.json()["errors"][0]["qanat_code"]) == (400, "policy_bad")


def test_a_record_whose_tunnel_is_deleted_is_shown_and_keeps_its_name(moving: Moving) -> None:
    control: Control = moving.control
    listed = f"/accounts/{control.account}/qanat/quarantined-records"
    control.call("DELETE", f"{control.tunnels()}/{moving.source}", cascade="true")
    (shown,) = [row for row in control.call("GET", listed) if row["zone_id"] == moving.desk.id]
    assert (shown["name"], shown["tunnel_id"]) == (moving.hostname, moving.source)
    assert shown["since"]
    # a wildcard around it gets nothing of it
    other = moving.tunnel("other")
    moving.desk.post(**{**moving.fields(other), "name": f"*.{moving.desk.name}"})
    route = control.edge.route(moving.hostname)
    assert route is not None
    assert route.hostname == moving.hostname
    # nor does another account, that brings a tunnel of that very id along
    second = control.call("POST", "/accounts", {"name": f"second {moving.number}"})["id"]
    document = control.call("GET", f"/qanat/accounts/{control.account}/export")
    document["account"]["id"] = second
    document["zones"] = []
    document["tunnels"] = [each for each in document["tunnels"] if each["id"] == moving.source] or [
        {**document["tunnels"][0], "id": moving.source}
    ]
    report = control.call("POST", f"/qanat/accounts/{second}/import", document)
    assert [each["reason"] for each in report["steps"] if each["kind"] == "tunnel"] == ["the id is taken"]
    assert moving.ask("put", other).status_code == 200
    assert not [row for row in control.call("GET", listed) if row["zone_id"] == moving.desk.id]


def test_weights_that_give_a_tunnel_more_than_it_had_are_asked_too(moving: Moving) -> None:
    path = f"/accounts/{moving.control.account}/qanat/hostnames/{moving.hostname}/targets"
    dead, good = moving.tunnel("dead", connected=False), moving.tunnel("good")

    def put(shares: dict[str, int], headers: dict[str, str] | None = None) -> httpx.Response:
        targets = [{"tunnel_id": tunnel_id, "weight": weight} for tunnel_id, weight in shares.items()]
        return moving.control.http.put(path, json={"targets": targets}, headers=headers)

    refused = put({moving.source: 95, dead: 5})
    assert f"dead-{moving.number} has no connections" in refusal(refused)
    assert "targets" in refused.json()["errors"][0]["message"]
    assert put({moving.source: 95, dead: 0}).status_code == 200, "nothing goes to it"
    assert put({moving.source: 50, good: 50}).status_code == 200
    assert put({moving.source: 50, good: 45, dead: 5}, OFF).status_code == 200
    refusal(put({moving.source: 50, good: 40, dead: 10}))
    assert put({moving.source: 55, good: 44, dead: 1}).status_code == 200, "it gets less"
    moving.edge.answers[moving.source] = REFUSED
    assert "connection refused" in refusal(moving.control.http.delete(path)), "its record's tunnel would get all of it"
    moving.edge.answers[good] = REFUSED
    assert moving.control.http.delete(path).status_code == 200, "nobody serves it anyway"


def test_a_record_that_is_repointed_is_watched_afterwards_and_shown_in_the_history(moving: Moving) -> None:
    good = moving.tunnel("good", answer=Answer(status=302, headers={"content-type": "text/html"}))
    assert moving.ask("patch", good).status_code == 200
    path = f"/accounts/{moving.control.account}/qanat/cutovers"
    (watched,) = moving.control.call("GET", path, hostname=moving.hostname)
    assert (watched["state"], [each["event"] for each in watched["timeline"]]) == ("settling", ["watch"])
    assert watched["plan"]["check"]["status"] == 302, "what it answered when it was moved"
    assert moving.ask("patch", moving.source, OFF).status_code == 200
    assert len(moving.control.call("GET", path, hostname=moving.hostname)) == 1, "who overrides it isn't watched"
