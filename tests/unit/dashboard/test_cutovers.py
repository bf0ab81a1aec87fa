"""Cutovers by pages: nothing begins, and nothing is taken back, without a name being typed."""

import pytest

from tests.support.control import Control
from tests.support.cutovers import RULES
from tests.support.dashboard import Visitor, limited, shown
from tests.unit.dashboard.test_hub import stream
from tests.unit.dashboard.test_overview import XSS, connected
from tests.unit.dashboard.test_tunnel import put


def pair(control: Control, name: str) -> tuple[str, str, str]:
    """A hostname on one tunnel, and another tunnel for it: the ids and the hostname."""
    hostname = f"www.{name}.test"
    source = connected(control, name, hostname=hostname)
    target = connected(control, f"{name}-new")
    for tunnel in (source, target):
        put(
            control,
            tunnel,
            {"ingress": [{"hostname": hostname, "service": "http://127.0.0.1:1"}, *RULES["ingress"][1:]]},
        )
    return source, target, hostname


def form(source: str, hostname: str, **more: str) -> dict[str, str]:
    return {"from": source, "to": f"{source}-new", "hostnames": hostname, "path": "/", **more}


def begun(me: Visitor, name: str, hostname: str) -> str:
    answer = me.post("/cutovers/plan", **form(name, hostname, action="begin", name=f"{name}-new"))
    assert answer.status_code == 303, shown(answer.text)
    return answer.headers["location"]


def test_a_plan_shows_every_gate_and_changes_nothing(control: Control, me: Visitor) -> None:
    _, _, hostname = pair(control, "planned")
    said = shown(me.post("/cutovers/plan", **form("planned", hostname, action="plan")).text)
    assert "Gates" in said
    assert "connections" in said
    assert "planned-new" in said
    assert control.call("GET", f"/accounts/{control.account}/qanat/cutovers") == []


def test_tunnels_made_a_moment_ago_are_found_by_their_names(
    control: Control, me: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qanat.dashboard.overview.KEPT_S", 3600.0)
    me.page("/")
    _, _, hostname = pair(control, "fresh")
    assert "Gates" in shown(me.post("/cutovers/plan", **form("fresh", hostname, action="plan")).text)
    assert 'value="fresh-new"' in me.page("/cutovers/plan")


def test_it_begins_only_with_the_targets_name(control: Control, me: Visitor) -> None:
    _, _, hostname = pair(control, "begun")
    refused = me.post("/cutovers/plan", **form("begun", hostname, action="begin", name="begun"))
    assert refused.status_code == 400
    assert "that is not the target" in shown(refused.text)
    page = shown(me.page(begun(me, "begun", hostname)))
    assert "CHECKING" in page
    assert hostname in shown(me.page("/cutovers"))


def test_a_bad_plan_is_refused_with_what_is_wrong(control: Control, me: Visitor) -> None:
    answer = me.post("/cutovers/plan", **form("nobody", "www.nobody.test", action="plan"))
    assert answer.status_code == 400
    assert "problem" in answer.text


def test_how_long_a_step_is_watched_is_said_in_the_plan(control: Control, me: Visitor) -> None:
    _, _, hostname = pair(control, "watched")
    for wrong in ("soon", "-1", "1.5", "86401"):
        answer = me.post("/cutovers/plan", **form("watched", hostname, action="plan", step_s=wrong))
        assert answer.status_code == 400, wrong
        assert "rule.step_s" in answer.text, wrong
    answer = me.post("/cutovers/plan", **form("watched", hostname, action="begin", name="watched-new", step_s="600"))
    assert answer.status_code == 303
    begun_id = answer.headers["location"].rpartition("/")[2]
    rule = control.call("GET", f"/accounts/{control.account}/qanat/cutovers/{begun_id}")["plan"]["rule"]
    assert (rule["step_s"], rule["longest_s"]) == (600, 6000)


def test_it_is_held_up_and_taken_back(control: Control, me: Visitor) -> None:
    _, _, hostname = pair(control, "back")
    page = begun(me, "back", hostname)
    assert me.post(f"{page}/pause").status_code == 303
    assert "paused" in shown(me.page(page))
    assert me.post(f"{page}/resume").status_code == 303
    assert "Type" in shown(me.post(f"{page}/rollback").text)
    assert me.post(f"{page}/rollback", sure="yes", name="x").status_code == 400
    assert me.post(f"{page}/rollback", sure="yes", name=hostname).status_code == 303
    assert "STOPPED" in shown(me.page(page)) or "ROLLED BACK" in shown(me.page(page))


def test_a_standby_is_promoted_and_a_node_fenced_only_with_its_name(control: Control, me: Visitor) -> None:
    from qanat.nodes.readiness import Facts

    tunnel = connected(control, "nodes")
    api = f"/accounts/{control.account}/qanat/tunnels/{tunnel}"
    token = control.call("POST", f"/qanat/tunnels/{tunnel}/connector-tokens", {"name": "web-2"})
    control.call("PUT", f"{api}/mode", {"mode": "active-standby", "active": "default"})
    control.edge.facts[tunnel, token["id"]] = Facts(connections=1, health="healthy")
    node = f"/tunnels/{tunnel}/nodes/{token['id']}"
    assert "epoch" in shown(me.page(f"/tunnels/{tunnel}"))
    assert "web-2 alone gets requests" in shown(me.post(f"{node}/promote").text)
    assert me.post(f"{node}/promote", sure="yes", name="web-1").status_code == 400
    assert control.call("GET", f"{api}/promotions") == []
    assert me.post(f"{node}/fence", sure="yes", name="web-1").status_code == 400
    assert me.post(f"{node}/fence", sure="yes", name="web-2").status_code == 303
    assert control.edge.cuts[-1] == (tunnel, token["id"])
    assert "fenced" in shown(me.page(f"/tunnels/{tunnel}"))
    assert me.post(f"{node}/unfence").status_code == 303
    assert me.post(f"{node}/promote", sure="yes", name="web-2").status_code == 303
    assert len(control.call("GET", f"{api}/promotions")) == 1


def test_what_others_named_is_text_there_too(control: Control, me: Visitor) -> None:
    _, target, hostname = pair(control, "evil")
    page = begun(me, "evil", hostname)
    control.call("PATCH", f"{control.tunnels()}/{target}", {"name": XSS})
    for path in (page, "/cutovers", "/cutovers/plan"):
        assert "<script>alert" not in me.page(path)


def test_a_token_of_single_zones_watches_the_cutovers_of_these_and_no_others(
    control: Control, me: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {}
    for name in ("ours", "theirs"):
        _, _, hostname = pair(control, name)
        paths[name] = begun(me, name, hostname)
    zone = control.call("GET", "/zones", name="ours.test")[0]["id"]
    monkeypatch.setattr(control.hub, "_every_s", 0.05)
    with limited(control, [zone], "DNS Read", account=("Cloudflare Tunnel Read",)) as one:
        assert 'data-live="/live?view=cutover' in one.page(paths["ours"])
        with stream(one, f"/live?view=cutover&cutover={paths['ours'].rpartition('/')[2]}") as told:
            parts = next(told)[1]["parts"]
        assert set(parts) == {"course", "acts", "gates"}
        assert "ours" in parts["course"]
        assert "theirs" not in parts["course"]
        assert one.get(paths["theirs"]).status_code == 404
        for other in (paths["theirs"].rpartition("/")[2], "0" * 32, ""):
            assert one.get("/live", view="cutover", cutover=other).status_code == 403
    # what is denied on a zone wins over what is allowed on its account
    with limited(control, [], account=("Cloudflare Tunnel Read", "DNS Read"), denied=[zone]) as one:
        assert one.get(paths["ours"]).status_code == 404
        assert one.get("/live", view="cutover", cutover=paths["ours"].rpartition("/")[2]).status_code == 403
