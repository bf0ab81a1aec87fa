"""A hostname's request list on its page: who may switch it on, and what is never shown."""

import json
from typing import Any

from qanat.auth import issue
from qanat.control.permissions import GROUPS
from tests.support.control import Control
from tests.support.dashboard import Visitor, shown
from tests.support.writes import written
from tests.unit.dashboard.test_overview import XSS, connected


def passes(control: Control, hostname: str, **more: Any) -> None:
    """A request that the engine lists."""
    fields = {
        "time": 1767323045.0,
        "request_id": "8f2c1d4e5a6b7c80-lab01",
        "client_ip": "192.0.2.7",
        "method": "GET",
        "path": "/login",
        "query": "next=*",
        "protocol": "HTTP/2",
        "status": 200,
        "bytes_in": 0,
        "bytes_out": 5,
        "duration_s": 0.25,
        "queue_s": 0.002,
        "first_byte_s": 0.1,
        "connector_s": 0.01,
        "origin_s": 0.06,
        "hostname": hostname,
        "host": hostname,
        "headers": [["Accept", "text/html"], ["Cookie", "*"]],
    }
    control.edge.listed.append(json.dumps({**fields, **more}).encode())


def test_it_is_off_until_somebody_switches_it_on_and_then_shows_what_passes(control: Control, me: Visitor) -> None:
    name = "www.listed.test"
    connected(control, "listed", hostname=name)
    page = f"/hostnames/{name}/requests"
    assert "only while somebody wants to see them" in shown(me.page(page))
    assert page in me.page(f"/hostnames/{name}")
    assert control.edge.watched == []
    assert me.post(page, minutes="5", most="10").headers["location"] == page
    assert control.edge.watched == [name]
    passes(control, name)
    passes(control, name, path="/broken", status=502, cause="origin_refused", request_id="2-lab01")
    text = shown(me.page(page))
    for each in (
        "GET /login?next=*",
        "192.0.2.7",
        "Cookie *",
        "30 ms 10 ms 60 ms",
        "origin_refused",
        "2 of at most 10",
    ):
        assert each in text, each
    assert "/login" not in shown(me.page(page, status="5xx"))
    assert me.get(page, status="x").status_code == 400
    assert me.post(f"{page}/end").status_code == 303
    assert control.edge.watched == []
    assert "/login" not in shown(me.page(page))


def test_what_strangers_wrote_is_text(control: Control, me: Visitor) -> None:
    name = "www.strange.test"
    connected(control, "strange", hostname=name)
    page = f"/hostnames/{name}/requests"
    me.post(page, minutes="5", most="10")
    texts = dict.fromkeys(("method", "path", "query", "client_ip", "request_id", "user_agent"), XSS)
    passes(control, name, **texts, headers=[[XSS, XSS]])
    assert "<script>alert" not in me.page(page)


def test_who_may_see_tunnels_alone_sees_no_requests(control: Control, stranger: Visitor) -> None:
    name = "www.private.test"
    connected(control, "private", hostname=name)
    groups = [
        {"id": group.id, "name": group.name}
        for group in GROUPS
        if not group.allows("request.read") and "com.cloudflare.api.user" not in group.scopes
    ]
    resources = {f"com.cloudflare.api.account.{control.account}": "*"}
    policy = {"effect": "allow", "resources": resources, "permission_groups": groups}
    text, _ = written(control.store, issue, name="looks", policies=[policy])
    stranger.sign_in(text)
    assert "/requests" not in stranger.page(f"/hostnames/{name}")
    assert stranger.get(f"/hostnames/{name}/requests").status_code == 403
    assert stranger.get("/live", view="requests", name=name).status_code == 403
