"""Looks at the rules and sends what they tell, in threads of its own: nothing else of the edge waits for a receiver."""

from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from qanat.errors import QanatError
from qanat.settings import EdgeSettings
from qanat.store import Store
from qanat.store.sealing import Sealer

if TYPE_CHECKING:
    from qanat.alerts.deliveries import Due
    from qanat.alerts.look import Look
    from qanat.alerts.sending import Sending

TICK_S = 1.0
LOOK_EVERY_S = 5.0
TRIM_EVERY_S = 3600.0
SENDERS = 4
"""Messages under way at once, of each channel one."""
END_S = 12.0
"""A message that is under way may end, and what came of it be noted, before another process may send it."""

log = structlog.get_logger(__name__)


class AlertCounters:
    """What came of messages since the process began, and how many alerts are open. For many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = {"delivered": 0, "retried": 0, "failed": 0, "dropped": 0, "open": 0}

    def add(self, name: str, number: int = 1) -> None:
        """So many more."""
        with self._lock:
            self._counts[name] += number

    def put(self, name: str, number: int) -> None:
        """As many as there are now."""
        with self._lock:
            self._counts[name] = number

    def read(self) -> Mapping[str, int]:
        """By the names of counters."""
        with self._lock:
            return {f"alerts_{name}": count for name, count in self._counts.items()}


class Alerter:
    """From `start` to `stop`, once. `make`: a look and what sends, made in its own thread, for their code isn't for the start."""

    def __init__(
        self, store: Store, sealer: Sealer, counters: AlertCounters, make: Callable[[], "tuple[Look, Sending]"]
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._counters = counters
        self._make = make
        self._stopping = Event()
        self._lock = Lock()
        self._under_way: dict[str, Thread] = {}
        self._thread = Thread(target=self._run, name="qanat-alerts", daemon=True)

    def start(self) -> None:
        """The first look comes after LOOK_EVERY_S."""
        self._thread.start()

    def stop(self) -> None:
        """No further look, and no further message; waits for those that are under way."""
        self._stopping.set()
        until = monotonic() + END_S
        with self._lock:
            threads = [self._thread, *self._under_way.values()]
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, until - monotonic()))

    def _run(self) -> None:
        if self._stopping.wait(LOOK_EVERY_S):
            return
        look, sending = self._make()
        look_at = trim_at = 0.0
        while not self._stopping.is_set():
            try:
                if monotonic() >= look_at:
                    look_at = monotonic() + LOOK_EVERY_S
                    looked = look.look()
                    self._counters.put("open", looked.open)
                    self._counters.add("dropped", looked.dropped)
                self._send_due(sending)
                if monotonic() >= trim_at:
                    trim_at = monotonic() + TRIM_EVERY_S
                    self._trim()
            except QanatError as error:  # the database is away: told in one line, once a round
                log.error("alerts could not be looked at", reason=error.message)
            except Exception:
                log.exception("alerts could not be looked at")
            self._stopping.wait(TICK_S)

    def _send_due(self, sending: "Sending") -> None:
        from qanat.alerts import deliveries

        with self._lock:
            busy = frozenset(self._under_way)
        if len(busy) >= SENDERS:
            return
        with self._store.reading() as session:
            found = deliveries.due(session, self._store.clock(), most=SENDERS - len(busy), but=busy)
        for each in found:
            thread = Thread(target=self._send, args=(sending, each), name="qanat-alert", daemon=True)
            with self._lock:
                if self._stopping.is_set():
                    return
                self._under_way[each.channel.id] = thread
                thread.start()

    def _send(self, sending: "Sending", each: "Due") -> None:
        from qanat.alerts import channels, deliveries

        error: QanatError | None = None
        try:
            opened = channels.opened(each.channel, self._sealer)
            sending.send(opened, each.event_id, each.message, at=self._store.clock())
        except QanatError as failure:
            error = failure
        except Exception:
            log.exception("an alert could not be sent", channel=each.channel.name)
            error = QanatError("alert_unreachable", "the message could not be made; the edge's log says why")
        try:
            with self._store.recording() as write:
                state = deliveries.settle(write, each.id, error)
            if state:
                self._counters.add("retried" if state == "waiting" else state)
            if error is not None:
                line = log.warning if state == "failed" else log.info
                line("an alert was not delivered", channel=each.channel.name, reason=error.message, is_over=state)
        except QanatError as failure:
            log.error("what came of an alert could not be noted: it is sent again", reason=failure.message)
        finally:
            with self._lock:
                self._under_way.pop(each.channel.id, None)

    def _trim(self) -> None:
        from qanat.alerts import deliveries

        with self._store.recording() as write:
            deliveries.trim(write)


def sending_of(settings: EdgeSettings) -> "Sending":
    """What sends as the settings say."""
    from qanat.alerts.guard import Guard
    from qanat.alerts.sending import Sending

    control, alerts = settings.control, settings.alerts
    return Sending(
        Guard.of(alerts.networks),
        ca_file=str(alerts.ca_file) if alerts.ca_file is not None else None,
        url=f"https://{control.hostname}/alerts" if control.hostname and control.dashboard else "",
    )
