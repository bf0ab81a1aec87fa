"""The control API as a client sees it: v4 envelopes over plain HTTP on loopback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.waiting import PATIENCE_S

Json = dict[str, Any]


class ApiError(Exception):
    """A refused call: `status` and the envelope's `errors`."""

    def __init__(self, status: int, errors: list[Json]) -> None:
        self.status = status
        self.errors = errors
        super().__init__(f"{status}: {errors}")

    @property
    def text(self) -> str:
        return " ".join(str(error.get("message", "")) + str(error.get("source", "")) for error in self.errors)


@dataclass(frozen=True)
class Tunnel:
    """A tunnel just made, with its connector token."""

    id: str
    name: str
    token: str


class Api:
    """One account of one edge. Every answer must be an envelope; a failure is an ApiError."""

    def __init__(self, base_url: str, token: str) -> None:
        self._client = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE_S,
            trust_env=False,
            verify=False,
        )
        self._account: str | None = None

    def close(self) -> None:
        self._client.close()

    def call(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """The envelope's `result`."""
        return self.envelope(method, path, body, **query)["result"]

    def envelope(self, method: str, path: str, body: object = None, **query: str) -> Json:
        answer = self._client.request(method, path, json=body, params=query or None)
        assert answer.headers["content-type"] == "application/json", answer.headers["content-type"]
        envelope: Json = answer.json()
        assert set(envelope) >= {"success", "errors", "messages", "result"}, envelope
        if not envelope["success"]:
            assert envelope["errors"] and answer.status_code >= 400, envelope
            raise ApiError(answer.status_code, envelope["errors"])
        assert envelope["errors"] == [] and envelope["messages"] == [] and answer.status_code == 200, envelope
        return envelope

    @property
    def account(self) -> str:
        if self._account is None:
            self._account = str(self.call("GET", "/accounts")[0]["id"])
        return self._account

    def _tunnels(self) -> str:
        return f"/accounts/{self.account}/cfd_tunnel"

    def create_tunnel(self, name: str, *, config_src: str = "cloudflare") -> Tunnel:
        made = self.call("POST", self._tunnels(), {"name": name, "config_src": config_src})
        return Tunnel(made["id"], name, made["token"])

    def tunnel(self, tunnel_id: str) -> Json:
        found: Json = self.call("GET", f"{self._tunnels()}/{tunnel_id}")
        return found

    def delete_tunnel(self, tunnel_id: str, *, cascade: bool = False) -> None:
        self.call("DELETE", f"{self._tunnels()}/{tunnel_id}" + ("?cascade=true" if cascade else ""))

    def disconnect(self, tunnel_id: str) -> None:
        self.call("DELETE", f"{self._tunnels()}/{tunnel_id}/connections")

    def connectors(self, tunnel_id: str) -> list[Json]:
        found: list[Json] = self.call("GET", f"{self._tunnels()}/{tunnel_id}/connections")
        return found

    def connections(self, tunnel_id: str) -> list[Json]:
        return [
            connection
            for connector in self.connectors(tunnel_id)
            for connection in connector["conns"]
            if not connection["is_pending_reconnect"]
        ]

    def configuration(self, tunnel_id: str) -> Json:
        found: Json = self.call("GET", f"{self._tunnels()}/{tunnel_id}/configurations")
        return found

    def put_configuration(self, tunnel_id: str, ingress: Sequence[Mapping[str, Any]], **more: Any) -> int:
        """The version that the ingress became."""
        body = {"config": {"ingress": list(ingress), **more}}
        return int(self.call("PUT", f"{self._tunnels()}/{tunnel_id}/configurations", body)["version"])

    def create_zone(self, name: str) -> str:
        return str(self.call("POST", "/zones", {"name": name, "account": {"id": self.account}})["id"])

    def publish(self, zone_id: str, hostname: str, tunnel_id: str) -> str:
        """A proxied CNAME of `hostname` to the tunnel; the record's id."""
        record = {
            "type": "CNAME",
            "name": hostname,
            "content": f"{tunnel_id}.cfargotunnel.com",
            "proxied": True,
            "ttl": 1,
        }
        return str(self.call("POST", f"/zones/{zone_id}/dns_records", record)["id"])

    def delete_record(self, zone_id: str, record_id: str) -> None:
        self.call("DELETE", f"/zones/{zone_id}/dns_records/{record_id}")

    def request_facts(self, request_id: str) -> Json:
        """What the edge knows of a request that failed: `cause`, `fault`, `status`, `detail` …"""
        found: Json = self.call("GET", f"/qanat/requests/{request_id}")
        return found
