"""In front of writes of records: what is found of the hostnames that would go to another tunnel, before the write begins."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import structlog
from fastapi import Depends, Header

from qanat.api.http.context import Context, Ctx
from qanat.control.principal import Principal
from qanat.cutover import watches
from qanat.cutover.repointing import HEADER, Guard, Move, Policy, foresee, look, parse_policy
from qanat.dns.forms import RecordForm
from qanat.errors import QanatError
from qanat.store.models import Record, Zone

log = structlog.get_logger(__name__)

Changes = Iterable[tuple[str, Callable[[Record], RecordForm]]]


class Repointing:
    """Of one request. `asked`: the policy that its header names."""

    def __init__(self, ctx: Context, asked: Policy | None) -> None:
        self._ctx = ctx
        self._asked = asked

    def guard(self, zone: Zone, changes: Changes) -> Guard:
        """For a write of these changes (record id → its new form): asked now, while nobody's turn is held."""
        return self.guard_of(zone, lambda session: foresee(session, zone, changes))

    def guard_of(self, zone: Zone | None, moves: Callable[..., Sequence[Move]], *, where: str = "content") -> Guard:
        """For a write of these moves, in a zone (None: in several). `where`: what of the request names the new tunnel."""
        default = self._ctx.cutover_policy
        policy = self._asked or (zone.cutover_policy or default if zone is not None else None)
        found: Sequence[Move] = ()
        if policy != "off":
            with self._ctx.store.reading() as session:
                found = moves(session)
        seen = look(self._ctx.store, self._ctx.cutover_edge, found)
        return Guard(seen, default=default, asked=self._asked, where=where)

    def watch(self, guard: Guard | None, who: Principal) -> None:
        """After the write: what it moved is watched."""
        edge, watch = self._ctx.cutover_edge, self._ctx.cutover_watch
        if guard is None or edge is None:
            return
        try:
            watches.begin(self._ctx.store, edge, who.actor, guard.moved, watch=watch)
        except QanatError as error:  # the record is written: that its watch isn't can't be the caller's error
            log.warning("a repointed record isn't watched", reason=error.message)


async def _repointing(
    ctx: Ctx,
    qanat_cutover_policy: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="`enforce`, `warn` or `off`: what becomes of a hostname that would go from a tunnel that serves it to "
            "one that doesn't. When absent, as its zone says.",
        ),
    ] = None,
) -> Repointing:
    asked = parse_policy(qanat_cutover_policy, where=HEADER) if qanat_cutover_policy is not None else None
    return Repointing(ctx, asked)


Repoint = Annotated[Repointing, Depends(_repointing)]
