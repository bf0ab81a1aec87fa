import base64
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from qanat.store import NoticeKind, connections
from tests.support.control import Control

SECRET = base64.b64encode(bytes(range(32))).decode()


def _register(control: Control, tunnel_id: str, connector_id: str, index: int = 0) -> str:
    connection_id = str(uuid4())
    with control.store.recording() as write:
        connections.registered(
            write,
            connection_id=connection_id,
            tunnel_id=tunnel_id,
            connector_id=connector_id,
            index=index,
            protocol="quic",
            origin_ip="192.0.2.9",
            location="lab01",
            version="2026.8.0",
            arch="linux_amd64",
            features=["allow_remote_config"],
            at=write.at,
        )
    return connection_id


def test_a_new_tunnel(control: Control) -> None:
    tunnel = control.create_tunnel("web", tunnel_secret=SECRET)
    UUID(tunnel["id"])
    token = tunnel.pop("token")
    assert tunnel == control.call("GET", f"{control.tunnels()}/{tunnel['id']}")
    assert tunnel == {
        "id": tunnel["id"],
        "account_tag": control.account,
        "name": "web",
        "created_at": tunnel["created_at"],
        "deleted_at": None,
        "config_src": "cloudflare",
        "remote_config": True,
        "status": "inactive",
        "tun_type": "cfd_tunnel",
        "conns_active_at": None,
        "conns_inactive_at": None,
        "connections": [],
        "metadata": {},
    }
    assert json.loads(base64.b64decode(token, validate=True)) == {
        "a": control.account,
        "t": tunnel["id"],
        "s": SECRET,
    }
    assert control.call("GET", f"{control.tunnels()}/{tunnel['id']}/token") == token


def test_without_config_src_a_tunnel_is_local(control: Control) -> None:
    tunnel = control.call("POST", control.tunnels(), {"name": "t"})
    assert (tunnel["config_src"], tunnel["remote_config"]) == ("local", False)


def test_secrets_are_made_and_differ(control: Control) -> None:
    secrets = {json.loads(base64.b64decode(control.create_tunnel(name)["token"]))["s"] for name in ("a", "b")}
    assert len(secrets) == 2
    assert {len(base64.b64decode(secret)) for secret in secrets} == {32}


def test_a_taken_name(control: Control) -> None:
    control.create_tunnel("web")
    answer = control.http.post(control.tunnels(), json={"name": "web"})
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["errors"][0]["code"] == 1013


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"name": str(uuid4())}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x", "tunnel_secret": "c2hvcnQ="}, "tunnel_secret"),
        ({"name": "x", "tunnel_secret": "not base64!"}, "tunnel_secret"),
        ({"name": "x", "tunnel_secret": ""}, "tunnel_secret"),
        ({"name": "x", "config_src": "elsewhere"}, "config_src"),
        ({}, "name"),
    ],
)
def test_a_bad_tunnel_is_refused_by_field(control: Control, body: dict[str, Any], where: str) -> None:
    answer = control.http.post(control.tunnels(), json=body)
    assert answer.status_code == 400
    error = answer.json()["errors"][0]
    assert error["source"] == {"pointer": f"/{where}"}
    assert where in error["message"]
    assert control.call("GET", control.tunnels()) == []


def test_rename_and_rotate(control: Control) -> None:
    tunnel = control.create_tunnel("old")
    one = f"{control.tunnels()}/{tunnel['id']}"
    assert control.call("PATCH", one, {})["name"] == "old"
    renamed = control.call("PATCH", one, {"name": "new", "tunnel_secret": None})
    assert renamed["name"] == "new"
    assert control.call("GET", f"{one}/token") == tunnel["token"]
    control.call("PATCH", one, {"tunnel_secret": SECRET})
    assert control.call("GET", f"{one}/token") != tunnel["token"]


def test_a_deleted_tunnel_is_only_in_lists(control: Control) -> None:
    tunnel = control.create_tunnel("web")
    one = f"{control.tunnels()}/{tunnel['id']}"
    assert control.call("DELETE", one)["deleted_at"]
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/token"),
        ("GET", "/connections"),
        ("GET", "/configurations"),
    ):
        assert control.refused(method, one + path)[0] == 404
    assert control.refused("PATCH", one, {"name": "x"})[0] == 404
    assert control.call("GET", control.tunnels(), is_deleted="false") == []
    assert [row["id"] for row in control.call("GET", control.tunnels(), is_deleted="true")] == [tunnel["id"]]
    assert [row["id"] for row in control.call("GET", control.tunnels())] == [tunnel["id"]]


def test_a_connected_tunnel_is_deleted_only_by_cascade(control: Control) -> None:
    tunnel = control.create_tunnel()
    one = f"{control.tunnels()}/{tunnel['id']}"
    _register(control, tunnel["id"], str(uuid4()))
    assert control.refused("DELETE", one)[:2] == (400, 1022)
    assert control.call("GET", one)["deleted_at"] is None
    control.notices.clear()
    assert control.call("DELETE", one, cascade="true")["status"] == "down"
    assert NoticeKind.TUNNEL_DELETED in [notice.kind for notice in control.notices]


def test_clean_up_then_delete(control: Control) -> None:
    tunnel = control.create_tunnel()
    one = f"{control.tunnels()}/{tunnel['id']}"
    _register(control, tunnel["id"], str(uuid4()))
    control.notices.clear()
    assert control.call("DELETE", f"{one}/connections") == {}
    assert NoticeKind.DISCONNECT in [notice.kind for notice in control.notices]
    control.call("DELETE", one)


def test_connections_as_stock_clients_read_them(control: Control) -> None:
    tunnel = control.create_tunnel()
    one = f"{control.tunnels()}/{tunnel['id']}"
    connector = str(uuid4())
    ids = [_register(control, tunnel["id"], connector, index) for index in range(2)]
    other = str(uuid4())
    _register(control, tunnel["id"], other)
    found = control.call("GET", f"{one}/connections")
    assert [each["id"] for each in found] == [connector, other]
    assert control.call("GET", f"{one}/connectors/{connector}") == found[0]
    assert control.refused("GET", f"{one}/connectors/{uuid4()}")[0] == 404
    first = found[0]
    assert first["version"] == "2026.8.0"
    assert first["arch"] == "linux_amd64"
    assert first["features"] == ["allow_remote_config"]
    assert first["config_version"] == 0
    assert [each["id"] for each in first["conns"]] == ids
    assert first["conns"][0] == {
        "id": ids[0],
        "uuid": ids[0],
        "client_id": connector,
        "client_version": "2026.8.0",
        "colo_name": "lab01",
        "is_pending_reconnect": False,
        "opened_at": first["conns"][0]["opened_at"],
        "origin_ip": "192.0.2.9",
    }
    shown = control.call("GET", one)
    assert shown["status"] == "healthy"
    assert len(shown["connections"]) == 3
    control.call("DELETE", f"{one}/connections", client_id=connector)
    assert [each["id"] for each in control.call("GET", f"{one}/connections")] == [other]
    assert control.call("GET", one)["status"] == "healthy"


def test_filters(control: Control) -> None:
    web, api, old = (control.create_tunnel(name) for name in ("web-1", "api-1", "web-0"))
    _register(control, api["id"], str(uuid4()))
    control.call("DELETE", f"{control.tunnels()}/{old['id']}")

    def names(**query: str) -> list[str]:
        return [row["name"] for row in control.call("GET", control.tunnels(), **query)]

    assert names(name="web-1") == ["web-1"]
    assert names(name="WEB-1") == []
    assert names(uuid=api["id"]) == ["api-1"]
    assert names(name_prefix="web") == names(include_prefix="web") == ["web-1", "web-0"]
    assert names(name_prefix="WEB") == []
    assert names(exclude_prefix="web") == ["api-1"]
    assert names(status="healthy") == ["api-1"]
    assert names(status="inactive", is_deleted="false") == ["web-1"]
    assert names(existed_at=web["created_at"]) == ["web-1"]
    assert names(existed_at="2100-01-01T00:00:00Z") == ["web-1", "api-1"]
    assert control.refused("GET", control.tunnels(), existed_at="yesterday")[0] == 400
    assert names(unheard_of="x") == ["web-1", "api-1", "web-0"]
    every = control.call("GET", f"/accounts/{control.account}/tunnels", tun_types="cfd_tunnel,warp_connector")
    assert [row["name"] for row in every] == ["web-1", "api-1", "web-0"]
    assert control.call("GET", f"/accounts/{control.account}/tunnels", tun_types="warp_connector") == []


def test_our_own_view_says_since_when_and_why(control: Control) -> None:
    tunnel = control.create_tunnel()
    connector = str(uuid4())
    first = _register(control, tunnel["id"], connector, 0)
    _register(control, tunnel["id"], connector, 1)
    with control.store.recording() as write:
        connections.configuration_applied(write, connection_id=first, pushed=3, applied=2, error="no")
        connections.note_event(write, "registered", tunnel_id=tunnel["id"], at=write.at, detail={"index": 0})
    detail = control.call("GET", f"/qanat/tunnels/{tunnel['id']}")
    assert detail["status"] == "healthy"
    (shown,) = detail["connectors"]
    assert shown["wanted_connections"] == 2
    assert shown["connections"][0]["applied_version"] == 2
    assert shown["connections"][0]["config_error"] == "no"
    assert control.call("GET", f"/qanat/tunnels/{tunnel['id']}/events")[0]["kind"] == "registered"
    control.call("DELETE", f"{control.tunnels()}/{tunnel['id']}/connections")
    detail = control.call("GET", f"/qanat/tunnels/{tunnel['id']}")
    assert (detail["status"], detail["status_reason"]) == ("down", "disconnected")
    assert detail["status_since"] == detail["conns_inactive_at"]
