"""Which of a connector's connections are up, and what is said of each change: in the log, with stock's lines, and to whoever
started the process."""

from collections.abc import Callable, Mapping

from qanat.connector import refusals
from qanat.connector.build import curves_line
from qanat.connector.engine import Disconnected, Doubted, ProtocolFallback, Refused, Registered, Unregistered
from qanat.connector.log import CONTROL, Log
from qanat.ingress.durations import show_duration
from qanat.systemd import ServiceManager


class Connections:
    """Of one connector, by their index. Events come from one thread; others read."""

    def __init__(
        self,
        log: Log,
        manager: ServiceManager,
        *,
        wanted: int,
        post_quantum: bool,
        tell_trouble: Callable[[str], None],
    ) -> None:
        """`wanted`: how many there shall be. `tell_trouble`: a process that is being replaced hears why that takes long."""
        self._log = log
        self._manager = manager
        self._wanted = wanted
        self._post_quantum = post_quantum
        self._tell_trouble = tell_trouble
        self._locations: dict[int, str] = {}
        self._visited: dict[tuple[int, str], int] = {}
        self._edge_ips: dict[int, str] = {}
        self._edges: dict[int, tuple[str, str]] = {}
        self._given_up: set[int] = set()

    @property
    def up(self) -> tuple[int, ...]:
        """Indices of those that are registered."""
        return tuple(self._locations)

    @property
    def all_given_up(self) -> bool:
        """Whether none will be dialled again."""
        return len(self._given_up) >= self._wanted

    def edges(self) -> Mapping[int, tuple[str, str]]:
        """Protocol and address of the edge of each that is up."""
        return dict(self._edges)

    def visited(self) -> Mapping[tuple[int, str], int]:
        """Index and location of all that ever were up: 1 where it is, 0 where it was, as stock's `server_locations`."""
        return dict(self._visited)

    def edge_ip(self, index: int) -> str:
        """Where it last registered; empty if it never did."""
        return self._edge_ips.get(index, "")

    def registered(self, event: Registered) -> None:
        """It is up."""
        index = event.connection_index
        self._locations[index] = event.location
        self._edge_ips[index] = event.edge_ip
        self._visited |= {place: 0 for place in self._visited if place[0] == index} | {(index, event.location): 1}
        self._edges[index] = (event.protocol, event.edge_ip)
        self._given_up.discard(index)
        curves = curves_line(post_quantum=self._post_quantum)
        self._log.info(curves, connIndex=index, event=CONTROL, ip=event.edge_ip)
        self._log.info(
            "Registered tunnel connection",
            connIndex=index,
            connection=event.connection_id,
            event=CONTROL,
            ip=event.edge_ip,
            location=event.location,
            protocol=event.protocol,
        )
        self._tell_manager()

    def unregistered(self, event: Unregistered) -> None:
        """It was ended in order."""
        self._locations.pop(event.connection_index, None)
        self._edges.pop(event.connection_index, None)
        self._tell_manager()
        text = "Unregistered tunnel connection"
        self._log.info(text, connIndex=event.connection_index, event=CONTROL, ip=event.edge_ip)

    def disconnected(self, event: Disconnected) -> None:
        """It was lost, or never came to be."""
        index, edge_ip, reason = event.connection_index, event.edge_ip, event.reason
        self._edges.pop(index, None)
        was_up = self._locations.pop(index, None) is not None
        if reason == "reconnect signal":
            text = f"Restarting connection due to reconnect signal in {show_duration(event.retry_in_s or 0.0)}"
            self._log.info(text, connIndex=index, event=CONTROL, ip=edge_ip)
            return
        if was_up:
            self._log.info("Lost connection with the edge", connIndex=index, error=reason, event=CONTROL, ip=edge_ip)
        else:
            self._log.error(
                "Unable to establish connection with the edge", connIndex=index, error=reason, event=CONTROL, ip=edge_ip
            )
        self._tell_manager(reason)
        self._retrying(index, edge_ip, event.retry_in_s)

    def doubted(self, event: Doubted) -> None:
        """The edge doesn't acknowledge what is sent to it, or does so again."""
        if event.suspect:
            text = "Connection to the edge is suspect: what is sent is not acknowledged"
            self._log.warn(text, connIndex=event.connection_index, event=CONTROL, ip=event.edge_ip)
        else:
            text = "Connection to the edge answers again"
            self._log.info(text, connIndex=event.connection_index, event=CONTROL, ip=event.edge_ip)

    def refused(self, event: Refused) -> None:
        """The edge won't have it."""
        message, why = refusals.explained(event.cause)
        self._log.error(message, **why, connIndex=event.connection_index, event=CONTROL, ip=event.edge_ip)
        self._tell_manager(f"the edge refuses it: {event.cause}")
        self._retrying(event.connection_index, event.edge_ip, event.retry_in_s)

    def fell_back(self, event: ProtocolFallback) -> None:
        """It is dialled another way."""
        text = f"Switching to fallback protocol {event.protocol}"
        self._log.info(text, connIndex=event.connection_index, event=CONTROL)

    def _tell_manager(self, trouble: str = "") -> None:
        """`systemctl status` says how many connections are up, and what the trouble is when none is (case 44)."""
        if trouble:
            self._tell_trouble(trouble)
        up = len(self._locations)
        told = f"{up} of {self._wanted} connections" if up else f"not connected: {trouble or 'no connection'}"
        self._manager.status(told)

    def _retrying(self, index: int, edge_ip: str, retry_in_s: float | None) -> None:
        if retry_in_s is None:
            self._given_up.add(index)
        else:
            text = f"Retrying connection in up to {max(1, round(retry_in_s))}s"
            self._log.info(text, connIndex=index, event=CONTROL, ip=edge_ip)
