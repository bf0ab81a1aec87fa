"""Hostname routes and their certificates in the engine, kept equal to the store's rows at the cost of what has changed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from sqlalchemy import select

from qanat.edge.certificates import Certificates
from qanat.edge.engine import Edge, Route
from qanat.ids import Hostname, TunnelId
from qanat.store import Store
from qanat.store.models import Zone
from qanat.tables import compile_routes, read_routes, read_zone_hostnames

Name = TypeVar("Name", bound=str)


@dataclass(slots=True)
class _Asked:
    """What is to be looked at: everything, or what these hostnames and zones (ids) have become."""

    everything: bool = False
    hostnames: set[str] = field(default_factory=set)
    zones: set[str] = field(default_factory=set)

    def add(self, other: "_Asked") -> None:
        self.everything |= other.everything
        self.hostnames |= other.hostnames
        self.zones |= other.zones


class Routes:
    """Callers that wait together are served by one pass; each returns when what it asked for is in force."""

    def __init__(self, store: Store, engine: Edge, certificates: Certificates) -> None:
        self._store = store
        self._engine = engine
        self._certificates = certificates
        self._asking = Lock()
        self._asked = _Asked()
        self._count = 0
        self._applying = Lock()
        self._done = 0
        self._is_loaded = False
        # what the engine has
        self._zones: dict[str, str] = {}
        self._zone_names: set[str] = set()
        self._routes: dict[Hostname, TunnelId] = {}

    def load(self) -> None:
        """All routes and certificates, handed over whether or not they have changed."""
        self._certificates.forget()
        self.refresh()

    def refresh(self) -> None:
        """All routes; certificates that are due or that nothing needs any more."""
        self._ask(_Asked(everything=True))

    def change(self, hostnames: Iterable[str]) -> None:
        """The routes of these hostnames."""
        self._ask(_Asked(hostnames=set(hostnames)))

    def change_zone(self, zone_id: str) -> None:
        """A zone that is new, gone, paused or not any more."""
        self._ask(_Asked(zones={zone_id}))

    def _ask(self, asked: _Asked) -> None:
        with self._asking:
            self._asked.add(asked)
            self._count += 1
            own = self._count
        with self._applying:
            if self._done >= own:
                return
            with self._asking:
                taken, self._asked = self._asked, _Asked()
                covers = self._count
            try:
                self._apply(taken)
            except BaseException:
                with self._asking:
                    self._asked.add(taken)
                raise
            self._done = covers

    def _apply(self, asked: _Asked) -> None:
        # The store is read under the lock: an older answer can never be applied after a newer one.
        if asked.everything or not self._is_loaded:
            self._apply_all()
        else:
            self._apply_change(asked)

    def _apply_all(self) -> None:
        with self._store.reading() as session:
            zones = {row.id: row.name for row in session.execute(select(Zone.id, Zone.name))}
            routes = compile_routes(read_routes(session))
        self._certificates.set(zones.values(), routes)
        self._swap_certificates()
        self._is_loaded = False
        self._engine.swap_routes([Route(hostname=name, tunnel_id=tunnel) for name, tunnel in routes.items()])
        self._zones, self._zone_names, self._routes = zones, set(zones.values()), routes
        self._is_loaded = True

    def _apply_change(self, asked: _Asked) -> None:
        hostnames = set(asked.hostnames)
        with self._store.reading() as session:
            zones: dict[str, str] = {}
            for zone_id in asked.zones:
                zone = session.get(Zone, zone_id)
                if zone is not None:
                    zones[zone_id] = zone.name
                    hostnames |= read_zone_hostnames(session, zone_id)
            gone = {zone_id: self._zones[zone_id] for zone_id in asked.zones - zones.keys() if zone_id in self._zones}
            for name in {*zones.values(), *gone.values()}:
                hostnames.update(_in_zone(self._routes, name))
            now = compile_routes(read_routes(session, hostnames))
        put = {hostname: tunnel for hostname, tunnel in now.items() if self._routes.get(hostname) != tunnel}
        remove = [hostname for hostname in map(Hostname, hostnames) if hostname in self._routes and hostname not in now]

        self._is_loaded = False  # what fails half-way is done again as a whole
        self._zones.update(zones)
        self._zone_names.update(zones.values())
        for zone_id, name in gone.items():
            del self._zones[zone_id]
            self._zone_names.discard(name)
        self._routes.update(put)
        for hostname in remove:
            del self._routes[hostname]
        self._change_certificates(put, zones.values(), gone.values())
        if put or remove:
            changed = [Route(hostname=hostname, tunnel_id=tunnel) for hostname, tunnel in put.items()]
            self._engine.change_routes(put=changed, remove=remove)
        self._is_loaded = True

    def _change_certificates(self, put: Iterable[Hostname], new: Iterable[str], gone: Iterable[str]) -> None:
        wanted_zones = set(new)
        wanted = set(put)
        for name in gone:
            self._certificates.drop(name)
            wanted.update(_in_zone(self._routes, name))
            wanted_zones.update(_in_zone(self._zone_names, name))
        wanted_zones.update(hostname for hostname in wanted if hostname in self._zone_names)
        self._certificates.add(wanted_zones, wanted)
        self._swap_certificates()

    def _swap_certificates(self) -> None:
        certificates = self._certificates.changed()
        if certificates is not None:
            self._engine.swap_certificates(certificates)


def _in_zone(names: Iterable[Name], zone: str) -> list[Name]:
    below = f".{zone}"
    return [name for name in names if name == zone or name.endswith(below)]
