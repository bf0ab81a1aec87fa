"""security.md S47: a hostname belongs to one account. Accounts create, delete and claim zones, records and tunnels at random;
no compiled route ever leads to an account that doesn't own the name."""

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from qanat.control import accounts, records, tunnels, zones
from qanat.control.record_batches import Batch
from qanat.dns.forms import OWN_SUFFIX, TUNNEL_SUFFIX, RecordDraft
from qanat.errors import QanatError
from qanat.store import Store, open_store
from qanat.store.models import Tunnel
from qanat.store.reach import Reach
from qanat.store.sealing import Sealer
from qanat.tables import compile_routes
from qanat.tables.reading import read_routes
from tests.support.writes import apply, import_zone, written

pytestmark = pytest.mark.requirement("S47")

HELD = timedelta(days=30)
_RUNS = count()
numbers = st.integers(0, 2)
labels = st.sampled_from(["a.b", "b", "a.a.b", "c.b", "b.b"])
hosts = st.sampled_from(["@", "*", "a", "*.a", "a.a", "c"])


class Ownership(RuleBasedStateMachine):
    """The store, and beside it who owns which zone since when, as one would write it on paper."""

    folder: TemporaryDirectory[str] | None = None
    store: Store

    @initialize()
    def begin(self) -> None:
        if Ownership.folder is None:
            Ownership.folder = TemporaryDirectory()
            Ownership.store = open_store(Path(Ownership.folder.name) / "qanat.db")
        run = next(_RUNS)
        self.top = f"run{run}.test"
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.store.clock = lambda: self.now
        self.sealer = Sealer(bytes(32))
        self.accounts = [written(self.store, accounts.create, name=f"{run} {n}").id for n in range(3)]
        self.owners: dict[str, int] = {}
        self.ids: dict[str, str] = {}
        self.released: dict[str, tuple[int, datetime]] = {}
        self.tunnels: list[tuple[str, int]] = []
        self.ever: set[str] = set()
        self.proofs: list[tuple[str, int]] = []

    def reach(self, who: int) -> Reach:
        return Reach(accounts=frozenset([self.accounts[who]]))

    @rule(who=numbers, label=labels)
    def claim(self, who: int, label: str) -> None:
        name = f"{label}.{self.top}"
        try:
            zone = written(self.store, zones.create, account_id=self.accounts[who], name=name)
        except QanatError as refused:
            assert refused.code in ("zone_exists", "zone_held")
            assert not self.is_free(name, who)
            return
        assert self.is_free(name, who)
        self.owners[name], self.ids[name] = who, zone.id
        self.released.pop(name, None)

    def is_free(self, name: str, who: int) -> bool:
        if name in self.owners:
            return False
        live = all(owner == who or not nested(name, other) for other, owner in self.owners.items())
        held = any(
            owner != who and nested(name, other) and self.now < at + HELD
            for other, (owner, at) in self.released.items()
        )
        return live and not held

    @rule(who=numbers, label=labels)
    def release(self, who: int, label: str) -> None:
        name = f"{label}.{self.top}"
        if name not in self.ids:
            return
        try:
            written(self.store, zones.delete, self.ids[name], reach=self.reach(who))
        except QanatError as refused:
            assert (refused.code, who == self.owners[name]) == ("zone_unknown", False)
            return
        assert who == self.owners.pop(name)
        del self.ids[name]
        self.released[name] = (who, self.now)

    @rule(who=numbers, label=labels, paused=st.booleans())
    def pause(self, who: int, label: str, paused: bool) -> None:
        zone_id = self.ids.get(f"{label}.{self.top}")
        if zone_id is not None and self.owners[f"{label}.{self.top}"] == who:
            written(self.store, zones.change, zone_id, reach=self.reach(who), paused=paused)

    @rule(days=st.integers(1, 40))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule(who=numbers)
    def make_tunnel(self, who: int) -> None:
        tunnel = written(
            self.store,
            tunnels.create,
            self.sealer,
            account_id=self.accounts[who],
            name=f"t{len(self.ever)}",
            secret=bytes(32),
            config_src="cloudflare",
        )
        assert tunnel.id not in self.ever  # never used again
        self.ever.add(tunnel.id)
        self.tunnels.append((tunnel.id, who))

    @rule(data=st.data())
    def delete_tunnel(self, data: st.DataObject) -> None:
        if self.tunnels:
            at = data.draw(st.integers(0, len(self.tunnels) - 1))
            tunnel_id, owner = self.tunnels[at]
            try:
                written(self.store, tunnels.delete, account_id=self.accounts[owner], tunnel_id=tunnel_id, cascade=True)
            except QanatError as refused:
                assert refused.code == "tunnel_unknown"

    @rule(who=numbers, label=labels, host=hosts, own_suffix=st.booleans(), data=st.data())
    def publish(self, who: int, label: str, host: str, own_suffix: bool, data: st.DataObject) -> None:
        zone_id = self.ids.get(f"{label}.{self.top}")
        if zone_id is None or not self.tunnels:
            return
        tunnel_id, owner = data.draw(st.sampled_from(self.tunnels))
        draft = RecordDraft(
            name=host, type="CNAME", content=tunnel_id + (OWN_SUFFIX if own_suffix else TUNNEL_SUFFIX), proxied=True
        )
        how: Any = data.draw(st.sampled_from(["create", "batch", "import", "replace"]))
        try:
            self.write(how, zone_id, draft, self.reach(who))
        except QanatError:
            return
        if how != "import":
            assert who == owner == self.owners[f"{label}.{self.top}"]

    def write(self, how: str, zone_id: str, draft: RecordDraft, reach: Reach) -> None:
        if how == "create":
            written(self.store, records.create, zone_id, draft, reach=reach)
        elif how == "batch":
            apply(self.store, zone_id, Batch(posts=[draft]), reach=reach)
        elif how == "import":
            import_zone(self.store, zone_id, [(1, draft)], reach=reach)
        else:
            with self.store.reading() as session:
                rows, _ = records.page(session, zone_id, limit=1)
            if not rows:
                raise QanatError("record_unknown", "none")
            written(self.store, records.replace, zone_id, rows[0].id, draft, reach=reach)

    @invariant()
    def no_route_leads_to_an_account_that_does_not_own_the_name(self) -> None:
        if not hasattr(self, "top"):
            return
        with self.store.reading() as session:
            routes = compile_routes(read_routes(session))
            whose = {tunnel.id: tunnel.account_id for tunnel in session.scalars(select(Tunnel))}
        for hostname, tunnel_id in routes.items():
            if not hostname.endswith(self.top):
                continue
            above = [zone for zone in self.owners if nested(hostname.removeprefix("*."), zone, below=True)]
            assert above, f"{hostname} is in nobody's zone"
            owner = self.owners[max(above, key=len)]
            assert whose[tunnel_id] == self.accounts[owner]
            for other, (before, at) in self.released.items():
                assert before == owner or self.now >= at + HELD or not nested(hostname.removeprefix("*."), other)


def nested(one: str, other: str, *, below: bool = False) -> bool:
    """Equal, or one lies in the other."""
    return one == other or one.endswith(f".{other}") or (not below and other.endswith(f".{one}"))


Ownership.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestOwnership = Ownership.TestCase
