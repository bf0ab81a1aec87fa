"""The page of alerts: from nothing to a rule that is told, without a script."""

import re

from qanat.alerts.kinds import DEFAULTS
from tests.support.control import Control
from tests.support.dashboard import Visitor, shown

MAIL = {"kind": "email", "name": "mail", "host": "smtp.example.com", "port": "587", "security": "starttls"}
MAIL |= {"sender": "a@example.com", "recipients": "b@example.com, c@example.com", "enabled": "yes"}


def ids(page: str, what: str) -> list[str]:
    return list(dict.fromkeys(re.findall(rf"/alerts/{what}/([0-9a-f]{{32}})/", page)))


def test_from_nothing_to_rules_that_are_told(control: Control, me: Visitor) -> None:
    assert "Begin with the usual rules" in me.page("/alerts")
    made = me.post("/alerts/channels", kind="webhook", name="hook", url="https://127.0.0.1:1/secret", enabled="yes")
    assert "whsec_" in made.text
    page = me.page("/alerts")
    assert "whsec_" not in page
    assert "secret" not in page
    [channel] = ids(page, "channels")
    assert me.post("/alerts/defaults").status_code == 303
    assert len(ids(me.page("/alerts"), "rules")) == len(DEFAULTS)

    tested = me.post(f"/alerts/channels/{channel}/test")
    assert "alert_address_denied" in tested.text
    assert "loopback" in shown(me.page("/alerts"))
    assert "whsec_" in me.post(f"/alerts/channels/{channel}/key").text
    assert "it is https://127.0.0.1:1/…" in shown(me.page(f"/alerts/channels/{channel}"))
    assert me.post(f"/alerts/channels/{channel}", name="renamed", url="", enabled="").status_code == 303
    assert "renamed off" in shown(me.page("/alerts"))

    assert me.post("/alerts/channels", **MAIL).status_code == 303
    assert "b@example.com, c@example.com by smtp.example.com" in shown(me.page("/alerts"))
    assert me.post("/alerts/channels", **{**MAIL, "port": "x"}).status_code == 400

    form = me.page("/alerts/rules/new", kind="error_rate")
    assert 'value="0.05"' in form
    rule = {"kind": "error_rate", "name": "<b>errors</b>", "share": "0.2", "hostname": "app.example.test"}
    assert me.post("/alerts/rules", **rule, **{f"channel-{channel}": "yes"}, enabled="yes").status_code == 303
    page = me.page("/alerts")
    assert "&lt;b&gt;errors" in page
    rule_id = control.call("GET", f"/accounts/{control.account}/qanat/alerts/rules")[-1]["id"]
    assert 'value="0.2"' in me.page(f"/alerts/rules/{rule_id}")
    assert me.post(f"/alerts/rules/{rule_id}", **{**rule, "share": "2"}).status_code == 400
    assert me.post(f"/alerts/rules/{rule_id}", **{**rule, "share": "0.3"}, enabled="yes").status_code == 303
    assert me.post(f"/alerts/rules/{rule_id}/silence", for_s="3600").status_code == 303
    assert "silent until" in shown(me.page("/alerts"))
    assert me.post(f"/alerts/rules/{rule_id}/silence", for_s="5").status_code == 400
    for each in ids(me.page("/alerts"), "rules"):
        assert me.post(f"/alerts/rules/{each}/delete").status_code == 303
    for each in ids(me.page("/alerts"), "channels"):
        assert me.post(f"/alerts/channels/{each}/delete").status_code == 303
    assert "There are no channels" in me.page("/alerts")


def test_what_a_rule_goes_by_is_said_in_words(control: Control, me: Visitor) -> None:
    rules = f"/accounts/{control.account}/qanat/alerts/rules"
    control.call("POST", rules, {"name": "many fail", "kind": "error_rate", "settings": {"share": 0.2}})
    said = shown(me.page("/alerts"))
    assert "share of failed requests 20 %" in said
    assert "within 300 s" in said
    assert "1 to 1000000" in shown(me.page("/alerts/rules/new", kind="error_rate"))
