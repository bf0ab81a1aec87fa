"""The key sets that `access` checks tokens with: fetched by a thread of their own, so that neither a request nor a change of the
configuration waits for an issuer."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from qanat import structs
from qanat.connector.engine import Connector, EngineError
from qanat.connector.log import Log
from qanat.deadline import Deadline
from qanat.ingress.access import KEYS

REFRESH_S = 300.0
"""A key that an issuer has taken back is good for so long at most."""
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
_TIMEOUT_S = 10.0
_LARGEST = 1 << 20

Fetch = Callable[[str], bytes]


class KeySets:
    """Keeps the keys of the issuers that the configuration in force names. Without any there is no thread."""

    def __init__(self, connector: Connector, log: Log, *, fetch: Fetch | None = None) -> None:
        self._connector = connector
        self._log = log
        self._fetch = fetch or fetch_key_set
        self._changed = threading.Condition()
        self._due: dict[str, float] = {}
        self._delay: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        self._ended = False

    def use(self, issuers: Iterable[str]) -> None:
        """Fetches the keys of these issuers now, and again and again; forgets all others."""
        with self._changed:
            now = time.monotonic()
            self._due = {issuer: self._due.get(issuer, now) for issuer in issuers if issuer}
            self._delay = {issuer: delay for issuer, delay in self._delay.items() if issuer in self._due}
            if self._due and self._thread is None and not self._ended:
                self._thread = threading.Thread(target=self._run, name="key sets", daemon=True)
                self._thread.start()
            self._changed.notify()

    def want(self, issuer: str) -> None:
        """Fetches the keys of one of them now. Who calls this bounds how often."""
        with self._changed:
            if issuer in self._due and issuer not in self._delay:  # one that fails has its own pace
                self._due[issuer] = time.monotonic()
                self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _run(self) -> None:
        while issuer := self._next():
            try:
                self._connector.put_key_set(issuer=issuer, keys=self._fetch(issuer))
            except Exception as error:  # noqa: BLE001 - whatever an issuer answers, the next one is asked as well
                reason = error.message if isinstance(error, EngineError) else str(error)
                self._again(issuer, reason or type(error).__name__)
            else:
                self._again(issuer, "")

    def _next(self) -> str:
        """The issuer whose keys are due, once they are; "" at the end."""
        with self._changed:
            while not self._ended:
                if not self._due:
                    self._changed.wait()
                    continue
                issuer = min(self._due, key=lambda each: self._due[each])
                wait_s = self._due[issuer] - time.monotonic()
                if wait_s <= 0:
                    return issuer
                self._changed.wait(wait_s)
        return ""

    def _again(self, issuer: str, failure: str) -> None:
        with self._changed:
            if issuer not in self._due:
                return
            if failure:
                delay_s = min(LONGEST_RETRY_S, 2 * self._delay.get(issuer, FIRST_RETRY_S / 2))
                self._delay[issuer] = delay_s
            else:
                delay_s = REFRESH_S
                self._delay.pop(issuer, None)
            self._due[issuer] = time.monotonic() + delay_s
        if failure:
            self._log.error("Failed to fetch an access key set", issuer=issuer, error=failure, retryIn=f"{delay_s:g}s")
        else:
            self._log.debug("Fetched an access key set", issuer=issuer)


def fetch_key_set(issuer: str) -> bytes:
    """An issuer's JWK set: at `/cdn-cgi/access/certs`, and where that isn't found at the `jwks_uri` of its OpenID configuration.

    Raises:
        Exception: there is none.
    """
    from urllib.error import HTTPError  # only here, and below: most connectors have no such rule

    try:
        return _get(issuer + KEYS)
    except HTTPError as error:
        if error.code != 404:
            raise
    configuration = structs.decode(_get(f"{issuer}/.well-known/openid-configuration"), Any)
    uri = configuration.get("jwks_uri") if isinstance(configuration, dict) else None
    if not isinstance(uri, str) or not uri.startswith(("https://", f"{issuer}/")):
        raise ValueError("the OpenID configuration has no https jwks_uri")
    return _get(uri)


def _get(url: str) -> bytes:
    from urllib.request import HTTPRedirectHandler, Request

    class Nowhere(HTTPRedirectHandler):
        """A key set is where it is said to be: who answers with a redirect may not be who it seems."""

        def redirect_request(self, *_: Any) -> None:
            return None

    request = Request(url, headers={"Accept": "application/json", "User-Agent": "qanat"})
    with Deadline(_TIMEOUT_S, url) as deadline, deadline.opener(Nowhere).open(request, timeout=_TIMEOUT_S) as answer:
        content: bytes = answer.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"{url} has more than {_LARGEST} bytes")
    return content
