"""What only a qanat has: status, explanations, the audit log, backups, keys."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

from qanat.client.http import Calls, policy_header
from qanat.client.shapes import AuditRow, AuditVerdict


class OwnCalls(Calls):
    """`/qanat`."""

    def status(self) -> dict[str, Any]:
        """The edge's version, addresses and counters."""
        return self._one("GET", "/qanat/status", dict[str, Any])

    def failed_request(self, request_id: str) -> dict[str, Any]:
        """Why a request failed, by the id on its error page."""
        return self._one("GET", f"/qanat/requests/{request_id}", dict[str, Any])

    def explain(self, url: str) -> dict[str, Any]:
        """Which tunnel and rule a URL would reach, and why."""
        return self._one("GET", "/qanat/explain", dict[str, Any], query={"url": url})

    def targets(self, account_id: str, hostname: str) -> dict[str, Any]:
        """The tunnels that a hostname leads to, with their weights."""
        return self._one("GET", _targets(account_id, hostname), dict[str, Any])

    def put_targets(
        self,
        account_id: str,
        hostname: str,
        targets: Sequence[Mapping[str, str | int]],
        *,
        sticky: str,
        cutover_policy: str | None = None,
    ) -> dict[str, Any]:
        """Sets them; each has `tunnel_id` and `weight`. `cutover_policy`: for this change alone."""
        body = {"targets": [dict(each) for each in targets], "sticky": sticky}
        headers = policy_header(cutover_policy)
        return self._one("PUT", _targets(account_id, hostname), dict[str, Any], body=body, headers=headers)

    def clear_targets(self, account_id: str, hostname: str, *, cutover_policy: str | None = None) -> dict[str, Any]:
        """The hostname leads to its record's tunnel alone."""
        headers = policy_header(cutover_policy)
        return self._one("DELETE", _targets(account_id, hostname), dict[str, Any], headers=headers)

    def audit(self, filters: Mapping[str, str], *, limit: int) -> list[AuditRow]:
        """The newest `limit` rows that match; `filters`: action, actor, object_id, account, since, until."""
        rows: list[AuditRow] = []
        before: dict[str, str | int] = {}
        while len(rows) < limit:
            query = {**filters, **before, "per_page": min(limit - len(rows), 1000)}
            page = self._one("GET", "/qanat/audit", list[AuditRow], query=query)
            rows.extend(page)
            if not page:
                break
            before = {"before": page[-1].seq}
        return rows

    def export_audit(self, filters: Mapping[str, str]) -> AbstractContextManager[Iterator[bytes]]:
        """JSON lines, oldest first, in pieces."""
        return self._streamed("/qanat/audit/export", filters)

    def verify_audit(self) -> AuditVerdict:
        """Whether the audit chain holds."""
        return self._one("GET", "/qanat/audit/verify", AuditVerdict)

    def backup(self) -> AbstractContextManager[Iterator[bytes]]:
        """The whole store as one file, in pieces, while it runs."""
        return self._streamed("/qanat/backup")

    def rotate_key(self) -> dict[str, Any]:
        """Seals every secret anew under a new key."""
        return self._one("POST", "/qanat/keys/rotate", dict[str, Any])


def _targets(account_id: str, hostname: str) -> str:
    return f"/accounts/{account_id}/qanat/hostnames/{quote(hostname, safe='*')}/targets"
