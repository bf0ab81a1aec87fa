"""Request lists: what passes of a hostname, request by request, while somebody wants to see it. In memory, bounded in time and
number, off until it is switched on, and without what may be a secret: that is left out by the engine (`qanat/_engine.pyi`)."""

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from threading import Lock
from typing import Any, Protocol

from qanat.errors import QanatError
from qanat.health import checks
from qanat.ids import parse_hostname
from qanat.store import Store
from qanat.store.database import Write

MINUTES = 10
MOST_MINUTES = 60
REQUESTS = 500
MOST_REQUESTS = 2000
MOST_LISTS = 16
MOST_BYTES = 4 << 20
"""Of one list, as the engine told them."""
KEPT = timedelta(hours=1)
"""What was listed, after its time is over."""


class Routed(Protocol):
    """A route: its hostname may be a wildcard."""

    @property
    def hostname(self) -> str: ...


class ListingEngine(Protocol):
    """What is asked of an edge."""

    def route(self, *, hostname: str) -> Routed | None:
        """See `qanat/_engine.pyi`."""

    def list_requests(self, *, hostnames: Sequence[str]) -> None:
        """See `qanat/_engine.pyi`."""

    def listed_requests(self) -> Sequence[bytes]:
        """See `qanat/_engine.pyi`."""


@dataclass(frozen=True, slots=True)
class ListedRequest:
    """A request that has ended. Every text may be a stranger's. `query` has `*` for each value; `headers` are as the tunnel got
    them, with "*" for whatever may be a secret. `status` 0: its client left. `cause`: why the edge answered itself or cut it."""

    time: float
    request_id: str
    client_ip: str
    method: str
    path: str
    query: str
    protocol: str
    status: int
    bytes_in: int
    bytes_out: int
    duration_s: float
    tunnel_id: str
    node: str
    cause: str
    queue_s: float | None
    first_byte_s: float | None
    connector_s: float | None
    origin_s: float | None
    user_agent: str
    referer: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which of them. `status`: `404`, `5xx` or `400-499`; `path`: a text that occurs in it; `address`: one, or a network.
    "": all."""

    status: str = ""
    path: str = ""
    method: str = ""
    address: str = ""

    def checked(self) -> Callable[[ListedRequest], bool]:
        """What lets them through. QanatError `request_list_bad`."""
        low, high = _statuses(self.status)
        network = _network(self.address)
        method = self.method.upper()

        def wanted(each: ListedRequest) -> bool:
            return (
                low <= each.status <= high
                and self.path in each.path
                and method in ("", each.method)
                and (network is None or _is_in(each.client_ip, network))
            )

        return wanted


@dataclass(slots=True)
class RequestList:
    """One hostname's. `by`: who switched it on."""

    hostname: str
    account_id: str
    by: str
    begun_at: datetime
    until: datetime
    most: int
    dropped: int = 0
    """Requests that made room for newer ones."""
    bytes: int = 0
    requests: deque[tuple[int, ListedRequest]] = field(default_factory=deque)

    def is_on(self, now: datetime) -> bool:
        """Whether requests are listed."""
        return now < self.until

    def add(self, size: int, request: ListedRequest) -> None:
        """The oldest makes room."""
        self.requests.append((size, request))
        self.bytes += size
        while len(self.requests) > self.most or self.bytes > MOST_BYTES:
            self.bytes -= self.requests.popleft()[0]
            self.dropped += 1


class RequestLists:
    """All lists of an edge. Any thread may call."""

    def __init__(self, engine: ListingEngine, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._lock = Lock()
        self._lists: dict[str, RequestList] = {}

    def ordered(
        self, write: Write, *, account_id: str, hostname: str, minutes: int = MINUTES, most: int = REQUESTS
    ) -> RequestList:
        """A list of what passes of a hostname of the account (or of a wildcard, `*.example.com`) for `minutes`; of more than
        `most` requests the newest. Nothing is listed before the write is committed, and `begin` is called.

        Raises:
            QanatError: `hostname_bad` and its like, `request_list_bad`, `request_list_unknown`: not the account's;
                `request_list_too_many`.
        """
        name = self._own(write, account_id, hostname)
        for value, top, where in ((minutes, MOST_MINUTES, "minutes"), (most, MOST_REQUESTS, "most")):
            if not 1 <= value <= top:
                raise QanatError("request_list_bad", f"{where} is not 1 to {top}", where=where)
        now, actor = write.at, write.actor
        with self._lock:
            self._forget(now)
            if len(self._lists) >= MOST_LISTS and name not in self._lists:
                raise QanatError(
                    "request_list_too_many",
                    f"this edge keeps {MOST_LISTS} request lists at once",
                    hint="switch one off, or wait until one is forgotten: an hour after its end",
                )
        detail = {"minutes": minutes, "most": most}
        write.audit("request_list.begin", name, account_id=account_id, detail=detail)
        until = now + timedelta(minutes=minutes)
        return RequestList(name, account_id, f"{actor.kind} {actor.name}", now, until, most)

    def begin(self, ordered: RequestList) -> RequestList:
        """Begins it. One of the same hostname that is there already goes on, within the new bounds."""
        with self._lock:
            found = self._lists.get(ordered.hostname)
            if found is None or found.account_id != ordered.account_id:
                found = self._lists[ordered.hostname] = ordered
            else:
                found.by, found.until, found.most = ordered.by, ordered.until, ordered.most
            self._tell(self._store.clock())
            return found

    def end(self, write: Write, *, account_id: str, hostname: str) -> None:
        """Switches it off, and forgets what was listed. QanatError `request_list_unknown`."""
        with self._lock:
            found = self._get(account_id, hostname)
            write.audit("request_list.end", found.hostname, account_id=account_id)
            del self._lists[found.hostname]
            self._tell(write.at)

    def every(self, account_id: str) -> list[RequestList]:
        """Those of an account, by hostname."""
        with self._lock:
            self._forget(self._store.clock())
            return sorted(
                (each for each in self._lists.values() if each.account_id == account_id), key=lambda each: each.hostname
            )

    def find(self, account_id: str, hostname: str) -> RequestList | None:
        """None: it was never switched on, or is forgotten."""
        return next((each for each in self.every(account_id) if each.hostname == hostname), None)

    def read(self, account_id: str, hostname: str, filters: Filters, *, most: int) -> list[ListedRequest]:
        """The newest first. QanatError `request_list_unknown`, `request_list_bad`."""
        wanted = filters.checked()
        self.look()
        with self._lock:
            kept = list(self._get(account_id, hostname).requests)
        found = []
        for _, request in reversed(kept):
            if wanted(request):
                found.append(request)
                if len(found) == most:
                    break
        return found

    def look(self) -> None:
        """Called each second: takes what has passed, and ends what is over, or is no longer the account's."""
        with self._lock:
            if not self._lists:
                return
            for told in self._engine.listed_requests():
                hostnames, request = _read(told)
                for found in filter(None, map(self._lists.get, hostnames)):
                    found.add(len(told), request)
            now = self._store.clock()
            with self._store.reading() as session:
                for each in [each for each in self._lists.values() if each.is_on(now)]:
                    if not checks.is_own_hostname(session, each.account_id, each.hostname):
                        del self._lists[each.hostname]
            self._forget(now)
            self._tell(now)

    def _own(self, write: Write, account_id: str, hostname: str) -> str:
        star = "*." if hostname.startswith("*.") else ""
        name = star + str(parse_hostname(hostname.removeprefix("*.")))
        if not checks.is_own_hostname(write.session, account_id, name):
            raise QanatError("request_list_unknown", f"{name} is in no zone of this account", where="hostname")
        return name

    def _get(self, account_id: str, hostname: str) -> RequestList:
        found = self._lists.get(hostname)
        if found is None or found.account_id != account_id:
            raise QanatError("request_list_unknown", f"there is no request list of {hostname[:253]}", where="hostname")
        return found

    def _forget(self, now: datetime) -> None:
        for name in [each.hostname for each in self._lists.values() if now > each.until + KEPT]:
            del self._lists[name]

    def _tell(self, now: datetime) -> None:
        """The engine lists by route: of a hostname that a wildcard serves, the wildcard's requests are looked through."""
        on = [each.hostname for each in self._lists.values() if each.is_on(now)]
        routes = [(name, None if name.startswith("*.") else self._engine.route(hostname=name)) for name in on]
        self._engine.list_requests(
            hostnames=sorted({route.hostname if route is not None else name for name, route in routes})
        )


def _read(told: bytes) -> tuple[set[str], ListedRequest]:
    """Whose it is, by the route's hostname and by its own."""
    fields: dict[str, Any] = json.loads(told)
    names = ListedRequest.__dataclass_fields__
    given = {name: fields[name] for name in names if name in fields and name != "headers"}
    texts = dict.fromkeys(("query", "tunnel_id", "node", "cause", "user_agent", "referer"), "")
    times = dict.fromkeys(("queue_s", "first_byte_s", "connector_s", "origin_s"))
    headers = tuple((name, value) for name, value in fields["headers"])
    return {fields["hostname"], fields["host"]}, ListedRequest(**{**texts, **times, **given}, headers=headers)


def _statuses(text: str) -> tuple[int, int]:
    if not text:
        return 0, 999
    low, _, high = text.partition("-")
    if len(text) == 3 and text[0] in "12345" and text[1:].lower() == "xx":
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    high = high or low
    if low.isascii() and low.isdigit() and high.isascii() and high.isdigit() and len(low) <= 3 and len(high) <= 3:
        return int(low), int(high)
    raise QanatError("request_list_bad", f"{text[:20]!r} is not a status, such as 404, 5xx or 400-499", where="status")


def _network(text: str) -> IPv4Network | IPv6Network | None:
    if not text:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        message = f"{text[:50]!r} is not an address or a network, such as 192.0.2.7 or 192.0.2.0/24"
        raise QanatError("request_list_bad", message, where="address") from None


def _is_in(address: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:
        return False
