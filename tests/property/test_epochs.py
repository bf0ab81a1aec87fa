"""Epochs, fences, promotions, restarts and paused hosts in any order (security.md S48): a request goes to the active node or
to none, a fenced one gets nothing, the epoch only rises, and a promotion that was acknowledged is in force."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qanat.errors import QanatError
from qanat.nodes import mode, nodes, promotion
from qanat.nodes.mode import Policy
from qanat.nodes.readiness import Facts
from qanat.store import SYSTEM, Store, open_store
from qanat.store.models import Promotion
from qanat.store.sealing import Sealer
from qanat.tables import TunnelEntry
from qanat.tables.reading import read_tunnel
from tests.support.control import KEY
from tests.support.databases import new_file
from tests.support.nodes import Hosts, hosts
from tests.support.writes import first_account, written

NAMES = ("web-1", "web-2", "web-3")
HOSTS = st.sampled_from(NAMES)
KINDS: st.SearchStrategy[promotion.Kind] = st.sampled_from(["planned", "forced", "automatic"])


@dataclass
class ModelEngine:
    """The engine's rule (`_engine.pyi`, Tunnel): of a lower epoch than the highest seen, a row's active and epoch don't count."""

    epoch: int = 0
    active: str | None = None
    fenced: frozenset[str] = frozenset()

    def put(self, entry: TunnelEntry) -> None:
        if entry.epoch >= self.epoch:
            self.epoch, self.active = entry.epoch, entry.active_token_id
        self.fenced = frozenset(entry.fenced_token_ids)

    def eligible(self, token_ids: set[str]) -> set[str]:
        return {each for each in token_ids if each not in self.fenced and self.active in (None, each)}


@dataclass
class Host:
    """`inbox`: requests that were sent to it while it was paused; it serves them when it goes on, unless they were cut."""

    token_id: str
    is_connected: bool = True
    is_paused: bool = False
    inbox: list[int] = field(default_factory=list)


class Epochs(RuleBasedStateMachine):
    """`acknowledged`: (moment, who is active from then on; None: all are)."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store: Store = open_store(new_file(Path(self.folder.name) / "qanat.db"))
        account = first_account(self.store)
        self.sealer = Sealer(KEY)
        self.pair: Hosts = hosts(self.store, self.sealer, account.id, *NAMES)
        self.names = {token_id: name for name, token_id in self.pair.ids.items()}
        self.hosts = {name: Host(token_id) for name, token_id in self.pair.ids.items()}
        self.engine = ModelEngine()
        self.old_rows: list[TunnelEntry] = []
        self.moment = 0
        self.epoch = 0
        self.put()
        self.acknowledged: list[tuple[int, str | None]] = [(0, "web-1")]
        self.row: Promotion | None = None
        self.before: tuple[str | None, int] = (None, 0)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    def tick(self) -> int:
        self.moment += 1
        return self.moment

    def put(self) -> None:
        """As the feed: the row as it is now."""
        with self.store.reading() as session:
            entry = read_tunnel(session, self.sealer, self.pair.tunnel.id, self.store.clock())
        assert entry is not None
        self.engine.put(entry)
        self.old_rows.append(entry)

    # ------------------------------------------------------------ requests

    @rule()
    def request(self) -> None:
        """One, sent to a node that the engine would choose. It is served at once, unless its host is paused."""
        sent = self.tick()
        connected = {host.token_id for host in self.hosts.values() if host.is_connected}
        chosen = self.engine.eligible(connected)
        active = self.acknowledged[-1][1]
        for token_id in chosen:
            name = self.names[token_id]
            assert token_id not in self.engine.fenced
            if active is not None and (self.row is None or self.row.state not in promotion.AFTER_FLIP):
                assert name == active, (
                    f"{name} got a request, and {active} is the active one since {self.acknowledged[-1]}"
                )
            host = self.hosts[name]
            if host.is_paused:
                host.inbox.append(sent)

    @rule(name=HOSTS)
    def pause(self, name: str) -> None:
        """SIGSTOP. Its connections end for the edge after a while, or not."""
        self.hosts[name].is_paused = True

    @rule(name=HOSTS)
    def go_on(self, name: str) -> None:
        """SIGCONT: it serves what reached it. With the role gone, nothing of that is left."""
        host = self.hosts[name]
        host.is_paused = False
        coming = (
            self.row is not None and self.row.state in promotion.AFTER_FLIP and self.row.to_token_id == host.token_id
        )
        assert not host.inbox or coming or self.acknowledged[-1][1] in (None, name), (
            name,
            host.inbox,
            self.acknowledged,
        )
        host.inbox = []

    @rule(name=HOSTS)
    def disconnect(self, name: str) -> None:
        self.hosts[name].is_connected = False

    @rule(name=HOSTS)
    def connect(self, name: str) -> None:
        self.hosts[name].is_connected = True

    # ------------------------------------------------------------ promotions

    @rule(name=HOSTS, kind=KINDS, has_before=st.booleans(), has_after=st.booleans())
    def want(self, name: str, kind: promotion.Kind, has_before: bool, has_after: bool) -> None:
        host, role = self.hosts[name], self.pair.role()
        is_fit = host.is_connected and name not in self.pair.fenced() and self.pair.node(name).role != "standby"
        may = role.mode == mode.STANDBY and role.active_token_id != host.token_id and self.row is None and is_fit
        facts = Facts(connections=int(host.is_connected))
        try:
            self.row = self.pair.want(name, facts, kind=kind, has_before=has_before, has_after=has_after)
        except QanatError as error:
            assert not may, error
            return
        assert may
        self.before = (role.active_token_id, role.epoch)

    def _under_way(self) -> Promotion:
        assert self.row is not None
        self.row = self.pair.row(self.row.id)
        return self.row

    @precondition(lambda self: self.row is not None)
    @rule()
    def step(self) -> None:
        """The next one, as whoever runs it does."""
        row = self._under_way()
        following: dict[str, promotion.State] = {"wanted": "held", "held": "draining"}
        if row.kind == "planned" and row.state in following:
            self.pair.step(row, following[row.state])
        elif row.state == "draining" and row.has_before:
            self.pair.step(row, "before")
        elif row.state in promotion.BEFORE_FLIP:
            self._flip(row)
        elif row.state == "flipped" and row.has_after:
            self.pair.step(row, "after")
        else:
            self._release(row)
        if self.row is not None:
            self._under_way()

    def _flip(self, row: Promotion) -> None:
        fenced = self.pair.fenced()
        try:
            with self.store.writing(SYSTEM) as write:
                promotion.flip(write, write.session.get_one(Promotion, row.id))
        except QanatError:
            name = self.names[row.to_token_id]
            assert name in fenced or self.pair.node(name).role == "standby" or row.undo_reason
            self._undo(row)
            return
        role = self.pair.role()
        assert (role.active_token_id, role.epoch) == (row.to_token_id, self.before[1] + 1)

    def _undo(self, row: Promotion) -> None:
        with self.store.writing(SYSTEM) as write:
            promotion.undo(write, write.session.get_one(Promotion, row.id), "a reason")
        self.row = None
        role = self.pair.role()
        assert (role.active_token_id, role.epoch) == self.before, "undone, and yet something has changed"

    def _release(self, row: Promotion) -> None:
        """In the engine first, then what is open on the old node is cut, then it is told."""
        self.put()
        old = self.hosts[self.names[row.from_token_id or ""]]
        old.inbox = []
        with self.store.writing(SYSTEM) as write:
            promotion.finish(write, write.session.get_one(Promotion, row.id))
        self.row = None
        self.acknowledged.append((self.tick(), self.names[row.to_token_id]))

    @precondition(lambda self: self.row is not None)
    @rule(error=st.sampled_from(["", "it failed"]))
    def advance(self, error: str) -> None:
        row = self._under_way()
        if row.state not in promotion.PAUSES:
            return
        with self.store.writing(SYSTEM) as write:
            promotion.advance(write, write.session.get_one(Promotion, row.id), state=row.state, error=error)
        if row.state == "before" and error:
            self._undo(row)

    @precondition(lambda self: self.row is not None)
    @rule()
    def change_ones_mind(self) -> None:
        row = self._under_way()
        if row.state in promotion.BEFORE_FLIP:
            self._undo(row)
        else:
            with pytest.raises(QanatError):
                self._undo(row)
            self._under_way()

    @rule()
    def restart(self) -> None:
        """kill -9, and a new life: an empty engine, all rows read, unfinished promotions undone or finished."""
        row = self.row
        state = self._under_way().state if row is not None else None
        if row is not None:
            with self.store.writing(SYSTEM) as write:
                promotion.recover(write, write.session.get_one(Promotion, row.id), "restarted")
        self.row = None
        # connections end with the process, and what was under way on them
        for host in self.hosts.values():
            host.inbox = []
        self.engine, self.old_rows = ModelEngine(), []
        self.put()
        if row is not None:
            flipped = state in promotion.AFTER_FLIP
            role = self.pair.role()
            assert flipped or (role.active_token_id, role.epoch) == self.before
            if flipped:
                self.acknowledged.append((self.tick(), self.names[row.to_token_id]))

    # ------------------------------------------------------------ what else may come between

    @rule(name=HOSTS)
    def fence(self, name: str) -> None:
        is_active = self.pair.role().active_token_id == self.hosts[name].token_id
        try:
            written(self.store, nodes.fence, self.pair.tunnel, self.pair.node(name), by="operator", reason="test")
        except QanatError as error:
            assert is_active and error.code == "node_active"
            return
        assert not is_active
        self.put()
        self.hosts[name].inbox = []

    @rule(name=HOSTS)
    def unfence(self, name: str) -> None:
        written(self.store, nodes.unfence, self.pair.tunnel, self.pair.node(name), by="operator")
        self.put()

    @rule(name=HOSTS, role=st.sampled_from(["active", "standby", "unknown"]))
    def tell_role(self, name: str, role: nodes.Role) -> None:
        self.pair.told_role(name, role)

    @precondition(lambda self: self.row is None)
    @rule(to_replicas=st.booleans(), name=HOSTS)
    def set_mode(self, to_replicas: bool, name: str) -> None:
        wanted: mode.Mode = "replicas" if to_replicas else "active-standby"
        was = self.pair.role().mode
        active = None if to_replicas or was == mode.STANDBY else name
        try:
            written(self.store, mode.put, self.pair.tunnel, mode=wanted, active=active, policy=Policy())
        except QanatError as error:
            assert error.code == "node_fenced"
            return
        self.put()
        for host in self.hosts.values():
            host.inbox = []
        role = self.pair.role()
        self.acknowledged.append((self.tick(), self.names[role.active_token_id] if role.active_token_id else None))

    @precondition(lambda self: len(self.old_rows) > 1)
    @rule(data=st.data())
    def an_old_row_comes_late(self, data: st.DataObject) -> None:
        """Of another edge's feed, say: it takes nothing back. (Fences come in order: one feed has one lock.)"""
        late = data.draw(st.sampled_from(self.old_rows))
        fenced = self.engine.fenced
        self.engine.put(late)
        self.engine.fenced = fenced

    @invariant()
    def the_epoch_only_rises(self) -> None:
        if not hasattr(self, "pair"):
            return
        role = self.pair.role()
        assert role.epoch >= self.epoch
        assert self.engine.epoch <= role.epoch
        self.epoch = role.epoch

    @invariant()
    def one_promotion_at_a_time(self) -> None:
        if not hasattr(self, "pair"):
            return
        with self.store.reading() as session:
            found = mode.under_way(session, self.pair.tunnel.id)
        assert (found.id if found else None) == (self.row.id if self.row else None)


TestEpochs = pytest.mark.requirement("S48")(Epochs.TestCase)
TestEpochs.settings = settings(
    max_examples=12, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
