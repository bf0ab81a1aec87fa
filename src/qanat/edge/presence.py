"""Which nodes are reached, from the engine's events as they come: without the database, and before it is written there."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from time import monotonic

from qanat.edge.engine import ConnectionDraining, ConnectionLost, ConnectionRegistered, ConnectionSuspect, EdgeEvent

Key = tuple[str, str]
"""Tunnel and connector token."""


@dataclass(slots=True)
class _Connection:
    node: Key
    is_suspect: bool = False


class Presence:
    """Safe for many threads. A connection counts until it is lost or drains."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._connections: dict[str, _Connection] = {}
        self._held: Counter[Key] = Counter()
        self._suspect: Counter[Key] = Counter()
        self._gone: dict[Key, float] = {}
        self._features: dict[Key, frozenset[str]] = {}
        self._listeners: tuple[Callable[[str], None], ...] = ()

    def listen(self, listener: Callable[[str], None]) -> None:
        """Called with the tunnel's id after each change, in the thread of the events."""
        self._listeners = (*self._listeners, listener)

    def take(self, event: EdgeEvent) -> None:
        """One event, of any kind."""
        tunnel_id = self._take(event)
        if tunnel_id is not None:
            for listener in self._listeners:
                listener(tunnel_id)

    def _take(self, event: EdgeEvent) -> str | None:
        with self._lock:
            if isinstance(event, ConnectionRegistered):
                node = (event.tunnel_id, event.token_id)
                self._forget(event.connection_id)
                self._connections[event.connection_id] = _Connection(node)
                self._held[node] += 1
                self._features[node] = frozenset(event.features)
                self._settle(node)
            elif isinstance(event, ConnectionDraining | ConnectionLost):
                self._forget(event.connection_id)
            elif isinstance(event, ConnectionSuspect):
                known = self._connections.get(event.connection_id)
                if known is None or known.is_suspect is event.suspect:
                    return None
                known.is_suspect = event.suspect
                self._suspect[known.node] += 1 if event.suspect else -1
                self._settle(known.node)
            else:
                return None
        return event.tunnel_id

    def _forget(self, connection_id: str) -> None:
        known = self._connections.pop(connection_id, None)
        if known is None:
            return
        self._held[known.node] -= 1
        self._suspect[known.node] -= known.is_suspect
        self._settle(known.node)

    def _settle(self, node: Key) -> None:
        if self._held[node] > self._suspect[node]:
            self._gone.pop(node, None)
        else:
            self._gone.setdefault(node, self._clock())

    def connections(self, tunnel_id: str, token_id: str) -> tuple[int, int]:
        """How many there are, and how many of them are suspect."""
        with self._lock:
            return self._held[tunnel_id, token_id], self._suspect[tunnel_id, token_id]

    def gone_since(self, tunnel_id: str, token_id: str) -> float | None:
        """Since when none is usable; None: one is, or none was ever seen (see `was_seen`)."""
        with self._lock:
            return self._gone.get((tunnel_id, token_id))

    def was_seen(self, tunnel_id: str, token_id: str) -> bool:
        """Whether the node was connected since this process began."""
        with self._lock:
            return (tunnel_id, token_id) in self._features

    def announces(self, tunnel_id: str, token_id: str, feature: str) -> bool:
        """Whether the connector that registered last with this token did."""
        with self._lock:
            return feature in self._features.get((tunnel_id, token_id), ())

    def announcing(self, feature: str) -> Sequence[Key]:
        """The connected nodes whose connectors announced it."""
        with self._lock:
            return [node for node, features in self._features.items() if feature in features and self._held[node]]
