from typing import Any

import pytest

from tests.support.control import Control


class Split:
    """app.example.test on `web`, with `canary` beside it."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.web, self.canary = (control.create_tunnel(name)["id"] for name in ("web", "canary"))
        self.zone = control.create_zone()
        self.record = self.point(self.web)
        self.path = f"/accounts/{control.account}/qanat/hostnames/app.example.test/targets"

    def point(self, tunnel_id: str) -> Any:
        content = f"{tunnel_id}.cfargotunnel.com"
        return self.control.create_record(self.zone["id"], name="app", type="CNAME", content=content, proxied=True)

    def put(self, shares: dict[str, int], **more: str) -> Any:
        targets = [{"tunnel_id": tunnel_id, "weight": weight} for tunnel_id, weight in shares.items()]
        return self.control.call("PUT", self.path, {"targets": targets, **more})

    def route(self) -> Any:
        return self.control.edge.route("app.example.test")


@pytest.fixture
def split(control: Control) -> Split:
    return Split(control)


def test_weights_are_set_shown_explained_and_taken_away(split: Split) -> None:
    before = split.control.call("GET", split.path)
    assert (before["is_split"], [each["percent"] for each in before["targets"]]) == (False, [100.0])
    found = split.put({split.web: 95, split.canary: 5}, sticky="cookie")
    assert {each["tunnel_name"]: (each["weight"], each["percent"]) for each in found["targets"]} == {
        "web": (95, 95.0),
        "canary": (5, 5.0),
    }
    assert (found["sticky"], found["is_split"], found["record_id"]) == ("cookie", True, split.record["id"])
    assert split.control.call("GET", split.path) == found
    assert (dict(split.route().targets), split.route().sticky) == ({split.web: 95, split.canary: 5}, "cookie")
    explained = split.control.call("GET", "/qanat/explain", url="https://app.example.test/")
    assert explained["tunnel"]["id"] == split.web
    assert explained["split"]["sticky"] == "cookie"
    assert {each["tunnel_id"]: each["weight"] for each in explained["split"]["targets"]} == dict(split.route().targets)
    assert split.control.call("DELETE", split.path)["is_split"] is False
    assert split.route().targets == [(split.web, 1)]
    assert split.control.call("DELETE", split.path)["is_split"] is False


def test_a_record_that_is_repointed_elsewhere_overrules_the_weights(split: Split) -> None:
    split.put({split.web: 1, split.canary: 1})
    other = split.control.create_tunnel("other")["id"]
    path = f"/zones/{split.zone['id']}/dns_records/{split.record['id']}"
    split.control.call("PATCH", path, {"content": f"{split.canary}.cfargotunnel.com"})
    assert len(split.route().targets) == 2, "one of them"
    split.control.call("PATCH", path, {"content": f"{other}.cfargotunnel.com"})
    assert split.route().targets == [(other, 1)]
    found = split.control.call("GET", split.path)
    assert (found["is_overruled"], [each["tunnel_name"] for each in found["targets"]]) == (True, ["other"])


@pytest.mark.parametrize(
    ("shares", "where"),
    [
        ({"canary": 1}, "targets"),
        ({"web": 0, "canary": 0}, "targets"),
        ({"web": -1}, "targets[0].weight"),
        ({"web": 1_000_001}, "targets[0].weight"),
        ({}, "targets"),
    ],
)
def test_what_can_not_be_is_refused_and_changes_nothing(split: Split, shares: dict[str, int], where: str) -> None:
    ids = {"web": split.web, "canary": split.canary}
    targets = [{"tunnel_id": ids[name], "weight": weight} for name, weight in shares.items()]
    status, code, message = split.control.refused("PUT", split.path, {"targets": targets})
    assert (status, code) == (400, 1003)
    assert where in message
    assert split.route().targets == [(split.web, 1)]


def test_a_hostname_without_a_public_record_has_no_weights(split: Split) -> None:
    path = split.path.replace("app.example.test", "nothing.example.test")
    assert split.control.refused("GET", path)[:2] == (404, 1003)
