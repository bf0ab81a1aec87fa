"""A real edge tells of a tunnel that is gone: by webhook and mail, once, though it is upgraded before the receiver takes it."""

import base64
import hashlib
import hmac
from pathlib import Path

from tests.process.test_edge_upgrade import Upgraded
from tests.support.connector import Connector
from tests.support.receivers import Hook, Mailbox
from tests.support.waiting import wait_until

PATIENCE_S = 90.0


def test_a_tunnel_that_is_gone_is_told_once_over_an_upgrade(tmp_path: Path) -> None:
    with Hook() as hook, Mailbox() as mailbox:
        edge = Upgraded(tmp_path / "edge", alerts_networks="127.0.0.0/8")
        try:
            _told_once(tmp_path, edge, hook, mailbox)
        finally:
            edge.stop()


def _told_once(folder: Path, edge: Upgraded, hook: Hook, mailbox: Mailbox) -> None:
    api = edge.api
    place = f"/accounts/{api.account}/qanat/alerts"
    web = api.call("POST", f"{place}/channels", {"name": "hook", "kind": "webhook", "url": hook.url})
    mail = {"name": "mail", "kind": "email", "host": "127.0.0.1", "port": mailbox.port, "security": "none"}
    mail |= {"sender": "qanat@example.com", "recipients": ["ops@example.com"]}
    box = api.call("POST", f"{place}/channels", mail)
    for channel in (web, box):
        assert api.call("POST", f"{place}/channels/{channel['id']}/test")["delivered"]
    assert hook.types() == ["alert.test"]
    assert len(mailbox.mails) == 1

    tunnel = api.create_tunnel("shop")
    connector = Connector(folder / "connector", edge, tunnel.token)
    rule = {"name": "down", "kind": "tunnel_down", "settings": {"for_s": 0}, "channels": [web["id"], box["id"]]}
    api.call("POST", f"{place}/rules", rule)
    hook.answer = lambda: (503, {})
    connector.stop()
    wait_until(lambda: "alert.fired" in hook.types(), "a first try", timeout_s=PATIENCE_S)
    code, _, said = edge.upgrade()
    assert code == 0, said
    hook.answer = lambda: (204, {})

    def delivered() -> int:
        return [row["state"] for row in api.call("GET", f"{place}/deliveries")].count("delivered")

    wait_until(lambda: delivered() == 4, "both messages by both channels", timeout_s=PATIENCE_S)
    fired = [each for each in hook.got if b'"type":"alert.fired"' in each[1]]
    assert len({headers["webhook-id"] for headers, _ in fired}) == 1
    assert len(fired) >= 2
    headers, body = fired[-1]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(web["key"].removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert len(mailbox.mails) == 2
    assert "tunnel shop" in mailbox.mails[1]
    [firing] = api.call("GET", f"{place}/firings")
    assert (firing["subject"], firing["resolved_at"]) == ("tunnel shop", None)
    counters = api.call("GET", "/qanat/status")["counters"]
    assert counters["alerts_open"] == 1
