"""In front of writes of records: what a request's header says of hostnames that would go to another tunnel."""

from typing import Annotated

from fastapi import Depends, Header

from qanat.api.http.context import Ctx
from qanat.cutover.repointing import HEADER, parse_policy
from qanat.cutover.repoints import Repointing


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
    return Repointing(ctx.store, ctx.cutover_edge, default=ctx.cutover_policy, watch=ctx.cutover_watch, asked=asked)


Repoint = Annotated[Repointing, Depends(_repointing)]
