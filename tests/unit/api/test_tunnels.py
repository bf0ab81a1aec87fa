import base64
import json
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from qanat.auth import issue
from qanat.control import accounts, connections, tunnels
from qanat.store import SYSTEM, NoticeKind
from qanat.store.models import Account
from tests.support.control import Control
from tests.support.links import lose, register
from tests.support.writes import written

SECRET = base64.b64encode(bytes(range(32))).decode()


def _register(control: Control, tunnel_id: str, connector_id: str, index: int = 0) -> str:
    return register(control.store, tunnel_id, connector_id, index)


def _set_delete_disconnects(control: Control, wanted: bool) -> None:
    with control.store.writing(SYSTEM) as write:
        write.session.get_one(Account, control.account).settings = {"delete_disconnects": wanted}
        write.audit("account.change", control.account)


def test_a_list_is_of_the_moment_at_which_its_account_was_seen(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an account that goes in between is an empty list, and no 404."""
    sessions: list[Session] = []

    def watch(module: ModuleType, name: str) -> None:
        call = getattr(module, name)

        def watched(session: Session, *given: Any, **more: Any) -> Any:
            sessions.append(session)
            return call(session, *given, **more)

        monkeypatch.setattr(module, name, watched)

    watch(accounts, "get")
    watch(tunnels, "page")
    control.call("GET", control.tunnels())
    assert len(sessions) == 2
    assert sessions[0] is sessions[1]


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


@pytest.mark.parametrize("secret", ["Ml9zZWNyZXRfMl90dW5uZWxfdXBkYXRl", base64.b64encode(bytes(22)).decode(), SECRET])
def test_a_secret_has_at_least_32_characters_of_base64(control: Control, secret: str) -> None:
    """As stock counts: the tests of Terraform's providers have one of 24 bytes."""
    made = control.create_tunnel("web", tunnel_secret=secret)
    assert json.loads(base64.b64decode(made["token"]))["s"] == secret
    changed = control.create_tunnel("other")
    one = f"{control.tunnels()}/{changed['id']}"
    control.call("PATCH", one, {"tunnel_secret": secret})
    assert json.loads(base64.b64decode(control.call("GET", f"{one}/token")))["s"] == secret


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
        ({"name": "x", "tunnel_secret": base64.b64encode(bytes(21)).decode()}, "tunnel_secret"),
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


@pytest.mark.case(81)
def test_a_deleted_tunnel_is_answered_with_its_end(control: Control) -> None:
    tunnel = control.create_tunnel("web")
    one = f"{control.tunnels()}/{tunnel['id']}"
    deleted = control.call("DELETE", one)
    assert deleted["deleted_at"]
    assert control.call("GET", one) == deleted
    # `terraform destroy` of what went elsewhere: both calls of provider v4, the one of v5
    assert control.call("DELETE", f"{one}/connections") == {}
    assert control.call("DELETE", one) == deleted
    again = control.create_tunnel("web")
    assert again["id"] != tunnel["id"]
    assert [row["id"] for row in control.call("GET", control.tunnels(), name="web", is_deleted="false")] == [
        again["id"]
    ]


@pytest.mark.trap(25)
def test_what_hangs_on_a_deleted_tunnel_is_gone(control: Control) -> None:
    tunnel = control.create_tunnel("web")
    one = f"{control.tunnels()}/{tunnel['id']}"
    assert control.call("DELETE", one)["deleted_at"]
    for path in ("/token", "/connections", "/configurations"):
        assert control.refused("GET", one + path)[0] == 404
    assert control.refused("PATCH", one, {"name": "x"})[0] == 404
    assert control.call("GET", control.tunnels(), is_deleted="false") == []
    assert [row["id"] for row in control.call("GET", control.tunnels(), is_deleted="true")] == [tunnel["id"]]
    assert [row["id"] for row in control.call("GET", control.tunnels())] == [tunnel["id"]]


def test_terraform_v5_makes_a_deleted_tunnel_again(control: Control) -> None:
    """It drops an object from its state on 404 alone; what it says of itself is in this field."""
    tunnel = control.create_tunnel("web")
    one = f"{control.tunnels()}/{tunnel['id']}"
    control.call("DELETE", one)
    assert control.http.get(one, headers={"x-stainless-lang": "Terraform"}).status_code == 404
    assert control.http.get(one, headers={"x-stainless-lang": "go"}).status_code == 200


def test_a_connected_tunnel_is_deleted_only_by_cascade(control: Control) -> None:
    tunnel = control.create_tunnel()
    one = f"{control.tunnels()}/{tunnel['id']}"
    _set_delete_disconnects(control, False)
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


@pytest.mark.trap(9)
def test_delete_ends_connections_for_api_tokens_and_not_for_cert_pem(control: Control) -> None:
    """api.md 7.1-7: Terraform destroys with a live connector, `cloudflared tunnel delete` keeps its check."""
    tunnel = control.create_tunnel()
    one = f"{control.tunnels()}/{tunnel['id']}"
    _register(control, tunnel["id"], str(uuid4()))
    own, control.http.headers["authorization"] = (
        control.http.headers["authorization"],
        f"Bearer {written(control.store, issue, name='cert', kind='origin_cert')[0]}",
    )
    assert control.refused("DELETE", one)[:2] == (400, 1022)
    control.http.headers["authorization"] = own
    control.notices.clear()
    assert control.call("DELETE", one)["deleted_at"]
    assert NoticeKind.TUNNEL_DELETED in [notice.kind for notice in control.notices]


@pytest.mark.trap(9)
def test_private_routes_stand_in_the_way_without_cascade(control: Control) -> None:
    tunnel = control.create_tunnel()
    one = f"{control.tunnels()}/{tunnel['id']}"
    routes = f"/accounts/{control.account}/teamnet/routes"
    route = control.call("POST", routes, {"network": "10.0.0.0/8", "tunnel_id": tunnel["id"]})
    status, code, message = control.refused("DELETE", one)
    assert (status, code) == (400, 1023)
    assert "10.0.0.0/8" in message
    assert control.call("GET", one)["deleted_at"] is None
    control.call("DELETE", one, cascade="true")
    assert control.call("GET", f"{routes}/{route['id']}")["deleted_at"]
    assert control.call("DELETE", f"{routes}/{route['id']}")["deleted_at"]


@pytest.mark.parametrize("bad", ["x", "0" * 32, "f70ff985-a4ef-4643-bbbc", "%00", "..%2f"])
def test_a_bad_id_is_not_there(control: Control, bad: str) -> None:
    for method, rest, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "/token", None),
        ("GET", "/connections", None),
        ("DELETE", "/connections", None),
        ("GET", f"/connectors/{uuid4()}", None),
        ("GET", "/configurations", None),
        ("PUT", "/configurations", {"config": {}}),
        ("POST", "/management", {"resources": ["logs"]}),
        ("POST", "/management/logs", None),
    ):
        assert control.refused(method, f"{control.tunnels()}/{bad}{rest}", body)[0] == 404, (method, rest)
    tunnel = control.create_tunnel()
    assert control.refused("GET", f"{control.tunnels()}/{tunnel['id']}/connectors/{bad}")[0] == 404
    assert control.refused("GET", f"/accounts/{bad}/cfd_tunnel")[0] == 404


def test_ids_may_be_written_in_capitals(control: Control) -> None:
    tunnel = control.create_tunnel()
    assert control.call("GET", f"{control.tunnels()}/{tunnel['id'].upper()}")["id"] == tunnel["id"]
    control.call("PATCH", f"{control.tunnels()}/{tunnel['id'].upper()}", {"name": "renamed"})


def test_a_patch_without_an_id_is_no_method(control: Control) -> None:
    assert control.refused("PATCH", control.tunnels(), {"id": str(uuid4()), "name": "x"})[0] == 405


@pytest.mark.trap(3, 4, 5)
def test_what_providers_compare_stays_as_created(control: Control) -> None:
    for source, managed in (("local", False), ("cloudflare", True)):
        made = control.create_tunnel(source, config_src=source, tunnel_secret=SECRET)
        one = f"{control.tunnels()}/{made['id']}"
        control.call("PUT", f"{one}/configurations", {"config": {"ingress": [{"service": "http_status:404"}]}})
        read = control.call("GET", one)
        assert (read["config_src"], read["remote_config"]) == (source, managed)
        assert "tunnel_secret" not in read
        assert SECRET not in control.http.get(one).text


@pytest.mark.trap(16)
def test_a_name_conflict_is_not_to_be_retried(control: Control) -> None:
    control.create_tunnel("web")
    answer = control.http.post(control.tunnels(), json={"name": "web"})
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")


@pytest.mark.trap(17)
def test_a_page_past_the_end_is_empty(control: Control) -> None:
    for number in range(5):
        control.create_tunnel(f"t{number}")
    pages = [control.http.get(control.tunnels(), params={"page": page, "per_page": 2}).json() for page in range(1, 5)]
    assert [len(page["result"]) for page in pages] == [2, 2, 1, 0]
    assert [row["name"] for page in pages for row in page["result"]] == [f"t{number}" for number in range(5)]
    assert {page["result_info"]["total_count"] for page in pages} == {5}


def test_a_connection_that_was_lost_is_awaited_for_some_minutes(control: Control) -> None:
    tunnel = control.create_tunnel()
    one = f"{control.tunnels()}/{tunnel['id']}"
    connector = str(uuid4())
    kept, lost = (_register(control, tunnel["id"], connector, index) for index in range(2))
    lose(control.store, lost, "timed_out")
    (shown,) = control.call("GET", f"{one}/connections")
    assert [(each["id"], each["is_pending_reconnect"]) for each in shown["conns"]] == [(kept, False), (lost, True)]
    assert [each["is_pending_reconnect"] for each in control.call("GET", one)["connections"]] == [False, True]
    back = _register(control, tunnel["id"], connector, 1)
    (shown,) = control.call("GET", f"{one}/connections")
    assert [(each["id"], each["is_pending_reconnect"]) for each in shown["conns"]] == [(kept, False), (back, False)]
    for connection in (kept, back):
        lose(control.store, connection, "reset")
    (shown,) = control.call("GET", f"{one}/connections")
    assert {each["is_pending_reconnect"] for each in shown["conns"]} == {True}
    assert control.refused("GET", f"{one}/connectors/{connector}")[0] == 404


@pytest.mark.parametrize("reason", ["unregistered", "disconnected"])
def test_a_connection_that_was_ended_on_purpose_is_not_awaited(control: Control, reason: str) -> None:
    tunnel = control.create_tunnel()
    lose(control.store, _register(control, tunnel["id"], str(uuid4())), reason)
    assert control.call("GET", f"{control.tunnels()}/{tunnel['id']}/connections") == []


def test_filters_of_moments(control: Control) -> None:
    never, ran = control.create_tunnel("never"), control.create_tunnel("ran")
    before = ran["created_at"]
    connection = _register(control, ran["id"], str(uuid4()))
    during = control.call("GET", f"{control.tunnels()}/{ran['id']}")["conns_active_at"]
    lose(control.store, connection)
    after = control.call("GET", f"{control.tunnels()}/{ran['id']}")["conns_inactive_at"]

    def names(**query: str) -> list[str]:
        return [row["name"] for row in control.call("GET", control.tunnels(), **query)]

    assert names(was_active_at=during) == ["ran"]
    assert names(was_active_at=before) == names(was_active_at=after) == []
    assert names(was_inactive_at=after) == ["never", "ran"]
    assert names(was_inactive_at=during) == ["never"]
    assert names(status="down") == ["ran"]
    assert control.refused("GET", control.tunnels(), status="no-such")[:2] == (400, 10001)
    assert names(uuid=never["id"].upper()) == ["never"]
    assert names(uuid="not-a-uuid") == []
    assert control.refused("GET", control.tunnels(), was_active_at="0001-01-01T00:00:00+23:59")[0] == 400


def test_the_status_filter_pages_and_counts(control: Control) -> None:
    made = [control.create_tunnel(f"t{number}") for number in range(6)]
    for tunnel in made[::2]:
        _register(control, tunnel["id"], str(uuid4()))
    answer = control.http.get(control.tunnels(), params={"status": "healthy", "per_page": 2, "page": 2}).json()
    assert [row["name"] for row in answer["result"]] == ["t4"]
    assert answer["result_info"]["total_count"] == 3


def test_own_view_of_connectors(control: Control) -> None:
    tunnel = control.create_tunnel()
    own = f"/qanat/tunnels/{tunnel['id']}"
    put = {"config": {"ingress": [{"service": "http_status:404"}]}}
    control.call("PUT", f"{control.tunnels()}/{tunnel['id']}/configurations", put)
    token = control.call("POST", f"{own}/connector-tokens", {"name": "web-1"})
    first, second = str(uuid4()), str(uuid4())
    ids = [register(control.store, tunnel["id"], first, index, token_id=token["id"]) for index in range(2)]
    other = register(control.store, tunnel["id"], second)
    with control.store.recording() as write:
        connections.configuration_applied(write, connection_id=ids[0], pushed=1, applied=1, error="")
        connections.configuration_applied(write, connection_id=other, pushed=1, applied=0, error="caPool: no such file")
    lose(control.store, ids[1])
    one, two = control.call("GET", f"{own}/connectors")
    assert (one["id"], one["status"], one["wanted_connections"]) == (first, "degraded", 2)
    assert one["connector_token"] == {"id": token["id"], "name": "web-1"}
    assert (one["config_version"], one["config_in_force"], one["config_error"]) == (1, True, "")
    assert [(each["id"], each["lost_reason"]) for each in one["connections"]] == [(ids[0], None), (ids[1], "timed_out")]
    assert (two["connector_token"], two["config_in_force"]) == (None, False)
    assert two["config_error"] == "caPool: no such file"
    detail = control.call("GET", own)
    assert detail["status"] == "degraded"
    assert detail["status_since"] == one["connections"][1]["lost_at"]
    assert "1 of 2 connectors" in detail["status_reason"]
    assert detail["connectors"] == [one, two]
    lose(control.store, ids[0], "unregistered")
    lose(control.store, other, "unregistered")
    states = {each["id"]: each["status"] for each in control.call("GET", f"{own}/connectors")}
    assert states == {first: "reconnecting", second: "lost"}


@pytest.mark.trap(23)
def test_no_id_or_time_is_ever_an_empty_text(control: Control) -> None:
    tunnel = control.create_tunnel()
    one = f"{control.tunnels()}/{tunnel['id']}"
    _register(control, tunnel["id"], str(uuid4()))
    network = {"network": "10.0.0.0/8", "tunnel_id": tunnel["id"]}
    control.call("POST", f"/accounts/{control.account}/teamnet/routes", network)
    left: list[Any] = [
        tunnel,
        *(control.call("GET", one + path) for path in ("", "/connections", "/configurations")),
        *(
            control.call("GET", f"/accounts/{control.account}/teamnet/{kind}")
            for kind in ("routes", "virtual_networks")
        ),
    ]
    seen = 0
    while left:
        value = left.pop()
        if isinstance(value, dict):
            for key, each in value.items():
                seen += key.endswith(("_at", "id"))
                assert each != "" or (key not in ("id", "uuid") and not key.endswith(("_at", "_id"))), key
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    assert seen > 20


@pytest.mark.trap(27)
def test_bodies_on_get_and_delete_are_ignored(control: Control) -> None:
    tunnel = control.create_tunnel()
    one = f"{control.tunnels()}/{tunnel['id']}"
    for method, content in (("GET", b"{}"), ("GET", b"junk"), ("DELETE", b"{}")):
        answer = control.http.request(method, one, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 200, (method, content)
