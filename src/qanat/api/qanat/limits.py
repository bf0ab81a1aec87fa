"""`/qanat/accounts/{account_id}/limits`: what an account may have, and how much of it is used."""

from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.paths import AccountPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.control import accounts
from qanat.store import limits

router = resource(prefix="/qanat/accounts/{account_id}/limits", tags=["qanat"])


class LimitShape(Shape):
    """One limit: the edge's setting is `account_limits.<name>`."""

    name: Annotated[str, Field(examples=["records"])]
    of: Annotated[str, Field(examples=["zone"], description="`account`, `zone` or `tunnel`: what may have so many")]
    limit: Annotated[int, Field(examples=[20000])]
    used: Annotated[
        int | None,
        Field(
            examples=[42],
            description="how many there are; of a zone's or a tunnel's, what the one with the most has; null: not counted",
        ),
    ]
    code: Annotated[
        str | None,
        Field(examples=["record_too_many"], description="the refusal of one more; null: older ones are forgotten"),
    ]


@router.get("")
@needs("account.read")
def list_limits(account_id: AccountPath, ctx: Ctx, who: Who) -> Ok[list[LimitShape]]:
    """What the account may have so that it leaves room for others, and what it has."""
    allowed = asdict(ctx.store.limits)
    with ctx.store.reading() as session:
        account = accounts.get(session, account_id, reach=who.reach("account.read"))
        rows: list[LimitShape] = [
            {
                "name": kind,
                "of": counted.of,
                "limit": allowed[kind],
                "used": limits.most(session, kind, account.id),
                "code": counted.code,
            }
            for kind, counted in limits.COUNTED.items()
        ]
    rows.append(
        {"name": "configurations", "of": "tunnel", "limit": allowed["configurations"], "used": None, "code": None}
    )
    rows.append({"name": "deleted", "of": "account", "limit": allowed["deleted"], "used": None, "code": None})
    rows.append(
        {
            "name": "certificates",
            "of": "account",
            "limit": ctx.most_certificates,
            "used": None,
            "code": "certificate_too_many",
        }
    )
    return ok(rows)
