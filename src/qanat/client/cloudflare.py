"""An account of the hosted API, read by its v4 API and written here by ours: tunnels with what belongs to them, and zones.

Each object is looked up before it is made, so that a second run finds nothing to do. No secret is read: a tunnel gets a new one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from qanat.client import sameness
from qanat.client.api import Client
from qanat.client.http import ApiRefusedError
from qanat.client.shapes import PrivateRoute, Record, Tunnel, VirtualNetwork, Zone
from qanat.client.zones import TUNNEL_SUFFIX, folded
from qanat.errors import QanatError

API = "https://api.cloudflare.com/client/v4"
TYPES = frozenset(
    (
        *("A", "AAAA", "CAA", "CERT", "CNAME", "DNSKEY", "DS", "HTTPS", "LOC", "MX", "NAPTR", "NS", "PTR"),
        *("SMIMEA", "SRV", "SSHFP", "SVCB", "TLSA", "TXT", "URI"),
    )
)

# What else an account may have: where it is listed, what it is, the key of its name, and why it stays behind.
ELSEWHERE: tuple[tuple[str, str, str, str], ...] = (
    ("/accounts/{account}/access/apps", "Access application", "name", "qanat has no Access: its hostnames are open"),
)
ELSEWHERE_IN_ZONE: tuple[tuple[str, str, str, str], ...] = (
    ("/zones/{zone}/load_balancers", "load balancer", "name", "qanat has no load balancers; replicas share a tunnel"),
    ("/zones/{zone}/pagerules", "page rule", "id", "qanat has no page rules"),
)

Action = Literal["create", "change", "same", "differs", "skip", "refused", "note"]


@dataclass(frozen=True, slots=True)
class Step:
    """What is done with one object. `differs`: it is here in another form and stays; `skip`: qanat doesn't take it;
    `refused`: our API said no; `note`: something to know about it."""

    kind: str
    name: str
    action: Action
    reason: str | None = None


@dataclass(slots=True)
class Report:
    """The steps in order, and the tunnels that are here (or will be) with their ids (None before they are made)."""

    applied: bool
    steps: list[Step] = field(default_factory=list)
    tunnels: dict[str, str | None] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """How many steps of each action."""
        counted: dict[str, int] = {}
        for step in self.steps:
            counted[step.action] = counted.get(step.action, 0) + 1
        return counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to take over. `tunnels` None: all; `zones`: by name, None for all. `overwrite`: what differs here is changed."""

    tunnels: frozenset[str] | None = None
    zones: frozenset[str] | None = frozenset()
    overwrite: bool = False
    apply: bool = False


class Takeover:
    """One run from `source` (an account there) to `target` (an account here)."""

    def __init__(
        self, source: Client, source_account: str, target: Client, target_account: str, wanted: Wanted
    ) -> None:
        self._source = source
        self._source_account = source_account
        self._target = target
        self._target_account = target_account
        self._wanted = wanted
        self._report = Report(applied=wanted.apply)
        self._new_ids: dict[str, str | None] = {}

    def run(self) -> Report:
        """Tunnels first, since records point to them.

        Raises:
            QanatError: the source can't be read, or something was named that it doesn't have (`tunnel_unknown`,
                `zone_unknown`). What our API refuses is a step, and the rest goes on.
        """
        tunnels, zones = self._chosen_tunnels(), self._chosen_zones()
        here = {tunnel.name: tunnel for tunnel in self._target.tunnels(self._target_account)}
        for tunnel in tunnels:
            self._tunnel(tunnel, here.get(tunnel.name))
        self._private_routes()
        zones_here = {folded(zone.name): zone for zone in self._target.zones()}
        for zone in zones:
            self._zone(zone, zones_here.get(folded(zone.name)))
        self._left_behind(ELSEWHERE, account=self._source_account)
        for zone in zones:
            self._left_behind(ELSEWHERE_IN_ZONE, zone=zone.id)
        return self._report

    def _chosen_tunnels(self) -> list[Tunnel]:
        every = self._source.tunnels(self._source_account)
        wanted = self._wanted.tunnels
        if wanted is None:
            return every
        return _chosen(every, wanted, "tunnel")

    def _chosen_zones(self) -> list[Zone]:
        wanted = self._wanted.zones
        if wanted is not None and not wanted:
            return []
        every = [zone for zone in self._source.zones() if zone.account.id == self._source_account]
        if wanted is None:
            return every
        names = {folded(zone.name): zone.name for zone in every}
        return _chosen(every, frozenset(names.get(folded(each), each) for each in wanted), "zone")

    # ------------------------------------------------------------ tunnels

    def _tunnel(self, old: Tunnel, here: Tunnel | None) -> None:
        is_remote = old.config_src == "cloudflare" if old.config_src else bool(old.remote_config)
        source = "cloudflare" if is_remote else "local"
        if here is not None:
            self._step("tunnel", old.name, "same")
        elif self._wanted.apply:
            here = self._tried(
                "tunnel",
                old.name,
                lambda: self._target.create_tunnel(self._target_account, old.name, config_src=source),
            )
            if here is None:
                return
            self._step("tunnel", old.name, "create")
        else:
            self._step("tunnel", old.name, "create")
        self._new_ids[old.id] = here.id if here is not None else None
        self._report.tunnels[old.name] = here.id if here is not None else None
        if is_remote:
            self._configuration(old, here)
        else:
            self._step("configuration", old.name, "note", "it is in the connector's own file and stays there")

    def _configuration(self, old: Tunnel, here: Tunnel | None) -> None:
        wanted = sameness.bare(self._source.configuration(self._source_account, old.id).config)
        if not wanted:
            return
        present = (
            sameness.bare(self._target.configuration(self._target_account, here.id).config) if here is not None else {}
        )
        if present == wanted:
            self._step("configuration", old.name, "same")
            return
        if present and not self._wanted.overwrite:
            self._step("configuration", old.name, "differs", "the tunnel has another one here; --overwrite replaces it")
            return
        if self._wanted.apply and here is not None:
            tunnel_id = here.id
            stored = self._tried(
                "configuration",
                old.name,
                lambda: self._target.put_configuration(self._target_account, tunnel_id, wanted),
            )
            if stored is None:
                return
        self._step("configuration", old.name, "change" if present else "create")
        for rule in wanted.get("ingress") or ():
            request = rule.get("originRequest") if isinstance(rule, dict) else None
            if isinstance(request, dict) and request.get("access"):
                self._step(
                    "configuration",
                    old.name,
                    "note",
                    f"{rule.get('hostname', 'a rule')} asks for Access, which qanat has not",
                )

    # ------------------------------------------------------------ private routes

    def _private_routes(self) -> None:
        """Those of the tunnels, in virtual networks of the same names; the default network stands for the default one."""
        try:
            routes = self._source.private_routes(self._source_account)
            networks = self._source.virtual_networks(self._source_account) if routes else []
        except ApiRefusedError as error:
            if error.status in (401, 403):
                self._step("private route", "all", "skip", "the token may not read them there")
            return  # otherwise the API has none
        if not routes:
            return
        here = self._target.virtual_networks(self._target_account)
        present = self._target.private_routes(self._target_account)
        by_network: dict[str, list[PrivateRoute]] = {network.id: [] for network in networks}
        for route in routes:
            if route.tunnel_id not in self._new_ids:
                reason = f"its tunnel {route.tunnel_name or route.tunnel_id} is not taken over"
                self._step("private route", route.network, "skip", reason)
            elif route.virtual_network_id not in by_network:
                self._step("private route", route.network, "skip", "its virtual network is not listed there")
            else:
                by_network[route.virtual_network_id].append(route)
        for network in networks:
            if by_network[network.id]:
                self._network(network, by_network[network.id], here, present)

    def _network(
        self,
        old: VirtualNetwork,
        routes: Sequence[PrivateRoute],
        here: Sequence[VirtualNetwork],
        present: Sequence[PrivateRoute],
    ) -> None:
        """A virtual network and the routes in it."""
        found = next((each for each in here if old.is_default_network and each.is_default_network), None)
        found = found or next((each for each in here if each.name == old.name), None)
        if found is not None:
            self._step("virtual network", old.name, "same")
        else:
            if self._wanted.apply:
                found = self._tried(
                    "virtual network",
                    old.name,
                    lambda: self._target.create_virtual_network(
                        self._target_account, old.name, comment=old.comment or ""
                    ),
                )
                if found is None:
                    return
            self._step("virtual network", old.name, "create")
        for route in routes:
            same = (
                each
                for each in present
                if found is not None and (each.virtual_network_id, each.network) == (found.id, route.network)
            )
            self._private_route(route, found, next(same, None))

    def _private_route(self, old: PrivateRoute, network: VirtualNetwork | None, present: PrivateRoute | None) -> None:
        tunnel_id, comment = self._new_ids[old.tunnel_id], old.comment or ""
        if present is not None and (present.tunnel_id, present.comment or "") == (tunnel_id, comment):
            self._step("private route", old.network, "same")
            return
        if present is not None and not self._wanted.overwrite:
            self._step(
                "private route", old.network, "differs", "its tunnel or comment is another here; --overwrite sets them"
            )
            return
        if self._wanted.apply and network is not None and tunnel_id is not None:
            account, network_id = self._target_account, network.id
            done = self._tried(
                "private route",
                old.network,
                lambda: (
                    self._target.add_private_route(
                        account, old.network, tunnel_id, comment=comment, virtual_network_id=network_id
                    )
                    if present is None
                    else self._target.change_private_route(account, present.id, tunnel_id=tunnel_id, comment=comment)
                ),
            )
            if done is None:
                return
        self._step(
            "private route", old.network, "change" if present else "create", "stored; its traffic is not carried yet"
        )

    # ------------------------------------------------------------ zones and records

    def _zone(self, old: Zone, here: Zone | None) -> None:
        if here is not None and here.account.id != self._target_account:
            self._step("zone", old.name, "refused", "another account has it here")
            return
        if here is not None:
            self._step("zone", old.name, "same")
        else:
            if self._wanted.apply:
                here = self._tried("zone", old.name, lambda: self._target.create_zone(self._target_account, old.name))
                if here is None:
                    return
                zone_id = here.id
                if old.paused:
                    self._tried("zone", old.name, lambda: self._target.pause_zone(zone_id, paused=True))
            self._step("zone", old.name, "create", "paused, as it is there" if old.paused else None)
        present = self._target.records(here.id) if here is not None else []
        for record in self._source.records(old.id):
            self._record(record, old, here, present)

    def _record(self, old: Record, zone: Zone, here: Zone | None, present: Sequence[Record]) -> None:
        shown = f"{old.type} {old.name}"
        if old.type not in TYPES:
            self._step("record", shown, "skip", f"qanat has no {old.type} records")
            return
        if old.type in ("NS", "SOA") and folded(old.name) == folded(zone.name):
            self._step("record", shown, "skip", "the zone's own name servers are this server's")
            return
        content, missing = self._content(old)
        if missing is not None:
            self._step("record", shown, "skip", missing)
            return
        fields = sameness.fields(old, content)
        key = sameness.key(old, content)
        same = next((each for each in present if sameness.key(each, each.content) == key), None)
        if same is not None:
            self._settle(shown, here, same, {k: v for k, v in fields.items() if k not in ("name", "type")}, old)
            return
        in_the_way = next((each for each in present if sameness.excludes(each, old)), None)
        if in_the_way is not None:
            if in_the_way.type == old.type and self._wanted.overwrite:
                self._change(shown, here, in_the_way, fields)
            else:
                self._step("record", shown, "differs", f"here it is {in_the_way.type} {in_the_way.content}"[:200])
            return
        if self._wanted.apply and here is not None:
            zone_id = here.id
            if self._tried("record", shown, lambda: self._target.put_record(zone_id, fields)) is None:
                return
        self._step("record", shown, "create")

    def _settle(self, shown: str, here: Zone | None, present: Record, fields: Mapping[str, Any], old: Record) -> None:
        """It is here; perhaps with other settings."""
        if sameness.settings(present) == sameness.settings(old):
            self._step("record", shown, "same")
        elif self._wanted.overwrite:
            self._change(shown, here, present, fields)
        else:
            self._step(
                "record", shown, "differs", "its ttl, proxied, comment or tags are others here; --overwrite sets them"
            )

    def _change(self, shown: str, here: Zone | None, present: Record, fields: Mapping[str, Any]) -> None:
        if self._wanted.apply and here is not None:
            zone_id = here.id
            done = self._tried("record", shown, lambda: self._target.put_record(zone_id, fields, record_id=present.id))
            if done is None:
                return
        self._step("record", shown, "change")

    def _content(self, old: Record) -> tuple[str, str | None]:
        """The content with the new tunnel's id; or why it can't be taken."""
        target = sameness.host(old.content)
        if old.type != "CNAME" or not target.endswith(TUNNEL_SUFFIX):
            return old.content, None
        tunnel_id = target.removesuffix(TUNNEL_SUFFIX)
        if tunnel_id not in self._new_ids:
            return "", f"it points to tunnel {tunnel_id}, which is not taken over"
        new_id = self._new_ids[tunnel_id]
        return (new_id or "its new id") + TUNNEL_SUFFIX, None

    # ------------------------------------------------------------ the rest

    def _left_behind(self, places: Iterable[tuple[str, str, str, str]], **ids: str) -> None:
        for path, kind, key, reason in places:
            try:
                rows = self._source.listed(path.format(**ids))
            except ApiRefusedError:
                continue  # the token doesn't see it, or the API hasn't it: nothing to tell
            for row in rows:
                self._step(kind, str(row.get(key) or row.get("id") or "?")[:200], "skip", reason)

    def _tried(self, kind: str, name: str, call: Any) -> Any:
        try:
            return call()
        except ApiRefusedError as error:
            self._step(kind, name, "refused", error.message)
            return None

    def _step(self, kind: str, name: str, action: Action, reason: str | None = None) -> None:
        self._report.steps.append(Step(kind, name, action, reason))


def _chosen(every: Sequence[Any], wanted: frozenset[str], kind: str) -> list[Any]:
    found = [each for each in every if each.name in wanted or each.id in wanted]
    missing = wanted - {each.name for each in found} - {each.id for each in found}
    if missing:
        raise QanatError(
            f"{kind}_unknown", f"the account there has no {kind} {', '.join(sorted(missing))}", where=f"--{kind}"
        )
    return found
