import json
from typing import Any

import httpx
import pytest

from qanat.api.http.pace import Pace
from qanat.store import NoticeKind
from tests.support.control import Control

GOOD: dict[str, Any] = {
    "ingress": [{"hostname": "app.example.test", "service": "http://localhost:80"}, {"service": "http_status:404"}]
}


@pytest.fixture
def path(control: Control) -> str:
    return f"{control.tunnels()}/{control.create_tunnel()['id']}/configurations"


def test_one_that_was_never_set(control: Control, path: str) -> None:
    found = control.call("GET", path)
    assert (found["version"], found["config"]) == (0, {"warp-routing": {"enabled": False}})
    assert found["tunnel_id"] in path


def test_put_then_get(control: Control, path: str) -> None:
    control.notices.clear()
    put = control.call("PUT", path, {"config": GOOD})
    assert put == control.call("GET", path)
    assert (put["version"], put["source"], put["account_id"]) == (1, "cloudflare", control.account)
    assert put["config"] == {**GOOD, "warp-routing": {"enabled": False}}
    assert [notice.kind for notice in control.notices] == [NoticeKind.CONFIGURATION]
    assert control.call("PUT", path, {"config": GOOD})["version"] == 1
    assert control.call("PUT", path, {"config": {"ingress": [{"service": "http_status:503"}]}})["version"] == 2


def test_the_echo_is_exact_but_for_nulls(control: Control, path: str) -> None:
    sent = (
        '{"config":{"warp-routing":{"enabled":true},"originRequest":{},"ingress":[{"path":"","originRequest":'
        '{"noTLSVerify":false,"connectTimeout":0,"httpHostHeader":"","access":null,"unheardOf":{"b":1,"a":[1,2]}},'
        '"hostname":"","service":"http_status:404"}],"x":null,"another":[]}}'
    )
    answer = control.http.put(path, content=sent)
    assert answer.status_code == 200, answer.text
    expected = (
        '{"warp-routing":{"enabled":true},"originRequest":{},"ingress":[{"path":"","originRequest":'
        '{"noTLSVerify":false,"connectTimeout":0,"httpHostHeader":"","unheardOf":{"b":1,"a":[1,2]}},'
        '"hostname":"","service":"http_status:404"}],"another":[]}'
    )
    assert json.dumps(answer.json()["result"]["config"], separators=(",", ":")) == expected
    assert json.dumps(control.call("GET", path)["config"], separators=(",", ":")) == expected


def test_empty_ones_are_taken(control: Control, path: str) -> None:
    bodies: list[dict[str, Any]] = [{"config": {}}, {"config": None}, {}, {"config": {"ingress": []}}]
    for body in bodies:
        control.call("PUT", path, body)


def test_the_source_that_was_sent_comes_back(control: Control, path: str) -> None:
    assert control.call("PUT", path, {"config": GOOD, "source": "local"})["source"] == "local"
    assert control.call("PUT", path, {"config": GOOD})["source"] == "cloudflare"


def test_a_local_tunnel_takes_one_and_stays_local(control: Control) -> None:
    tunnel = control.call("POST", control.tunnels(), {"name": "local one"})
    one = f"{control.tunnels()}/{tunnel['id']}"
    control.call("PUT", f"{one}/configurations", {"config": GOOD})
    shown = control.call("GET", one)
    assert (shown["config_src"], shown["remote_config"]) == ("local", False)


CATCH_ALL = {"service": "http_status:404"}


@pytest.mark.parametrize(
    ("ingress", "where"),
    [
        ([{"hostname": "a.test", "service": "http://x"}], "ingress[0]"),
        ([CATCH_ALL, {"hostname": "a.test", "service": "http://x"}, CATCH_ALL], "ingress[0]"),
        ([{"path": "/x", "service": "http://x"}], "ingress[0]"),
        ([{"hostname": "https://a.test", "service": "http://x"}, CATCH_ALL], "ingress[0].hostname"),
        ([{"hostname": "a.test:8443", "service": "http://x"}, CATCH_ALL], "ingress[0].hostname"),
        ([{"hostname": "a.*.test", "service": "http://x"}, CATCH_ALL], "ingress[0].hostname"),
        ([{"hostname": "a.test", "service": "localhost:80"}, CATCH_ALL], "ingress[0].service"),
        ([{"hostname": "a.test", "service": "http://127.0.0.1:80/base"}, CATCH_ALL], "ingress[0].service"),
        ([{"hostname": "a.test", "service": "http_status:99"}, CATCH_ALL], "ingress[0].service"),
        ([{"hostname": "a.test", "service": "http_status:abc"}, CATCH_ALL], "ingress[0].service"),
        ([{"hostname": "a.test", "path": "([", "service": "http://x"}, CATCH_ALL], "ingress[0].path"),
        ("nothing", "ingress"),
    ],
)
def test_a_bad_one_names_rule_and_field_and_leaves_no_trace(
    control: Control, path: str, ingress: object, where: str
) -> None:
    before = control.call("PUT", path, {"config": GOOD})
    control.notices.clear()
    answer = control.http.put(path, json={"config": {"ingress": ingress}})
    assert answer.status_code == 400
    error = answer.json()["errors"][0]
    assert error["code"] == 1056
    assert where in error["message"]
    pointer = "/config/" + where.replace("[", "/").replace("]", "").replace(".", "/")
    assert error["source"]["pointer"].startswith(pointer)
    assert control.call("GET", path) == before
    assert control.notices == []


def test_versions_with_their_authors(control: Control, path: str) -> None:
    control.call("PUT", path, {"config": GOOD})
    control.call("PUT", path, {"config": {}})
    tunnel_id = path.split("/")[-2]
    versions = control.call("GET", f"/qanat/tunnels/{tunnel_id}/configurations/versions")
    assert [version["version"] for version in versions] == [2, 1]
    assert versions[1]["config"]["ingress"] == GOOD["ingress"]
    assert {version["author"] for version in versions} == {control.call("GET", "/user/tokens/verify")["id"]}


@pytest.mark.requirement("S30")
def test_a_tunnel_that_is_configured_too_often_waits_and_another_does_not(control: Control) -> None:
    """S30: its connectors take a hundred pushes a minute."""
    assert control.context.configuring._most == 100
    clock = StepClock()
    control.context.configuring = Pace(most=3, within_s=60.0, clock=clock)
    attacker, victim = control.create_tunnel("attacker"), control.create_tunnel("victim")
    path = f"{control.tunnels()}/{attacker['id']}/configurations"

    def put(path: str, port: int) -> httpx.Response:
        body = {"config": {"ingress": [{"service": f"http://127.0.0.1:{port}"}]}}
        return control.http.put(path, json=body)

    assert [put(path, port).status_code for port in (1, 2, 3, 4)] == [200, 200, 200, 429]
    assert int(put(path, 5).headers["retry-after"]) <= 60
    assert control.call("GET", path)["version"] == 3
    rolled_back = control.http.post(f"/qanat/tunnels/{attacker['id']}/configurations/rollback", json={"version": 1})
    assert rolled_back.status_code == 429
    assert put(f"{control.tunnels()}/{victim['id']}/configurations", 1).status_code == 200
    clock.now += 60.0
    assert put(path, 6).status_code == 200


class StepClock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
