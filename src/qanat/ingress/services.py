"""The `service` of a rule: what stands behind a public hostname."""

import re
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from qanat.errors import QanatError
from qanat.ids import parse_hostname

Kind = Literal["http", "unix", "unix+tls", "status", "hello_world", "tcp", "bastion", "socks-proxy"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TCP_PORTS = {"tcp": 7864, "ssh": 22, "rdp": 3389, "smb": 445}
"""Stock cloudflared's, where a scheme is TCP over WebSocket. Any other scheme needs a port."""
_WEB_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII)
_ADDRESS_CHARACTERS = re.compile(r"[0-9a-fA-F:.]+(%[0-9A-Za-z._~-]+)?", re.ASCII)
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+(/.*)?", re.ASCII)


_EDGE_DOMAINS = (".cfargotunnel.com", ".cftunnel.com", ".argotunnel.com")
"""Names at which only an edge answers: what public records point to, and what connectors dial."""


class Service(Struct, frozen=True):
    """A parsed service. `text` is what the user wrote, without secrets, for logs (of TCP with its port, as stock shows it);
    `kind` and `target` are the engine's. `ignored`: what of the text has no effect, "" for nothing.

    `http`: `http://host:port` or `https://host:port`; `unix`, `unix+tls`: the socket's path; `status`: the code; `tcp`:
    `host:port`; `hello_world`, `bastion`, `socks-proxy`: "".
    """

    kind: Kind
    target: str
    text: str
    userinfo: bool = False
    ignored: str = ""


BASTION = Service("bastion", "", "bastion")


def parse_service(text: str, *, where: str = "service") -> Service:
    """One service, by stock cloudflared's forms (protocol.md, *Configuration*).

    Raises:
        QanatError: `ingress_no_service`, `ingress_bad_service`, `ingress_service_has_path`, `ingress_bad_status`,
            `ingress_service_is_edge`.
    """
    if not text:
        raise QanatError(
            "ingress_no_service", "the rule has no service", where=where, hint="add one, e.g. http://127.0.0.1:80"
        )
    if not text.isprintable():
        raise _bad(f"{text[:80]!a} has control characters", where, None)
    if text.startswith("http_status:"):
        return _status(text, where)
    for kind in ("unix+tls", "unix"):
        if text.startswith(f"{kind}:"):
            path = text.removeprefix(f"{kind}:")
            if not path:
                raise _bad(f"'{text}' names no socket", where, f"write {kind}:/path/to/socket")
            return Service("unix+tls" if kind == "unix+tls" else "unix", path, text)
    if text in ("hello_world", "hello-world"):
        return Service("hello_world", "", text)
    if text == "bastion":
        return BASTION
    if text == "socks-proxy":
        return Service("socks-proxy", "", text)
    return _url(text, where)


def _status(text: str, where: str) -> Service:
    code = text.removeprefix("http_status:")
    digits = code.removeprefix("+").lstrip("0")
    if not (digits.isascii() and digits.isdigit() and len(digits) == 3):
        raise QanatError(
            "ingress_bad_status",
            f"'{code[:40]}' is not a valid status code",
            where=where,
            hint="write a number from 100 to 999",
        )
    return Service("status", digits, f"http_status:{digits}")


def _url(text: str, where: str) -> Service:
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise _bad(f"'{text[:80]}' is not a valid URL: {error}", where, "write http://127.0.0.1:80") from None
    if not host or not _SCHEME.fullmatch(url.scheme):
        guess = (
            f"write http://{text}"
            if _HOST_AND_PORT.fullmatch(text)
            else "write a scheme and a host, e.g. http://127.0.0.1:80"
        )
        raise _bad(f"'{text[:80]}' has no scheme and host", where, guess)
    userinfo = "@" in url.netloc
    shown = text.replace(f"{url.netloc.rpartition('@')[0]}@", "", 1) if userinfo else text
    if url.path:
        raise QanatError(
            "ingress_service_has_path",
            f"'{shown[:80]}' has a path; requests keep the path they came with",
            where=where,
            hint=f"remove {url.path[:40]}",
        )
    ignored = shown[len(url.scheme) + 3 + len(url.netloc.rpartition("@")[2]) :]
    if port == 0:
        raise _bad(f"'{shown[:80]}' has port 0", where, "write a port from 1 to 65535")
    address = _address(host, url.netloc, shown, where)
    if address.endswith(_EDGE_DOMAINS):
        raise QanatError(
            "ingress_service_is_edge",
            f"'{shown[:80]}' is the edge itself: each request would come back to it",
            where=where,
            hint="name the service behind the connector, e.g. http://127.0.0.1:80",
        )
    scheme = _WEB_SCHEMES.get(url.scheme)
    if scheme is not None:
        return Service("http", f"{scheme}://{address}:{port or _DEFAULT_PORTS[scheme]}", shown, userinfo, ignored)
    if port is None and (port := _TCP_PORTS.get(url.scheme)) is None:
        # stock starts with it, and refuses every request
        return Service("tcp", f"{address}:0", f"{url.scheme}://{address}", userinfo, ignored)
    return Service("tcp", f"{address}:{port}", f"{url.scheme}://{address}:{port}", userinfo, ignored)


def _address(host: str, netloc: str, shown: str, where: str) -> str:
    """The host as it stands in a URL: an address as it is (IPv6 in brackets), a name in punycode."""
    if "[" in netloc:
        if not _ADDRESS_CHARACTERS.fullmatch(host):
            raise _bad(f"'{shown[:80]}' has no IPv6 address between its brackets", where, None)
        return f"[{host}]"
    if re.fullmatch(r"[0-9.]+", host):
        parts = host.split(".")
        if len(parts) != 4 or not all(part.isdigit() and len(part) <= 3 and int(part) <= 255 for part in parts):
            raise _bad(f"'{host[:80]}' is not a valid IPv4 address", where, "write four numbers from 0 to 255")
        return host
    try:
        return parse_hostname(host, wildcard=False)
    except QanatError as error:
        raise _bad(error.message, where, error.hint) from None


def _bad(message: str, where: str, hint: str | None) -> QanatError:
    return QanatError("ingress_bad_service", message, where=where, hint=hint)
