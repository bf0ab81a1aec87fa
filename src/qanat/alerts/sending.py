"""One message to one channel, whatever that is; and tests, for which somebody waits."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from threading import Lock
from typing import Any

from qanat.alerts import channels, deliveries, messages
from qanat.alerts.channels import Opened
from qanat.alerts.guard import Guard
from qanat.alerts.line import Way
from qanat.errors import QanatError
from qanat.store import Actor, Store
from qanat.store.models import Account, AlertChannel
from qanat.store.sealing import Sealer


class Sending:
    """`guard`: where to; `ca_file`: trusted beside the system's roots; `url`: of the dashboard's page. For many threads."""

    def __init__(self, guard: Guard, *, ca_file: str | None = None, url: str = "") -> None:
        self._guard = guard
        self._ca_file = ca_file
        self._lock = Lock()
        self._tls: ssl.SSLContext | None = None
        self.url = url

    def send(self, to: Opened, event_id: str, message: Mapping[str, Any], *, at: datetime) -> None:
        """Sends once. QanatErrors as those of webhook.py and mail.py."""
        way = Way(self._guard, self._context())
        if to.kind == "webhook":
            from qanat.alerts import webhook  # and with it an HTTP client, only where it is used

            told = {"id": event_id, **message}
            stamp = int(at.timestamp())
            webhook.send(to.url, to.key, event_id, told, at=stamp, way=way)
        else:
            from qanat.alerts import mail

            mail.send(to.document, to.password, event_id, message, at=at, way=way)

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                context = ssl.create_default_context()
                if self._ca_file is not None:
                    try:
                        context.load_verify_locations(self._ca_file)
                    except OSError as error:
                        raise QanatError(
                            "alert_unreachable",
                            f"alerts.ca_file can't be used: {error.strerror or 'no certificate in PEM'}",
                            where=self._ca_file,
                        ) from None
                self._tls = context
            return self._tls


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of a test. `error`: None: it was delivered."""

    channel: AlertChannel
    error: QanatError | None


def try_out(store: Store, sealer: Sealer, sending: Sending, actor: Actor, account_id: str, channel_id: str) -> Tested:
    """Sends a real message now, and waits for what comes of it; noted with the channel.

    Raises:
        QanatError: `alert_channel_unknown`.
    """
    with store.reading() as session:
        channel = channels.get(session, account_id, channel_id)
        account = session.get(Account, account_id)
        opened = channels.opened(channel, sealer)
    now, event_id = store.clock(), token_hex(16)
    names = (account_id, account.name if account is not None else "")
    message = messages.of_test(names, channel.name, at=now, url=sending.url)
    error = None
    try:
        sending.send(opened, event_id, message, at=now)
    except QanatError as failure:
        error = failure
    with store.writing(actor) as write:
        channel = channels.get(write.session, account_id, channel_id)
        deliveries.note_test(write, channel, event_id, message, error.message if error is not None else "")
        detail = {"name": channel.name, "error": error.message if error is not None else ""}
        write.audit("alert_channel.test", channel_id, account_id=account_id, detail=detail)
    return Tested(channel, error)
