"""What the engine answers CAs, while orders are pending."""

from threading import Lock

from qanat.edge.engine import Edge, engine_errors


class Challenges:
    """Those of all orders; each change is in force when it returns. Safe for many threads."""

    def __init__(self, engine: Edge) -> None:
        self._engine = engine
        self._lock = Lock()
        self._http: dict[tuple[str, str], str] = {}
        self._tls: dict[str, tuple[bytes, bytes]] = {}

    def put_http(self, hostname: str, token: str, key_authorization: str) -> None:
        """At `/.well-known/acme-challenge/TOKEN` of the hostname, on the plain listener before any redirect."""
        with self._lock:
            self._http[hostname, token] = key_authorization
            self._swap()

    def drop_http(self, hostname: str, token: str) -> None:
        """Not any more."""
        with self._lock:
            self._http.pop((hostname, token), None)
            self._swap()

    def put_tls(self, hostname: str, chain: bytes, key: bytes) -> None:
        """On the HTTPS listener, to who offers `acme-tls/1` alone."""
        with self._lock:
            self._tls[hostname] = (chain, key)
            self._swap()

    def drop_tls(self, hostname: str) -> None:
        """Not any more."""
        with self._lock:
            self._tls.pop(hostname, None)
            self._swap()

    def _swap(self) -> None:
        with engine_errors():
            self._engine.swap_challenges(
                http=[(hostname, token, text) for (hostname, token), text in self._http.items()],
                tls=[(hostname, chain, key) for hostname, (chain, key) in self._tls.items()],
            )
