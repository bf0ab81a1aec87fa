"""Notice → tables → engine. A notice is acted on in the writer's thread: an answered write is in effect already."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event, Lock

import structlog
from sqlalchemy import select

from qanat.edge.certificates import Certificates
from qanat.edge.engine import Edge, Route, Tunnel
from qanat.store import Notice, NoticeKind, Store
from qanat.store.connections import connectors_before
from qanat.store.models import Zone
from qanat.store.sealing import Sealer
from qanat.tables import TunnelEntry, compile_routes, read_routes, read_tunnel, read_tunnels

log = structlog.get_logger(__name__)


class Feed:
    """Keeps the engine's tables equal to the store's rows."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        engine: Edge,
        certificates: Certificates,
        *,
        rotation_grace_s: float,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._engine = engine
        self._certificates = certificates
        self._rotation_grace = timedelta(seconds=rotation_grace_s)
        self._rotated: list[tuple[datetime, str]] = []
        self._tunnels_lock = Lock()
        self._routes_lock = Lock()
        self._asking_lock = Lock()
        self._routes_asked = 0
        self._routes_done = 0
        self._is_stale = Event()

    def start(self) -> Callable[[], None]:
        """Listens, then hands over everything; returns what ends the listening."""
        unsubscribe = self._store.notices.subscribe(self.hear)
        self.load()
        return unsubscribe

    def load(self) -> None:
        """All tables anew."""
        with self._tunnels_lock:
            with self._store.reading() as session:
                entries = read_tunnels(session, self._sealer)
            self._engine.swap_tunnels([engine_tunnel(entry) for entry in entries])
        self._certificates.forget()
        self.refresh_routes()

    def hear(self, notice: Notice) -> None:
        """One change. What fails here is tried again as a whole by `catch_up`."""
        try:
            self._act(notice)
        except Exception:
            self._is_stale.set()
            raise

    def catch_up(self) -> None:
        """Called now and then: what a notice could not do, secrets whose grace is over, certificates that are due."""
        if self._is_stale.is_set():
            self._is_stale.clear()
            try:
                self.load()
            except Exception:
                self._is_stale.set()
                raise
        now = self._store.clock()
        due = [item for item in self._rotated if item[0] <= now]
        for item in due:
            self._rotated.remove(item)
            at, tunnel_id = item
            with self._store.reading() as session:
                connectors = connectors_before(session, tunnel_id, at - self._rotation_grace)
            for connector_id in connectors:
                log.info("dropping a connector with the old secret", tunnel=tunnel_id, connector=connector_id)
                self._engine.disconnect(tunnel_id=tunnel_id, connector_id=connector_id)

    def refresh_routes(self) -> None:
        """Routes and certificates from the records. Callers that wait together are served by one pass."""
        with self._asking_lock:
            self._routes_asked += 1
            asked = self._routes_asked
        with self._routes_lock:
            if self._routes_done >= asked:
                return
            covers = self._routes_asked
            with self._store.reading() as session:
                routes = compile_routes(read_routes(session))
                zones = list(session.scalars(select(Zone.name)))
            certificates = self._certificates.changed(zones, routes)
            if certificates is not None:
                self._engine.swap_certificates(certificates)
            self._engine.swap_routes(
                [Route(hostname=hostname, tunnel_id=tunnel_id) for hostname, tunnel_id in routes.items()]
            )
            self._routes_done = covers

    def _act(self, notice: Notice) -> None:
        match notice:
            case Notice(kind=NoticeKind.TUNNEL | NoticeKind.CONFIGURATION, tunnel_id=str(tunnel_id)):
                self._put_tunnel(tunnel_id)
            case Notice(kind=NoticeKind.TUNNEL_SECRET, tunnel_id=str(tunnel_id)):
                self._put_tunnel(tunnel_id)
                self._rotated.append((self._store.clock() + self._rotation_grace, tunnel_id))
            case Notice(kind=NoticeKind.TUNNEL_DELETED, tunnel_id=str(tunnel_id)):
                self._put_tunnel(tunnel_id)  # first, so that none of the dropped ones is let in again
                self._engine.disconnect(tunnel_id=tunnel_id)
            case Notice(kind=NoticeKind.DISCONNECT, tunnel_id=str(tunnel_id)):
                self._engine.disconnect(tunnel_id=tunnel_id, connector_id=notice.connector_id)
            case Notice(kind=NoticeKind.ROUTES | NoticeKind.ZONE):
                self.refresh_routes()
            case _:
                pass

    def _put_tunnel(self, tunnel_id: str) -> None:
        with self._tunnels_lock:
            with self._store.reading() as session:
                entry = read_tunnel(session, self._sealer, tunnel_id)
            if entry is not None:
                self._engine.put_tunnel(engine_tunnel(entry))


def engine_tunnel(entry: TunnelEntry) -> Tunnel:
    """The table's row as the engine takes it."""
    return Tunnel(
        tunnel_id=entry.tunnel_id,
        account_tag=entry.account_id,
        name=entry.name,
        secret_sha256=entry.secret_sha256,
        deleted=entry.deleted,
        remotely_managed=entry.remotely_managed,
        configuration_version=entry.configuration_version,
        configuration=entry.configuration,
    )
