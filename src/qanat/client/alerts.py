"""Alerts: rules, what fired, channels and what was delivered by them."""

from collections.abc import Mapping
from typing import Any

from qanat.client.http import Calls
from qanat.errors import QanatError

Rule = dict[str, Any]
Channel = dict[str, Any]


class AlertCalls(Calls):
    """`/accounts/{a}/qanat/alerts`; every answer is as the API shows it."""

    def alert_kinds(self, account_id: str) -> list[dict[str, Any]]:
        """What rules can be about, with thresholds and defaults."""
        return self._one("GET", _at(account_id, "/kinds"), list[dict[str, Any]])

    def alert_rules(self, account_id: str) -> list[Rule]:
        """The oldest first."""
        return self.listed(_at(account_id, "/rules"))

    def find_alert_rule(self, account_id: str, name: str) -> Rule:
        """By its id or name. QanatError `alert_rule_unknown`."""
        return _found(self.alert_rules(account_id), name, "alert_rule_unknown", "rule")

    def create_alert_rule(self, account_id: str, rule: Mapping[str, Any]) -> Rule:
        """One more."""
        return self._one("POST", _at(account_id, "/rules"), dict[str, Any], body=dict(rule))

    def create_default_alert_rules(self, account_id: str, channels: list[str]) -> list[Rule]:
        """Those of the usual kinds that are missing."""
        return self._one("POST", _at(account_id, "/rules/defaults"), list[dict[str, Any]], body={"channels": channels})

    def change_alert_rule(self, account_id: str, rule_id: str, rule: Mapping[str, Any]) -> Rule:
        """Another content, all of it."""
        return self._one("PUT", _at(account_id, f"/rules/{rule_id}"), dict[str, Any], body=dict(rule))

    def silence_alert_rule(self, account_id: str, rule_id: str, *, for_s: float) -> Rule:
        """Nobody is told for so long; 0 ends it."""
        path = _at(account_id, f"/rules/{rule_id}/silence")
        return self._one("POST", path, dict[str, Any], body={"for_s": for_s})

    def delete_alert_rule(self, account_id: str, rule_id: str) -> None:
        """With what fired of it."""
        self._one("DELETE", _at(account_id, f"/rules/{rule_id}"), dict[str, Any])

    def alert_firings(self, account_id: str, *, is_open: bool | None = None) -> list[dict[str, Any]]:
        """Those that hold now first."""
        query = {} if is_open is None else {"is_open": "true" if is_open else "false"}
        return self.listed(_at(account_id, "/firings"), query)

    def alert_channels(self, account_id: str) -> list[Channel]:
        """The oldest first."""
        return self.listed(_at(account_id, "/channels"))

    def find_alert_channel(self, account_id: str, name: str) -> Channel:
        """By its id or name. QanatError `alert_channel_unknown`."""
        return _found(self.alert_channels(account_id), name, "alert_channel_unknown", "channel")

    def create_alert_channel(self, account_id: str, channel: Mapping[str, Any]) -> Channel:
        """One more; `key` is a webhook's, shown this once."""
        return self._one("POST", _at(account_id, "/channels"), dict[str, Any], body=dict(channel))

    def roll_alert_channel_key(self, account_id: str, channel_id: str) -> Channel:
        """Another `key`."""
        return self._one("POST", _at(account_id, f"/channels/{channel_id}/key"), dict[str, Any])

    def test_alert_channel(self, account_id: str, channel_id: str) -> dict[str, Any]:
        """`{delivered, code, error, channel}`."""
        return self._one("POST", _at(account_id, f"/channels/{channel_id}/test"), dict[str, Any])

    def delete_alert_channel(self, account_id: str, channel_id: str) -> None:
        """With what waits for it."""
        self._one("DELETE", _at(account_id, f"/channels/{channel_id}"), dict[str, Any])

    def alert_deliveries(self, account_id: str) -> list[dict[str, Any]]:
        """Newest first."""
        return self.listed(_at(account_id, "/deliveries"))


def _at(account_id: str, path: str) -> str:
    return f"/accounts/{account_id}/qanat/alerts{path}"


def _found(rows: list[dict[str, Any]], name: str, code: str, what: str) -> dict[str, Any]:
    found = [row for row in rows if name in (row["id"], row["name"])]
    if not found:
        raise QanatError(code, f"there is no {what} {name!r}", hint="`qanat alert list` names them")
    if len(found) > 1:
        raise QanatError("usage", f"several are named {name!r}: give the id", where=what.upper())
    return found[0]
