"""`/user`: who the token of the request acts for."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok, rfc3339
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.token_shapes import HEX_ID, MOMENT
from qanat.auth.verifier import EMAIL_FORM
from qanat.control import accounts
from qanat.control.principal import Principal
from qanat.errors import QanatError
from qanat.store.models import User

router = resource(tags=["user"])

MAX_NAME = 60  # as stock


class UserChange(BaseModel):
    """What of the user changes; `null` leaves as it is. `email` is what goes with the legacy key."""

    model_config = ConfigDict(strict=True)

    first_name: str | None = Field(default=None, examples=["Mir"])
    last_name: str | None = None
    email: str | None = Field(default=None, examples=["owner@example.com"])
    telephone: str | None = Field(default=None, description="Not taken; nor are the next two.")
    country: str | None = None
    zipcode: str | None = None


class UserShape(Shape):
    """A user."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    email: Annotated[str, Field(examples=["owner@example.com"])]
    first_name: Annotated[str | None, Field(examples=["Mir"])]
    last_name: Annotated[str | None, Field(examples=[None])]
    telephone: None
    country: None
    zipcode: None
    created_on: Annotated[str, Field(examples=[MOMENT])]
    modified_on: Annotated[str, Field(examples=[MOMENT])]
    suspended: Annotated[bool, Field(examples=[False])]
    two_factor_authentication_enabled: Annotated[bool, Field(examples=[False])]
    two_factor_authentication_locked: Annotated[bool, Field(examples=[False])]


@router.get("/user")
@needs()
def get_user(ctx: Ctx, who: Who) -> Ok[UserShape]:
    """The user that the token acts for. A token of an account acts for none."""
    _check_acts_for_user(who)
    with ctx.store.reading() as session:
        return ok(shown(accounts.get_user(session, who.token.user_id)))


@router.patch("/user")
@needs("user.edit")
def change_user(body: UserChange, ctx: Ctx, who: Who) -> Ok[UserShape]:
    """Changes name and address. The address is not written to: qanat sends no mail."""
    user_id = who.own("user.edit")
    changes: dict[str, str] = {}
    for field in ("telephone", "country", "zipcode"):
        if getattr(body, field):
            raise QanatError("user_bad_field", "qanat doesn't keep it", where=field)
    for field in ("first_name", "last_name"):
        name = getattr(body, field)
        if name is not None:
            if len(name) > MAX_NAME or (name and not name.isprintable()):
                raise QanatError("user_bad_field", f"a name has at most {MAX_NAME} printable characters", where=field)
            changes[field] = name
    if body.email is not None:
        if not EMAIL_FORM.fullmatch(body.email) or not body.email.isascii() or not body.email.isprintable():
            raise QanatError("user_bad_field", "not an email address in ASCII", where="email")
        changes["email"] = body.email
    with ctx.store.writing(who.actor) as write:
        user = accounts.change_user(write, user_id, changes)
    return ok(shown(user))


def shown(user: User) -> UserShape:
    """A user as stock clients read it."""
    return {
        "id": user.id,
        "email": user.email,
        "first_name": user.first_name or None,
        "last_name": user.last_name or None,
        "telephone": None,
        "country": None,
        "zipcode": None,
        "suspended": False,
        "two_factor_authentication_enabled": False,
        "two_factor_authentication_locked": False,
        "created_on": rfc3339(user.created_at),
        "modified_on": rfc3339(user.created_at),
    }


def _check_acts_for_user(who: Principal) -> None:
    if who.token.account_id is not None:
        raise QanatError("permission_missing", "a token of an account acts for no user", where="Authorization")
