"""`/qanat/users`: people, their roles, and the one-time tokens by which they get a password of their own."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, rfc3339
from qanat.api.http.pagination import AskedPage
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.token_shapes import HEX_ID, MOMENT
from qanat.auth import one_time
from qanat.control import roles, users
from qanat.control.principal import Principal
from qanat.control.roles import EVERY_ACCOUNT
from qanat.control.users import Person
from qanat.errors import QanatError
from qanat.store import Write
from qanat.store.reach import Reach

router = resource(prefix="/qanat/users", tags=["qanat"])

ROLE = "`owner`, `admin`, `operator` or `viewer`"
PASSWORD = "12 to 256 characters; without one the answer has a one-time token by which the user sets it"
ONE_TIME = "by which the user sets a password, once; shown here, and never again"


class UserCreate(BaseModel):
    """A user to make."""

    model_config = ConfigDict(strict=True)

    email: str = Field(examples=["mir@example.com"])
    role: str = Field(examples=["operator"], description=ROLE)
    account: str = Field(
        examples=[HEX_ID], description="the account's id; `*`: in every account, and on the edge itself"
    )
    password: str | None = Field(default=None, examples=[None], description=PASSWORD)


class RoleChange(BaseModel):
    """A role in an account; null takes it away."""

    model_config = ConfigDict(strict=True)

    account: str = Field(examples=[HEX_ID])
    role: str | None = Field(examples=["viewer"], description=ROLE)


class UserChange(BaseModel):
    """What of the user changes."""

    model_config = ConfigDict(strict=True)

    disabled: bool = Field(examples=[True], description="shut out: sessions end, and their own tokens are disabled")


class UserReset(BaseModel):
    """How a user gets in again."""

    model_config = ConfigDict(strict=True)

    second_factor: bool = Field(default=False, examples=[False], description="take the second factor away, too")
    password: str | None = Field(default=None, examples=[None], description=PASSWORD)


class PersonShape(Shape):
    """A user. `roles`: by the account's id, those that the asking token sees."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    email: Annotated[str, Field(examples=["mir@example.com"])]
    roles: Annotated[dict[str, str], Field(examples=[{HEX_ID: "operator"}])]
    disabled: Annotated[bool, Field(examples=[False])]
    has_password: Annotated[bool, Field(examples=[True])]
    has_second_factor: Annotated[bool, Field(examples=[True])]
    created_at: Annotated[str, Field(examples=[MOMENT])]


class EnteringShape(PersonShape):
    """A user with the way in."""

    one_time_token: Annotated[str | None, Field(examples=["4mI…"], description=ONE_TIME)]


class RemovedShape(Shape):
    """What is gone."""

    id: Annotated[str, Field(examples=[HEX_ID])]


@router.get("")
@needs("account.read")
def list_users(ctx: Ctx, who: Who, page: AskedPage) -> OkPage[PersonShape]:
    """Those with a role in an account that the token sees, the oldest first."""
    reach = who.reach("account.read")
    with ctx.store.reading() as session:
        found = users.listed(session, reach=reach)
    shown = [_shown(person, reach) for person in found[page.offset : page.offset + page.per_page]]
    return ok_page(shown, page, len(found))


@router.post("")
@needs("account.edit")
def create_user(body: UserCreate, ctx: Ctx, who: Who) -> Ok[EnteringShape]:
    """Makes a user with one role, no more than the asking token holds itself."""
    reach = who.reach("account.edit")
    hashed = ctx.passwords.hashed(body.password, email=body.email) if body.password is not None else None
    with ctx.store.writing(who.actor) as write:
        person = users.add(
            write,
            email=body.email,
            account_id=_account(body.account, reach),
            role=roles.check(body.role),
            own=who.token.policies,
        )
        return ok(_entering(write, person, reach, hashed, "invitation"))


@router.get("/{user_id}")
@needs("account.read")
def get_user(user_id: str, ctx: Ctx, who: Who) -> Ok[PersonShape]:
    """One user."""
    reach = who.reach("account.read")
    with ctx.store.reading() as session:
        return ok(_shown(users.visible(session, user_id, reach=reach), reach))


@router.patch("/{user_id}")
@needs("account.edit")
def change_user(user_id: str, body: UserChange, ctx: Ctx, who: Who) -> Ok[PersonShape]:
    """Shuts a user out, or lets them in again; their tokens stay disabled then."""
    reach = _seen(ctx, who, user_id)
    if body.disabled and who.token.user_id == user_id and who.token.account_id is None:
        raise QanatError("user_is_self", "nobody shuts themselves out", hint="let another owner do it")
    with ctx.store.writing(who.actor) as write:
        person = users.set_disabled(write, user_id, disabled=body.disabled, own=who.token.policies)
        return ok(_shown(person, reach))


@router.put("/{user_id}/role")
@needs("account.edit")
def set_role(user_id: str, body: RoleChange, ctx: Ctx, who: Who) -> Ok[PersonShape]:
    """Another role in an account. Tokens of the user's own that hold more are disabled."""
    reach = _seen(ctx, who, user_id)
    with ctx.store.writing(who.actor) as write:
        person = users.set_role(
            write,
            user_id,
            account_id=_account(body.account, reach),
            role=roles.check(body.role) if body.role is not None else None,
            own=who.token.policies,
        )
        return ok(_shown(person, reach))


@router.post("/{user_id}/reset")
@needs("account.edit")
def reset_user(user_id: str, body: UserReset, ctx: Ctx, who: Who) -> Ok[EnteringShape]:
    """Takes the password away and ends all sessions; the user sets another one by the one-time token."""
    reach = _seen(ctx, who, user_id)
    with ctx.store.reading() as session:
        email = users.get(session, user_id).user.email
    hashed = ctx.passwords.hashed(body.password, email=email) if body.password is not None else None
    with ctx.store.writing(who.actor) as write:
        users.forget_password(write, user_id, own=who.token.policies, second_factor=body.second_factor)
        return ok(_entering(write, users.get(write.session, user_id), reach, hashed, "reset"))


@router.delete("/{user_id}")
@needs("account.edit")
def remove_user(user_id: str, ctx: Ctx, who: Who) -> Ok[RemovedShape]:
    """Removes a user with their sessions and tokens. Tokens of accounts stay, and act for whoever asks."""
    _seen(ctx, who, user_id)
    with ctx.store.writing(who.actor) as write:
        users.remove(write, user_id, own=who.token.policies, heir=who.token.user_id)
    return ok({"id": user_id})


def _seen(ctx: Context, who: Principal, user_id: str) -> Reach:
    reach = who.reach("account.edit")
    with ctx.store.reading() as session:
        users.visible(session, user_id, reach=reach)
    return reach


def _account(account_id: str, reach: Reach) -> str:
    if account_id != EVERY_ACCOUNT and not reach.has_account(account_id):
        raise QanatError("account_unknown", "no such account", where="account")
    return account_id


def _entering(
    write: Write, person: Person, reach: Reach, password_hash: str | None, purpose: one_time.Purpose
) -> EnteringShape:
    text = None
    if password_hash is not None:
        users.set_password(write, person.user.id, password_hash)
    else:
        text = one_time.make(write, person.user.id, purpose)
    return {**_shown(users.get(write.session, person.user.id), reach), "one_time_token": text}


def _shown(person: Person, reach: Reach) -> PersonShape:
    user = person.user
    return {
        "id": user.id,
        "email": user.email,
        "roles": {
            account_id: role
            for account_id, role in person.roles.items()
            if (reach.is_everything if account_id == EVERY_ACCOUNT else reach.has_account(account_id))
        },
        "disabled": user.disabled,
        "has_password": user.password_hash is not None,
        "has_second_factor": person.has_second_factor,
        "created_at": rfc3339(user.created_at),
    }
