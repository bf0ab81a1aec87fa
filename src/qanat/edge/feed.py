"""Notice → tables → engine. A notice is acted on in the writer's thread: an answered write is in effect already."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Final, assert_never

import structlog
from sqlalchemy import select

from qanat.certificates.stored import read_served
from qanat.control import zone_settings
from qanat.control.connections import connectors_before
from qanat.edge.certificates import Certificates
from qanat.edge.engine import Edge, EngineError, Tunnel
from qanat.edge.routes import Routes
from qanat.errors import QanatError
from qanat.store import Notice, NoticeKind, Store
from qanat.store.models import ConnectorToken
from qanat.store.sealing import Sealer
from qanat.store.skipped import Failure, LeftOut, SkippedRows
from qanat.tables import TunnelEntry
from qanat.tables.reading import read_tunnel, read_tunnels, read_zone_settings

if TYPE_CHECKING:
    from qanat.edge.engine import ZoneRules

RETRY = timedelta(minutes=1)
RETRIED_AT_ONCE = 500
TUNNEL_KINDS: Final = ("tunnel", "configuration", "connector_token")

log = structlog.get_logger(__name__)


class Feed:
    """Keeps the engine's tables equal to the store's rows: tunnels here, hostnames in `Routes`. A row that can't be used is
    noted in `skipped`, holds up no other, and is tried again every minute."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        engine: Edge,
        certificates: Certificates,
        *,
        rotation_grace_s: float,
        skipped: SkippedRows | None = None,
    ) -> None:
        self._skipped = skipped or SkippedRows()
        self._retried_at = store.clock()
        self._store = store
        self._sealer = sealer
        self._engine = engine
        self._rotation_grace = timedelta(seconds=rotation_grace_s)
        self._rotated: list[tuple[datetime, str, str]] = []
        self._certificates = certificates
        self._certificates_lock = Lock()
        self._tunnels_lock = Lock()
        self._routes = Routes(store, engine, certificates, self._skipped)
        self._zones_lock = Lock()
        self._is_stale = Event()

    def start(self) -> Callable[[], None]:
        """Listens, then hands over everything; returns what ends the listening."""
        unsubscribe = self._store.notices.subscribe(self.hear)
        self.load()
        return unsubscribe

    def load(self) -> None:
        """All tables anew."""
        self._load_tunnels()
        self._load_certificates()
        self._load_zones()
        self._routes.load()

    def _load_tunnels(self) -> None:
        left_out = LeftOut()
        with self._tunnels_lock:
            with self._store.reading() as session:
                entries = read_tunnels(session, self._sealer, self._store.clock(), left_out)
            self._engine.swap_tunnels([row for entry in entries if (row := _row(entry, left_out)) is not None])
            self._skipped.settle(left_out, *TUNNEL_KINDS)

    def _load_zones(self) -> None:
        with self._zones_lock:
            with self._store.reading() as session:
                settings = read_zone_settings(session)
            self._engine.swap_zones([engine_zone(name, said) for name, said in settings.items()])

    def _load_certificates(self) -> None:
        with self._certificates_lock:
            with self._store.reading() as session:
                served = read_served(
                    session,
                    self._sealer,
                    now=self._store.clock(),
                    given=self._certificates.given_names,
                    known=self._certificates.stored,
                )
            self._routes.hold(served)

    def put(self, tunnel_id: str) -> None:
        """The tunnel's row as it is now; when this returns the engine acts by it. Raises what keeps it from that."""
        if not self._put_tunnel(tunnel_id):
            raise QanatError("store_damaged", "the tunnel's rows can't be used; the edge goes on with what it had")

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
            try:
                self._drop_old(*item)
            except QanatError:
                raise  # the database is away: the next round
            except Exception:  # of this one, and no reason to keep what another secret's thief holds connected
                log.exception("connectors with an old secret could not be dropped", tunnel=item[1])
            self._rotated.remove(item)
        if now - self._retried_at >= RETRY:
            self._retried_at = now
            self.retry()

    def retry(self) -> None:
        """What was skipped, once more."""
        tunnels: dict[str, list[str]] = {
            tunnel_id: []
            for kind in ("tunnel", "configuration")
            for tunnel_id in self._skipped.names(kind, most=RETRIED_AT_ONCE)
        }
        tokens = self._skipped.names("connector_token", most=RETRIED_AT_ONCE)
        if tokens:
            with self._store.reading() as session:
                query = select(ConnectorToken.id, ConnectorToken.tunnel_id).where(ConnectorToken.id.in_(tokens))
                of_tunnel = {row.id: row.tunnel_id for row in session.execute(query)}
            self._skipped.settle(LeftOut(), "connector_token", among=set(tokens) - of_tunnel.keys())
            for token_id, tunnel_id in of_tunnel.items():
                tunnels.setdefault(tunnel_id, []).append(token_id)
        for tunnel_id, token_ids in tunnels.items():
            self._put_tunnel(tunnel_id, token_ids)
        self._routes.retry()

    def refresh_routes(self) -> None:
        """Routes and certificates from all records; files of certificates that nobody needs any more go."""
        self._load_certificates()
        self._routes.refresh()
        removed = self._routes.sweep()
        if removed:
            log.info("certificates that nobody needs were removed", files=removed)

    def _drop_old(self, at: datetime, tunnel_id: str, token_id: str) -> None:
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

    def _act(self, notice: Notice) -> None:
        match notice.kind:
            case NoticeKind.TUNNEL | NoticeKind.CONFIGURATION:
                self._put_tunnel(_tunnel_of(notice))
            case NoticeKind.TUNNEL_SECRET:
                self._put_tunnel(_tunnel_of(notice))
                over = self._store.clock() + self._rotation_grace
                self._rotated.append((over, _tunnel_of(notice), notice.token_id or ""))
            case NoticeKind.TUNNEL_DELETED:
                self._put_tunnel(_tunnel_of(notice))  # first, so that none of the dropped ones is let in again
                self._engine.disconnect(tunnel_id=_tunnel_of(notice))
            case NoticeKind.DISCONNECT:
                connector_id, token_id = notice.connector_id, notice.token_id
                self._engine.disconnect(tunnel_id=_tunnel_of(notice), connector_id=connector_id, token_id=token_id)
            case NoticeKind.PROBES:
                pass  # the prober's
            case NoticeKind.ROUTES:
                if notice.hostnames is None:
                    self._routes.refresh()
                    self._load_zones()
                else:
                    self._routes.change(notice.hostnames)
            case NoticeKind.ZONE:
                if notice.zone_id is None:
                    self._routes.refresh()
                else:
                    self._routes.change_zone(notice.zone_id)
                self._load_certificates()
                self._load_zones()
            case NoticeKind.ZONE_SETTINGS:
                self._load_zones()
            case NoticeKind.CERTIFICATES:
                self._load_certificates()
            case NoticeKind.API_TOKEN | NoticeKind.CUTOVER | NoticeKind.PROMOTION:
                pass  # auth hears the first, edge/cutover_runner.py and edge/promotions.py the others
            case _:
                assert_never(notice.kind)

    def _put_tunnel(self, tunnel_id: str, token_ids: Sequence[str] = ()) -> bool:
        """Whether the engine has it now. `token_ids`: of its connector tokens, those that may have been skipped."""
        with self._tunnels_lock:
            left_out = LeftOut()
            with self._store.reading() as session:
                entry = read_tunnel(session, self._sealer, tunnel_id, self._store.clock(), left_out)
            row = _row(entry, left_out) if entry is not None else None
            if row is not None:
                self._engine.put_tunnel(row)
            self._skipped.settle(left_out, "tunnel", "configuration", among=[tunnel_id])
            self._skipped.settle(left_out, "connector_token", among=token_ids)
        return row is not None


def _tunnel_of(notice: Notice) -> str:
    if notice.tunnel_id is None:
        raise ValueError(f"a notice of the kind {notice.kind} names its tunnel")
    return notice.tunnel_id


def _row(entry: TunnelEntry, left_out: LeftOut) -> Tunnel | None:
    try:
        return engine_tunnel(entry)
    except (EngineError, TypeError, ValueError, OverflowError) as error:
        left_out.add("tunnel", entry.tunnel_id, Failure.of(error, account_id=entry.account_id))
        return None


def engine_zone(name: str, said: Mapping[str, Any]) -> "ZoneRules":
    """What a zone says of itself as the engine takes it."""
    hsts, nosniff = zone_settings.hsts(said.get("security_header", {}))
    https = said.get("always_use_https")
    return {
        "name": name,
        "always_use_https": https == "on" if https is not None else None,
        "hsts": hsts,
        "nosniff": nosniff,
        "page_1000": said.get("error_page.1000_errors", ""),
        "page_500": said.get("error_page.500_errors", ""),
    }


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
        active_token_id=entry.active_token_id,
        epoch=entry.epoch,
        fenced_token_ids=entry.fenced_token_ids,
    )
