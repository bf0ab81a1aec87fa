"""Whether origins answer, how they are asked, and what passes."""

from collections.abc import Mapping

from qanat.client.http import Calls
from qanat.client.shapes import OriginAnswer, OriginHealth, Probe, Traffic


class HealthCalls(Calls):
    """`/accounts/{a}/qanat/probes`, `…/health` and `…/traffic`."""

    def probes(self, account_id: str) -> list[Probe]:
        """What is set."""
        return list(self._pages(f"/accounts/{account_id}/qanat/probes", Probe))

    def set_probe(self, account_id: str, target: str, changes: Mapping[str, object]) -> Probe:
        """For a hostname or a tunnel's id; what is None stays."""
        body = {name: value for name, value in changes.items() if value is not None}
        return self._one("PUT", f"/accounts/{account_id}/qanat/probes/{target}", Probe, body=body)

    def unset_probe(self, account_id: str, target: str) -> None:
        """What holds without is in force again."""
        self._one("DELETE", f"/accounts/{account_id}/qanat/probes/{target}", object)

    def run_probe(
        self, account_id: str, hostname: str, *, tunnel_id: str | None = None, path: str | None = None
    ) -> list[OriginAnswer]:
        """Asks once, through each connected node."""
        body = {"hostname": hostname, "tunnel_id": tunnel_id, "path": path}
        return self._one("POST", f"/accounts/{account_id}/qanat/probe-runs", list[OriginAnswer], body=body)

    def health(self, account_id: str) -> list[OriginHealth]:
        """Per hostname and node, the ill first."""
        return list(self._pages(f"/accounts/{account_id}/qanat/health", OriginHealth))

    def traffic(self, account_id: str) -> list[Traffic]:
        """Per hostname and node, busiest first."""
        return list(self._pages(f"/accounts/{account_id}/qanat/traffic", Traffic))
