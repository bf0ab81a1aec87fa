"""Which user an OpenID provider's word makes somebody: one who came before, was invited, linked their account, or is let in by a
group."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.auth.oidc.provider import Claims, refused
from qanat.control import roles, users
from qanat.control.policies import EVERYTHING_POLICY
from qanat.control.roles import EVERY_ACCOUNT, ROLES, Role
from qanat.settings.people import OidcSettings
from qanat.store import Actor, Write
from qanat.store.models import Account, Identity, Passkey, User

Row = Identity
"""As it is stored, for who has no business with rows."""


def find(write: Write, settings: OidcSettings, claims: Claims, *, address: str) -> str:
    """The user's id; their role follows their groups, if the provider brought them here.

    Raises:
        QanatError: `oidc_refused`: nobody's, or not allowed to come.
    """
    session = write.session
    write.actor = Actor(kind="oidc", name=claims.email or claims.subject, address=address)
    _check_domain(settings, claims)
    known = session.get(Identity, (claims.issuer, claims.subject))
    if known is None:
        known = _linked(write, settings, claims)
    user = users.get(session, known.user_id).user
    if user.disabled:
        raise refused("this user is shut out")
    if known.is_provisioned:
        _follow(write, user.id, granted(session, settings, claims))
    known.last_used_at = write.at
    return user.id


def link(write: Write, claims: Claims, user_id: str) -> None:
    """By hand, of who is signed in. QanatError `oidc_refused`: it is another user's."""
    known = write.session.get(Identity, (claims.issuer, claims.subject))
    if known is not None and known.user_id != user_id:
        raise refused("that account signs in another user here")
    if known is None:
        _add(write, claims, user_id, is_provisioned=False)


def unlink(write: Write, user_id: str) -> None:
    """No provider signs the user in from now on. QanatError `oidc_refused`: they would have no way left."""
    user = users.get(write.session, user_id).user
    has_passkey = write.session.scalar(select(Passkey.id).where(Passkey.user_id == user_id).limit(1)) is not None
    if user.password_hash is None and not has_passkey:
        raise refused("you would have no way to sign in: add a passkey first, or let an owner reset your password")
    for row in of_user(write.session, user_id):
        write.session.delete(row)
    write.audit("user.unlink", user_id)


def of_user(session: Session, user_id: str) -> list[Identity]:
    """Who the user is elsewhere."""
    return list(session.scalars(select(Identity).where(Identity.user_id == user_id).order_by(Identity.created_at)))


def granted(session: Session, settings: OidcSettings, claims: Claims) -> Mapping[str, Role | None]:
    """By account (or `*`) that the settings speak of: the highest role of the groups, or none."""
    found: dict[str, Role | None] = {}
    for text in settings.roles:
        group, _, rest = text.rpartition("=")
        role, _, place = rest.partition("@")
        place = place or _first_account(session)
        wanted = roles.check(role)
        held = [each for each in (found.get(place), wanted if group in claims.groups else None) if each is not None]
        found[place] = min(held, key=ROLES.index, default=None)
    return found


def _linked(write: Write, settings: OidcSettings, claims: Claims) -> Identity:
    if not claims.email:
        raise refused("the provider names no verified email address, and nobody linked this account by hand")
    user = users.find_by_email(write.session, claims.email)
    if user is not None:
        if settings.links == "none" or (settings.links == "invited" and _has_another_way(write.session, user)):
            raise refused(
                "a user with this address signs in another way: do that, and link the account on your own page"
            )
        return _add(write, claims, user.id, is_provisioned=False)
    if settings.admits != "everyone":
        raise refused("nobody has invited this address")
    grants = [(place, role) for place, role in granted(write.session, settings, claims).items() if role is not None]
    if not grants:
        raise refused("none of this user's groups has a role here")
    (place, role), *_ = grants
    person = users.add(write, email=claims.email, account_id=place, role=role, own=[EVERYTHING_POLICY])
    return _add(write, claims, person.user.id, is_provisioned=True)


def _add(write: Write, claims: Claims, user_id: str, *, is_provisioned: bool) -> Identity:
    row = Identity(
        issuer=claims.issuer,
        subject=claims.subject,
        user_id=user_id,
        email=claims.email,
        is_provisioned=is_provisioned,
        created_at=write.at,
        last_used_at=None,
    )
    write.session.add(row)
    write.session.flush()
    write.audit("user.link", user_id, detail={"issuer": claims.issuer, "subject": claims.subject})
    return row


def _follow(write: Write, user_id: str, grants: Mapping[str, Role | None]) -> None:
    before = users.get(write.session, user_id).roles
    for place, role in grants.items():
        is_kept = (
            before.get(place) == "owner" and place == EVERY_ACCOUNT and users.is_last_owner(write.session, user_id)
        )
        if before.get(place) != role and not is_kept:
            users.set_role(write, user_id, account_id=place, role=role, own=[EVERYTHING_POLICY])
    if not users.get(write.session, user_id).roles:
        write.audit("user.role", user_id, detail={"groups": "none of them has a role here"})


def _has_another_way(session: Session, user: User) -> bool:
    if user.password_hash is not None:
        return True
    return any(
        session.scalar(select(model.user_id).where(model.user_id == user.id).limit(1)) is not None
        for model in (Passkey, Identity)
    )


def _check_domain(settings: OidcSettings, claims: Claims) -> None:
    domain = claims.email.rpartition("@")[2].lower()
    if settings.domains and domain not in settings.domains:
        raise refused("only verified addresses of certain domains may come in")


def _first_account(session: Session) -> str:
    return session.scalars(select(Account.id).order_by(Account.created_at, Account.id)).first() or ""
