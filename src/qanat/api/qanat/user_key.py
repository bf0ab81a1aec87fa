"""`/qanat/user/key`: the user's legacy key, for clients that can't send API tokens."""

from secrets import token_hex
from typing import Annotated

from pydantic import Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.token_shapes import DeletedShape
from qanat.auth.tokens import token_hash
from qanat.control import accounts
from qanat.errors import QanatError

router = resource(prefix="/qanat/user/key", tags=["user", "qanat"])

KEY_CHARACTERS = 37


class KeyShape(Shape):
    """A legacy key, shown once."""

    email: Annotated[str, Field(examples=["owner@example.com"])]
    key: Annotated[str, Field(examples=["0123456789abcdef0123456789abcdef01234"])]


@router.post("")
@needs("edge.edit", "user.edit")
def make_key(ctx: Ctx, who: Who) -> Ok[KeyShape]:
    """A new legacy key for the user, who may touch everything by it: shown here, and never again. The one before is
    refused from now on. For clients that can't send API tokens, where `control.legacy_keys` is on."""
    user_id = who.own("user.edit")
    who.everything_there_is()
    if who.token.expires_on is not None or who.token.allowed_ips or who.token.denied_ips:
        raise QanatError(
            "token_escalates",
            "the asking token has an expiry or bounds on addresses, and a legacy key has none",
            hint="ask with a token without bounds",
        )
    if not ctx.legacy_keys:
        raise QanatError("legacy_keys_off", "this edge takes no legacy keys", hint="set control.legacy_keys = true")
    key = token_hex(KEY_CHARACTERS)[:KEY_CHARACTERS]
    with ctx.store.writing(who.actor) as write:
        accounts.set_key(write, user_id, token_hash(key))
    with ctx.store.reading() as session:
        return ok({"email": accounts.get_user(session, user_id).email, "key": key})


@router.delete("")
@needs("edge.edit", "user.edit")
def delete_key(ctx: Ctx, who: Who) -> Ok[DeletedShape]:
    """The user's legacy key is refused from now on."""
    user_id = who.own("user.edit")
    with ctx.store.writing(who.actor) as write:
        accounts.set_key(write, user_id, None)
    return ok({"id": user_id})
