"""Tunnels, their configurations and their connector tokens."""

from collections.abc import Mapping
from typing import Any

from qanat.client.http import ApiRefusedError, Calls, converted
from qanat.client.shapes import (
    Configuration,
    Connector,
    ConnectorToken,
    DetailedConnection,
    DetailedConnector,
    Tunnel,
    TunnelDetail,
)
from qanat.errors import QanatError
from qanat.ids import parse_tunnel_id


class TunnelCalls(Calls):
    """`/accounts/{a}/cfd_tunnel`, and `/qanat/tunnels`."""

    def create_tunnel(
        self, account_id: str, name: str, *, config_src: str = "cloudflare", secret: str | None = None
    ) -> Tunnel:
        """The answer holds the connector token. `secret`: at least 32 characters of base64; without one the API makes it."""
        body = {"name": name, "config_src": config_src, **({"tunnel_secret": secret} if secret is not None else {})}
        return self._one("POST", f"/accounts/{account_id}/cfd_tunnel", Tunnel, body=body)

    def tunnels(self, account_id: str, *, name: str | None = None, deleted: bool = False) -> list[Tunnel]:
        """In order of age; with `deleted` the deleted ones instead."""
        query = {"is_deleted": "true" if deleted else "false", **({"name": name} if name else {})}
        return list(self._pages(f"/accounts/{account_id}/cfd_tunnel", Tunnel, query))

    def find_tunnel(self, account_id: str, name_or_id: str) -> Tunnel:
        """QanatError `tunnel_unknown`."""
        try:
            return self.tunnel(account_id, parse_tunnel_id(name_or_id))
        except ApiRefusedError:
            raise
        except QanatError as error:
            if error.code != "bad_id":
                raise
            found = self.tunnels(account_id, name=name_or_id)
        if not found:
            raise QanatError("tunnel_unknown", f"there is no tunnel {name_or_id!r}", hint="see `qanat tunnel list`")
        return found[0]

    def tunnel(self, account_id: str, tunnel_id: str) -> Tunnel:
        """One tunnel."""
        return self._one("GET", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}", Tunnel)

    def tunnel_detail(self, tunnel_id: str) -> TunnelDetail:
        """Status since when and why, and what each connection has applied. qanat's own."""
        return self._one("GET", f"/qanat/tunnels/{tunnel_id}", TunnelDetail)

    def told_detail(self, account_id: str, tunnel: Tunnel) -> TunnelDetail:
        """As much of the same as the standard endpoints know, for a control plane that isn't qanat's."""
        is_up = tunnel.status in ("healthy", "degraded")
        version = self.configuration(account_id, tunnel.id).version
        return TunnelDetail(
            id=tunnel.id,
            name=tunnel.name,
            status=tunnel.status,
            status_since=(tunnel.conns_active_at if is_up else tunnel.conns_inactive_at) or tunnel.created_at or "",
            status_reason=None,
            configuration_version=version,
            connectors=[_told(each, version) for each in self.connectors(account_id, tunnel.id)],
        )

    def rename_tunnel(self, account_id: str, tunnel_id: str, name: str) -> Tunnel:
        """The tunnel under its new name."""
        return self._one("PATCH", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}", Tunnel, body={"name": name})

    def delete_tunnel(self, account_id: str, tunnel_id: str, *, cascade: bool = False) -> Tunnel:
        """`cascade` also when connectors are connected."""
        query = {"cascade": "true"} if cascade else {}
        return self._one("DELETE", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}", Tunnel, query=query)

    def connector_token(self, account_id: str, tunnel_id: str) -> str:
        """What `qanat tunnel run` takes: the tunnel's own token."""
        return self._one("GET", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}/token", str)

    def connectors(self, account_id: str, tunnel_id: str) -> list[Connector]:
        """Those connected now."""
        return self._one("GET", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}/connections", list[Connector])

    def disconnect(self, account_id: str, tunnel_id: str, *, connector_id: str | None = None) -> None:
        """Drops the connections (of one connector)."""
        query = {"client_id": connector_id} if connector_id else {}
        self._call("DELETE", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}/connections", query=query)

    # ------------------------------------------------------------ configurations

    def configuration(self, account_id: str, tunnel_id: str) -> Configuration:
        """The one in force; version 0 when there never was one."""
        path = f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}/configurations"
        answer = self._one("GET", path, dict[str, Any])
        return _configuration({**answer, "tunnel_id": answer.get("tunnel_id") or tunnel_id}, path)

    def put_configuration(self, account_id: str, tunnel_id: str, document: Mapping[str, Any]) -> Configuration:
        """The whole document anew."""
        path = f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}/configurations"
        return self._one("PUT", path, Configuration, body={"config": document})

    def configuration_versions(self, tunnel_id: str) -> list[Configuration]:
        """Newest first."""
        return list(self._pages(f"/qanat/tunnels/{tunnel_id}/configurations/versions", Configuration))

    def configuration_version(self, tunnel_id: str, version: int) -> Configuration:
        """One version."""
        return self._one("GET", f"/qanat/tunnels/{tunnel_id}/configurations/versions/{version}", Configuration)

    def configuration_diff(self, tunnel_id: str, before: int, after: int) -> dict[str, Any]:
        """What changed from one version to another."""
        query = {"from": before, "to": after}
        return self._one("GET", f"/qanat/tunnels/{tunnel_id}/configurations/diff", dict[str, Any], query=query)

    def roll_back(self, tunnel_id: str, version: int) -> Configuration:
        """An earlier version, in force again as the newest one."""
        path = f"/qanat/tunnels/{tunnel_id}/configurations/rollback"
        return self._one("POST", path, Configuration, body={"version": version})

    # ------------------------------------------------------------ connector tokens

    def connector_tokens(self, tunnel_id: str) -> list[ConnectorToken]:
        """The named ones, without their secrets."""
        return list(self._pages(f"/qanat/tunnels/{tunnel_id}/connector-tokens", ConnectorToken))

    def create_connector_token(self, tunnel_id: str, name: str, *, expires_at: str | None = None) -> ConnectorToken:
        """The answer holds the token."""
        body = {"name": name, **({"expires_at": expires_at} if expires_at else {})}
        return self._one("POST", f"/qanat/tunnels/{tunnel_id}/connector-tokens", ConnectorToken, body=body)

    def find_connector_token(self, tunnel_id: str, name_or_id: str) -> ConnectorToken:
        """Of those that aren't revoked. QanatError `connector_token_unknown`."""
        for each in self.connector_tokens(tunnel_id):
            if name_or_id == each.id or (name_or_id == each.name and each.revoked_at is None):
                return each
        raise QanatError(
            "connector_token_unknown",
            f"the tunnel has no connector token {name_or_id!r}",
            hint="see `qanat tunnel connector-token list`",
        )

    def show_connector_token(self, tunnel_id: str, token_id: str) -> ConnectorToken:
        """One, with its token."""
        return self._one("GET", f"/qanat/tunnels/{tunnel_id}/connector-tokens/{token_id}/token", ConnectorToken)

    def rotate_connector_token(self, tunnel_id: str, token_id: str) -> ConnectorToken:
        """A new secret under the same name."""
        return self._one("POST", f"/qanat/tunnels/{tunnel_id}/connector-tokens/{token_id}/rotate", ConnectorToken)

    def revoke_connector_token(self, tunnel_id: str, token_id: str) -> None:
        """Its connections are dropped, and it is never let in again."""
        self._call("DELETE", f"/qanat/tunnels/{tunnel_id}/connector-tokens/{token_id}")


def _told(connector: Connector, pushed: int) -> DetailedConnector:
    return DetailedConnector(
        id=connector.id,
        version=connector.version,
        arch=connector.arch,
        run_at=connector.run_at,
        wanted_connections=len(connector.conns),
        config_version=connector.config_version,
        config_error="",
        connections=[
            DetailedConnection(
                id=each.id,
                index=None,
                protocol="",
                location=each.colo_name,
                origin_ip=each.origin_ip or "",
                opened_at=each.opened_at,
                pushed_version=pushed,
                applied_version=connector.config_version,
                config_error="",
            )
            for each in connector.conns
            if not each.is_pending_reconnect
        ],
    )


def _configuration(answer: Mapping[str, Any], path: str) -> Configuration:
    """A stock API answers `"config": null` for a tunnel that never had one."""
    return converted({**answer, "config": answer.get("config") or {}}, Configuration, path)
