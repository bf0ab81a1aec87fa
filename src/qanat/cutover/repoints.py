"""Around a write of records: what is found of the hostnames that would go to another tunnel before it begins, and what is watched
after it."""

from collections.abc import Callable, Iterable, Sequence

import structlog

from qanat.control.principal import Principal
from qanat.cutover import watches
from qanat.cutover.edge import CutoverEdge
from qanat.cutover.repointing import Guard, Move, Policy, foresee, look
from qanat.cutover.watches import Watch
from qanat.dns.forms import RecordForm
from qanat.errors import QanatError
from qanat.store import Store
from qanat.store.models import Record, Zone

log = structlog.get_logger(__name__)

Changes = Iterable[tuple[str, Callable[[Record], RecordForm]]]


class Repointing:
    """Of one request. `default`: the policy of zones without one of their own; `asked`: the policy that the request names."""

    def __init__(
        self, store: Store, edge: CutoverEdge | None, *, default: Policy, watch: Watch, asked: Policy | None = None
    ) -> None:
        self._store = store
        self._edge = edge
        self._default = default
        self._watch = watch
        self._asked = asked

    def guard(self, zone: Zone, changes: Changes) -> Guard:
        """For a write of these changes (record id → its new form): asked now, while nobody's turn is held."""
        return self.guard_of(zone, lambda session: foresee(session, zone, changes))

    def guard_of(self, zone: Zone | None, moves: Callable[..., Sequence[Move]], *, where: str = "content") -> Guard:
        """For a write of these moves, in a zone (None: in several). `where`: what of the request names the new tunnel."""
        policy = self._asked or (zone.cutover_policy or self._default if zone is not None else None)
        found: Sequence[Move] = ()
        if policy != "off":
            with self._store.reading() as session:
                found = moves(session)
        seen = look(self._store, self._edge, found)
        return Guard(seen, default=self._default, asked=self._asked, where=where)

    def watch(self, guard: Guard | None, who: Principal) -> None:
        """After the write: what it moved is watched."""
        if guard is None or self._edge is None:
            return
        try:
            watches.begin(self._store, self._edge, who.actor, guard.moved, watch=self._watch)
        except QanatError as error:  # the record is written: that its watch isn't can't be the caller's error
            log.warning("a repointed record isn't watched", reason=error.message)
