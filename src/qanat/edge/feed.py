"""Notice → tables → engine. A notice is acted on in the writer's thread: an answered write is in effect already."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event, Lock

import structlog

from qanat.edge.certificates import Certificates
from qanat.edge.engine import Edge, Tunnel
from qanat.edge.routes import Routes
from qanat.store import Notice, NoticeKind, Store
from qanat.store.connections import connectors_before
from qanat.store.sealing import Sealer
from qanat.tables import TunnelEntry, read_tunnel, read_tunnels

log = structlog.get_logger(__name__)


class Feed:
    """Keeps the engine's tables equal to the store's rows: tunnels here, hostnames in `Routes`."""

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
        self._rotation_grace = timedelta(seconds=rotation_grace_s)
        self._rotated: list[tuple[datetime, str, str]] = []
        self._tunnels_lock = Lock()
        self._routes = Routes(store, engine, certificates)
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
                entries = read_tunnels(session, self._sealer, self._store.clock())
            self._engine.swap_tunnels([engine_tunnel(entry) for entry in entries])
        self._routes.load()

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
            at, tunnel_id, token_id = item
            with self._store.reading() as session:
                old = connectors_before(session, tunnel_id, at - self._rotation_grace, token_id=token_id)
            for connector_id in old:
                log.info(
                    "dropping a connector with the old secret",
                    tunnel=tunnel_id,
                    connector=connector_id,
                    token_id=token_id,
                )
                self._engine.disconnect(tunnel_id=tunnel_id, connector_id=connector_id, token_id=token_id)

    def refresh_routes(self) -> None:
        """Routes and certificates from all records."""
        self._routes.refresh()

    def _act(self, notice: Notice) -> None:
        match notice:
            case Notice(kind=NoticeKind.TUNNEL | NoticeKind.CONFIGURATION, tunnel_id=str(tunnel_id)):
                self._put_tunnel(tunnel_id)
            case Notice(kind=NoticeKind.TUNNEL_SECRET, tunnel_id=str(tunnel_id)):
                self._put_tunnel(tunnel_id)
                over = self._store.clock() + self._rotation_grace
                self._rotated.append((over, tunnel_id, notice.token_id or ""))
            case Notice(kind=NoticeKind.TUNNEL_DELETED, tunnel_id=str(tunnel_id)):
                self._put_tunnel(tunnel_id)  # first, so that none of the dropped ones is let in again
                self._engine.disconnect(tunnel_id=tunnel_id)
            case Notice(kind=NoticeKind.DISCONNECT, tunnel_id=str(tunnel_id)):
                self._engine.disconnect(tunnel_id=tunnel_id, connector_id=notice.connector_id, token_id=notice.token_id)
            case Notice(kind=NoticeKind.ROUTES, hostnames=tuple(hostnames)):
                self._routes.change(hostnames)
            case Notice(kind=NoticeKind.ZONE, zone_id=str(zone_id)):
                self._routes.change_zone(zone_id)
            case Notice(kind=NoticeKind.ROUTES | NoticeKind.ZONE):
                self._routes.refresh()
            case _:
                pass

    def _put_tunnel(self, tunnel_id: str) -> None:
        with self._tunnels_lock:
            with self._store.reading() as session:
                entry = read_tunnel(session, self._sealer, tunnel_id, self._store.clock())
            if entry is not None:
                self._engine.put_tunnel(engine_tunnel(entry))


def engine_tunnel(entry: TunnelEntry) -> Tunnel:
    """The table's row as the engine takes it."""
    return Tunnel(
        tunnel_id=entry.tunnel_id,
        account_tag=entry.account_id,
        name=entry.name,
        secrets=entry.secrets,
        deleted=entry.deleted,
        remotely_managed=entry.remotely_managed,
        configuration_version=entry.configuration_version,
        configuration=entry.configuration,
    )
