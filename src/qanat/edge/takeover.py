"""The new process's way from its start until it serves in place of the one before it (docs/explanation/restart.md)."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from threading import Event
from time import monotonic

import msgspec
import structlog

from qanat.control.connections import end_left
from qanat.edge.data_dir import DataDir, State
from qanat.edge.duties import Parts
from qanat.edge.following import Ready
from qanat.edge.handover import Predecessor
from qanat.edge.presence import Held
from qanat.errors import QanatError
from qanat.settings import EdgeSettings
from qanat.store import Notice, NoticeKind

MOVE_S = 180.0
"""How long tunnels have to get a connection here before visitors come here; those of the rest wait for one. Nobody waits for it
meanwhile: the process before this one serves. A stock connector's first connection returns within 2 s, unless it broke before:
then by a wait of up to 20 s that doubles with each in succession."""
EXPECTED_S = 30.0
"""For so long requests wait for connectors that are on their way: a stock one may take its time."""
LOOK_S = 0.02
WRITTEN_AT_ONCE = 200
NOT_ROUTING = (NoticeKind.API_TOKEN, NoticeKind.CUTOVER, NoticeKind.PROBES, NoticeKind.PROMOTION)

log = structlog.get_logger(__name__)


class Arrival:
    """Every step of it. Without a process before this one each does what a start does."""

    def __init__(self, predecessor: Predecessor | None) -> None:
        self._predecessor = predecessor
        self._held: list[Held] = []
        self.is_alone = predecessor is None
        """No other process of this edge runs."""
        self.is_beside = False
        """The one before it still writes."""

    def open(self, data_dir: DataDir, settings: EdgeSettings, *, version: str) -> State:
        """The database as it is where that will do, else when the other process writes no more: migrated then."""
        account = settings.control.account
        if self._predecessor is None:
            return data_dir.open(settings.store, account=account)
        self.is_beside = data_dir.is_current(settings.store)
        if not self.is_beside:
            self._wait(Ready(os.getpid(), version, migrates=True))
        return data_dir.open(settings.store, account=account, beside=self.is_beside)

    def wait_for_go(self, parts: Parts, *, version: str) -> None:
        """The other process writes no more when this returns, and the tables are what it left."""
        self._wait(Ready(os.getpid(), version, migrates=False))
        if parts.state.lease is not None:
            parts.state.lease.acquire(wait_s=parts.settings.store.busy_timeout_s)
        parts.feed.load()

    def take_charge(self, parts: Parts, *, in_charge: Callable[[], None], is_ended: Callable[[], bool]) -> None:
        """Takes connectors, then visitors. `in_charge`: called once this process speaks for the edge; `is_ended`: whether it is
        told to end meanwhile."""
        if self._predecessor is None:
            raise ValueError("there is nobody to take over from")
        predecessor, presence = self._predecessor, parts.presence
        ids: defaultdict[int, set[str]] = defaultdict(set)

        def come(process: int, some: Iterable[Held]) -> None:
            presence.adopt(some, process=process)
            ids[process].update(held.connection_id for held in some)

        def gone(process: int, connection_ids: Sequence[str] | None) -> None:
            presence.drop(connection_ids, process=process)
            if connection_ids is None:
                _end_left(parts, sorted(ids.pop(process, ())))

        def pass_on(notice: Notice) -> None:
            if notice.kind not in NOT_ROUTING:
                parts.steering.tell(msgspec.to_builtins(notice))

        parts.state.store.notices.subscribe(pass_on)
        predecessor.take_charge(come, gone)
        predecessor.call_last("stop_accepting_connectors")
        in_charge()
        parts.engine.open_tunnels()
        predecessor.call_last("send_connectors_away")
        number = Counter(held.tunnel_id for held in self._held)
        several = {tunnel_id for tunnel_id, connections in number.items() if connections > 1}
        end = monotonic() + MOVE_S
        while several - parts.engine.connected_tunnels().keys() and monotonic() < end and not is_ended():
            Event().wait(LOOK_S)
        parts.engine.expect(
            tunnel_ids=sorted(number.keys() - parts.engine.connected_tunnels().keys()), timeout_s=EXPECTED_S
        )
        parts.engine.open()
        predecessor.call_last("drain")

    def _wait(self, ready: Ready) -> None:
        assert self._predecessor is not None
        held = self._predecessor.tell_ready(ready)
        self.is_alone = held is None
        self._held = held or []
        if held is None:
            log.warning("the process that this one was to take over from has ended")


def _end_left(parts: Parts, connection_ids: Sequence[str]) -> None:
    try:
        for start in range(0, len(connection_ids), WRITTEN_AT_ONCE):
            with parts.state.store.recording() as write:
                end_left(write, connection_ids[start : start + WRITTEN_AT_ONCE], reason="edge_restarted")
    except QanatError as error:  # the next start finds them, and clears them
        log.error("connections of the process before this one are still in the database", reason=error.message)
