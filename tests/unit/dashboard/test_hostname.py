"""A hostname's page: the way of a request, and a test now."""

import re

import pytest

from qanat.auth import issue
from qanat.control.permissions import GROUPS
from tests.support.control import Control
from tests.support.dashboard import Visitor, limited, shown
from tests.support.writes import written
from tests.unit.dashboard.test_hub import stream
from tests.unit.dashboard.test_overview import answered, connected
from tests.unit.dashboard.test_tunnel import put


def stages(html: str) -> list[tuple[str, str]]:
    """Each stage's kind and mark."""
    found = []
    for part in html.split('<ol class="chain">')[1].split("</ol>")[0].split('<li class="is-')[1:]:
        found.append((part.split('class="kind">')[1].split("<")[0], part.split('"')[0]))
    return found


def test_the_way_of_a_request_is_drawn_with_each_stages_state(control: Control, me: Visitor) -> None:
    tunnel = connected(control, "way", hostname="app.way.test")
    put(control, tunnel, {"ingress": [{"service": "http://127.0.0.1:80"}]})
    answered(control, "app.way.test", tunnel, good=True, why="GET / answered 200")
    html = me.page("/hostnames/app.way.test")
    marks = dict(stages(html))
    assert list(marks) == ["DNS", "Certificate", "Edge", "Tunnel", "Rule", "Origin"]
    assert {kind for kind, mark in marks.items() if mark == "well"} >= {"DNS", "Edge", "Tunnel", "Rule", "Origin"}
    answered(control, "app.way.test", tunnel, good=False, why="connection refused")
    html = me.page("/hostnames/app.way.test")
    assert dict(stages(html))["Origin"] == "ill"
    assert dict(stages(html))["Tunnel"] == "well"
    assert "connection refused" in shown(html)


def test_a_way_ends_where_it_stops(control: Control, me: Visitor) -> None:
    control.create_zone("ends.test")
    marks = dict(stages(me.page("/hostnames/nothing.ends.test")))
    assert marks["DNS"] == "ill"
    assert {marks[kind] for kind in ("Edge", "Tunnel", "Rule", "Origin")} == {"off"}


def test_the_way_leads_to_the_record_that_it_begins_with(control: Control, me: Visitor) -> None:
    connected(control, "led", hostname="app.led.test")
    found = re.search(r'href="(/zones/[0-9a-f]{32}/records/[0-9a-f]{32})"', me.page("/hostnames/app.led.test"))
    assert found is not None
    assert "app.led.test" in me.page(found[1])


def test_a_path_decides_between_rules(control: Control, me: Visitor) -> None:
    tunnel = connected(control, "paths", hostname="app.paths.test")
    rules = [{"path": "^/api/", "service": "http://127.0.0.1:81"}, {"service": "http://127.0.0.1:82"}]
    put(control, tunnel, {"ingress": rules})
    assert "http://127.0.0.1:82" in me.page("/hostnames/app.paths.test")
    assert "http://127.0.0.1:81" in me.page("/hostnames/app.paths.test", path="/api/x")


def test_test_now_asks_through_each_node(control: Control, me: Visitor) -> None:
    connected(control, "tested", hostname="app.tested.test")
    answer = me.post("/hostnames/app.tested.test/test", path="/up")
    assert "GOOD" in shown(answer.text)
    assert control.edge.asked[-1]["path"] == "/up"


def test_test_now_of_a_strangers_name_asks_nobody(control: Control, me: Visitor) -> None:
    before = len(control.edge.asked)
    assert me.post("/hostnames/elsewhere.example/test", path="/").status_code == 400
    assert len(control.edge.asked) == before


def test_hostnames_are_listed_and_found(control: Control, me: Visitor) -> None:
    connected(control, "listed", hostname="needle.listed.test")
    assert "needle.listed.test" in me.page("/hostnames", search="NEEDLE")
    assert "needle.listed.test" not in me.page("/hostnames", search="hay")


def test_who_sees_single_zones_has_a_live_page_too(control: Control, stranger: Visitor) -> None:
    tunnel = connected(control, "single", hostname="app.single.test")
    zone = next(each for each in control.call("GET", "/zones", name="single.test"))
    account = f"com.cloudflare.api.account.{control.account}"
    policies = [
        {"effect": "allow", "resources": {account: "*"}, "permission_groups": [group("Cloudflare Tunnel Read")]},
        {
            "effect": "allow",
            "resources": {f"com.cloudflare.api.account.zone.{zone['id']}": "*"},
            "permission_groups": [group("DNS Read")],
        },
    ]
    text, _ = written(control.store, issue, name="single", policies=policies)
    stranger.sign_in(text)
    assert "app.single.test" in stranger.page("/hostnames/app.single.test")
    assert stranger.http.head("/live", params={"view": "hostname", "name": "app.single.test"}).status_code == 204
    assert stranger.http.head("/live", params={"view": "cutover", "cutover": tunnel}).status_code == 403


def test_the_way_is_kept_up_for_who_may_see_its_zone_and_for_nobody_else(
    control: Control, me: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(control, "kept", hostname="app.kept.test")
    connected(control, "hidden", hostname="app.hidden.test")
    zone = control.call("GET", "/zones", name="kept.test")[0]["id"]
    me.get("/")
    monkeypatch.setattr(control.hub, "_every_s", 0.05)
    with limited(control, [zone], "DNS Read", account=("Cloudflare Tunnel Read",)) as one:
        assert "data-live" in one.page("/hostnames/app.kept.test")
        with stream(one, "/live?view=hostname&name=app.kept.test") as told:
            parts = next(told)[1]["parts"]
        assert set(parts) == {"failures", "standing", "way"}
        assert "app.kept.test" in shown(parts["way"])
        hidden = one.page("/hostnames/app.hidden.test")
        assert "data-live" not in hidden, "it would be refused, and the page say that its stream is broken"
        assert one.http.head("/live?view=hostname&name=app.hidden.test").status_code == 403
    with stream(me, "/live?view=hostname&name=app.elsewhere.example") as told:
        assert set(next(told)[1]["parts"]) == {"failures"}, "of no zone of the account"


def group(name: str) -> dict[str, str]:
    return next({"id": each.id, "name": each.name} for each in GROUPS if each.name == name)
