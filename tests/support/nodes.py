"""Two hosts of one tunnel in a store, and an engine that only remembers what it was told of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from uuid import uuid4

from sqlalchemy import select

from qanat.control import connector_tokens, tunnels
from qanat.nodes import mode, nodes, promotion
from qanat.nodes.mode import Policy
from qanat.nodes.readiness import Facts
from qanat.store import Store
from qanat.store.models import NodeState, Promotion, Tunnel, TunnelRole
from qanat.store.sealing import Sealer
from tests.support.writes import written

WELL = Facts(connections=4)


@dataclass
class Hosts:
    """A tunnel in mode active-standby: `web-1` is active, `web-2` the standby."""

    store: Store
    tunnel: Tunnel
    ids: dict[str, str]

    def role(self) -> TunnelRole:
        with self.store.reading() as session:
            return session.get_one(TunnelRole, self.tunnel.id)

    @property
    def active(self) -> str:
        """Its name."""
        names = {token_id: name for name, token_id in self.ids.items()}
        return names[self.role().active_token_id or ""]

    def node(self, name: str) -> nodes.Node:
        with self.store.reading() as session:
            return nodes.find(session, self.tunnel, name)

    def want(
        self, name: str = "web-2", facts: Facts = WELL, *, kind: promotion.Kind = "planned", **more: object
    ) -> Promotion:
        return written(
            self.store,
            promotion.want,
            self.tunnel,
            self.node(name),
            facts,
            kind=kind,
            reason="test",
            **more,  # type: ignore[arg-type]
        )

    def row(self, promotion_id: str) -> Promotion:
        with self.store.reading() as session:
            return session.get_one(Promotion, promotion_id)

    def step(self, row: Promotion, *states: promotion.State) -> None:
        for state in states:
            with self.store.recording() as write:
                promotion.step(write, write.session.get_one(Promotion, row.id), state)

    def fenced(self) -> set[str]:
        names = {token_id: name for name, token_id in self.ids.items()}
        query = select(NodeState.token_id).where(
            NodeState.tunnel_id == self.tunnel.id, NodeState.fenced_at.is_not(None)
        )
        with self.store.reading() as session:
            return {names[token_id] for token_id in session.scalars(query)}

    def told_role(self, name: str, role: nodes.Role) -> None:
        with self.store.recording() as write:
            nodes.told_role(write, self.tunnel.id, self.ids[name], role=role, detail="test")


def hosts(
    store: Store,
    sealer: Sealer,
    account: str,
    *names: str,
    standby: bool = True,
    policy: Policy | None = None,
    tunnel_name: str = "web",
) -> Hosts:
    """`names`: of the nodes; the first one is active."""
    tunnel = written(
        store, tunnels.create, sealer, account_id=account, name=tunnel_name, secret=bytes(32), config_src="cloudflare"
    )
    ids = {}
    for name in names or ("web-1", "web-2"):
        token, _ = written(
            store,
            connector_tokens.create,
            sealer,
            account_id=account,
            tunnel_id=tunnel.id,
            name=name,
            expires_at=None,
        )
        ids[name] = token.id
    made = Hosts(store, tunnel, ids)
    if standby:
        first = next(iter(ids))
        written(store, mode.put, tunnel, mode="active-standby", active=first, policy=policy or Policy())
    return made


@dataclass
class FakeSteering:
    """Holds, counts and cuts as the engine does, in a list. `on_call` is asked before each call, and may raise."""

    open: dict[tuple[str, str], int] = field(default_factory=dict)
    websockets: dict[tuple[str, str], int] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    on_call: Callable[[str], None] = lambda _name: None
    waiting: int = 3
    lock: Lock = field(default_factory=Lock)

    def _called(self, name: str) -> None:
        with self.lock:
            if name not in ("open_requests", "open_websockets"):
                self.calls.append(name)
        self.on_call(name)

    def hold(
        self, *, name: str, hostnames: Sequence[str], tunnel_ids: Sequence[str], timeout_s: float, most: int
    ) -> None:
        self._called("hold")
        self.held[name] = timeout_s

    def release(self, *, name: str) -> int:
        self._called("release")
        return self.waiting if self.held.pop(name, None) is not None else 0

    def open_requests(self, *, tunnel_id: str, token_id: str | None = None) -> int:
        self._called("open_requests")
        return self.open.get((tunnel_id, token_id or ""), 0)

    def open_websockets(self, *, tunnel_id: str, token_id: str | None = None) -> int:
        self._called("open_websockets")
        return self.websockets.get((tunnel_id, token_id or ""), 0)

    def cut(self, *, tunnel_id: str, token_id: str | None, only_websockets: bool) -> int:
        self._called("cut")
        return self.open.pop((tunnel_id, token_id or ""), 0)

    def put(self, _tunnel_id: str) -> None:
        """In place of the feed."""
        self._called("put")


def some_id() -> str:
    return str(uuid4())
