"""Which nodes are reached, from the engine's events as they come: without the database, and before it is written there."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from threading import Lock
from time import monotonic

from qanat.edge.engine import ConnectionDraining, ConnectionLost, ConnectionRegistered, ConnectionSuspect, EdgeEvent

RETURNS = "qanat_return"
"""Announced by connectors that return without a back-off."""
Key = tuple[str, str]
"""Tunnel and connector token."""


@dataclass(slots=True)
class _Connection:
    node: Key
    is_suspect: bool = False
    process: int | None = None
    """Another one that has it, before this one."""


@dataclass(frozen=True, slots=True)
class Held:
    """A connection, as one process tells it to another."""

    connection_id: str
    tunnel_id: str
    token_id: str
    features: tuple[str, ...]


class Presence:
    """Safe for many threads. A connection counts until it is lost or drains."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._connections: dict[str, _Connection] = {}
        self._held: Counter[Key] = Counter()
        self._suspect: Counter[Key] = Counter()
        self._gone: dict[Key, float] = {}
        self._adopted: Counter[Key] = Counter()
        self._adopted_at = -inf
        self._features: dict[Key, frozenset[str]] = {}
        self._listeners: tuple[Callable[[str], None], ...] = ()
        self._observers: tuple[Callable[[str, Held | None], None], ...] = ()

    def observe(self, observer: Callable[[str, Held | None], None]) -> None:
        """Called with each connection that comes to this process (or is gone: None), in the thread of the events."""
        self._observers = (*self._observers, observer)

    def leave(self, observer: Callable[[str, Held | None], None]) -> None:
        """No more."""
        self._observers = tuple(each for each in self._observers if each != observer)

    def listen(self, listener: Callable[[str], None]) -> None:
        """Called with the tunnel's id after each change, in the thread of the events."""
        self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Callable[[str], None]) -> None:
        """No more."""
        self._listeners = tuple(each for each in self._listeners if each != listener)

    def take(self, event: EdgeEvent) -> None:
        """One event, of any kind."""
        tunnel_id = self._take(event)
        if tunnel_id is not None:
            for observer in self._observers:
                self._observe(observer, event)
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

    def _observe(self, observer: Callable[[str, Held | None], None], event: EdgeEvent) -> None:
        if isinstance(event, ConnectionRegistered):
            held = Held(event.connection_id, event.tunnel_id, event.token_id, tuple(event.features))
            observer(event.connection_id, held)
        elif isinstance(event, ConnectionDraining | ConnectionLost) or (
            isinstance(event, ConnectionSuspect) and event.suspect
        ):
            observer(event.connection_id, None)

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

    def held(self) -> list[Held]:
        """The connections of this process that aren't suspect."""
        with self._lock:
            return [
                Held(connection_id, *each.node, tuple(sorted(self._features.get(each.node, ()))))
                for connection_id, each in self._connections.items()
                if not each.is_suspect and each.process is None
            ]

    def adopt(self, some: Iterable[Held], *, process: int) -> None:
        """Connections of a process before this one, until `drop`: nodes that have them are not gone."""
        with self._lock:
            for held in some:
                node = (held.tunnel_id, held.token_id)
                if held.connection_id in self._connections:
                    continue
                self._connections[held.connection_id] = _Connection(node, process=process)
                self._held[node] += 1
                self._adopted[node] += 1
                self._adopted_at = self._clock()
                self._features.setdefault(node, frozenset(held.features))
                self._settle(node)

    def drop(self, connection_ids: Iterable[str] | None, *, process: int) -> None:
        """Those that it has no more; None: none of them, for it has ended."""
        with self._lock:
            every = [each for each, known in self._connections.items() if known.process == process]
            gone = every if connection_ids is None else set(connection_ids) & set(every)
            tunnels = {self._connections[each].node[0] for each in gone}
            for connection_id in gone:
                self._forget(connection_id)
        for tunnel_id in tunnels:
            for listener in self._listeners:
                listener(tunnel_id)

    @property
    def elsewhere(self) -> int:
        """How many connections a process before this one still has that take requests: they are on their way here."""
        with self._lock:
            return sum(each.process is not None for each in self._connections.values())

    def missing(self, within_s: float) -> set[Key]:
        """The nodes that return by a back-off, as stock ones do, and have come with some of their connections, but fewer than
        they had before this process. None when the last was adopted longer ago than `within_s`."""
        with self._lock:
            if self._clock() - self._adopted_at >= within_s:
                return set()
            slow = (node for node in self._held if RETURNS not in self._features.get(node, ()))
            return {node for node in slow if 0 < self._held[node] < self._adopted[node]}

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
