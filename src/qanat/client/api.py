"""The v4 API over HTTP."""

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from qanat.client.shapes import (
    Account,
    Configuration,
    Connector,
    Record,
    TokenStatus,
    Tunnel,
    TunnelDetail,
    Zone,
)
from qanat.errors import QanatError
from qanat.ids import parse_tunnel_id

PER_PAGE = 100
TUNNEL_SUFFIX = ".cfargotunnel.com"

Shape = TypeVar("Shape")
Query = Mapping[str, str | int]


class ApiRefusedError(QanatError):
    """The API said no: `status` is HTTP's, `api_code` the envelope's."""

    def __init__(self, status: int, api_code: int, message: str) -> None:
        super().__init__("api_refused", message, hint=None)
        self.status = status
        self.api_code = api_code


class Client:
    """One control plane. `base_url` ends in `/client/v4`."""

    def __init__(self, base_url: str, token: str, *, timeout_s: float = 30.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx.Client(
            headers={"authorization": f"Bearer {token}", "accept": "application/json"},
            timeout=timeout_s,
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    # ------------------------------------------------------------ who, where

    def verify(self) -> TokenStatus:
        """Whether the token is good."""
        return self._one("GET", "/user/tokens/verify", TokenStatus)

    def accounts(self, *, name: str | None = None) -> list[Account]:
        """Those that the token sees."""
        return list(self._pages("/accounts", Account, {"name": name} if name else {}))

    def account_id(self, account: str | None = None) -> str:
        """By id or name; without one the token's only account. QanatError `account_ambiguous`, `account_unknown`."""
        accounts = self.accounts()
        if account is not None:
            accounts = [each for each in accounts if account in (each.id, each.name)]
        if len(accounts) == 1:
            return accounts[0].id
        if not accounts:
            raise QanatError("account_unknown", "the token sees no such account", where="--account")
        names = ", ".join(f"{each.name} ({each.id})" for each in accounts[:10])
        raise QanatError("account_ambiguous", f"the token sees several accounts: {names}", where="--account")

    # ------------------------------------------------------------ tunnels

    def create_tunnel(
        self, account_id: str, name: str, *, config_src: str = "cloudflare", secret: str | None = None
    ) -> Tunnel:
        """The answer holds the connector token. `secret`: base64 of at least 32 bytes; without one the API makes it."""
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
        except QanatError:
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

    def rename_tunnel(self, account_id: str, tunnel_id: str, name: str) -> Tunnel:
        """The tunnel under its new name."""
        return self._one("PATCH", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}", Tunnel, body={"name": name})

    def delete_tunnel(self, account_id: str, tunnel_id: str, *, cascade: bool = False) -> Tunnel:
        """`cascade` also when connectors are connected."""
        query = {"cascade": "true"} if cascade else {}
        return self._one("DELETE", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}", Tunnel, query=query)

    def connector_token(self, account_id: str, tunnel_id: str) -> str:
        """What `qanat tunnel run` takes."""
        return self._one("GET", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}/token", str)

    def connectors(self, account_id: str, tunnel_id: str) -> list[Connector]:
        """Those connected now."""
        return self._one("GET", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}/connections", list[Connector])

    def disconnect(self, account_id: str, tunnel_id: str, *, connector_id: str | None = None) -> None:
        """Drops the connections (of one connector)."""
        query = {"client_id": connector_id} if connector_id else {}
        self._call("DELETE", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}/connections", query=query)

    def configuration(self, account_id: str, tunnel_id: str) -> Configuration:
        """The one in force; version 0 when there never was one."""
        return self._one("GET", f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}/configurations", Configuration)

    def put_configuration(self, account_id: str, tunnel_id: str, document: Mapping[str, Any]) -> Configuration:
        """The whole document anew."""
        path = f"/accounts/{account_id}/cfd_tunnel/{tunnel_id}/configurations"
        return self._one("PUT", path, Configuration, body={"config": document})

    # ------------------------------------------------------------ zones and records

    def zones(self, *, name: str | None = None) -> list[Zone]:
        """Those that the token sees; `name` exactly."""
        return list(self._pages("/zones", Zone, {"name": name} if name else {}))

    def create_zone(self, account_id: str, name: str) -> Zone:
        """A zone of the account."""
        return self._one("POST", "/zones", Zone, body={"name": name, "account": {"id": account_id}})

    def delete_zone(self, zone_id: str) -> None:
        """The zone and its records."""
        self._call("DELETE", f"/zones/{zone_id}")

    def find_zone(self, hostname_or_id: str) -> Zone:
        """The zone of this name or id, or the closest one above a hostname. QanatError `zone_unknown`."""
        zones = self.zones()
        wanted = hostname_or_id.lower().removesuffix(".")
        for zone in zones:
            if wanted in (zone.id, zone.name):
                return zone
        above = [zone for zone in zones if wanted.endswith(f".{zone.name}")]
        if not above:
            raise QanatError(
                "zone_unknown", f"no zone holds {hostname_or_id!r}", hint="make one by `qanat zone create`"
            )
        return max(above, key=lambda zone: len(zone.name))

    def records(self, zone_id: str, *, name: str | None = None) -> list[Record]:
        """All of the zone, or those of one name."""
        return list(self._pages(f"/zones/{zone_id}/dns_records", Record, {"name": name} if name else {}))

    def create_record(
        self, zone_id: str, *, name: str, type: str, content: str, proxied: bool = False, ttl: int = 1
    ) -> Record:
        """A record."""
        body = {"name": name, "type": type, "content": content, "proxied": proxied, "ttl": ttl}
        return self._one("POST", f"/zones/{zone_id}/dns_records", Record, body=body)

    def route_hostname(self, zone_id: str, hostname: str, tunnel_id: str) -> Record:
        """A proxied CNAME of the hostname to the tunnel."""
        return self.create_record(zone_id, name=hostname, type="CNAME", content=tunnel_id + TUNNEL_SUFFIX, proxied=True)

    def delete_record(self, zone_id: str, record_id: str) -> None:
        """The record."""
        self._call("DELETE", f"/zones/{zone_id}/dns_records/{record_id}")

    # ------------------------------------------------------------ qanat's own

    def status(self) -> dict[str, Any]:
        """The edge's version, addresses and counters."""
        return self._one("GET", "/qanat/status", dict[str, Any])

    def failed_request(self, request_id: str) -> dict[str, Any]:
        """Why a request failed, by the id on its error page."""
        return self._one("GET", f"/qanat/requests/{request_id}", dict[str, Any])

    # ------------------------------------------------------------ HTTP

    def _one(
        self,
        method: str,
        path: str,
        shape: type[Shape],
        *,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Shape:
        answer = self._call(method, path, query=query, body=body)
        return _converted(answer.get("result"), shape, path)

    def _pages(self, path: str, shape: type[Shape], query: Query) -> Iterator[Shape]:
        page = 1
        while True:
            answer = self._call("GET", path, query={**query, "page": page, "per_page": PER_PAGE})
            rows = _converted(answer.get("result"), list[shape], path)  # type: ignore[valid-type]
            yield from rows
            info = answer.get("result_info") or {}
            if not rows or page * info.get("per_page", PER_PAGE) >= info.get("total_count", 0):
                return
            page += 1

    def _call(
        self, method: str, path: str, *, query: Query | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            response = self._http.request(method, self.base_url + path, params=dict(query or {}), json=body)
        except httpx.HTTPError as error:
            raise QanatError(
                "api_unreachable",
                f"the API at {self.base_url} doesn't answer: {error}",
                hint="is `qanat edge` running? The address is set by --api or QANAT_API",
            ) from error
        except httpx.InvalidURL as error:
            raise QanatError("api_unreachable", f"{self.base_url} is no address of an API: {error}") from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "success" not in answer:
            raise QanatError(
                "api_unreachable",
                f"{self.base_url} answered {response.status_code}, but not as a v4 API",
                hint="the address ends in /client/v4",
            )
        if not answer["success"]:
            first = (answer.get("errors") or [{}])[0]
            message = str(first.get("message", "no reason given"))
            chain = "; ".join(str(each.get("message")) for each in first.get("error_chain", []))
            raise ApiRefusedError(
                response.status_code, int(first.get("code", 0)), f"{message} ({chain})" if chain else message
            )
        return answer


def _converted(value: object, shape: type[Shape], path: str) -> Shape:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise QanatError("api_unreachable", f"the API's answer to {path} is not what was expected: {error}") from error
