"""Cutovers of qanat's own, zones' policies for repointed records, and records in quarantine."""

from collections.abc import Mapping
from typing import Any

from qanat.client.http import Calls

Cutover = dict[str, Any]
"""As the API shows it: `id`, `state`, `share`, `why`, `gates`, `timeline` and more."""


class CutoverCalls(Calls):
    """`/accounts/{a}/qanat/cutovers`."""

    def plan_cutover(self, account_id: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        """`{version, is_open, plan, gates}`: nothing is changed."""
        return self._one("POST", f"/accounts/{account_id}/qanat/cutovers/plan", dict[str, Any], body=dict(plan))

    def begin_cutover(self, account_id: str, plan: Mapping[str, Any]) -> Cutover:
        """Begun; the edge goes on by itself. `plan` may name a `base_version`."""
        return self._one("POST", f"/accounts/{account_id}/qanat/cutovers", dict[str, Any], body=dict(plan))

    def cutovers(self, account_id: str, *, hostname: str | None = None, is_active: bool = False) -> list[Cutover]:
        """Newest first."""
        query = {**({"hostname": hostname} if hostname else {}), **({"is_active": "true"} if is_active else {})}
        return self.listed(f"/accounts/{account_id}/qanat/cutovers", query)

    def cutover(self, account_id: str, cutover_id: str) -> Cutover:
        """One."""
        return self._one("GET", f"/accounts/{account_id}/qanat/cutovers/{cutover_id}", dict[str, Any])

    def act_on_cutover(self, account_id: str, cutover_id: str, act: str, *, force: bool = False) -> Cutover:
        """`pause`, `resume` or `rollback`."""
        path = f"/accounts/{account_id}/qanat/cutovers/{cutover_id}/{act}"
        return self._one("POST", path, dict[str, Any], query={"force": "true"} if force else None)

    def quarantined_records(self, account_id: str) -> list[dict[str, Any]]:
        """Those whose tunnel is deleted."""
        return self.listed(f"/accounts/{account_id}/qanat/quarantined-records")

    def cutover_policy(self, zone_id: str) -> dict[str, Any]:
        """`{policy, in_force}`."""
        return self._one("GET", f"/qanat/zones/{zone_id}/cutover-policy", dict[str, Any])

    def put_cutover_policy(self, zone_id: str, policy: str | None) -> dict[str, Any]:
        """`enforce`, `warn`, `off`; None: as the edge's setting says."""
        return self._one("PUT", f"/qanat/zones/{zone_id}/cutover-policy", dict[str, Any], body={"policy": policy})
