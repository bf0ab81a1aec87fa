"""Where a connector's edges are: those of --edge, else those that its token names, else the hosted one's, looked up as stock
cloudflared does. `host:port` means what it means to stock; a name alone is a service's (SRV) or a host at the usual port."""

import ipaddress
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from qanat.connector import way_out
from qanat.connector.sources import Sources
from qanat.connector.token import Credentials
from qanat.connector.way_out import Proxy
from qanat.errors import QanatError

if TYPE_CHECKING:
    from qanat.connector.engine import EdgePlace as EnginePlace
    from qanat.connector.engine import HttpProxy, NameServer

PORT = 7844
OTHER_PORT = 443
"""Where HTTP/2 is tried when nothing answers at the usual port."""
HOSTED_ZONE = "argotunnel.com"
HOSTED_REGIONS = ("region1", "region2")
DNS_OVER_TLS: "NameServer" = {"address": "1.1.1.1:853", "name": "cloudflare-dns.com"}
"""Asked for the hosted edge's service where the host's own resolver doesn't know it, as stock does."""

_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*\.?", re.I
)

Origin = Literal["flag", "token", "hosted"]


class EdgePlace(Struct, frozen=True):
    """As the engine takes it (`_engine.pyi`, EdgePlace)."""

    address: str
    service: str | None = None
    server_name: str | None = None
    other_port: int | None = None
    through_proxy: bool = False

    def for_engine(self) -> "EnginePlace":
        return {
            "address": self.address,
            "service": self.service,
            "server_name": self.server_name,
            "other_port": self.other_port,
            "through_proxy": self.through_proxy,
        }


class Edges(Struct, frozen=True):
    """`named_by`: who said where they are. `resolver`: the name server to ask, `address:port`."""

    places: tuple[EdgePlace, ...]
    named_by: Origin
    proxy: Proxy | None
    resolver: str | None

    def proxy_for_engine(self) -> "HttpProxy | None":
        if self.proxy is None:
            return None
        return {"address": self.proxy.address, "tls": self.proxy.tls, "authorization": self.proxy.authorization}

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(place.address for place in self.places)


def find_edges(
    sources: Sources, credentials: Credentials, *, has_ca: bool, protocol: str, warnings: list[str]
) -> Edges:
    """Checks them; asks nobody.

    Raises:
        QanatError: `flag_value_invalid`, `token_invalid`.
    """
    region = _region(sources, credentials)
    given = sources.get("edge", ())
    named_by: Origin = "flag" if given else "token" if credentials.edges else "hosted"
    if named_by == "hosted":
        places = _hosted(region)
    else:
        places = tuple(_own(sources, text, region, has_ca=has_ca) for text in given or credentials.edges)
    proxy = way_out.proxy(sources.ways_out, warnings)
    if proxy is not None and protocol == "quic":
        warnings.append(f"{proxy.variable} is not used: QUIC can't go through a proxy, and --protocol is quic")
        proxy = None
    if proxy is not None:
        places = tuple(_led(place, sources.ways_out) for place in places)
        if not any(place.through_proxy for place in places):
            proxy = None
    return Edges(places, named_by, proxy, _resolver(sources))


def _region(sources: Sources, credentials: Credentials) -> str:
    region = sources.get("region", "")
    if region and credentials.endpoint:
        raise sources.bad("region", "region provided with a token that has an endpoint", hint="leave the flag out")
    region = region or credentials.endpoint
    if region and not _REGION.fullmatch(region):
        raise sources.bad("region", f"'{region[:40]}' is not the name of a region", hint="write one such as us")
    return region


def _hosted(region: str) -> tuple[EdgePlace, ...]:
    service = _service(region, HOSTED_ZONE)
    prefix = f"{region}-" if region else ""
    return tuple(
        EdgePlace(f"{prefix}{name}.v2.{HOSTED_ZONE}:{PORT}", service=service, other_port=OTHER_PORT)
        for name in HOSTED_REGIONS
    )


def _service(region: str, name: str) -> str:
    return f"_{region}-v2-origintunneld._tcp.{name}" if region else f"_v2-origintunneld._tcp.{name}"


def _own(sources: Sources, text: str, region: str, *, has_ca: bool) -> EdgePlace:
    host, port = _split(text)
    if host is None:
        where = sources.place("edge") if sources.get("edge", ()) else "the token's edge"
        message = f"'{text[:80]}' is neither host:port nor a name"
        raise QanatError("flag_value_invalid", message, where=where, hint="write edge.example.com or an address:7844")
    is_address = _is_address(host)
    shown = f"[{host}]" if ":" in host else host
    other_port = OTHER_PORT if port in (None, PORT) else None
    if port is not None or is_address:
        return EdgePlace(f"{shown}:{port or PORT}", other_port=other_port)
    name = host.rstrip(".").lower()
    # By its own CA an edge shows the names that every connector asks for; by a public one it can show only its own.
    server_name = None if has_ca or _is_hosted(name) else name
    return EdgePlace(f"{name}:{PORT}", _service(region, name), server_name, other_port)


def _split(text: str) -> tuple[str | None, int | None]:
    """Host without brackets, and port; no host: neither form."""
    if _is_address(text.removeprefix("[").removesuffix("]")):
        return text.removeprefix("[").removesuffix("]"), None
    host, colon, port = text.rpartition(":")
    if not colon:
        return (text, None) if _NAME.fullmatch(text) else (None, None)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None, None
    sound = host and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    return (host, int(port)) if sound else (None, None)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_hosted(name: str) -> bool:
    return name == HOSTED_ZONE or name.endswith(f".{HOSTED_ZONE}")


def _led(place: EdgePlace, environment: Mapping[str, str]) -> EdgePlace:
    host, port = _split(place.address)
    through_proxy = not way_out.is_excepted(environment, host or "", port or PORT)
    return EdgePlace(place.address, place.service, place.server_name, place.other_port, through_proxy)


def _resolver(sources: Sources) -> str | None:
    text = sources.get("edge-resolver", "")
    if not text:
        return None
    host, port = _split(text)
    if host is None or not _is_address(host):
        raise sources.bad("edge-resolver", f"'{text[:80]}' is not an address", hint="write 192.0.2.53 or 192.0.2.53:53")
    return f"[{host}]:{port or 53}" if ":" in host else f"{host}:{port or 53}"
