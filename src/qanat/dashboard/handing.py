"""Where a client waits for the cert.pem that a user grants on the page of `tunnel login`: by the key in its callback."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from qanat.auth import origin_certificates
from qanat.auth.guesses import network_of
from qanat.errors import QanatError

if TYPE_CHECKING:
    from qanat.dashboard.desk import Desk

PATH = "/argotunnel"
STOCK_HOST = "login.cloudflareaccess.org"
"""Where a stock cloudflared fetches from, whatever its `--callbackURL` says: answered for here where that name is led here."""
LONGEST_S = 45.0
"""A stock client gives a request 60 s, and asks ten times."""
LOOKS_S = 0.25
ASKS_STORE_S = 3.0
"""What another process of this edge granted."""
MOST_WAITING = 100
MOST_OF_NETWORK = 10

Place = Literal["here", "stock"]


@dataclass(frozen=True, slots=True)
class Callback:
    """Where the client waits: `key` names what it fetches."""

    key: str
    place: Place


@dataclass(frozen=True, slots=True)
class Waiting:
    """A client that asks for its certificate now."""

    address: str
    user_agent: str


def parse_callback(text: str, host: str) -> Callback:
    """As the client wrote it. Nothing is ever sent there: a certificate would go to whoever made the link.

    Raises:
        QanatError: `login_callback_bad`.
    """
    parts = urlsplit(text)
    before, _, key = parts.path.rpartition("/")
    if parts.scheme in ("http", "https") and origin_certificates.is_key(key):
        if parts.netloc == host and before == PATH:
            return Callback(key, "here")
        if parts.netloc == STOCK_HOST and not before:
            return Callback(key, "stock")
    raise QanatError(
        "login_callback_bad",
        "the client waits somewhere else",
        where="callback",
        hint=f"give `tunnel login` --loginURL https://{host}{PATH} and --callbackURL https://{host}{PATH}/",
    )


class Handing:
    """Of one dashboard. `endpoint` lives in its server's event loop; all else may be called from any thread."""

    def __init__(self) -> None:
        self._granted = 0
        self._is_closed = False
        self._waiting: dict[str, Waiting] = {}
        self._networks: Counter[str] = Counter()

    def close(self) -> None:
        """Those that wait are told to ask again."""
        self._is_closed = True

    def granted(self) -> None:
        """Something is there to be fetched."""
        self._granted += 1

    def waiting(self, key: str) -> Waiting | None:
        """Who asks for it now."""
        return self._waiting.get(key)

    async def endpoint(self, request: Request, desk: "Desk") -> Response:
        """The certificate, once; else, after some waiting, that there is none yet."""
        key: str = request.path_params["key"]
        address = request.client.host if request.client is not None else ""
        network = network_of(address)
        if not origin_certificates.is_key(key):
            return _none(404)
        if len(self._waiting) >= MOST_WAITING or self._networks[network] >= MOST_OF_NETWORK or key in self._waiting:
            return _none(429)
        self._networks[network] += 1
        self._waiting[key] = Waiting(address, request.headers.get("user-agent", "")[:200])
        try:
            return await self._wait(request, desk, key, address)
        finally:
            del self._waiting[key]
            self._networks[network] -= 1
            if not self._networks[network]:
                del self._networks[network]

    async def _wait(self, request: Request, desk: "Desk", key: str, address: str) -> Response:
        ends = monotonic() + LONGEST_S
        seen, look_at = -1, 0.0
        while not await request.is_disconnected():
            if seen != self._granted or monotonic() >= look_at:
                seen, look_at = self._granted, monotonic() + ASKS_STORE_S
                found = await run_in_threadpool(
                    origin_certificates.fetch, desk.store, desk.keys.sealer, key, address=address
                )
                if found is not None:
                    return PlainTextResponse(found)
            if self._is_closed or monotonic() >= ends:
                break
            await asyncio.sleep(LOOKS_S)
        return _none(404)


def _none(status: int) -> Response:
    return PlainTextResponse("", status)
