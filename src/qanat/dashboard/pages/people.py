"""Users and their roles. Nobody gives a role that they don't hold; who is removed is named."""

from starlette.responses import RedirectResponse, Response

from qanat.auth import one_time
from qanat.control import roles, users
from qanat.control.roles import EVERY_ACCOUNT, ROLES, TOLD
from qanat.dashboard.ask import Ask, Pages
from qanat.errors import QanatError

pages = Pages()


@pages.get("/users", "account.read")
def listed(ask: Ask) -> Response:
    """Who may do what in the account that is shown."""
    return _shown(ask)


@pages.post("/users", "account.edit")
def add(ask: Ask) -> Response:
    """A user, with the one-time token by which they set a password."""
    account_id = EVERY_ACCOUNT if ask.form.get("everywhere") else ask.viewer.account_id
    with ask.desk.store.writing(ask.viewer.actor) as write:
        person = users.add(
            write,
            email=ask.form.get("email", "").strip(),
            account_id=account_id,
            role=roles.check(ask.form.get("role", "")),
            own=ask.viewer.principal.token.policies,
        )
        token = one_time.make(write, person.user.id, "invitation")
    return _shown(ask, entering=person.user.email, token=token)


@pages.post("/users/{user_id}/role", "account.edit")
def change_role(ask: Ask) -> Response:
    """Another role, or none."""
    role, place = ask.form.get("role", ""), ask.form.get("account", "")
    if place not in (EVERY_ACCOUNT, ask.viewer.account_id):
        raise QanatError("account_unknown", "no such account", where="account")
    with ask.desk.store.writing(ask.viewer.actor) as write:
        users.set_role(
            write,
            _seen(ask),
            account_id=place,
            role=None if role == "none" else roles.check(role),
            own=ask.viewer.principal.token.policies,
        )
    return RedirectResponse("/users", 303)


@pages.post("/users/{user_id}/reset", "account.edit")
def reset(ask: Ask) -> Response:
    """The way back in, for who has lost their password or their app."""
    user_id = _seen(ask)
    with ask.desk.store.writing(ask.viewer.actor) as write:
        person = users.forget_password(
            write,
            user_id,
            own=ask.viewer.principal.token.policies,
            second_factor=bool(ask.form.get("second_factor")),
        )
        token = one_time.make(write, user_id, "reset")
    return _shown(ask, entering=person.user.email, token=token)


@pages.post("/users/{user_id}/disabled", "account.edit")
def set_disabled(ask: Ask) -> Response:
    """Shuts a user out, or lets them in again."""
    user_id, disabled = _seen(ask), bool(ask.form.get("disabled"))
    if disabled and user_id == ask.viewer.user_id:
        raise QanatError("user_is_self", "nobody shuts themselves out", hint="let another owner do it")
    with ask.desk.store.writing(ask.viewer.actor) as write:
        users.set_disabled(write, user_id, disabled=disabled, own=ask.viewer.principal.token.policies)
    return RedirectResponse("/users", 303)


@pages.post("/users/{user_id}/remove", "account.edit")
def remove(ask: Ask) -> Response:
    """Removes a user whose address was typed."""
    user_id = _seen(ask)
    with ask.desk.store.reading() as session:
        email = users.get(session, user_id).user.email
    if ask.form.get("name", "").strip().casefold() != email.casefold():
        raise QanatError(
            "name_differs", "the address that you typed is another one", where="name", hint=f"type {email} to remove it"
        )
    with ask.desk.store.writing(ask.viewer.actor) as write:
        users.remove(write, user_id, own=ask.viewer.principal.token.policies, heir=ask.viewer.user_id)
    return RedirectResponse("/users", 303)


def _seen(ask: Ask) -> str:
    user_id = ask.place["user_id"]
    with ask.desk.store.reading() as session:
        users.visible(session, user_id, reach=ask.viewer.principal.reach("account.edit"))
    return user_id


def _shown(ask: Ask, *, entering: str = "", token: str = "") -> Response:
    account_id = ask.viewer.account_id
    with ask.desk.store.reading() as session:
        found = users.listed(session, reach=ask.viewer.principal.reach("account.read"))
    here = [
        person for person in found if account_id in person.roles or EVERY_ACCOUNT in person.roles or not person.roles
    ]
    return ask.show(
        "users.html",
        people=here,
        roles=ROLES,
        told_roles=TOLD,
        may_edit=ask.viewer.may("account.edit"),
        may_everywhere=ask.viewer.principal.reach("account.read").is_everything,
        entering=entering,
        token=token,
    )
