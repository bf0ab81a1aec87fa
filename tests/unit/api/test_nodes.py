"""Nodes, modes and promotions over the API; and a host that asks by its connector token."""

import base64
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from qanat.nodes import promotion
from qanat.nodes.readiness import Facts
from qanat.store.models import Promotion
from tests.support.control import Control, check_failure
from tests.support.links import register


class Pair:
    """A tunnel with two hosts, both connected; `web-1` is active."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.tunnel = control.create_tunnel("web")
        self.base = f"/accounts/{control.account}/qanat/tunnels/{self.tunnel['id']}"
        self.tokens: dict[str, Any] = {}
        for name in ("web-1", "web-2"):
            path = f"/qanat/tunnels/{self.tunnel['id']}/connector-tokens"
            self.tokens[name] = control.call("POST", path, {"name": name})
            register(control.store, self.tunnel["id"], str(uuid4()), token_id=self.tokens[name]["id"])
        self.mode = control.call("PUT", self.base + "/mode", {"mode": "active-standby", "active": "web-1"})

    def own(self, name: str, method: str, path: str, body: object = None) -> httpx.Response:
        """As the host itself."""
        headers = {"authorization": f"Bearer {self.tokens[name]['token']}"}
        return self.control.http.request(method, f"/qanat/node{path}", json=body, headers=headers)

    def pause(self, promotion_id: str) -> None:
        """As whoever runs it would."""
        states: tuple[promotion.State, ...] = ("held", "draining", "before")
        for state in states:
            with self.control.store.recording() as write:
                promotion.step(write, write.session.get_one(Promotion, promotion_id), state)


@pytest.fixture
def pair(control: Control) -> Pair:
    return Pair(control)


def test_a_tunnel_shows_its_mode_and_its_nodes(control: Control, pair: Pair) -> None:
    assert (pair.mode["mode"], pair.mode["active"], pair.mode["epoch"]) == ("active-standby", "web-1", 1)
    found = control.call("GET", pair.base + "/nodes")
    assert [(each["name"], each["state"], each["connections"]) for each in found["nodes"]] == [
        ("web-1", "active", 1),
        ("web-2", "standby", 1),
    ]
    assert control.call("GET", pair.base + "/nodes/web-2") == found["nodes"][1]
    other = control.create_tunnel("other")
    found = control.call("GET", f"/accounts/{control.account}/qanat/tunnels/{other['id']}/nodes")
    assert (found["mode"]["mode"], [each["name"] for each in found["nodes"]]) == ("replicas", ["default"])


def test_a_promotion_is_asked_for_and_refused_with_the_reason(control: Control, pair: Pair) -> None:
    path = pair.base + "/nodes/{}/promote"
    assert control.refused("POST", path.format("nobody"), {})[:2] == (404, 1002)
    status, code, message = control.refused("POST", path.format("web-1"), {})
    assert (status, code) == (409, 1013)
    assert "active since epoch 1" in message
    control.edge.facts[pair.tunnel["id"], pair.tokens["web-2"]["id"]] = Facts(
        connections=1, health="unhealthy", why="GET /up answered 503"
    )
    assert "GET /up answered 503" in control.refused("POST", path.format("web-2"), {})[2]
    control.edge.facts.clear()
    assert "the epoch is 1" in control.refused("POST", path.format("web-2"), {"epoch": 4})[2]
    begun = control.call("POST", path.format("web-2"), {"before": True, "reason": "new disk"})
    assert (begun["state"], begun["from_node"], begun["to_node"]) == ("wanted", "web-1", "web-2")
    assert "the epoch is 1" in control.refused("POST", path.format("web-2"), {})[2]
    pair.pause(begun["id"])
    control.call("POST", f"{pair.base}/promotions/{begun['id']}/advance", {"state": "before"})
    assert control.refused("POST", f"{pair.base}/promotions/{begun['id']}/advance", {"state": "after"})[0] == 409
    control.call("POST", f"{pair.base}/promotions/{begun['id']}/undo", {"reason": "no"})
    shown = control.call("GET", f"{pair.base}/promotions/{begun['id']}")
    assert (shown["state"], shown["undo_reason"]) == ("before", "no")
    assert control.call("GET", f"{pair.base}/promotions")[0]["id"] == begun["id"]


def test_a_node_is_fenced_drained_and_unfenced(control: Control, pair: Pair) -> None:
    drained = control.call("POST", pair.base + "/nodes/web-2/drain", {})
    assert (drained["state"], drained["fenced_by"], drained["fenced_reason"]) == ("fenced", "operator", "drained")
    assert control.edge.cuts == []
    assert control.call("POST", pair.base + "/nodes/web-2/unfence")["state"] == "standby"
    control.call("POST", pair.base + "/nodes/web-2/fence", {"reason": "broken"})
    assert control.edge.cuts == [(pair.tunnel["id"], pair.tokens["web-2"]["id"])]
    assert control.refused("POST", pair.base + "/nodes/web-1/fence", {})[0] == 409


def test_a_host_asks_about_itself_by_its_connector_token(control: Control, pair: Pair) -> None:
    shown = pair.own("web-2", "GET", "").json()["result"]
    assert (shown["name"], shown["state"]) == ("web-2", "standby")
    assert len(pair.own("web-2", "GET", "/nodes").json()["result"]["nodes"]) == 2
    begun = pair.own("web-2", "POST", "/promote", {"before": True}).json()["result"]
    assert begun["to_node"] == "web-2"
    assert pair.own("web-2", "GET", f"/promotions/{begun['id']}").json()["result"]["id"] == begun["id"]
    assert pair.own("web-1", "GET", f"/promotions/{begun['id']}").status_code == 404
    assert pair.own("web-1", "POST", f"/promotions/{begun['id']}/undo", {}).status_code == 404
    pair.pause(begun["id"])
    assert pair.own("web-2", "POST", f"/promotions/{begun['id']}/advance", {"state": "before"}).status_code == 200
    assert pair.own("web-2", "POST", f"/promotions/{begun['id']}/undo", {}).status_code == 200
    assert pair.own("web-2", "POST", "/drain", {}).json()["result"]["fenced_by"] == "node"
    assert pair.own("web-2", "POST", "/unfence").json()["result"]["state"] == "standby"
    pair.own("web-2", "POST", "/fence", {})
    assert control.edge.cuts == [(pair.tunnel["id"], pair.tokens["web-2"]["id"])]


def test_a_host_does_not_take_back_what_others_decided(control: Control, pair: Pair) -> None:
    control.call("POST", pair.base + "/nodes/web-2/fence", {"reason": "broken"})
    refused = pair.own("web-2", "POST", "/unfence")
    check_failure(refused)
    assert refused.status_code == 409
    assert "fenced by an operator: broken" in refused.text


def test_the_tunnels_own_token_is_the_node_default(control: Control, pair: Pair) -> None:
    own = control.call("GET", f"{control.tunnels()}/{pair.tunnel['id']}/token")
    shown = control.http.get("/qanat/node", headers={"authorization": f"Bearer {own}"}).json()["result"]
    assert shown["id"] == "default"


def forged(token: str, **fields: object) -> str:
    known = json.loads(base64.b64decode(token))
    return base64.b64encode(json.dumps({**known, **fields}).encode()).decode()


@pytest.mark.requirement("S33")
def test_whatever_is_wrong_with_a_connector_token_is_told_alike_and_guesses_are_limited(
    control: Control, pair: Pair
) -> None:
    good = pair.tokens["web-2"]["token"]
    other = control.create_tunnel("other")
    bad = [
        "nonsense",
        forged(good, s=base64.b64encode(bytes(32)).decode()),
        forged(good, t=str(uuid4())),
        forged(good, t=other["id"]),
        forged(good, a="0" * 32),
        forged(good, s="%"),
    ]
    told = set()
    for text in bad[:4]:
        answer = control.http.get("/qanat/node", headers={"authorization": f"Bearer {text}"})
        check_failure(answer)
        told.add((answer.status_code, answer.json()["errors"][0]["message"]))
    assert told == {(403, "Invalid connector token")}
    control.context.guesses._failures.clear()
    for text in bad[4:]:
        assert control.http.get("/qanat/node", headers={"authorization": f"Bearer {text}"}).status_code == 403
    statuses = [
        control.http.get("/qanat/node", headers={"authorization": f"Bearer {bad[1]}"}).status_code for _ in range(9)
    ]
    assert 429 in statuses
    assert pair.own("web-2", "GET", "").status_code == 200, "who has a good one is never kept waiting"
    control.call("DELETE", f"/qanat/tunnels/{pair.tunnel['id']}/connector-tokens/{pair.tokens['web-2']['id']}")
    assert pair.own("web-2", "GET", "").status_code in (403, 429)


def test_an_api_token_is_no_connector_token_and_the_other_way_round(control: Control, pair: Pair) -> None:
    assert control.http.get("/qanat/node").status_code == 403
    headers = {"authorization": f"Bearer {pair.tokens['web-2']['token']}"}
    assert control.http.get(pair.base + "/nodes", headers=headers).status_code == 403
