"""`/accounts/{account_id}/members` and `/roles`: users with a role in the account, or everywhere, in the shapes of stock clients.
`/qanat/users` says and does more: one-time tokens, roles everywhere, shutting out."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.api.v4.accounts import membership_id
from qanat.api.v4.role_shapes import ROLE_ID, RoleShape, role_id, role_in, shown_role
from qanat.api.v4.token_shapes import HEX_ID
from qanat.control import accounts, users
from qanat.control.principal import Principal
from qanat.control.roles import EVERY_ACCOUNT, ROLES, Role
from qanat.control.users import Person
from qanat.errors import QanatError
from qanat.store.models import Account
from qanat.store.reach import Permission

router = resource(prefix="/accounts/{account_id}", tags=["accounts"])

Row = TypeVar("Row", "MemberShape", "RoleShape")


class MemberUserShape(Shape):
    """Who it is."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    email: Annotated[str, Field(examples=["owner@example.com"])]
    first_name: Annotated[str | None, Field(examples=["Mir"])]
    last_name: Annotated[str | None, Field(examples=[None])]
    two_factor_authentication_enabled: Annotated[bool, Field(examples=[False])]


class MemberShape(Shape):
    """A user with a role in the account, which is theirs at once: no invitation has to be accepted."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    email: Annotated[str, Field(examples=["owner@example.com"])]
    status: Annotated[str, Field(examples=["accepted"])]
    user: MemberUserShape
    roles: list[RoleShape]
    policies: Annotated[list[dict[str, Any]], Field(examples=[[]])]


class MemberCreate(BaseModel):
    """A user and their role in the account."""

    model_config = ConfigDict(strict=True)

    email: str = Field(examples=["mir@example.com"])
    roles: list[str] = Field(default_factory=list, examples=[[ROLE_ID]], description="one role's id")
    policies: list[dict[str, Any]] | None = Field(default=None, examples=[None], description="not taken: name a role")
    status: str | None = Field(default=None, examples=[None], description="passed over: it is `accepted` at once")


class RoleGiven(BaseModel):
    """A role, of which the id counts."""

    model_config = ConfigDict(strict=True)

    id: str = Field(examples=[ROLE_ID])


class MemberUpdate(BaseModel):
    """Another role in the account."""

    model_config = ConfigDict(strict=True)

    roles: list[RoleGiven] = Field(default_factory=list, examples=[[{"id": ROLE_ID}]], description="one role")
    policies: list[dict[str, Any]] | None = Field(default=None, examples=[None], description="not taken: name a role")


class MemberRemovedShape(Shape):
    """Whose role is gone."""

    id: Annotated[str, Field(examples=[HEX_ID])]


@router.get("/members")
@needs("account.read")
def list_members(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[MemberShape]:
    """The users with a role in the account, or everywhere."""
    with ctx.store.reading() as session:
        account, people = _people(session, who, account_id, "account.read")
    found = [shown(person, account) for person in people]
    return ok_page(found[page.offset : page.offset + page.per_page], page, len(found))


@router.post("/members")
@needs("account.edit")
def add_member(account_id: AccountPath, body: MemberCreate, ctx: Ctx, who: Who) -> Ok[MemberShape]:
    """Gives a user, who is made if they are new, a role in the account. No mail is sent: `qanat user reset` makes the one-time
    token by which a new one sets a password, and an OpenID provider lets them in without."""
    role = _role(body.roles, body.policies)
    with ctx.store.writing(who.actor) as write:
        account = accounts.get(write.session, account_id, reach=who.reach("account.edit"))
        known = users.find_by_email(write.session, body.email)
        if known is None:
            person = users.add(write, email=body.email, account_id=account.id, role=role, own=who.token.policies)
        else:
            if role_in(users.get(write.session, known.id), account.id) is not None:
                raise QanatError("user_bad_field", "this user is a member already", where="email")
            person = users.set_role(write, known.id, account_id=account.id, role=role, own=who.token.policies)
        return ok(shown(person, account))


@router.get("/members/{member_id}")
@needs("account.read")
def get_member(account_id: AccountPath, member_id: str, ctx: Ctx, who: Who) -> Ok[MemberShape]:
    """One of them."""
    with ctx.store.reading() as session:
        account, people = _people(session, who, account_id, "account.read")
    return ok(shown(_member(people, account, member_id), account))


@router.put("/members/{member_id}")
@needs("account.edit")
def update_member(account_id: AccountPath, member_id: str, body: MemberUpdate, ctx: Ctx, who: Who) -> Ok[MemberShape]:
    """Another role in the account, no more than the asking token holds itself."""
    role = _role([each.id for each in body.roles], body.policies)
    return ok(_set_role(ctx, who, account_id, member_id, role))


@router.delete("/members/{member_id}")
@needs("account.edit")
def remove_member(account_id: AccountPath, member_id: str, ctx: Ctx, who: Who) -> Ok[MemberRemovedShape]:
    """Takes the user's role in the account; the user stays, with what they have elsewhere."""
    return ok({"id": _set_role(ctx, who, account_id, member_id, None)["id"]})


@router.get("/roles")
@needs("account.read")
def list_roles(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[RoleShape]:
    """The roles that there are, the highest first."""
    _account(ctx, who, account_id)
    found = [shown_role(each) for each in ROLES]
    return ok_page(found[page.offset : page.offset + page.per_page], page, len(found))


@router.get("/roles/{role}")
@needs("account.read")
def get_role(account_id: AccountPath, role: str, ctx: Ctx, who: Who) -> Ok[RoleShape]:
    """One role."""
    _account(ctx, who, account_id)
    return ok(shown_role(_role_of(role)))


def shown(person: Person, account: Account) -> MemberShape:
    """A member as stock clients read it."""
    user, role = person.user, role_in(person, account.id)
    return {
        "id": membership_id(user.id, account.id),
        "email": user.email,
        "status": "accepted",
        "user": {
            "id": user.id,
            "email": user.email,
            "first_name": user.first_name or None,
            "last_name": user.last_name or None,
            "two_factor_authentication_enabled": person.has_second_factor,
        },
        "roles": [shown_role(role)] if role is not None else [],
        "policies": [],
    }


def _role_of(wanted: str) -> Role:
    found = next((role for role in ROLES if role_id(role) == wanted.lower()), None)
    if found is None:
        raise QanatError("user_unknown", "no such member or role")
    return found


def _role(ids: list[str], policies: object) -> Role:
    if policies:
        raise QanatError("user_bad_role", "members have roles here, and no policies of their own", where="policies")
    if len(ids) != 1:
        raise QanatError("user_bad_role", "a member has one role here", where="roles", hint="name one of `GET …/roles`")
    return _role_of(ids[0])


def _set_role(ctx: Context, who: Principal, account_id: str, member_id: str, role: Role | None) -> MemberShape:
    with ctx.store.writing(who.actor) as write:
        account, people = _people(write.session, who, account_id, "account.edit")
        person = _member(people, account, member_id)
        if EVERY_ACCOUNT in person.roles:
            raise QanatError(
                "user_bad_role",
                "this user's role is for every account",
                where="roles",
                hint="change it by /qanat/users",
            )
        person = users.set_role(write, person.user.id, account_id=account.id, role=role, own=who.token.policies)
        return shown(person, account)


def _account(ctx: Context, who: Principal, account_id: str) -> Account:
    with ctx.store.reading() as session:
        return accounts.get(session, account_id, reach=who.reach("account.read"))


def _people(session: Session, who: Principal, account_id: str, permission: Permission) -> tuple[Account, list[Person]]:
    account = accounts.get(session, account_id, reach=who.reach(permission))
    return account, [person for person in users.everyone(session) if role_in(person, account.id) is not None]


def _member(people: list[Person], account: Account, wanted: str) -> Person:
    found = next((each for each in people if membership_id(each.user.id, account.id) == wanted.lower()), None)
    if found is None:
        raise QanatError("user_unknown", "no such member or role")
    return found
