import base64
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from qanat.control import connector_tokens
from qanat.edge.sweeps import end_connector_tokens
from qanat.store import NoticeKind
from qanat.store.models import Audit, ConnectorToken
from qanat.store.skipped import SkippedRows
from tests.support.control import Control
from tests.support.links import register


class Desk:
    def __init__(self, control: Control) -> None:
        self.control = control
        self.tunnel = control.create_tunnel()
        self.path = f"/qanat/tunnels/{self.tunnel['id']}/connector-tokens"

    def make(self, name: str = "web-1", **more: Any) -> Any:
        return self.control.call("POST", self.path, {"name": name, **more})


@pytest.fixture
def desk(control: Control) -> Desk:
    return Desk(control)


def _secret(token: str) -> str:
    return str(json.loads(base64.b64decode(token, validate=True))["s"])


def test_a_token_is_shown_when_made_and_when_asked_for(desk: Desk) -> None:
    made = desk.make(expires_at="2100-01-31T00:00:00Z")
    fields = json.loads(base64.b64decode(made["token"], validate=True))
    assert (fields["a"], fields["t"]) == (desk.control.account, desk.tunnel["id"])
    assert len(base64.b64decode(fields["s"], validate=True)) == 32
    assert made["expires_at"] == "2100-01-31T00:00:00.000000Z"
    assert desk.control.call("GET", f"{desk.path}/{made['id']}/token") == made
    without = {key: value for key, value in made.items() if key != "token"}
    assert desk.control.call("GET", f"{desk.path}/{made['id']}") == without
    assert desk.control.call("GET", desk.path) == [without]
    own = desk.control.call("GET", f"{desk.control.tunnels()}/{desk.tunnel['id']}/token")
    assert _secret(own) != _secret(made["token"])


@pytest.mark.requirement("S32")
def test_the_secret_is_sealed_and_not_in_the_audit(desk: Desk) -> None:
    secret = base64.b64decode(_secret(desk.make()["token"]))
    with desk.control.store.reading() as session:
        (row,) = connector_tokens.every(session, desk.tunnel["id"])
        assert secret not in row.sealed_secret
        text = "".join(each.detail for each in session.query(Audit))
    assert base64.b64encode(secret).decode() not in text
    assert secret.hex() not in text


def test_a_name_is_taken_until_its_token_is_revoked(desk: Desk) -> None:
    first = desk.make()
    assert desk.control.refused("POST", desk.path, {"name": "web-1"})[:2] == (409, 1013)
    gone = desk.control.call("DELETE", f"{desk.path}/{first['id']}")
    assert gone["status"] == "revoked"
    assert gone["revoked_at"]
    second = desk.make()
    assert [each["status"] for each in desk.control.call("GET", desk.path)] == ["revoked", "active"]
    assert desk.control.refused("GET", f"{desk.path}/{first['id']}/token")[:2] == (404, 1002)
    assert desk.control.refused("POST", f"{desk.path}/{first['id']}/rotate")[:2] == (404, 1002)
    assert desk.control.call("DELETE", f"{desk.path}/{first['id']}")["revoked_at"] == gone["revoked_at"]
    assert desk.control.call("GET", f"{desk.path}/{second['id']}")["status"] == "active"


def test_revoking_drops_its_connections_and_no_others(desk: Desk) -> None:
    one, two = desk.make("web-1"), desk.make("web-2")
    store, tunnel_id = desk.control.store, desk.tunnel["id"]
    connectors = [str(uuid4()) for _ in range(3)]
    for connector, token_id in zip(connectors, (one["id"], two["id"], ""), strict=True):
        register(store, tunnel_id, connector, token_id=token_id)
    shown = desk.control.call("GET", desk.path)
    assert [(each["connections"], each["last_used_from"]) for each in shown] == [(1, "192.0.2.9")] * 2
    assert shown[0]["last_used_at"]
    desk.control.notices.clear()
    desk.control.call("DELETE", f"{desk.path}/{one['id']}")
    told = [(notice.kind, notice.token_id) for notice in desk.control.notices]
    assert told.index((NoticeKind.TUNNEL, None)) < told.index((NoticeKind.DISCONNECT, one["id"]))
    path = f"{desk.control.tunnels()}/{tunnel_id}"
    assert [each["id"] for each in desk.control.call("GET", f"{path}/connections")] == connectors[1:]
    assert [each["connections"] for each in desk.control.call("GET", desk.path)] == [0, 1]
    assert desk.control.call("GET", path)["status"] == "healthy"


def test_rotating_changes_the_secret_and_keeps_the_row(desk: Desk) -> None:
    made = desk.make()
    register(desk.control.store, desk.tunnel["id"], str(uuid4()), token_id=made["id"])
    desk.control.notices.clear()
    rotated = desk.control.call("POST", f"{desk.path}/{made['id']}/rotate")
    assert rotated["id"] == made["id"]
    assert _secret(rotated["token"]) != _secret(made["token"])
    assert rotated["connections"] == 1
    assert [(notice.kind, notice.token_id) for notice in desk.control.notices] == [
        (NoticeKind.TUNNEL_SECRET, made["id"])
    ]


def test_an_expired_token_ends_by_itself(desk: Desk) -> None:
    store = desk.control.store
    soon = store.clock() + timedelta(seconds=90)
    made = desk.make(expires_at=soon.isoformat())
    register(store, desk.tunnel["id"], str(uuid4()), token_id=made["id"])
    assert end_connector_tokens(store) == 0
    later = soon + timedelta(seconds=1)
    store.clock = lambda: later
    assert desk.control.call("GET", f"{desk.path}/{made['id']}")["status"] == "expired"
    desk.control.notices.clear()
    assert end_connector_tokens(store) == 1
    assert end_connector_tokens(store) == 0
    assert (NoticeKind.DISCONNECT, made["id"]) in [(each.kind, each.token_id) for each in desk.control.notices]
    shown = desk.control.call("GET", f"{desk.path}/{made['id']}")
    assert (shown["status"], shown["connections"]) == ("expired", 0)
    with store.reading() as session:
        assert connector_tokens.good(session, desk.tunnel["id"]) == []
        assert session.query(Audit).filter(Audit.action == "connector_token.expire").count() == 1
    desk.make()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": " "},
        {"name": "x" * 101},
        {"name": "a\nb"},
        {"name": 7},
        {"name": "x", "expires_at": ""},
        {"name": "x", "expires_at": "tomorrow"},
        {"name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x", "expires_at": 7},
    ],
)
def test_a_bad_one_leaves_no_trace(desk: Desk, body: dict[str, Any]) -> None:
    assert desk.control.refused("POST", desk.path, body)[0] == 400
    assert desk.control.call("GET", desk.path) == []


def test_of_another_or_a_deleted_tunnel(desk: Desk) -> None:
    made = desk.make()
    other = desk.control.create_tunnel("t2")
    foreign = f"/qanat/tunnels/{other['id']}/connector-tokens/{made['id']}"
    for method, rest in (("GET", ""), ("GET", "/token"), ("POST", "/rotate"), ("DELETE", "")):
        assert desk.control.refused(method, foreign + rest)[0] == 404
    assert desk.control.refused("GET", f"{desk.path}/nonsense")[0] == 404
    desk.control.call("DELETE", f"{desk.control.tunnels()}/{desk.tunnel['id']}")
    assert len(desk.control.call("GET", desk.path)) == 1
    for method, path in (("POST", desk.path), ("POST", f"{desk.path}/{made['id']}/rotate")):
        assert desk.control.refused(method, path, {"name": "y"})[0] == 404
    assert desk.control.refused("GET", f"{desk.path}/{made['id']}/token")[0] == 404


def test_a_token_that_can_not_be_ended_keeps_no_other_alive(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    store, skipped = desk.control.store, SkippedRows()
    soon = store.clock() + timedelta(seconds=90)
    bad, good = (desk.make(name=name, expires_at=soon.isoformat())["id"] for name in ("bad", "good"))
    later = soon + timedelta(seconds=1)
    store.clock = lambda: later
    end = connector_tokens._end

    def fails(write: Any, tunnel: Any, token: Any, action: str) -> None:
        if token.id == bad:
            raise ValueError("what it holds is from a newer version")
        end(write, tunnel, token, action)

    with monkeypatch.context() as broken:
        broken.setattr(connector_tokens, "_end", fails)
        assert end_connector_tokens(store, skipped) == 1
    with store.reading() as session:
        assert session.get_one(ConnectorToken, good).revoked_at is not None
        assert session.get_one(ConnectorToken, bad).revoked_at is None
    assert [(row.kind, row.name) for row in skipped.rows()] == [("token_expiry", bad)]
    assert end_connector_tokens(store, skipped) == 1
    assert not skipped.rows()
