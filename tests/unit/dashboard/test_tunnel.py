"""A tunnel's page: what runs, what is wanted, and how it is changed."""

from typing import Any

import pytest

from qanat.api import RequestFailed
from qanat.health.lines import Line
from tests.support.control import Control
from tests.support.dashboard import Visitor, shown
from tests.unit.dashboard.test_overview import XSS, answered, connected

RULES = {"ingress": [{"hostname": "app.x.test", "service": "http://127.0.0.1:80"}, {"service": "http_status:404"}]}


def put(control: Control, tunnel: str, rules: object = RULES) -> None:
    control.call("PUT", f"{control.tunnels()}/{tunnel}/configurations", {"config": rules})


def document(control: Control, tunnel: str) -> dict[str, Any]:
    found = control.call("GET", f"{control.tunnels()}/{tunnel}/configurations")["config"]
    found.pop("warp-routing")
    return dict(found)


def test_it_shows_connections_nodes_and_the_wanted_configuration(control: Control, me: Visitor) -> None:
    tunnel = connected(control, "whole", hostname="app.whole.test")
    put(control, tunnel)
    answered(control, "app.whole.test", tunnel, good=True, why="GET / answered 200")
    page = shown(me.page(f"/tunnels/{tunnel}"))
    for text in (
        "HEALTHY",
        "quic",
        "192.0.2.1",
        "lab01",
        "wanted configuration: 1",
        "http://127.0.0.1:80",
        "app.whole.test",
    ):
        assert text in page


@pytest.mark.parametrize(("known", "told"), [("X25519MLKEM768", "X25519MLKEM768"), ("", "unknown")])
def test_the_key_exchange_of_a_connection_is_told_or_said_to_be_unknown(
    control: Control, me: Visitor, known: str, told: str
) -> None:
    tunnel = connected(control, f"line-{len(known)}")
    assert f"quic {told}" not in shown(me.page(f"/tunnels/{tunnel}"))
    control.edge.links[f"c-{tunnel}"] = Line(0.012, known)
    assert f"quic {told}" in shown(me.page(f"/tunnels/{tunnel}"))


def test_a_refused_configuration_is_shown_with_its_reason(control: Control, me: Visitor) -> None:
    from qanat.control import connections

    tunnel = connected(control, "refusing")
    put(control, tunnel)
    with control.store.recording() as write:
        connections.configuration_applied(
            write, connection_id=f"c-{tunnel}", pushed=1, applied=0, error=f"bad rule {XSS}"
        )
    html = me.page(f"/tunnels/{tunnel}")
    assert "refused the configuration: bad rule <script>" in shown(html).replace("&lt;", "<")
    assert "<script>alert" not in html


def test_another_accounts_tunnel_is_not_there(control: Control, me: Visitor) -> None:
    assert me.get("/tunnels/f70ff985-a4ef-4643-bbbc-4a0ed4fc8415").status_code == 404


def test_rules_are_checked_then_compared_then_saved(control: Control, me: Visitor) -> None:
    tunnel = control.create_tunnel("edited")["id"]
    put(control, tunnel)
    edit = f"/tunnels/{tunnel}/configuration"
    assert "app.x.test" in me.page(edit)
    form = {
        "version": "1",
        "hostname-0": "app.x.test",
        "service-0": "http://127.0.0.1:8080",
        "rest-0": '{"originRequest": {"connectTimeout": 5}}',
        "service-1": "http_status:404",
    }
    compared = me.post(edit, action="check", **form)
    assert compared.status_code == 200
    said = shown(compared.text)
    assert "ingress[0].service was http://127.0.0.1:80 becomes http://127.0.0.1:8080" in said
    assert document(control, tunnel) == RULES
    saved = me.post(edit, action="save", **form)
    assert (saved.status_code, saved.headers["location"]) == (303, f"/tunnels/{tunnel}?saved=rules")
    assert document(control, tunnel)["ingress"][0] == {
        "hostname": "app.x.test",
        "service": "http://127.0.0.1:8080",
        "originRequest": {"connectTimeout": 5},
    }


def test_a_bad_rule_is_refused_where_it_stands(control: Control, me: Visitor) -> None:
    tunnel = control.create_tunnel("bad-rule")["id"]
    answer = me.post(
        f"/tunnels/{tunnel}/configuration",
        **{"version": "0", "action": "save", "service-0": "nonsense", "service-1": "http_status:404"},
    )
    assert answer.status_code == 400
    assert "ingress[0]" in shown(answer.text)
    assert 'aria-invalid="true"' in answer.text
    assert control.call("GET", f"{control.tunnels()}/{tunnel}/configurations")["version"] == 0


def test_what_somebody_else_saved_meanwhile_is_not_overwritten(control: Control, me: Visitor) -> None:
    tunnel = control.create_tunnel("raced")["id"]
    put(control, tunnel)
    answer = me.post(f"/tunnels/{tunnel}/configuration", version="0", action="save", **{"service-0": "http_status:418"})
    assert answer.status_code == 409
    assert document(control, tunnel) == RULES


def test_rules_are_added_moved_and_removed_without_scripts(control: Control, me: Visitor) -> None:
    tunnel = control.create_tunnel("moved")["id"]
    edit = f"/tunnels/{tunnel}/configuration"
    rows = {"version": "0", "service-0": "http_status:401", "service-1": "http_status:402"}

    def services(action: str) -> list[str]:
        html = me.post(edit, action=action, **rows).text
        return [
            part.split('value="')[1].split('"')[0] for part in html.split("<input")[1:] if ' name="service-' in part
        ]

    assert services("down-0") == ["http_status:402", "http_status:401"]
    assert services("up-1") == ["http_status:402", "http_status:401"]
    assert services("remove-0") == ["http_status:402"]
    assert services("add-1") == ["http_status:401", "", "http_status:402"]


def test_an_earlier_version_is_compared_and_put_in_force_again(control: Control, me: Visitor) -> None:
    tunnel = control.create_tunnel("rolled")["id"]
    put(control, tunnel)
    put(control, tunnel, {"ingress": [{"service": "http_status:404"}]})
    assert shown(me.page(f"/tunnels/{tunnel}/versions")).count("here") == 2
    assert "What going back to it changes now" in shown(me.page(f"/tunnels/{tunnel}/versions/1"))
    assert me.post(f"/tunnels/{tunnel}/versions/1").status_code == 303
    assert document(control, tunnel) == RULES
    assert control.audit_details("configuration.rollback", tunnel) == [{"rolled_back_to": 1, "version": 3}]


def test_revoking_a_token_asks_for_its_name(control: Control, me: Visitor) -> None:
    tunnel = control.create_tunnel("revoked")["id"]
    token = control.call("POST", f"/qanat/tunnels/{tunnel}/connector-tokens", {"name": "web-1"})
    path = f"/tunnels/{tunnel}/tokens/{token['id']}/revoke"

    def status() -> str:
        return str(control.call("GET", f"/qanat/tunnels/{tunnel}/connector-tokens/{token['id']}")["status"])

    assert "Type web-1 to go on" in shown(me.post(path).text)
    assert me.post(path, sure="yes", name="web-2").status_code == 400
    assert status() == "active"
    assert me.post(path, sure="yes", name="web-1").status_code == 303
    assert status() == "revoked"


def failed(hostname: str, tunnel: str, **more: object) -> RequestFailed:
    """As the engine tells it."""
    from types import SimpleNamespace

    fields = {
        "request_id": "8f2c1d4e5a6b7c80-lab01",
        "hostname": hostname,
        "method": "GET",
        "path": f"/{XSS}",
        "tunnel_id": tunnel,
        "connection_id": None,
        "status": 502,
        "cause": "origin_refused",
        "fault": "origin",
        "detail": f"refused {XSS}\u202e\x1b[31m",
        "started_at": 1_767_323_045.0,
        "duration_s": 0.004,
        "client_ip": "192.0.2.7",
        "hops": [],
        **more,
    }
    return SimpleNamespace(**fields)  # type: ignore[return-value]


def test_failed_requests_are_shown_as_text_that_steers_nothing(control: Control, me: Visitor) -> None:
    tunnel = connected(control, "failing", hostname="app.failing.test")
    control.edge.failed["8f2c1d4e5a6b7c80-lab01"] = failed("app.failing.test", tunnel)
    for path in (f"/tunnels/{tunnel}", "/hostnames/app.failing.test"):
        html = me.page(path)
        assert "origin_refused" in html
        assert "<script>alert" not in html
        assert "\u202e" not in html
        assert "\x1b" not in html


def test_who_may_only_read_is_offered_no_change_and_can_make_none(control: Control, stranger: Visitor) -> None:
    from qanat.auth import issue
    from tests.support.writes import written

    tunnel = control.create_tunnel("read-only")["id"]
    put(control, tunnel)
    policy = {
        "effect": "allow",
        "resources": {f"com.cloudflare.api.account.{control.account}": "*"},
        "permission_groups": [{"id": "efea2ab8357b47888938f101ae5e053f", "name": "Cloudflare Tunnel Read"}],
    }
    text, _ = written(control.store, issue, name="reader", policies=[policy])
    stranger.sign_in(text)
    page = stranger.page(f"/tunnels/{tunnel}")
    assert "Change" not in shown(page)
    assert stranger.get(f"/tunnels/{tunnel}/configuration").status_code == 403
    for path in (f"/tunnels/{tunnel}/configuration", f"/tunnels/{tunnel}/versions/1"):
        assert stranger.post(path, version="1", action="save").status_code == 403
    assert document(control, tunnel) == RULES
