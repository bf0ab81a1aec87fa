"""Events that wait to be written, by tunnel: one tunnel's flood doesn't stand in front of another's single event."""

from collections import OrderedDict, deque

from qanat.edge.engine import EdgeEvent, LocalConfiguration


class ByTunnel:
    """Gives lots that take one event of each tunnel in turn; a tunnel's own events keep their order. Of local configurations,
    which may be large, only a tunnel's newest waits."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[EdgeEvent]] = OrderedDict()
        self._documents: dict[str, EdgeEvent] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, event: EdgeEvent) -> None:
        """Behind the others of its tunnel."""
        tunnel_id = str(getattr(event, "tunnel_id", None) or "")  # a line for the log has none
        if isinstance(event, LocalConfiguration):
            is_waiting = tunnel_id in self._documents
            self._documents[tunnel_id] = event
            if is_waiting:
                return
        self._waiting.setdefault(tunnel_id, deque()).append(event)
        self._count += 1

    def lot(self, size: int) -> list[EdgeEvent]:
        """At most so many."""
        taken: list[EdgeEvent] = []
        while self._waiting and len(taken) < size:
            tunnel_id, events = self._waiting.popitem(last=False)
            event = events.popleft()
            taken.append(self._documents.pop(tunnel_id) if isinstance(event, LocalConfiguration) else event)
            if events:
                self._waiting[tunnel_id] = events
        self._count -= len(taken)
        return taken
