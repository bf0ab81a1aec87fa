"""Hostname routes and their certificates in the engine, kept equal to the store's rows at the cost of what has changed."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

import structlog
from sqlalchemy import select

from qanat.certificates.stored import Served
from qanat.edge.certificates import Certificates
from qanat.edge.engine import Edge, EngineError, Route
from qanat.ids import Hostname
from qanat.store import Store
from qanat.store.models import Zone
from qanat.store.skipped import Failure, LeftOut, SkippedRows
from qanat.tables import Destination, compile_destinations, compile_routes
from qanat.tables.closest import up_to
from qanat.tables.reading import (
    read_hostnames_below,
    read_routes,
    read_shares,
    read_stops,
    read_zone_hostnames,
)

Name = TypeVar("Name", bound=str)

RETRIED_AT_ONCE = 500
CERTIFIED_AT_ONCE = 50

log = structlog.get_logger(__name__)


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
    """Callers that wait together are served by one pass; each returns when what it asked for is in force.

    A record that can't be a route, and a hostname that gets no certificate, are noted in `skipped` and hold up nothing else.
    """

    def __init__(self, store: Store, engine: Edge, certificates: Certificates, skipped: SkippedRows) -> None:
        self._store = store
        self._engine = engine
        self._certificates = certificates
        self._skipped = skipped
        self._asking = Lock()
        self._asked = _Asked()
        self._count = 0
        self._applying = Lock()
        self._done = 0
        self._is_loaded = False
        self._is_uncertain = False  # whether certificates are to be looked at as a whole
        # what the engine has
        self._zones: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        """Account by zone's name."""
        self._routes: dict[Hostname, Destination] = {}
        self._stops: dict[str, set[str]] = {}
        """By zone: the names below its wildcards that these don't answer for."""

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

    def retry(self) -> None:
        """What was skipped, once more."""
        hostnames = self._skipped.names("hostname", most=RETRIED_AT_ONCE)
        certificates = self._skipped.names("certificate", most=RETRIED_AT_ONCE)
        if self._is_uncertain or self._skipped.names("record", most=1):
            self.refresh()
        elif hostnames:
            self.change(hostnames)
        if certificates:
            with self._applying:
                self._guarded(self._certificates.keep_again)
                self._certify_names(certificates)

    def hold(self, served: Sequence[Served]) -> None:
        """Other certificates of the store, in force when it returns."""
        with self._applying:
            self._guarded(lambda: self._certificates.hold(served))

    def sweep(self) -> int:
        """Removes the files of certificates that nobody needs; how many."""
        with self._applying:
            return self._certificates.sweep() if self._is_loaded else 0

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
            deferred = self._certificates.take_deferred()
        while deferred:
            lot, deferred = deferred[:CERTIFIED_AT_ONCE], deferred[CERTIFIED_AT_ONCE:]
            with self._applying:  # anew for each lot: others' changes come between
                self._certify_names(lot)
                deferred += self._certificates.take_deferred()

    def _apply(self, asked: _Asked) -> None:
        # The store is read under the lock: an older answer can never be applied after a newer one.
        if asked.everything or not self._is_loaded:
            self._apply_all()
        else:
            self._apply_change(asked)

    def _apply_all(self) -> None:
        left_out = LeftOut()
        with self._store.reading() as session:
            found = session.execute(select(Zone.id, Zone.name, Zone.account_id)).all()
            declared = compile_routes(read_routes(session, None, left_out, own=self._store.own_names), left_out)
            routes = compile_destinations(declared, read_shares(session))
            stops = read_stops(session)
        zones, owners = {row.id: row.name for row in found}, {row.name: row.account_id for row in found}
        rows = _engine_routes(routes, left_out, owners)
        rows += [_stop(name) for name in set().union(*stops.values()) - routes.keys()]
        self._is_uncertain = False
        self._guarded(lambda: self._certificates.set(owners, routes, lambda name: _owner(owners, name)))
        self._is_loaded = False
        self._engine.swap_routes(rows)
        self._zones, self._owners, self._routes, self._stops = zones, owners, routes, stops
        self._is_loaded = True
        self._skipped.settle(left_out, "hostname", "record")

    def _apply_change(self, asked: _Asked) -> None:
        hostnames = set(asked.hostnames)
        left_out = LeftOut()
        with self._store.reading() as session:
            zones: dict[str, str] = {}
            owners: dict[str, str] = {}
            for zone_id in asked.zones:
                zone = session.execute(select(Zone.name, Zone.account_id).where(Zone.id == zone_id)).one_or_none()
                if zone is not None:
                    zones[zone_id] = zone.name
                    owners[zone.name] = zone.account_id
                    hostnames |= read_zone_hostnames(session, zone_id)
            gone = {zone_id: self._zones[zone_id] for zone_id in asked.zones - zones.keys() if zone_id in self._zones}
            for name in {*zones.values(), *gone.values()}:
                hostnames.update(_in_zone(self._routes, name))
            for name in gone.values():
                hostnames |= read_hostnames_below(session, name)  # what it hid of the zones around it
            declared = compile_routes(read_routes(session, hostnames, left_out, own=self._store.own_names), left_out)
            now = compile_destinations(declared, read_shares(session, declared.keys()))
            around = self._zones_around({*hostnames, *zones.values(), *gone.values()}, {*zones.values()})
            stops = {**{name: set[str]() for name in around}, **read_stops(session, around)}
        put = {hostname: there for hostname, there in now.items() if self._routes.get(hostname) != there}
        same = now.keys() - put.keys()
        changed = _engine_routes(put, left_out, {**self._owners, **owners})
        there = same | put.keys()
        stopped, unstopped = self._restopped(stops, hostnames, there)
        changed += [_stop(name) for name in stopped]
        remove = [
            hostname for hostname in map(Hostname, hostnames) if hostname in self._routes and hostname not in there
        ]
        taken_away = [*(name for name in remove if name not in stopped), *unstopped]

        self._is_loaded = False  # what fails half-way is done again as a whole
        self._zones.update(zones)
        self._owners.update(owners)
        for zone_id, name in gone.items():
            del self._zones[zone_id]
            self._owners.pop(name, None)
        self._routes.update(put)
        for hostname in remove:
            del self._routes[hostname]
        self._stops.update(stops)
        self._guarded(lambda: self._change_certificates(put, zones.values(), gone.values()))
        if changed or taken_away:
            self._engine.change_routes(put=changed, remove=taken_away)
        self._is_loaded = True
        self._skipped.settle(left_out, "hostname", among=hostnames)

    def _zones_around(self, names: Iterable[str], new: set[str]) -> set[str]:
        """The zones that these names are in, or are."""
        known = new | self._owners.keys()
        return {above for name in names for above in up_to(name) if above in known}

    def _restopped(
        self, stops: Mapping[str, set[str]], hostnames: Iterable[str], routed: Collection[str]
    ) -> tuple[set[str], set[str]]:
        """The names that become stops, and those that are none any more and no route either. `routed`: of the hostnames that
        are looked at, those that are routes now."""
        before = {name for zone in stops for name in self._stops.get(zone, ())}
        after = set().union(*stops.values())
        looked_at = set(hostnames)

        def is_route(name: str) -> bool:
            return name in routed if name in looked_at else name in self._routes

        shown = {name for name in before if name not in self._routes}
        wanted = {name for name in after if not is_route(name)}
        return wanted - shown, {name for name in shown - wanted if not is_route(name)}

    def _change_certificates(self, put: Iterable[Hostname], new: Iterable[str], gone: Iterable[str]) -> None:
        wanted_zones = set(new)
        wanted = set(put)
        for name in gone:
            self._certificates.drop(name)
            wanted.update(_in_zone(self._routes, name))
            wanted_zones.update(_in_zone(self._owners, name))
        wanted_zones.update(hostname for hostname in wanted if hostname in self._owners)
        self._certificates.add(wanted_zones, wanted, lambda name: _owner(self._owners, name))

    def _certify_names(self, parents: Iterable[str]) -> None:
        """Once more for hostnames below these, as far as they are still there."""
        wanted = {parent for parent in parents if parent in self._owners}
        below = set(parents)
        hostnames = [name for name in self._routes if name.split(".", 1)[-1] in below]
        wanted.update(name for name in hostnames if name in self._owners)
        self._guarded(lambda: self._certificates.add(wanted, hostnames, lambda name: _owner(self._owners, name)))

    def _guarded(self, change: Callable[[], None]) -> None:
        """A change of certificates; what goes wrong with it is no reason to keep routes away."""
        try:
            change()
            certificates = self._certificates.changed()
            if certificates is not None:
                self._engine.swap_certificates(certificates)
        except Exception:
            self._certificates.forget()
            self._is_uncertain = True
            log.exception("certificates could not be brought up to date")


def _engine_routes(routes: dict[Hostname, Destination], left_out: LeftOut, owners: Mapping[str, str]) -> list[Route]:
    """As the engine takes them; what it doesn't take leaves `routes`."""
    try:
        return [_route(name, there) for name, there in routes.items()]
    except (EngineError, TypeError, ValueError):
        rows = []
        for name, there in list(routes.items()):
            try:
                rows.append(_route(name, there))
            except (EngineError, TypeError, ValueError) as error:
                failure = Failure.of(error, account_id=_owner(owners, name), full="hostname_unroutable")
                left_out.add("hostname", name, failure)
                del routes[name]
        return rows


def _route(hostname: str, there: Destination) -> Route:
    return Route(hostname=hostname, targets=there.targets, sticky=there.sticky)


def _stop(hostname: str) -> Route:
    """A name that no wildcard answers for."""
    return Route(hostname=hostname, targets=(), sticky="none")


def _owner(owners: Mapping[str, str], name: str) -> str | None:
    """The account of the innermost zone that a name lies in."""
    return next((owners[above] for above in up_to(name) if above in owners), None)


def _in_zone(names: Iterable[Name], zone: str) -> list[Name]:
    below = f".{zone}"
    return [name for name in names if name == zone or name.endswith(below)]
