"""The one rule of a connector without ingress rules: --hello-world, else --bastion, --url or --unix-socket, in stock's order."""

import re
import socket

from qanat.connector.sources import Sources
from qanat.errors import QanatError
from qanat.ingress.durations import show_duration
from qanat.ingress.rules import Configuration, parse_configuration

_ORIGIN_FLAGS = {
    "proxy-connect-timeout": "connectTimeout",
    "proxy-tls-timeout": "tlsTimeout",
    "proxy-tcp-keepalive": "tcpKeepAlive",
    "proxy-no-happy-eyeballs": "noHappyEyeballs",
    "proxy-keepalive-connections": "keepAliveConnections",
    "proxy-keepalive-timeout": "keepAliveTimeout",
    "proxy-address": "proxyAddress",
    "proxy-port": "proxyPort",
    "http-host-header": "httpHostHeader",
    "origin-server-name": "originServerName",
    "origin-ca-pool": "caPool",
    "no-tls-verify": "noTLSVerify",
    "no-chunked-encoding": "disableChunkedEncoding",
    "http2-origin": "http2Origin",
}

SINGLE_ORIGIN_FLAGS = frozenset({"hello-world", "bastion", "url", "unix-socket", "socks5", *_ORIGIN_FLAGS})

_ANY_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_SLASHES_MISSING = re.compile(r"(https?|wss?):(?!//)(?!\d)", re.ASCII | re.IGNORECASE)
_BUILT_IN = ("unix:", "unix+tls:", "http_status:")


def single_origin(sources: Sources, warnings: list[str]) -> tuple[Configuration | None, str]:
    """The rule, and what it came from; None and "" without any.

    Raises:
        QanatError: as `parse_configuration`; `where` is the flag, variable, or file and key.
    """
    given = [
        name
        for name in ("hello-world", "bastion", "url", "unix-socket")
        if sources.values.get(name, False) is not False
    ]
    if not given:
        return None, ""
    name, ignored = given[0], given[1:]
    if not sources.values[name]:
        raise sources.bad(name, "it is empty", hint="write http://localhost:8080, or leave it out")
    place = sources.place(name)
    if ignored:
        others = " and ".join(sources.place(other) for other in ignored)
        warnings.append(f"{place} is used; {others} {'is' if len(ignored) == 1 else 'are'} ignored")
    try:
        configuration = parse_configuration(_document(name, sources, warnings), form="yaml")
    except QanatError as error:
        raise QanatError(error.code, error.message, where=place, hint=error.hint) from None
    warnings += [f"{place}: {warning.message}" for warning in configuration.warnings]
    return configuration, place


def _document(name: str, sources: Sources, warnings: list[str]) -> dict[str, object]:
    if name == "hello-world":
        service = "hello_world"
    elif name == "bastion":
        service = "bastion"
    elif name == "unix-socket":
        service = f"unix:{sources.file('unix-socket')}"
    else:
        service, dropped = service_of_url(sources.get("url", ""))
        if dropped:
            place = sources.place("url")
            warnings.append(f"{place}: '{dropped[:80]}' is left out: requests keep the path they came with")
    origin: dict[str, object] = {}
    for flag, key in _ORIGIN_FLAGS.items():
        value = sources.values.get(flag)
        if key == "caPool":
            value = sources.file(flag)
        elif key == "keepAliveConnections" and isinstance(value, int):
            value = max(0, value)  # below 0 stock keeps none
        if value is not None:
            origin[key] = show_duration(value) if isinstance(value, float) else value
    if name == "bastion":
        origin["bastionMode"] = True
    if sources.get("socks5", False):
        origin["proxyType"] = "socks"
    return {"originRequest": origin, "ingress": [{"service": service}]}


def service_of_url(text: str) -> tuple[str, str]:
    """What `--url` says as a rule's service, and what of it has no meaning there: `localhost:8080`, `127.0.0.1`, `[::1]:80` and
    `h` are HTTP, as stock takes them; a path, a query and a fragment are dropped; `http://:80` is this host.

    Raises:
        QanatError: `ingress_bad_service`, for what can be nothing that answers.
    """
    text = text.strip()
    if text.startswith(_BUILT_IN) or text in ("hello_world", "hello-world"):
        return text, ""
    if text.startswith(("/", "./", "~/")):
        hint = f"write --unix-socket {text[:80]} if it is a socket, or a URL such as http://localhost:8080"
        raise QanatError("ingress_bad_service", f"'{text[:80]}' is a path, not a URL", hint=hint)
    if text.isascii() and text.isdigit():
        hint = f"write http://localhost:{text[:5]} if it is a port"
        raise QanatError("ingress_bad_service", f"'{text[:80]}' is not a valid host", hint=hint)
    if _SLASHES_MISSING.match(text):
        hint = f"write {text.replace(':', '://', 1)[:80]}"
        raise QanatError("ingress_bad_service", f"'{text[:80]}' has no // after its scheme", hint=hint)
    url = text if _ANY_SCHEME.match(text) else f"http://{_bracketed(text)}"
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    dropped = rest[len(authority) :]
    user, at, host = authority.rpartition("@")
    if scheme.lower() == "ftp":
        hint = "name an http:// or https:// origin"
        raise QanatError("ingress_bad_service", "ftp is not a protocol that a tunnel carries", hint=hint)
    if host.count(":") > 1 and not host.startswith("["):
        address, _, port = host.rpartition(":")
        hint = f"write {scheme}://[{address}]:{port}" if _is_ipv6(address) else "write http://[::1]:8080"
        raise QanatError("ingress_bad_service", f"'{host[:80]}' is an IPv6 address without its brackets", hint=hint)
    if host.startswith(":") and host[1:].isdigit():
        host = f"localhost{host}"
    return f"{scheme}://{user}{at}{host.removesuffix(':')}", "" if dropped == "/" else dropped


def _bracketed(text: str) -> str:
    """An IPv6 address as a URL has it; anything else as it is."""
    if not _is_ipv6(text):
        return text
    host, _, port = text.rpartition(":")
    if port.isdigit() and _is_ipv6(host):
        hint = f"write [{host}]:{port} for that port, or [{text}] for the address"
        raise QanatError("ingress_bad_service", f"'{text[:80]}' may be an address, or an address and a port", hint=hint)
    return f"[{text}]"


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return False
    return True
