"""HTTP to a CA within bounds: how long, how much, how often; and what its answers say of time."""

import math
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from threading import Event
from time import monotonic
from typing import Any

import josepy
import requests
from acme import client, errors, messages
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from qanat import __version__
from qanat.certificates.failure import OrderFailedError
from qanat.deadline import Deadline

ANSWER_S = 20
MOST_BYTES = 1 << 20
NONCE_TRIES = 8
MOST_SKEW = timedelta(hours=1)
LONGEST_WAIT = timedelta(days=8)
"""A CA that names a later moment is not believed. The longest that is known of is a week."""


class Network(client.ClientNetwork):
    """`ca_file`: trusted for the CA's own HTTPS in place of the usual roots. `stopping`: no further request is made."""

    def __init__(
        self,
        key: josepy.JWK,
        *,
        ca_file: str | None,
        now: Callable[[], datetime],
        ends_at: float,
        stopping: Event,
    ) -> None:
        super().__init__(key, alg=josepy.ES256, user_agent=f"qanat/{__version__}", timeout=ANSWER_S)
        self._trusted: str | bool = ca_file or True
        self.not_before: datetime | None = None
        """Of the last answer's Retry-After."""
        self._now = now
        self._ends_at = ends_at
        self._stopping = stopping
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, _adapter(lambda: self._deadline))
        self._deadline: Deadline | None = None
        """Of the request that is under way."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As the library's, but a CA may refuse more than one nonce in a row (RFC 8555 6.5 lets it)."""
        for _ in range(NONCE_TRIES - 1):
            try:
                return self._post_once(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
                self._nonces.clear()
        return self._post_once(*args, **kwargs)

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        """Under the library's name for it."""
        if self._stopping.is_set():
            raise OrderFailedError("acme_interrupted", "the edge stops", whose="ours")
        if monotonic() > self._ends_at:
            raise errors.TimeoutError("the order took too long")
        kwargs.setdefault("headers", {}).setdefault("User-Agent", self.user_agent)
        kwargs.setdefault("timeout", ANSWER_S)
        kwargs |= {"verify": self._trusted, "stream": True, "allow_redirects": False}
        try:
            with Deadline(ANSWER_S, "the CA") as self._deadline:
                response = self.session.request(method, url, *args, **kwargs)
                with response:
                    # The library reads it as if it had come whole.
                    response._content = _body(response)
                    response._content_consumed = True
        except TimeoutError as error:
            raise errors.TimeoutError(str(error)) from error
        finally:
            self._deadline = None
        response.encoding = "utf-8"
        self._check_clock(response.headers.get("Date"))
        self.not_before = self._retry_after(response.headers.get("Retry-After"))
        return response

    def _check_clock(self, date: str | None) -> None:
        """With a wrong clock a good certificate looks over, and every one is due at once."""
        told = _parsed(date)
        if told is not None and abs(told - self._now()) > MOST_SKEW:
            raise OrderFailedError(
                "acme_clock_wrong",
                f"the CA's clock says {told:%Y-%m-%d %H:%M} UTC and this host's {self._now():%Y-%m-%d %H:%M}",
                whose="ours",
                hint="set this host's clock (timedatectl); no certificate is ordered before",
            )

    def _retry_after(self, text: str | None) -> datetime | None:
        if text is None:
            return None
        now = self._now()
        if text.isascii() and text.isdigit():
            seconds = min(float(text[:12]), LONGEST_WAIT.total_seconds())
            return now + timedelta(seconds=math.ceil(seconds))
        told = _parsed(text)
        return min(told, now + LONGEST_WAIT) if told is not None else None


def _body(response: requests.Response) -> bytes:
    pieces, size = [], 0
    while piece := response.raw.read1(1 << 16, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise OrderFailedError(
                "acme_answer_bad", f"the CA's answer is larger than {MOST_BYTES} bytes", whose="authority"
            )
    return b"".join(pieces)


def _adapter(under_way: Callable[[], Deadline | None]) -> HTTPAdapter:
    """Its connections, also those that are kept, are watched by the deadline that is under way."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            dialled = super()._new_conn()
            if (deadline := under_way()) is not None:
                deadline.watch(dialled)
            return dialled

        def request(self, *args: Any, **kwargs: Any) -> None:
            if self.sock is not None and (deadline := under_way()) is not None:
                deadline.watch(self.sock)
            super().request(*args, **kwargs)

    class Tls(Plain, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
    return adapter


def _parsed(date: str | None) -> datetime | None:
    try:
        told = parsedate_to_datetime(date or "")
        return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
