"""What changed, told after the commit. Here by calls; another node's notices can be published into the same bus."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock

import structlog

log = structlog.get_logger(__name__)


class NoticeKind(StrEnum):
    """The kinds of change that somebody else acts on."""

    API_TOKEN = "api_token"
    ZONE = "zone"
    ZONE_SETTINGS = "zone_settings"
    ROUTES = "routes"
    PROBES = "probes"
    TUNNEL = "tunnel"
    TUNNEL_DELETED = "tunnel_deleted"
    TUNNEL_SECRET = "tunnel_secret"
    CONFIGURATION = "configuration"
    DISCONNECT = "disconnect"
    CUTOVER = "cutover"
    CERTIFICATES = "certificates"
    PROMOTION = "promotion"


@dataclass(frozen=True, slots=True)
class Notice:
    """Kind and ids, no values: who hears it reads the store, so that order and repetition do no harm.

    `hostnames`: of `ROUTES`, whose routes may have changed; None when any may have. `token_id`: the named connector token
    that a `TUNNEL_SECRET` or `DISCONNECT` is about; None for the tunnel's own secret, and for all connections.
    """

    kind: NoticeKind
    tunnel_id: str | None = None
    connector_id: str | None = None
    zone_id: str | None = None
    account_id: str | None = None
    hostnames: tuple[str, ...] | None = None
    token_id: str | None = None


Subscriber = Callable[[Notice], None]


class NoticeBus:
    """Hands each notice to every subscriber, in the thread of the writer, after its commit."""

    def __init__(self) -> None:
        self._subscribers: tuple[Subscriber, ...] = ()
        self._lock = Lock()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Returns the function that ends the subscription."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(each for each in self._subscribers if each is not subscriber)

        return unsubscribe

    def publish(self, notice: Notice) -> None:
        """A subscriber's failure is logged and never undoes or fails the write that it hears of."""
        for subscriber in self._subscribers:
            try:
                subscriber(notice)
            except Exception:
                log.exception("a notice could not be acted on", notice=notice.kind, tunnel=notice.tunnel_id)
