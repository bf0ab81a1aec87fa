"""Who may register, and for how long, with real links: rotation (case 34), named connector tokens, deletion, quick tunnels."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support import rpc
from tests.support.api import ApiError, Tunnel
from tests.support.connector import Connector
from tests.support.connectors import Http2Connector, QuicConnector
from tests.support.edge import Edge
from tests.support.waiting import stays_true, wait_until

GRACE_S = 3.0
PROTOCOLS = ["quic", "http2"]
NEW_SECRET = base64.b64encode(bytes(range(1, 33))).decode()


@pytest.fixture(scope="module")
def rotating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge whose grace after a rotation is short, with quick tunnels that go soon."""
    edge = Edge(
        tmp_path_factory.mktemp("rotating") / "edge",
        tunnel_rotation_grace_s=str(GRACE_S),
        control_quick_tunnels_zone="try.example.test",
        control_quick_tunnels_expiry_s="2",
    )
    yield edge
    edge.stop()


class Links:
    """A tunnel and the connectors that a test opens."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.api = edge.api
        self.tunnel: Tunnel = edge.api.create_tunnel(f"t {uuid4()}")
        self.one = f"/accounts/{edge.api.account}/cfd_tunnel/{self.tunnel.id}"
        self.tokens = f"/qanat/tunnels/{self.tunnel.id}/connector-tokens"
        self._open: list[QuicConnector | Http2Connector] = []

    def join(self, protocol: str, token: str) -> QuicConnector | Http2Connector:
        kind = QuicConnector if protocol == "quic" else Http2Connector
        made = kind(self.edge.tunnel, self.edge.ca_file, token)
        self._open.append(made)
        return made

    def joined(self, protocol: str, token: str) -> bool:
        """Whether it was let in."""
        try:
            self.join(protocol, token)
        except rpc.Refused:
            return False
        return True

    def refused(self, protocol: str, token: str) -> rpc.Refused:
        with pytest.raises(rpc.Refused) as refused:
            self.join(protocol, token)
        return refused.value

    def live(self) -> int:
        return len(self.api.connections(self.tunnel.id))

    def wait_live(self, count: int) -> None:
        wait_until(lambda: self.live() == count, f"{count} connections")

    def own(self) -> Any:
        return self.api.call("GET", f"/qanat/tunnels/{self.tunnel.id}")

    def token(self, name: str = "web-1", **more: object) -> Any:
        return self.api.call("POST", self.tokens, {"name": name, **more})

    def close(self) -> None:
        for each in self._open:
            each.close()


@pytest.fixture
def links(rotating: Edge) -> Iterator[Links]:
    made = Links(rotating)
    yield made
    made.close()


# ------------------------------------------------------------------------------------------------ case 34
@pytest.mark.case(34)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rotation(links: Links, protocol: str) -> None:
    old = links.tunnel.token
    replicas = [links.join(protocol, old) for _ in range(2)]
    links.wait_live(2)
    start = time.monotonic()
    changed = links.api.call("PATCH", links.one, {"tunnel_secret": NEW_SECRET})
    assert "tunnel_secret" not in changed
    assert NEW_SECRET not in json.dumps(changed)
    new = links.api.call("GET", f"{links.one}/token")
    assert new != old
    assert links.api.call("GET", f"{links.one}/token") == new
    refusal = links.refused(protocol, old)
    assert refusal.cause.startswith("Unauthorized")
    assert refusal.should_retry
    assert refusal.retry_after_s >= 10, "it would hammer"
    assert links.live() == 2, "live links stay"
    fresh = links.join(protocol, new)
    links.wait_live(3)
    for replica in replicas:
        replica.wait_ended()
    assert time.monotonic() - start >= GRACE_S - 0.5
    links.wait_live(1)
    links.api.disconnect(links.tunnel.id)
    fresh.wait_ended()
    links.wait_live(0)
    assert links.refused(protocol, new).retry_after_s <= 5.0, "whoever was disconnected stays away for a moment"
    wait_until(lambda: links.joined(protocol, new), "the tunnel to take connections again", every_s=0.5)
    links.wait_live(1)
    assert links.api.call("PATCH", links.one, {"tunnel_secret": NEW_SECRET}) == links.api.call("GET", links.one)


@pytest.mark.case(34)
@pytest.mark.parametrize(
    "secret", [base64.b64encode(bytes(21)).decode(), "not base64!", "", "AAAA", base64.b64encode(bytes(2000)).decode()]
)
def test_a_bad_secret_changes_nothing(links: Links, secret: str) -> None:
    with pytest.raises(ApiError) as refused:
        links.api.call("PATCH", links.one, {"tunnel_secret": secret})
    assert refused.value.status == 400
    assert type(refused.value.errors[0]["code"]) is int
    if secret:
        assert secret not in refused.value.text
    assert links.api.call("GET", f"{links.one}/token") == links.tunnel.token
    links.join("quic", links.tunnel.token)


@pytest.mark.case(34)
def test_our_connector_with_the_old_token_waits_and_with_the_new_one_comes(links: Links, folder: Path) -> None:
    old = links.tunnel.token
    links.api.call("PATCH", links.one, {"tunnel_secret": NEW_SECRET})
    stale = Connector(folder / "old", links.edge, old, wait=False)
    try:
        stale.process.wait_for("(?i)secret|unauthorized|refused")
        stays_true(lambda: links.live() == 0 and stale.process.running, "it gave up or came in", for_s=1.0)
        fresh = Connector(folder / "new", links.edge, links.api.call("GET", f"{links.one}/token"))
        links.wait_live(1)
        fresh.stop()
    finally:
        stale.stop()


# ------------------------------------------------------------------------------------------------ named tokens
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_named_token_registers_and_is_revoked_alone(links: Links, protocol: str) -> None:
    one, two = links.token("web-1"), links.token("web-2")
    first = links.join(protocol, one["token"])
    links.join(protocol, two["token"])
    links.join(protocol, links.tunnel.token)
    links.wait_live(3)
    shown = links.api.call("GET", links.tokens)
    assert [(each["connections"], each["last_used_from"]) for each in shown] == [(1, "127.0.0.1")] * 2
    names = [each["connector_token"] and each["connector_token"]["name"] for each in links.own()["connectors"]]
    assert set(names) == {None, "web-1", "web-2"}
    links.api.call("DELETE", f"{links.tokens}/{one['id']}")
    first.wait_ended()
    links.wait_live(2)
    links.refused(protocol, one["token"])
    stays_true(lambda: links.live() == 2, "others were dropped as well", for_s=1.0)
    links.join(protocol, two["token"])


def test_rotating_a_named_token_leaves_the_others_alone(links: Links) -> None:
    made = links.token()
    old = links.join("quic", made["token"])
    links.join("quic", links.tunnel.token)
    links.wait_live(2)
    new = links.api.call("POST", f"{links.tokens}/{made['id']}/rotate")["token"]
    links.refused("quic", made["token"])
    links.join("quic", new)
    links.wait_live(3)
    old.wait_ended()
    links.wait_live(2)
    links.join("quic", links.tunnel.token)


def test_rotating_the_tunnels_secret_leaves_named_tokens_alone(links: Links) -> None:
    made = links.token()
    links.join("quic", made["token"])
    own = links.join("quic", links.tunnel.token)
    links.wait_live(2)
    links.api.call("PATCH", links.one, {"tunnel_secret": NEW_SECRET})
    own.wait_ended()
    links.wait_live(1)
    links.join("quic", made["token"])
    links.wait_live(2)


def test_an_expired_named_token_is_dropped_and_refused(links: Links) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=4)
    made = links.token(expires_at=soon.isoformat())
    connector = links.join("quic", made["token"])
    links.wait_live(1)
    connector.wait_ended()
    links.wait_live(0)
    links.refused("quic", made["token"])
    assert links.api.call("GET", f"{links.tokens}/{made['id']}")["status"] == "expired"


def test_one_tunnels_named_token_opens_no_other(links: Links) -> None:
    made = links.token()
    other = links.api.create_tunnel(f"other {uuid4()}")
    fields = json.loads(base64.b64decode(made["token"]))
    forged = base64.b64encode(json.dumps({**fields, "t": other.id}).encode()).decode()
    links.refused("quic", forged)


# ------------------------------------------------------------------------------------------------ deletion, loss
@pytest.mark.trap(9)
def test_delete_of_a_connected_tunnel_by_an_api_token(links: Links) -> None:
    """Terraform's destroy (api.md 7.1-7)."""
    connector = links.join("quic", links.tunnel.token)
    links.wait_live(1)
    links.api.delete_tunnel(links.tunnel.id)
    connector.wait_ended()
    links.refused("quic", links.tunnel.token)


def test_a_connector_that_died_is_shown_as_reconnecting(links: Links, folder: Path) -> None:
    connector = Connector(folder / "killed", links.edge, links.tunnel.token, protocol="http2", connections=1)
    links.wait_live(1)
    assert links.own()["status"] == "healthy"
    connector_id = connector.connector_id
    connector.process.kill()
    links.wait_live(0)
    (shown,) = links.api.connectors(links.tunnel.id)
    assert shown["id"] == connector_id
    assert [each["is_pending_reconnect"] for each in shown["conns"]] == [True] * len(shown["conns"])
    detail = links.own()
    assert (detail["status"], detail["status_since"]) == ("down", detail["conns_inactive_at"])
    assert detail["status_reason"]
    assert detail["connectors"][0]["status"] == "reconnecting"


# ------------------------------------------------------------------------------------------------ quick tunnels
def test_quick_tunnel_serves_and_is_gone_after_its_connector(rotating: Edge) -> None:
    rotating.api.create_zone("try.example.test")
    base = rotating.ready["api"].removesuffix("/client/v4")
    answer = httpx.post(f"{base}/tunnel", headers={"content-type": "application/json"}, trust_env=False, verify=False)
    assert answer.status_code == 200, answer.text
    made = answer.json()["result"]
    fields = {"a": made["account_tag"], "t": made["id"], "s": made["secret"]}
    token = base64.b64encode(json.dumps(fields).encode()).decode()
    connector = QuicConnector(rotating.tunnel, rotating.ca_file, token)

    def status() -> int | None:
        try:
            with rotating.h1(made["hostname"]) as client:
                return int(client.get().status)
        except OSError:
            return None

    try:
        wait_until(lambda: status() == 200, "the quick tunnel's answer")
        stays_true(lambda: status() == 200, "it went while it was connected", for_s=4.0)
    finally:
        connector.close()
    wait_until(lambda: status() == 404, "the hostname to be gone")
    account = made["account_tag"]
    assert rotating.api.call("GET", f"/accounts/{account}/cfd_tunnel/{made['id']}")["deleted_at"]
