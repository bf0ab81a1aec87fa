import json
import resource
from typing import Any
from uuid import uuid4

import pytest

from qanat.api.http.turns import Turns
from qanat.auth import issue
from qanat.control import connections
from qanat.store import SYSTEM
from qanat.store.models import Account, Tunnel
from qanat.store.skipped import Failure
from tests.support.control import Control
from tests.support.links import register
from tests.support.writes import written

RULES = [
    {"hostname": "other.example.test", "service": "http://other:80"},
    {"hostname": "*.example.test", "path": "^/api/", "service": "http://api:80"},
    {"hostname": "app.example.test", "path": "\\.jpg$", "service": "http://images:80"},
    {"hostname": "app.example.test", "service": "http://app:80"},
    {"service": "http_status:404"},
]


class Desk:
    """A zone, a tunnel with rules and a connector, and app.example.test on it."""

    def __init__(self, control: Control, *, rules: bool = True) -> None:
        self.control = control
        self.zone = control.create_zone()
        self.tunnel = control.create_tunnel("web")
        self.one = f"{control.tunnels()}/{self.tunnel['id']}"
        if rules:
            control.call("PUT", f"{self.one}/configurations", {"config": {"ingress": RULES}})
        self.publish("app")
        register(control.store, self.tunnel["id"], str(uuid4()))

    def publish(self, name: str, **more: Any) -> Any:
        content = f"{self.tunnel['id']}.cfargotunnel.com"
        fields = {"type": "CNAME", "content": content, "proxied": True, "ttl": 1, **more}
        return self.control.create_record(self.zone["id"], name=name, **fields)

    def explain(self, url: str) -> Any:
        return self.control.call("GET", "/qanat/explain", url=url)

    def outcome(self, url: str = "https://app.example.test/") -> str:
        return str(self.explain(url)["outcome"])


@pytest.fixture
def desk(control: Control) -> Desk:
    return Desk(control)


def test_the_whole_way(desk: Desk) -> None:
    found = desk.explain("https://app.example.test/x?y=1")
    assert (found["outcome"], found["hostname"], found["path"]) == ("served", "app.example.test", "/x")
    assert found["zone"]["name"] == "example.test"
    assert found["record"]["name"] == "app.example.test"
    assert (found["tunnel"]["name"], found["tunnel"]["status"], found["tunnel"]["connectors"]) == ("web", "healthy", 1)
    assert found["configuration"] == {"version": 1, "managed": "remotely"}
    assert (found["rule"]["index"], found["rule"]["service"], found["rule"]["missed"]) == (3, "http://app:80", None)
    assert found["service"] == "http://app:80"
    assert [(each["index"], each["missed"]) for each in found["earlier"]] == [
        (0, "hostname"),
        (1, "path"),
        (2, "path"),
    ]
    assert found["earlier"][0]["reason"] == "the host app.example.test isn't other.example.test"
    assert found["earlier"][1]["reason"] == "the path /x doesn't match ^/api/"
    assert "rule 3" in found["reason"]


@pytest.mark.parametrize(
    ("url", "index"),
    [
        ("app.example.test", 3),
        ("http://APP.example.test:8443/a.jpg", 2),
        ("app.example.test/api/x", 1),
        ("https://app.example.test/%61pi/x", 1),
    ],
)
def test_matching_is_that_of_live_traffic(desk: Desk, url: str, index: int) -> None:
    assert desk.explain(url)["rule"]["index"] == index


def test_a_wildcard_record_and_the_catch_all(desk: Desk) -> None:
    desk.publish("*")
    found = desk.explain("https://deep.below.example.test/")
    assert found["record"]["name"] == "*.example.test"
    assert (found["rule"]["index"], found["service"]) == (4, "http_status:404")
    assert desk.explain("https://app.example.test/")["record"]["name"] == "app.example.test"


def test_where_the_way_ends(desk: Desk) -> None:
    assert desk.outcome("https://nowhere.example.net/") == "unknown_hostname"
    assert desk.outcome("https://missing.example.test/") == "unknown_hostname"
    assert desk.outcome("https://192.0.2.1/") == "unknown_hostname"
    desk.control.create_record(desk.zone["id"], name="plain", type="A", content="192.0.2.1")
    assert desk.outcome("https://plain.example.test/") == "not_proxied"
    desk.control.create_record(desk.zone["id"], name="shown", type="A", content="192.0.2.1", proxied=True)
    assert desk.outcome("https://shown.example.test/") == "not_a_tunnel"
    desk.control.call("DELETE", f"{desk.one}/connections")
    found = desk.explain("https://app.example.test/")
    assert found["outcome"] == "no_connectors"
    assert found["tunnel"]["status"] == "down"
    assert found["rule"]["index"] == 3
    desk.control.call("PATCH", f"/zones/{desk.zone['id']}", {"paused": True})
    assert desk.outcome() == "zone_paused"
    desk.control.call("PATCH", f"/zones/{desk.zone['id']}", {"paused": False})
    desk.control.call("DELETE", desk.one)
    assert desk.outcome() == "tunnel_deleted"


def test_no_rules(desk: Desk) -> None:
    desk.control.call("PUT", f"{desk.one}/configurations", {"config": {}})
    found = desk.explain("app.example.test")
    assert (found["outcome"], found["rule"], found["earlier"]) == ("no_rules", None, [])


def test_a_locally_managed_tunnel_by_what_its_connector_told(control: Control) -> None:
    zone = control.create_zone()
    tunnel = control.create_tunnel("local", config_src="local")
    content = f"{tunnel['id']}.cfargotunnel.com"
    control.create_record(zone["id"], name="app", type="CNAME", content=content, proxied=True)
    register(control.store, tunnel["id"], str(uuid4()))
    path = "/qanat/explain?url=app.example.test"
    assert control.call("GET", path)["outcome"] == "configuration_unknown"
    told = '{"__configuration_flags":{"url":"x"},"ingress":[{"service":"http://localhost:8080"}],"warp-routing":{}}'
    for document, outcome in ((told, "served"), ("nonsense", "configuration_unreadable")):
        with control.store.recording() as write:
            connections.local_configuration(write, tunnel_id=tunnel["id"], document=document, at=write.at)
        assert control.call("GET", path)["outcome"] == outcome
        if outcome == "served":
            found = control.call("GET", path)
            assert (found["configuration"]["managed"], found["service"]) == ("locally", "http://localhost:8080")


@pytest.mark.parametrize("url", ["", "https:///x", "https://", "http://[::1", "https://a:b:c/", "/x"])
def test_a_text_without_a_hostname(control: Control, url: str) -> None:
    assert control.refused("GET", "/qanat/explain", url=url)[:2] == (400, 1001)


@pytest.mark.requirement("S34")
def test_another_accounts_hostname_is_as_unknown_as_any(desk: Desk) -> None:
    with desk.control.store.writing(SYSTEM) as write:
        write.session.add(Account(id="f" * 32, name="other", settings={}, created_at=write.at))
        write.audit("account.create", "f" * 32)
    text, _ = written(desk.control.store, issue, name="other", account_id="f" * 32)
    desk.control.http.headers["authorization"] = f"Bearer {text}"
    seen = desk.explain("https://app.example.test/")
    unknown = desk.explain("https://app.example.none/")
    for each, host in ((seen, "app.example.test"), (unknown, "app.example.none")):
        assert each.pop("url") == f"https://{host}/"
        assert each.pop("hostname") == host
        each["reason"] = each["reason"].replace(host, "")
    assert seen == unknown


def test_what_the_edge_leaves_out_of_it_is_told(desk: Desk) -> None:
    assert desk.explain("https://app.example.test/")["skipped"] == []
    skipped = desk.control.context.skipped
    failure = Failure(code="certificate_unkept", reason="no space", account_id=desk.control.account)
    skipped.note("certificate", "example.test", failure)
    skipped.note("certificate", "elsewhere.test", failure)
    skipped.note("tunnel", desk.tunnel["id"], Failure(code="secret_key_wrong", reason="x"))
    told = desk.explain("https://app.example.test/")["skipped"]
    assert [(row["kind"], row["code"]) for row in told] == [
        ("certificate", "certificate_unkept"),
        ("tunnel", "secret_key_wrong"),
    ]


def tell(desk: Desk, document: str) -> None:
    with desk.control.store.recording() as write:
        connections.local_configuration(write, tunnel_id=desk.tunnel["id"], document=document, at=write.at)


@pytest.fixture
def local(control: Control) -> Desk:
    """A desk whose tunnel's rules are what its connector told."""
    found = Desk(control, rules=False)
    with control.store.recording() as write:
        tunnel = write.session.get(Tunnel, found.tunnel["id"])
        assert tunnel is not None
        tunnel.config_src = "local"
    return found


@pytest.mark.parametrize(
    "document",
    [
        '{"ingress":' * 5000,
        '{"ingress":' + "[" * 5000 + "]" * 5000 + "}",
        '{"x":' * 70 + "1" + "}" * 70,
        '{"ingress":[{"path":"(","service":"http://o"},{"service":"http_status:404"}]}',
        '{"ingress":[' + "[]," * 300_000 + "1]}",
        "[]",
        '"\\ud800"',
        "",
    ],
)
def test_a_configuration_of_a_connector_that_no_one_can_read_is_no_fault_of_the_api(local: Desk, document: str) -> None:
    tell(local, document)
    found = local.explain("https://app.example.test/")
    assert (found["outcome"], found["configuration"], found["rule"]) == ("configuration_unreadable", None, None)
    assert found["reason"].startswith("the rules can't be read: ")
    one = f"/qanat/tunnels/{local.tunnel['id']}"
    for path in (one, local.one, f"{local.one}/configurations", f"/qanat/accounts/{local.control.account}/export"):
        assert local.control.http.get(path).status_code == 200, path


def test_explaining_a_configuration_made_to_take_memory_takes_none(local: Desk) -> None:
    """Who has a tunnel's secret can tell such a configuration: 37 KB that took 840 MiB and 20 s a call."""
    rules = [{"path": f"(?:\\pL{{40}}|\\pN{{40}}){n}", "service": "http://o"} for n in range(400)]
    tell(local, json.dumps({"ingress": [*rules, {"service": "http_status:404"}]}))
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = local.explain("https://app.example.test/x")
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert found["outcome"] == "configuration_unreadable"
    # its size is the bound that trips first, unless the machine is so slow that the time is
    assert any(bound in found["reason"] for bound in ("it compiles to more than", "matching takes longer than"))
    assert after.ru_maxrss - before.ru_maxrss < 64 << 10, "KiB"
    assert after.ru_utime - before.ru_utime < 5.0


def test_one_tunnel_is_explained_to_one_at_a_time_and_another_ones_owner_does_not_wait(desk: Desk) -> None:
    other = desk.control.create_tunnel("other")
    content = f"{other['id']}.cfargotunnel.com"
    desk.control.create_record(desk.zone["id"], name="other", type="CNAME", content=content, proxied=True)
    desk.control.context.explaining = Turns(most=2, wait_s=0.05)
    with desk.control.context.explaining.turn(desk.tunnel["id"]):
        status, code, _ = desk.control.refused("GET", "/qanat/explain", url="app.example.test")
        assert (status, code) == (429, 10429)
        assert desk.control.call("GET", "/qanat/explain", url="other.example.test")["outcome"] == "no_connectors"
    assert desk.outcome() == "served"


def test_a_denied_origin_is_said(desk: Desk) -> None:
    rules = [{"service": "http://169.254.169.254"}]
    desk.control.call("PUT", f"{desk.one}/configurations", {"config": {"ingress": rules}})
    found = desk.explain("https://app.example.test/")
    assert found["outcome"] == "served"
    assert "a qanat connector denies it unless its --allow-origins lists it" in found["reason"]


@pytest.mark.case(60)
def test_the_record_that_dns_would_answer_with(desk: Desk) -> None:
    desk.publish("*")
    desk.control.create_record(desk.zone["id"], type="TXT", name="x.git", content="x")
    desk.control.create_record(desk.zone["id"], type="NS", name="away", content="ns.example.net")
    desk.control.create_zone("in.deep.example.test")
    for hostname, record in (
        ("games.example.test", "*.example.test"),
        ("x.y.example.test", "*.example.test"),
        ("app.example.test", "app.example.test"),
        ("x.app.example.test", None),
        ("git.example.test", None),
        ("y.git.example.test", None),
        ("away.example.test", None),
        ("x.away.example.test", None),
        ("deep.example.test", None),
        ("x.in.deep.example.test", None),
    ):
        found = desk.explain(f"https://{hostname}/")
        assert (found["record"] or {}).get("name") == record, hostname
        assert (found["outcome"] == "unknown_hostname") == (record is None), hostname


def test_nested_zones_of_one_account_are_explained_as_the_edge_routes(desk: Desk) -> None:
    """A zone below a wildcard, empty or paused, is nobody else's to answer for."""
    desk.publish("*")
    assert desk.outcome("https://a.b.example.test/") == "served"
    inner = desk.control.create_zone("b.example.test")
    for hostname in ("b.example.test", "a.b.example.test"):
        assert desk.outcome(f"https://{hostname}/") == "unknown_hostname", hostname
        route = desk.control.edge.route(hostname)
        assert route is not None
        assert route.targets == []
    content = f"{desk.tunnel['id']}.cfargotunnel.com"
    desk.control.create_record(inner["id"], type="CNAME", name="*", content=content, proxied=True)
    found = desk.explain("https://a.b.example.test/")
    assert (found["outcome"], found["zone"]["name"], found["record"]["name"]) == (
        "served",
        "b.example.test",
        "*.b.example.test",
    )
    desk.control.call("PATCH", f"/zones/{inner['id']}", {"paused": True})
    assert desk.outcome("https://a.b.example.test/") == "zone_paused"
    assert desk.outcome("https://a.c.example.test/") == "served"


def test_what_the_edge_has_no_route_for_is_not_said_to_be_served(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.control.edge, "route", lambda hostname: None)
    found = desk.explain("https://app.example.test/")
    assert found["outcome"] == "unknown_hostname"
    assert (found["record"]["name"], found["rule"]) == ("app.example.test", None)
    assert "leaves the record of app.example.test out" in found["reason"]
