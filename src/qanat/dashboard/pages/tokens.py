"""API tokens, one's own and the account's: what each may do, until when, from where, and when it was last used."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from starlette.responses import RedirectResponse, Response

from qanat.auth import issue
from qanat.auth.tokens import make_token, status, token_hash
from qanat.control import api_tokens
from qanat.control.api_tokens import Owner, TokenContent
from qanat.control.grants import check_bounds, check_held, check_name, parse_networks
from qanat.control.permissions import ACCOUNT, BY_ID, GROUPS, USER, ZONE
from qanat.control.policies import ANY, groups_of, reach_of
from qanat.control.zones import account_of
from qanat.dashboard.ask import Ask, Pages
from qanat.errors import QanatError

pages = Pages()

MOST_SHOWN = 200
DAYS: Mapping[str, str] = MappingProxyType(
    {"7": "7 days", "30": "30 days", "90": "90 days", "365": "a year", "": "never"}
)


@dataclass(frozen=True, slots=True)
class Line:
    """A token as it is listed."""

    row: api_tokens.Row
    status: str
    grants: str
    is_own: bool


@pages.get("/tokens", "token.read")
def listed(ask: Ask) -> Response:
    """Those that the viewer may see."""
    return _shown(ask)


@pages.post("/tokens", "token.edit")
def create(ask: Ask) -> Response:
    """One more, whose value is shown this once."""
    own = ask.viewer.principal.token
    owner = _owner(ask, is_own=ask.form.get("of") != "account")
    name = check_name(ask.form.get("name", ""))
    groups = [group for group in GROUPS if ask.form.get(f"group-{group.id}")]
    if not groups:
        raise QanatError(
            "token_bad_policy", "the token may do nothing", where="permissions", hint="tick what it may do"
        )
    resources = {f"{ACCOUNT}.{ask.viewer.account_id}": ANY}
    given = [{"id": group.id, "name": group.name} for group in groups]
    policies: list[dict[str, Any]] = [{"effect": "allow", "resources": resources, "permission_groups": given}]
    allowed = parse_networks(ask.form.get("from", "").replace(",", " ").split(), where="from")
    days = ask.form.get("days", "")
    if days not in DAYS:
        raise QanatError("token_bad_time", "choose one of the times", where="days")
    expires_on = ask.desk.store.clock().replace(microsecond=0) + timedelta(days=int(days)) if days else None
    check_bounds(own, expires_on=expires_on, allowed=allowed, denied=())
    with ask.desk.store.reading() as session:
        check_held(own.policies, policies, account_of(session))
    with ask.desk.store.writing(ask.viewer.actor) as write:
        text, row = issue(write, name=name, policies=policies, owner=owner, allowed_ips=allowed, expires_on=expires_on)
    return _shown(ask, value=text, made=row.name)


@pages.post("/tokens/{token_id}/roll", "token.edit")
def roll(ask: Ask) -> Response:
    """Another value; the one before is refused from now on."""
    own, text = ask.viewer.principal.token, make_token()
    with ask.desk.store.writing(ask.viewer.actor) as write:
        row, owner = _found(ask, write.session)

        def permit(session: Any, token: api_tokens.Row) -> None:
            check_held(own.policies, token.policies, account_of(session))
            check_bounds(own, expires_on=token.expires_on, allowed=token.allowed_ips, denied=token.denied_ips)

        api_tokens.roll(write, row.id, sha256=token_hash(text), owner=owner, permit=permit)
    return _shown(ask, value=text, made=row.name)


@pages.post("/tokens/{token_id}/disabled", "token.edit")
def set_disabled(ask: Ask) -> Response:
    """Refused from now on, or taken again."""
    own = ask.viewer.principal.token
    with ask.desk.store.writing(ask.viewer.actor) as write:
        row, owner = _found(ask, write.session)
        content = TokenContent(
            name=row.name,
            policies=row.policies,
            allowed_ips=row.allowed_ips,
            denied_ips=row.denied_ips,
            not_before=row.not_before,
            expires_on=row.expires_on,
            disabled=bool(ask.form.get("disabled")),
        )

        def permit(session: Any, token: api_tokens.Row) -> None:
            check_held(own.policies, token.policies, account_of(session))

        api_tokens.change(write, row.id, content, owner=owner, permit=permit)
    return RedirectResponse("/tokens", 303)


@pages.post("/tokens/{token_id}/delete", "token.edit")
def delete(ask: Ask) -> Response:
    """From now on it is refused, and unknown."""
    with ask.desk.store.writing(ask.viewer.actor) as write:
        row, owner = _found(ask, write.session)
        api_tokens.delete(write, row.id, owner=owner)
    return RedirectResponse("/tokens", 303)


def _owner(ask: Ask, *, is_own: bool) -> Owner:
    """QanatError `permission_missing`: the viewer may not edit those."""
    if is_own:
        return Owner(user_id=ask.viewer.principal.own("token.edit"))
    if not ask.viewer.may("token.edit"):
        raise QanatError("permission_missing", "this needs token.edit on the account that is shown")
    return Owner(user_id=ask.viewer.user_id, account_id=ask.viewer.account_id)


def _found(ask: Ask, session: Any) -> tuple[api_tokens.Row, Owner]:
    """The token, if it is one of those that the viewer may edit. QanatError `token_unknown`."""
    for is_own in (True, False):
        try:
            owner = _owner(ask, is_own=is_own)
            return api_tokens.get(session, ask.place["token_id"], owner=owner), owner
        except QanatError as error:
            if error.code not in ("permission_missing", "token_unknown"):
                raise
    raise QanatError("token_unknown", "no such API token")


def _shown(ask: Ask, *, value: str = "", made: str = "") -> Response:
    viewer, reach = ask.viewer, ask.viewer.principal.reach("token.read")
    has_own = reach.user and viewer.principal.token.account_id is None
    owners = [
        *([Owner(user_id=viewer.user_id)] if has_own else []),
        *([Owner(user_id=viewer.user_id, account_id=viewer.account_id)] if viewer.may("token.read") else []),
    ]
    now, lines = ask.desk.store.clock(), []
    with ask.desk.store.reading() as session:
        for owner in owners:
            rows, _ = api_tokens.page(session, owner=owner, descending=True, offset=0, limit=MOST_SHOWN)
            lines += [Line(row, status(row, now), _grants(row), owner.account_id is None) for row in rows]
    return ask.show(
        "tokens.html",
        lines=lines,
        groups=[group for group in GROUPS if USER not in group.scopes or len(group.scopes) > 1],
        held={group.id for group in BY_ID.values() if _holds(ask, group)},
        days=DAYS,
        value=value,
        made=made,
        may_account=viewer.may("token.edit"),
        may_own=has_own and viewer.may_here("token.edit"),
        zone_scope=ZONE,
    )


def _holds(ask: Ask, group: Any) -> bool:
    policies = ask.viewer.principal.token.policies
    return all(reach_of(policies, each).has_account(ask.viewer.account_id) for each in group.permissions)


def _grants(row: api_tokens.Row) -> str:
    names = [
        f"{'not ' if policy['effect'].lower() == 'deny' else ''}{group.name}"
        for policy in row.policies
        for group in groups_of(policy)
    ]
    return ", ".join(names)
