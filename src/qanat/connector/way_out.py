"""The HTTP proxy that leads out to the edge, from the variables that every program takes: HTTPS_PROXY and NO_PROXY. Stock
cloudflared doesn't take them for its edge."""

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from msgspec import Struct

VARIABLES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


class Proxy(Struct, frozen=True):
    """`authorization` is the value of Proxy-Authorization: never logged, and not in the text form."""

    variable: str
    address: str
    tls: bool
    authorization: bytes | None

    def __repr__(self) -> str:
        return f"Proxy({self.address!r})"


def proxy(environment: Mapping[str, str], warnings: list[str]) -> Proxy | None:
    """What HTTPS_PROXY names. What it can't mean is a warning: it is there for other programs as well."""
    variable = next((name for name in VARIABLES[:2] if environment.get(name)), None)
    if variable is None:
        return None
    scheme, separator, rest = environment[variable].strip().rpartition("://")
    authority = rest.partition("/")[0]
    user, at, host = authority.rpartition("@")
    scheme = scheme.lower() if separator else "http"
    if scheme not in ("http", "https"):
        warnings.append(f"${variable} is not used: its proxy is neither http:// nor https://")
        return None
    name, _, port = host.rpartition(":")
    if host.endswith("]") or not name:
        name, port = host, "443" if scheme == "https" else "80"
    sound = name and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not sound or not name.isascii() or (":" in name and not name.startswith("[")):
        warnings.append(f"${variable} is not used: it is not http://HOST:PORT")
        return None
    authorization = None
    if at:
        name_part, _, password = user.partition(":")
        pair = unquote_to_bytes(name_part) + b":" + unquote_to_bytes(password)
        authorization = b"Basic " + b64encode(pair)
    return Proxy(f"${variable}", f"{name}:{port}", scheme == "https", authorization)


def is_excepted(environment: Mapping[str, str], host: str, port: int) -> bool:
    """Whether NO_PROXY names the host: `*`, a name and those below it, an address, a network, each with a port or without.
    Loopback is never reached through a proxy."""
    host = host.rstrip(".").lower()
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    listed = next((environment[name] for name in VARIABLES[2:] if environment.get(name)), "")
    return any(_is_named(entry.strip().lower(), host, address, port) for entry in listed.split(","))


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _is_named(entry: str, host: str, address: _Address | None, port: int) -> bool:
    if not entry:
        return False
    if entry == "*":
        return True
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit() and (":" not in name or name.startswith("[")):
        if int(wanted) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    if address is not None:
        return _address(entry) == address
    below = entry.removeprefix("*").removeprefix(".")
    return host.endswith(f".{below}") or (host == below and not entry.startswith((".", "*")))


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
