"""HTTP/1.1 requests to one API over one kept connection, by what Python brings: a command is asked for its answer, and a
larger client takes longer to load than that takes."""

import http.client
import os
import re
import select
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from msgspec import Struct

from qanat.deadline import Deadline, LateError

PIECE = 1 << 16
PATIENCE = 4
"""So many of its timeouts, each of which is of one read, a whole answer may take; of a stream its head."""

Headers = Sequence[tuple[str, str | bytes]]


class AddressError(Exception):
    """An address that can be no API's."""


class TransportError(Exception):
    """No answer, or one that is cut."""


class UnsendableError(Exception):
    """A header that HTTP has no form for. Its text never quotes the value, which may be a secret."""


class Response(Struct, frozen=True):
    """An answer; field names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """`base_url` is http:// or https://. `use_proxies`: those of the environment (`HTTPS_PROXY`, `NO_PROXY` …)."""

    def __init__(self, base_url: str, *, timeout_s: float, use_proxies: bool) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._use_proxies = use_proxies
        self._kept: http.client.HTTPConnection | None = None
        self._keeps = False
        self._prefix = ""
        self._proxy_headers: list[tuple[str, str]] = []

    def close(self) -> None:
        """Closes the connection."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def request(
        self, method: str, path: str, *, query: Mapping[str, str | int], headers: Headers, body: bytes | None
    ) -> Response:
        """The whole answer. AddressError, TransportError, UnsendableError."""
        with (
            self._used(),
            self._told(),
            Deadline(PATIENCE * self._timeout_s, self._base_url) as deadline,
            self._asked(deadline, method, path, query, headers, body) as answer,
        ):
            whole = Response(answer.status, _fields(answer), b"".join(_pieces(answer)))
            self._keep(answer)
            return whole

    @contextmanager
    def stream(
        self, method: str, path: str, *, query: Mapping[str, str | int], headers: Headers, body: bytes | None = None
    ) -> Iterator[tuple[int, Mapping[str, str], Iterator[bytes]]]:
        """The answer's status, fields, and its body in pieces. AddressError, TransportError, UnsendableError; what goes wrong
        with them at the caller's (a full disk, a closed pipe) is none of these."""
        with self._used(), ExitStack() as opened:
            with self._told(), Deadline(PATIENCE * self._timeout_s, self._base_url) as deadline:
                answer = opened.enter_context(self._asked(deadline, method, path, query, headers, body))
            yield answer.status, _fields(answer), self._told_pieces(answer)
            self._keep(answer)

    def _told_pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        with self._told():
            yield from _pieces(answer)

    @contextmanager
    def _used(self) -> Iterator[None]:
        """The connection, which is closed afterwards unless it may be kept."""
        self._keeps = False
        try:
            yield
        finally:
            if not self._keeps:
                self.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong with the API, as this module's errors."""
        try:
            yield
        except http.client.IncompleteRead as error:
            raise TransportError("the answer is cut") from error
        except http.client.HTTPException as error:
            raise TransportError(f"not an HTTP answer ({type(error).__name__})") from error
        except LateError as error:
            raise TransportError(str(error)) from error
        except TimeoutError as error:
            raise TransportError(f"no answer within {self._timeout_s:g}s") from error
        except OSError as error:
            raise TransportError(_reason(error)) from error

    def _asked(
        self,
        deadline: Deadline,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        headers: Headers,
        body: bytes | None,
    ) -> http.client.HTTPResponse:
        connection = self._connection()
        deadline.over(connection)
        self._send(connection, method, self._target(path, query), headers, body)
        return connection.getresponse()

    def _keep(self, answer: http.client.HTTPResponse) -> None:
        self._keeps = answer.isclosed() and not answer.will_close

    def _send(
        self, connection: http.client.HTTPConnection, method: str, target: str, headers: Headers, body: bytes | None
    ) -> None:
        if connection.sock is None:
            connection.connect()
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in (*self._proxy_headers, *headers):
                if not _SENDABLE.fullmatch(value if isinstance(value, bytes) else value.encode("latin-1")):
                    raise ValueError(name)
                connection.putheader(name, value)
        except (ValueError, UnicodeEncodeError) as error:
            raise UnsendableError("a value has characters that HTTP doesn't have") from error
        if body is not None or method in ("POST", "PUT", "PATCH"):
            connection.putheader("content-length", str(len(body or b"")))
        connection.endheaders(body)

    def _target(self, path: str, query: Mapping[str, str | int]) -> str:
        place = urlsplit(self._base_url + path)
        asked = urlencode(query, quote_via=quote)
        whole = "&".join(each for each in (place.query, asked) if each)
        return f"{self._prefix}{quote(place.path or '/', safe=_PATH)}{f'?{whole}' if whole else ''}"

    def _connection(self) -> http.client.HTTPConnection:
        if self._kept is not None and self._kept.sock is not None and _is_open(self._kept):
            return self._kept
        self.close()
        self._kept = self._new_connection()
        return self._kept

    def _new_connection(self) -> http.client.HTTPConnection:
        try:
            place = urlsplit(self._base_url)
            host, port = place.hostname or "", place.port
        except ValueError as error:
            raise AddressError(str(error)) from error
        if place.scheme not in ("http", "https") or not host:
            raise AddressError("it begins with http:// or https:// and names a host")
        try:
            host.encode("idna")
        except UnicodeError as error:
            raise AddressError("its host is no name") from error
        proxy = _proxy_for(place) if self._use_proxies else None
        is_tls = place.scheme == "https"
        if proxy is None:
            return _to(host, port, is_tls=is_tls, timeout_s=self._timeout_s)
        through = _to(proxy.hostname or "", proxy.port or 80, is_tls=is_tls, timeout_s=self._timeout_s)
        credentials = _credentials(proxy)
        if is_tls:
            # The connection's own TLS begins behind the proxy: the proxy itself is spoken to in clear text.
            through.set_tunnel(host, port or 443, headers=dict(credentials))
        else:
            self._prefix, self._proxy_headers = f"http://{place.netloc.rpartition('@')[2]}", credentials
        return through


_SENDABLE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_PATH = "/%:@!$&'()*+,;=~-._"


def _to(host: str, port: int | None, *, is_tls: bool, timeout_s: float) -> http.client.HTTPConnection:
    if is_tls:
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _proxy_for(place: SplitResult) -> SplitResult | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib import request  # not for every start

    proxies = request.getproxies_environment()
    address = proxies.get(place.scheme) or proxies.get("all")
    if not address or request.proxy_bypass(place.netloc.rpartition("@")[2]):
        return None
    proxy = urlsplit(address if "://" in address else f"http://{address}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise AddressError(f"a proxy's address in the environment begins with http://, not {proxy.scheme}://")
    return proxy


def _credentials(proxy: SplitResult) -> list[tuple[str, str]]:
    if proxy.username is None:
        return []
    text = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return [("proxy-authorization", f"Basic {b64encode(text.encode()).decode()}")]


def _is_open(connection: http.client.HTTPConnection) -> bool:
    """A server says nothing between two requests, except that it has closed."""
    with suppress(OSError, ValueError):
        return not select.select([connection.sock], [], [], 0)[0]
    return False


def _fields(answer: http.client.HTTPResponse) -> dict[str, str]:
    """By name in lower case; cookies a line each, since a comma may be part of one."""
    found: dict[str, str] = {}
    for name, value in answer.getheaders():
        key = name.lower()
        between = "\n" if key == "set-cookie" else ", "
        found[key] = f"{found[key]}{between}{value}" if key in found else value
    return found


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while piece := answer.read(PIECE):
        yield piece
    if answer.length:  # announced, and never came
        raise http.client.IncompleteRead(b"", answer.length)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message} (SSL_CERT_FILE may name your CA)"
    return error.strerror or str(error) or type(error).__name__
