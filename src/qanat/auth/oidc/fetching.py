"""Requests to an OpenID provider: over HTTPS, to no address that is closer than the issuer's own, bounded in size and time. Where
its documents point is the provider's word; they can't make the edge ask its own network."""

import http.client
import socket
import ssl
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlencode, urlsplit

from qanat.deadline import Deadline
from qanat.errors import QanatError

MOST_BYTES = 512 * 1024
SILENCE_S = 5.0
WHOLE_S = 10.0
PUBLIC, PRIVATE, LOOPBACK = range(3)


def closeness(url: str) -> int:
    """Of a URL's host: `PUBLIC`, `PRIVATE` or `LOOPBACK`; of several addresses the closest. QanatError `oidc_failed`."""
    return max(_closeness_of(address) for address, _ in _addresses(url))


def fetch(
    url: str, *, closest: int, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """The body of a 200; with a form, of a POST. Redirects are not followed.

    Raises:
        QanatError: `oidc_failed`.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    if parts.scheme not in ("https", "http") or not host or "@" in parts.netloc:
        raise failed(f"{url[:200]!r} is no URL that can be asked")
    if not secure and closest != LOOPBACK:
        raise failed(f"{url[:200]} is not https://")
    connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(host, parts.port)
    try:
        with Deadline(WHOLE_S, host) as deadline:
            connection.sock = _connected(url, closest)
            deadline.watch(connection.sock)
            if secure:
                connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
            body = urlencode(form) if form is not None else None
            sent = {"accept": "application/json", "user-agent": "qanat", "connection": "close", **(headers or {})}
            if body is not None:
                sent["content-type"] = "application/x-www-form-urlencoded"
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET" if body is None else "POST", path, body=body, headers=sent)
            with connection.getresponse() as answer:
                read = answer.read(MOST_BYTES + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise failed(f"{host} did not answer: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()
    if len(read) > MOST_BYTES:
        raise failed(f"{host} answered with more than {MOST_BYTES} bytes")
    if answer.status != 200:
        raise failed(f"{host} answered {answer.status}: {read[:200].decode('utf-8', 'replace')}")
    return read


def failed(message: str) -> QanatError:
    """The provider's fault, or the network's: other ways to sign in are as good as ever."""
    return QanatError("oidc_failed", message, where="control.oidc", hint="try again, or sign in another way")


def _connected(url: str, closest: int) -> socket.socket:
    told: OSError | None = None
    for address, port in _addresses(url):
        if _closeness_of(address) > closest:
            raise failed(f"{urlsplit(url).hostname} is at {address}, which is closer than the issuer")
        try:
            return socket.create_connection((str(address), port), timeout=SILENCE_S)
        except OSError as error:
            told = error
    raise failed(f"{urlsplit(url).hostname} can't be reached: {told}")


def _addresses(url: str) -> list[tuple[IPv4Address | IPv6Address, int]]:
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        return [(ip_address(str(each[4][0]).partition("%")[0]), port) for each in found]
    except (OSError, ValueError, UnicodeError) as error:
        raise failed(f"{parts.hostname} can't be found: {error}") from error


def _closeness_of(address: IPv4Address | IPv6Address) -> int:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return LOOPBACK
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise failed(f"{address} is no provider's address")
    return PUBLIC if address.is_global else PRIVATE
