from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from qanat.auth import issue
from qanat.control.policies import origin_certificate_policies
from qanat.store import NoticeKind
from qanat.store.models import Audit
from tests.support.control import Control
from tests.support.writes import written


class Desk:
    """An account with the zones a.example and b.example, and a cert.pem's token for the first."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.zone = control.create_zone("a.example")
        self.other = control.create_zone("b.example")
        self.t1, self.t2 = control.create_tunnel("t1"), control.create_tunnel("t2")

    def as_cert_pem(self) -> None:
        policies = origin_certificate_policies(self.control.account, self.zone["id"])
        text, _ = written(self.control.store, issue, name="cert", policies=policies, kind="origin_cert")
        self.control.http.headers["authorization"] = f"Bearer {text}"

    def path(self, tunnel: Any) -> str:
        return f"/zones/{self.zone['id']}/tunnels/{tunnel['id']}/routes"

    def route(self, tunnel: Any, hostname: str, *, overwrite: bool = False) -> Any:
        body = {"type": "dns", "user_hostname": hostname, "overwrite_existing": overwrite}
        return self.control.call("PUT", self.path(tunnel), body)

    def refused(self, tunnel: Any, hostname: str) -> tuple[int, int, str]:
        body = {"type": "dns", "user_hostname": hostname, "overwrite_existing": False}
        return self.control.refused("PUT", self.path(tunnel), body)

    def record(self, name: str) -> Any:
        zone = self.other if name.endswith("b.example") else self.zone
        (found,) = self.control.call("GET", f"/zones/{zone['id']}/dns_records", name=name)
        return found


@pytest.fixture
def desk(control: Control) -> Desk:
    return Desk(control)


def _target(tunnel: Any) -> str:
    return f"{tunnel['id']}.cfargotunnel.com"


@pytest.mark.case(33)
def test_another_zones_name_goes_to_that_zone(desk: Desk) -> None:
    done = desk.route(desk.t1, "app.b.example")
    assert (done["cname"], done["name"]) == ("new", "app.b.example")
    record = desk.record("app.b.example")
    assert done["dns_tag"] == record["id"]
    assert (record["type"], record["content"], record["proxied"], record["ttl"]) == ("CNAME", _target(desk.t1), True, 1)
    assert desk.control.call("GET", f"/zones/{desk.zone['id']}/dns_records") == []


@pytest.mark.case(33)
def test_a_short_name_twice_then_overwritten(desk: Desk) -> None:
    assert desk.route(desk.t1, "app")["cname"] == "new"
    assert desk.route(desk.t1, "app") == {
        "cname": "unchanged",
        "name": "app.a.example",
        "dns_tag": desk.record("app.a.example")["id"],
        "previous": [],
    }
    status, code, message = desk.refused(desk.t2, "app")
    assert (status, code) == (400, 1003)
    assert "already exist" in message
    assert _target(desk.t1) in message
    desk.control.notices.clear()
    done = desk.route(desk.t2, "app", overwrite=True)
    assert (done["cname"], done["previous"]) == ("updated", [f"CNAME {_target(desk.t1)}"])
    assert desk.record("app.a.example")["content"] == _target(desk.t2)
    assert NoticeKind.ROUTES in [notice.kind for notice in desk.control.notices]
    with desk.control.store.reading() as session:
        detail = session.query(Audit).order_by(Audit.seq.desc()).first().detail  # type: ignore[union-attr]
    assert _target(desk.t1) in detail
    assert _target(desk.t2) in detail


@pytest.mark.trap(18)
@pytest.mark.parametrize("hostname", ["APP.A.Example", "app.a.example.", "app", "App", " app.a.example "])
def test_one_name_however_it_is_written(desk: Desk, hostname: str) -> None:
    desk.route(desk.t1, "app.a.example")
    assert desk.route(desk.t1, hostname)["cname"] == "unchanged"
    assert desk.route(desk.t2, hostname, overwrite=True)["cname"] == "updated"
    assert len(desk.control.call("GET", f"/zones/{desk.zone['id']}/dns_records")) == 1


@pytest.mark.case(33)
def test_the_longest_zone_wins(desk: Desk) -> None:
    inner = desk.control.create_zone("dev.a.example")
    desk.route(desk.t1, "app.dev.a.example")
    (record,) = desk.control.call("GET", f"/zones/{inner['id']}/dns_records")
    assert record["name"] == "app.dev.a.example"


@pytest.mark.case(33)
def test_a_zone_that_the_certificate_may_not_edit_is_named_and_nothing_is_doubled(desk: Desk) -> None:
    desk.as_cert_pem()
    status, _, message = desk.refused(desk.t1, "app.b.example")
    assert status == 403
    assert "b.example" in message
    assert "a.example" in message
    assert desk.control.call("GET", f"/zones/{desk.zone['id']}/dns_records") == []
    assert desk.route(desk.t1, "app.a.example")["cname"] == "new"


def test_a_name_in_no_zone_is_relative_unless_it_ends_with_a_dot(desk: Desk) -> None:
    assert desk.route(desk.t1, "x.y")["name"] == "x.y.a.example"
    status, code, message = desk.refused(desk.t1, "app.elsewhere.example.")
    assert (status, code) == (400, 1003)
    assert "a.example, b.example" in message


@pytest.mark.parametrize(
    ("hostname", "name"), [("*", "*.a.example"), ("@", "a.example"), ("*.b.example", "*.b.example")]
)
def test_wildcards_and_the_apex(desk: Desk, hostname: str, name: str) -> None:
    assert desk.route(desk.t1, hostname)["name"] == name


@pytest.mark.trap(19)
def test_a_cname_of_a_deleted_tunnel_is_replaced_unasked(desk: Desk) -> None:
    desk.route(desk.t1, "app")
    desk.control.call("DELETE", f"{desk.control.tunnels()}/{desk.t1['id']}")
    assert desk.route(desk.t2, "app")["cname"] == "updated"
    assert desk.record("app.a.example")["content"] == _target(desk.t2)


def test_of_many_that_ask_for_a_stale_record_at_once_one_gets_it(desk: Desk) -> None:
    """What came in the stale one's place meanwhile is not replaced."""
    desk.route(desk.t1, "app")
    desk.control.call("DELETE", f"{desk.control.tunnels()}/{desk.t1['id']}")
    wanted = [desk.control.create_tunnel(f"w{number}") for number in range(6)]
    body = {"type": "dns", "user_hostname": "app", "overwrite_existing": False}
    with ThreadPoolExecutor(len(wanted)) as pool:
        answers = list(pool.map(lambda each: desk.control.http.put(desk.path(each), json=body), wanted))
    won = [tunnel for tunnel, answer in zip(wanted, answers, strict=True) if answer.status_code == 200]
    assert len(won) == 1
    for answer in answers:
        if answer.status_code != 200:
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 1003)
    assert desk.record("app.a.example")["content"] == _target(won[0])


def test_addresses_are_replaced_only_when_asked_and_all_of_them(desk: Desk) -> None:
    for kind, content in (("A", "192.0.2.1"), ("A", "192.0.2.2"), ("AAAA", "2001:db8::1"), ("TXT", '"kept"')):
        desk.control.create_record(desk.zone["id"], name="app", type=kind, content=content)
    _, code, message = desk.refused(desk.t1, "app")
    assert code == 1003
    assert "192.0.2.1" in message
    done = desk.route(desk.t1, "app", overwrite=True)
    assert done["cname"] == "updated"
    assert len(done["previous"]) == 3
    found = desk.control.call("GET", f"/zones/{desk.zone['id']}/dns_records", name="app.a.example")
    assert sorted((each["type"], each["content"]) for each in found) == [
        ("CNAME", _target(desk.t1)),
        ("TXT", '"kept"'),
    ]


def test_comment_and_tags_of_an_overwritten_record_stay(desk: Desk) -> None:
    desk.control.create_record(
        desk.zone["id"],
        name="app",
        type="CNAME",
        content="elsewhere.example.net",
        comment="ours",
        tags=["team:web"],
    )
    desk.route(desk.t1, "app", overwrite=True)
    record = desk.record("app.a.example")
    assert (record["comment"], record["tags"], record["ttl"], record["proxied"]) == ("ours", ["team:web"], 1, True)


def test_there_are_no_load_balancers(desk: Desk) -> None:
    body = {"type": "lb", "lb_name": "app.a.example", "lb_pool": "pool"}
    status, _, message = desk.control.refused("PUT", desk.path(desk.t1), body)
    assert status == 400
    assert "load balancers" in message


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "dns"},
        {"type": "dns", "user_hostname": ""},
        {"type": "dns", "user_hostname": "  "},
        {"type": "nope", "user_hostname": "x"},
        {"type": "dns", "user_hostname": 7},
        {"type": "dns", "user_hostname": "https://app.a.example"},
        {"type": "dns", "user_hostname": "app.a.example:443"},
        {"type": "dns", "user_hostname": "a b"},
        {"type": "dns", "user_hostname": "x" * 300},
        {"type": "dns", "user_hostname": "app", "overwrite_existing": "yes"},
    ],
)
def test_a_bad_route_is_refused_and_leaves_no_trace(desk: Desk, body: dict[str, Any]) -> None:
    assert desk.control.refused("PUT", desk.path(desk.t1), body)[0] == 400
    assert desk.control.call("GET", f"/zones/{desk.zone['id']}/dns_records") == []


def test_a_tunnel_must_be_there(desk: Desk) -> None:
    desk.control.call("DELETE", f"{desk.control.tunnels()}/{desk.t1['id']}")
    assert desk.refused(desk.t1, "app")[:2] == (404, 1002)
    assert desk.refused({"id": "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"}, "app")[:2] == (404, 1002)
    assert desk.refused({"id": "nonsense"}, "app")[0] == 404
