"""Events → store and log: a thread that takes what the engine saw, in batches."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Event, Thread
from time import monotonic
from typing import assert_never

import structlog

from qanat.control import connections
from qanat.edge.by_tunnel import ByTunnel
from qanat.edge.engine import (
    ConfigurationApplied,
    ConnectionDraining,
    ConnectionLost,
    ConnectionRegistered,
    ConnectionSuspect,
    Edge,
    EdgeEvent,
    EngineWarning,
    LocalConfiguration,
    ProbeAnswered,
    RegistrationRefused,
    RequestFailed,
)
from qanat.edge.failures import Failures
from qanat.edge.presence import Presence
from qanat.errors import QanatError
from qanat.health.health import Health
from qanat.health.probing import Probes
from qanat.store import Store, Write

BATCH = 512
WAIT_S = 0.5
RETRY_S = 1.0
PAUSE_S = 0.01
WRITTEN_AT_ONCE = 64
"""Events of one transaction: a thousand connectors that come at once must not keep the API's writers waiting."""
BETWEEN_WRITES_S = 0.002
MOST_WAITING = 65_536
"""Events that are taken from the engine ahead of their turn."""
HISTORY_EVERY = 100
"""Rows of one tunnel between two looks at whether it has too many."""
UNKNOWN_LINES = 20
TUNNEL_LINES = 5
REFUSAL_LINES = 100
"""Log lines (and rows) of refused registrations in `REFUSALS_S` seconds: for unknown tunnels, for one tunnel, for all of them."""
REFUSALS_S = 10.0
DOUBT_LINES = 6
"""Log lines (and rows) of one tunnel's suspicions in `DOUBTS_S` seconds: a bad line comes and goes."""
DOUBTS_S = 60.0
SUMMARY_S = 60.0
AWAY = ("store_full", "store_unavailable", "store_damaged")
"""What ends by itself or by somebody's hand, so that waiting helps; anything else is the event's own fault."""

log = structlog.get_logger(__name__)


class EventPump:
    """Runs from `start` until the engine is closed and has no more events."""

    def __init__(
        self,
        engine: Edge,
        store: Store,
        failures: Failures,
        *,
        probes: Probes,
        health: Health,
        location: str,
        presence: Presence | None = None,
    ) -> None:
        self._engine = engine
        self._store = store
        self._failures = failures
        self._probes = probes
        self._health = health
        self._location = location
        self._presence = presence or Presence()
        self._stopping = Event()
        self._refusals = Repetitions(every_s=REFUSALS_S)
        self._unknown_lines = Share(UNKNOWN_LINES, every_s=REFUSALS_S)
        self._tunnel_lines = Share(TUNNEL_LINES, every_s=REFUSALS_S)
        self._refusal_lines = Share(REFUSAL_LINES, every_s=REFUSALS_S)
        self._doubt_lines = Share(DOUBT_LINES, every_s=DOUBTS_S)
        self._doubted: set[str] = set()  # connections whose suspicion was told
        self._summary_due = monotonic() + SUMMARY_S
        self._refused_before = 0
        self._refusals_told = 0
        self._rows: Counter[str] = Counter()
        self._waiting = ByTunnel()
        self._thread = Thread(target=self._run, name="qanat-events", daemon=True)

    def start(self) -> None:
        """Begins to take events."""
        self._thread.start()

    def stop(self, *, timeout_s: float) -> None:
        """After the engine's `close`: takes what is left, and ends."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            try:
                events = self._engine.next_events(limit=BATCH, timeout_s=WAIT_S)
                self._sum_up()
                if events:
                    self.take(events)
                elif self._stopping.is_set():
                    return
                else:
                    self._stopping.wait(PAUSE_S)  # a closed engine answers at once
            except Exception:
                log.exception("events could not be taken")
                if self._stopping.wait(RETRY_S):
                    return

    def _sum_up(self) -> None:
        """One line now and then for the refusals that had none of their own."""
        if monotonic() < self._summary_due:
            return
        self._summary_due = monotonic() + SUMMARY_S
        refused = self._engine.counters()["registrations_refused"]
        since, told = refused - self._refused_before, self._refusals_told
        self._refused_before, self._refusals_told = refused, 0
        if since > told:
            log.warning("registrations refused in all", refused=since, told_one_by_one=told, in_s=SUMMARY_S)

    def take(self, events: Sequence[EdgeEvent]) -> None:
        """Logs and stores what came, and what comes meanwhile, by turns of the tunnels; waits while the store is away, and the
        engine's queue holds the rest."""
        self._sort(events)
        while self._waiting:
            if not self._store_lot(self._waiting.lot(WRITTEN_AT_ONCE)):
                return
            if self._waiting:
                self._stopping.wait(BETWEEN_WRITES_S)
                self._sort_more()

    def _sort(self, events: Sequence[EdgeEvent]) -> None:
        for event in events:
            self._presence.take(event)  # before it is written: who replaces a node that is gone waits for nothing
            if self._told(event):
                self._waiting.add(event)

    def _sort_more(self) -> None:
        """What is behind a flood in the engine's queue is for its own tunnel's turn."""
        while len(self._waiting) < MOST_WAITING:
            events = self._engine.next_events(limit=BATCH, timeout_s=0.0)
            if not events:
                return
            self._sort(events)

    def _store_lot(self, lot: Sequence[EdgeEvent]) -> bool:
        """False: the edge stops, and the store is still away."""
        while True:
            try:
                self._write(lot)
            except Exception as error:
                if isinstance(error, QanatError) and error.code in AWAY:
                    waiting = len(lot) + len(self._waiting)
                    log.error("connection events wait for the store", reason=error.message, waiting=waiting)
                    if self._stopping.wait(RETRY_S):
                        return False
                    continue
                if len(lot) > 1:  # one event must not take its neighbours along
                    return all(self._store_lot([event]) for event in lot)
                log.exception("an event can't be written and is left out", kind=type(lot[0]).__name__)
            return True

    def _write(self, some: Sequence[EdgeEvent]) -> None:
        with self._store.recording() as write:
            for event in some:
                self._record(write, event)
            for tunnel_id in self._crowded(some):
                connections.bound_history(write.session, tunnel_id)

    def _crowded(self, some: Sequence[EdgeEvent]) -> list[str]:
        """The tunnels that got so many rows that it is time to look at how many they have."""
        told = (ConnectionRegistered, ConnectionSuspect, ConnectionLost, RegistrationRefused)
        self._rows.update(event.tunnel_id for event in some if isinstance(event, told) and event.tunnel_id)
        crowded = [tunnel_id for tunnel_id, rows in self._rows.items() if rows >= HISTORY_EVERY]
        for tunnel_id in crowded:
            del self._rows[tunnel_id]
        return crowded

    def _request_failed(self, event: RequestFailed) -> None:
        self._failures.add(event)
        log.debug(
            "request failed",
            request_id=event.request_id,
            hostname=event.hostname,
            status=event.status,
            cause=event.cause,
            fault=event.fault,
            detail=event.detail,
        )

    def _told(self, event: EdgeEvent) -> bool:
        """The log's line; whether the event goes to the store as well."""
        match event:
            case ConnectionRegistered():
                self._health.registered(event.connection_id, event.tunnel_id, event.token_id)
                log.info(
                    "connection registered",
                    tunnel=event.tunnel_id,
                    connector=event.connector_id,
                    index=event.connection_index,
                    connection=event.connection_id,
                    protocol=event.protocol,
                    ip=event.origin_ip,
                    version=event.version,
                    **({"token_id": event.token_id} if event.token_id else {}),
                )
            case ConnectionDraining():
                self._health.ended(event.connection_id)
                log.info("connection draining", tunnel=event.tunnel_id, connection=event.connection_id)
            case ConnectionSuspect():
                self._health.suspected(event.connection_id, suspect=event.suspect)
                if not self._is_doubt_told(event):
                    return False
                line = log.warning if event.suspect else log.info
                line(
                    "connection suspect" if event.suspect else "connection answers again",
                    tunnel=event.tunnel_id,
                    connector=event.connector_id,
                    connection=event.connection_id,
                    **({"token_id": event.token_id} if event.token_id else {}),
                )
            case ConnectionLost():
                self._health.ended(event.connection_id)
                self._doubted.discard(event.connection_id)
                log.info(
                    "connection lost",
                    tunnel=event.tunnel_id,
                    connector=event.connector_id,
                    index=event.connection_index,
                    connection=event.connection_id,
                    reason=event.reason,
                )
            case RegistrationRefused():
                unknown = event.code == "unknown_tunnel"
                before = self._refusals.seen((event.tunnel_id, event.code, event.origin_ip))
                if before is None:
                    return False
                if unknown:
                    has_line = self._unknown_lines.take("")
                else:
                    has_line = self._tunnel_lines.take(event.tunnel_id) and self._refusal_lines.take("")
                if not has_line:
                    return False
                self._refusals_told += 1
                log.warning(
                    "registration refused",
                    code=event.code,
                    reason=event.message,
                    tunnel=event.tunnel_id,
                    ip=event.origin_ip,
                    protocol=event.protocol,
                    retry_after_s=event.retry_after_s,
                    more_like_it=before + event.count - 1,
                )
                # Anybody can make up ids: what isn't there has no story.
                return not unknown
            case EngineWarning():
                line = log.error if event.level == "error" else log.warning
                told = {name: text for name, text in event.fields if name not in ("event", "level", "timestamp")}
                line(event.message, **{**told, "engine": event.target, "more_like_it": event.held_back})
                return False
            case ConfigurationApplied() if event.error or event.version < event.pushed_version:
                log.warning(
                    "configuration refused by the connector",
                    tunnel=event.tunnel_id,
                    connector=event.connector_id,
                    pushed=event.pushed_version,
                    applied=event.version,
                    reason=event.error,
                )
            case ConfigurationApplied():
                log.info(
                    "configuration applied",
                    tunnel=event.tunnel_id,
                    connector=event.connector_id,
                    version=event.version,
                )
            case LocalConfiguration():
                pass  # it comes right after its connection, which has a line
            case ProbeAnswered():
                self._probes.answered(event)
                return False
            case RequestFailed():
                self._request_failed(event)
                return False
            case _:
                assert_never(event)
        return True

    def _is_doubt_told(self, event: ConnectionSuspect) -> bool:
        """What a suspicion has, its end has as well."""
        if not event.suspect:
            told = event.connection_id in self._doubted
            self._doubted.discard(event.connection_id)
            return told
        if not self._doubt_lines.take(event.tunnel_id):
            return False
        self._doubted.add(event.connection_id)
        return True

    def _record(self, write: Write, event: EdgeEvent) -> None:
        match event:
            case ConnectionRegistered():
                at = moment(event.registered_at)
                connections.registered(
                    write,
                    connection_id=event.connection_id,
                    tunnel_id=event.tunnel_id,
                    connector_id=event.connector_id,
                    index=event.connection_index,
                    protocol=event.protocol,
                    origin_ip=event.origin_ip,
                    location=self._location,
                    version=storable(event.version),
                    arch=storable(event.arch),
                    features=[storable(feature) for feature in event.features],
                    token_id=event.token_id,
                    at=at,
                )
                detail: dict[str, object] = {
                    "connection_id": event.connection_id,
                    "connector_id": event.connector_id,
                    "index": event.connection_index,
                    "protocol": event.protocol,
                    "origin_ip": event.origin_ip,
                    "token_id": event.token_id,
                }
                connections.note_event(write, "registered", tunnel_id=event.tunnel_id, at=at, detail=detail)
            case ConnectionDraining():
                connections.draining(write, connection_id=event.connection_id, at=moment(event.at))
            case ConnectionSuspect():
                kind = "suspect" if event.suspect else "recovered"
                detail = {
                    "connection_id": event.connection_id,
                    "connector_id": event.connector_id,
                    "token_id": event.token_id,
                }
                connections.note_event(write, kind, tunnel_id=event.tunnel_id, at=moment(event.at), detail=detail)
            case ConnectionLost():
                at = moment(event.lost_at)
                connections.lost(write, connection_id=event.connection_id, reason=event.reason, at=at)
                detail = {
                    "connection_id": event.connection_id,
                    "connector_id": event.connector_id,
                    "index": event.connection_index,
                    "reason": event.reason,
                }
                connections.note_event(write, "lost", tunnel_id=event.tunnel_id, at=at, detail=detail)
            case RegistrationRefused():
                detail = {"code": event.code, "message": event.message, "origin_ip": event.origin_ip}
                connections.note_event(write, "refused", tunnel_id=event.tunnel_id, at=moment(event.at), detail=detail)
            case ConfigurationApplied():
                connections.configuration_applied(
                    write,
                    connection_id=event.connection_id,
                    pushed=event.pushed_version,
                    applied=event.version,
                    error=storable(event.error),
                )
            case LocalConfiguration():
                connections.local_configuration(
                    write,
                    tunnel_id=event.tunnel_id,
                    document=storable(event.configuration.decode("utf-8", "replace")),
                    at=moment(event.at),
                )
            case EngineWarning() | ProbeAnswered() | RequestFailed():
                pass  # told, and kept by nobody else
            case _:
                assert_never(event)


class Repetitions:
    """Lets one of many equal things through in `every_s` seconds, and counts the others, of at most `most` keys."""

    def __init__(self, *, every_s: float, most: int = 1000) -> None:
        self._every_s = every_s
        self._most = most
        self._last: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def seen(self, key: object) -> int | None:
        """None: not now. Else how many were held back since the last one that was let through."""
        now = monotonic()
        last = self._last.pop(key, None)
        if last is not None and now - last[0] < self._every_s:
            self._last[key] = (last[0], last[1] + 1)
            return None
        self._last[key] = (now, 0)
        while len(self._last) > self._most:
            self._last.popitem(last=False)
        return last[1] if last is not None else 0


class Share:
    """Lets so many through in `every_s` seconds for each key, of at most `most` keys that nothing else bounds."""

    def __init__(self, share: int, *, every_s: float, most: int = 10_000) -> None:
        self._share = share
        self._every_s = every_s
        self._most = most
        self._taken: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def take(self, key: object) -> bool:
        """Whether there was one left."""
        now = monotonic()
        since, taken = self._taken.get(key, (now, 0))
        if now - since >= self._every_s:
            since, taken = now, 0
        if taken >= self._share:
            return False
        self._taken[key] = (since, taken + 1)
        self._taken.move_to_end(key)
        while len(self._taken) > self._most:
            self._taken.popitem(last=False)
        return True


def storable(text: str) -> str:
    """What a connector said, without the one character that PostgreSQL takes in no text."""
    return text.replace("\x00", "")


def moment(seconds: float) -> datetime:
    """Unix seconds as an aware UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)
