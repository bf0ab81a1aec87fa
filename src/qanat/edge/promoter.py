"""Automatic promotion: watches the tunnels that ask for it, and wants a promotion when nodes/automatic.py says so. Driven by what
happens (connections, health, roles, rows); time alone counts only where something is due."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Condition, Thread
from time import monotonic

import structlog
from sqlalchemy import select

from qanat.edge.presence import Presence
from qanat.edge.roles import ROLE_FEATURE
from qanat.errors import QanatError
from qanat.nodes import automatic, mode, nodes, promotion
from qanat.nodes.automatic import START_GRACE_S, Promote, Rules, Standing, Stay
from qanat.nodes.readiness import Facts
from qanat.store import SYSTEM, Notice, NoticeKind, Store
from qanat.store.models import Promotion, Tunnel, TunnelRole

AGAIN_S = 0.5
"""After a promotion that could not be wanted."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Watched:
    """A tunnel in mode active-standby whose active may be replaced by itself. Times in seconds of the promoter's clock."""

    tunnel_id: str
    active: str
    rules: Rules
    nodes: list[nodes.Node]
    since: float
    promoted: dict[str, tuple[float, bool]] = field(default_factory=dict)
    said: str = ""


class Promoter:
    """A thread from `start` to `stop`. `facts`: how a node is now."""

    def __init__(
        self,
        store: Store,
        presence: Presence,
        facts: Callable[[str, str], Facts],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._presence = presence
        self._facts = facts
        self._clock = clock
        self._began = clock()
        self._changed = Condition()
        self._stale: set[str] = set()
        self._touched: set[str] = set()
        self._due: dict[str, float] = {}
        self._watched: dict[str, _Watched] = {}
        self._stopping = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self._thread = Thread(target=self._run, name="qanat-promoter", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._unsubscribe = self._store.notices.subscribe(self.hear)
        self._presence.listen(self.touch)
        with self._store.reading() as session:
            ids = session.scalars(select(TunnelRole.tunnel_id).where(TunnelRole.mode == mode.STANDBY)).all()
        self._wake(self._stale, ids)
        self._thread.start()

    def stop(self) -> None:
        """Waits for what it does just now."""
        self._unsubscribe()
        self._presence.unlisten(self.touch)
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def hear(self, notice: Notice) -> None:
        """Rows of a tunnel have changed."""
        kinds = (NoticeKind.TUNNEL, NoticeKind.TUNNEL_DELETED, NoticeKind.PROMOTION)
        if notice.kind in kinds and notice.tunnel_id is not None:
            self._wake(self._stale, [notice.tunnel_id])

    def touch(self, tunnel_id: str) -> None:
        """A connection or the health of one of its nodes has changed. Costs nothing for a tunnel that isn't watched."""
        if tunnel_id in self._watched:
            self._wake(self._touched, [tunnel_id])

    def _wake(self, among: set[str], tunnel_ids: Iterable[str]) -> None:
        with self._changed:
            among.update(tunnel_ids)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._stopping or self._stale or self._touched):
                    left = min(self._due.values(), default=None)
                    if left is not None and left <= self._clock():
                        break
                    self._changed.wait(None if left is None else left - self._clock())
                if self._stopping:
                    return
                stale, self._stale = self._stale, set()
                touched, self._touched = self._touched, set()
                now = self._clock()
                due = {tunnel_id for tunnel_id, at in self._due.items() if at <= now}
            for tunnel_id in stale | touched | due:
                try:
                    if tunnel_id in stale or tunnel_id not in self._watched:
                        self.load(tunnel_id)
                    self.look(tunnel_id)
                except QanatError as error:  # the database is away, or a promotion is under way
                    if error.code != "promotion_under_way":
                        log.warning("no automatic promotion now", tunnel=tunnel_id, reason=str(error))
                    self._again(tunnel_id)
                except Exception:
                    log.exception("a tunnel could not be watched", tunnel=tunnel_id)
                    self._again(tunnel_id)

    def _again(self, tunnel_id: str) -> None:
        with self._changed:
            self._due[tunnel_id] = self._clock() + AGAIN_S

    def load(self, tunnel_id: str) -> None:
        """The tunnel's rows as they are now."""
        before = self._watched.get(tunnel_id)
        with self._store.reading() as session:
            role = session.get(TunnelRole, tunnel_id)
            tunnel = session.get(Tunnel, tunnel_id)
            is_watched = (
                role is not None
                and tunnel is not None
                and tunnel.deleted_at is None
                and role.mode == mode.STANDBY
                and role.active_token_id is not None
                and (role.automatic or role.follows_role)
            )
            if not is_watched or role is None or tunnel is None or role.active_token_id is None:
                with self._changed:
                    self._watched.pop(tunnel_id, None)
                    self._due.pop(tunnel_id, None)
                return
            rules = Rules(
                failover_after_s=role.failover_after_s,
                hold_down_s=role.hold_down_s,
                max_promotions=role.max_promotions,
                per_s=role.per_s,
                automatic=role.automatic,
                follows_role=role.follows_role,
            )
            watched = _Watched(
                tunnel_id,
                role.active_token_id,
                rules,
                nodes.every(session, tunnel),
                since=self._moment(role.since),
                said=before.said if before is not None else "",
            )
            longest = timedelta(seconds=max(role.per_s, role.hold_down_s))
            recent = select(Promotion.id, Promotion.started_at, Promotion.kind).where(
                Promotion.tunnel_id == tunnel_id,
                Promotion.state != "undone",
                Promotion.started_at > self._store.clock() - longest,
            )
            for row in session.execute(recent):
                watched.promoted[row.id] = (self._moment(row.started_at), row.kind == "automatic")
        if before is not None:
            # of what happened before our eyes the time is known, whatever becomes of the wall clock
            watched.promoted.update(before.promoted)
            watched.since = before.since if before.active == watched.active else watched.since
        with self._changed:
            self._watched[tunnel_id] = watched

    def _moment(self, at: datetime) -> float:
        return self._clock() - max(0.0, (self._store.clock() - at).total_seconds())

    def look(self, tunnel_id: str) -> None:
        """Decides about one tunnel, and acts."""
        with self._changed:
            self._due.pop(tunnel_id, None)
            watched = self._watched.get(tunnel_id)
            if watched is None:
                return
        standings = {node.token_id: self._standing(watched, node) for node in watched.nodes}
        active = standings.pop(watched.active, None)
        if active is None:  # its token is revoked, and forgotten
            active = Standing(token_id=watched.active, name="?", facts=Facts(connections=0), gone_since=watched.since)
        now = self._clock()
        decision = automatic.decide(
            watched.rules,
            active,
            list(standings.values()),
            now=now,
            last_promotion_at=max((at for at, _ in watched.promoted.values()), default=None),
            automatic_at=[at for at, by_itself in watched.promoted.values() if by_itself],
        )
        if isinstance(decision, Stay):
            self._stay(watched, decision)
        else:
            self._promote(watched, decision)

    def _standing(self, watched: _Watched, node: nodes.Node) -> Standing:
        facts = self._facts(node.tunnel_id, node.token_id)
        gone = self._presence.gone_since(node.tunnel_id, node.token_id)
        if not self._presence.was_seen(node.tunnel_id, node.token_id):
            gone = max(self._began, watched.since) + START_GRACE_S
        over = node.is_over(self._store.clock())
        return Standing(
            token_id=node.token_id,
            name=node.name,
            facts=facts,
            gone_since=gone,
            is_fenced=node.is_fenced or over,
            role=node.role,
            has_role_probe=self._presence.announces(node.tunnel_id, node.token_id, ROLE_FEATURE),
        )

    def _stay(self, watched: _Watched, decision: Stay) -> None:
        if decision.look_again_at is not None:
            with self._changed:
                self._due[watched.tunnel_id] = decision.look_again_at
        if decision.reason != watched.said:
            watched.said = decision.reason
            if decision.reason:
                log.warning("the active node stays", tunnel=watched.tunnel_id, reason=decision.reason)

    def _promote(self, watched: _Watched, decision: Promote) -> None:
        facts = self._facts(watched.tunnel_id, decision.token_id)
        with self._store.writing(SYSTEM) as write:
            tunnel = write.session.get_one(Tunnel, watched.tunnel_id)
            node = nodes.get(write.session, tunnel, decision.token_id)
            row = promotion.want(write, tunnel, node, facts, kind="automatic", reason=decision.reason)
        watched.promoted[row.id] = (self._clock(), True)
