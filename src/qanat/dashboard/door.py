"""Who is signed in: a session's cookie, and what of the accounts its owner may look at. Signing in itself is auth's."""

import hmac
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from threading import Lock

from qanat.auth.sessions import Current, Opened, form_token
from qanat.auth.sign_in import From, SignIn
from qanat.control import accounts
from qanat.control.principal import Principal
from qanat.errors import QanatError
from qanat.store import Actor, Store
from qanat.store.reach import PERMISSIONS, Permission, Reach

MOST_CHOICES = 10_000
OF_USER = ("user.", "token.")
"""Permissions that may be held for what is one's own."""
OF_ZONE = ("dns.", "zone.")
"""And those on single zones."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An account that the viewer may look at."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who looks: `accounts` are those within reach, `account_id` the one that is shown ("" without any). `csrf` stands in every
    form. `is_person`: signed in as a user, and not by an API token."""

    principal: Principal
    name: str
    accounts: tuple[Choice, ...]
    account_id: str
    csrf: str
    session_id: str = ""
    is_person: bool = False

    @property
    def account(self) -> str:
        """The name of the account that is shown."""
        return next((each.name for each in self.accounts if each.id == self.account_id), "")

    @property
    def user_id(self) -> str:
        """Whose session it is."""
        return self.principal.token.user_id

    @property
    def actor(self) -> Actor:
        """As the audit log names them."""
        return self.principal.actor

    def may(self, permission: Permission) -> bool:
        """Whether it is held on the account that is shown: what can't be done isn't offered."""
        return self.reach(permission).has_account(self.account_id)

    def may_in(self, permission: Permission, zone_id: str) -> bool:
        """Whether it is held on a zone of the account that is shown."""
        return self.reach(permission).has_zone(zone_id, self.account_id)

    def may_of_zones(self, permission: Permission) -> bool:
        """As `may`; or on single zones, whose account that needn't be."""
        return self.may(permission) or bool(self.reach(permission).zones)

    def may_here(self, permission: Permission) -> bool:
        """As `may`; or for what is the viewer's own."""
        return self.may(permission) or (permission.startswith(OF_USER) and self.reach(permission).user)

    def reach(self, permission: Permission) -> Reach:
        """Where it is held, whatever the page itself needs; an empty one: nowhere."""
        try:
            return replace(self.principal, declared=None).reach(permission)
        except QanatError:
            return Reach()


class Door:
    """Safe for many threads."""

    def __init__(self, store: Store, sign_in: SignIn) -> None:
        self._store = store
        self._lock = Lock()
        self._chosen: OrderedDict[str, str] = OrderedDict()
        self.signing = sign_in

    def sign_in(self, text: str, who: From) -> Opened:
        """By an API token. QanatErrors as `SignIn.by_token`'s."""
        return self.signing.by_token(text, who)

    def viewer(self, key: str, *, address: str) -> Viewer | None:
        """Who the session is of; None: it is over."""
        found = self.signing.sessions.find(key, address=address) if key else None
        if found is None:
            return None
        principal, is_person = found.principal, found.session.token_id is None
        seen = self._accounts(principal)
        with self._lock:
            chosen = self._chosen.get(found.session.id, "")
        if not any(each.id == chosen for each in seen):
            chosen = seen[0].id if seen else ""
        return Viewer(
            principal=principal,
            name=_name(found, is_person=is_person),
            accounts=seen,
            account_id=chosen,
            csrf=form_token(key),
            session_id=found.session.id,
            is_person=is_person,
        )

    def still(
        self,
        key: str,
        account_id: str,
        needs: Iterable[Permission],
        *,
        address: str,
        zones: Callable[[], Collection[str]] | None = None,
    ) -> bool:
        """Whether a session is good yet, and may yet do all of it on that account; what can be held on single zones, on all of
        `zones`."""
        found = self.signing.sessions.find(key, address=address) if key else None
        if found is None:
            return False
        try:
            reaches = {each: found.principal.reach(each) for each in needs}
            if zones is None:
                return all(reach.has_account(account_id) for reach in reaches.values())
            ids = zones()
            return all(
                all(reach.has_zone(zone_id, account_id) for zone_id in ids)
                if each.startswith(OF_ZONE)
                else reach.has_account(account_id)
                for each, reach in reaches.items()
            )
        except QanatError:
            return False

    def choose(self, viewer: Viewer, account_id: str) -> None:
        """The account that is shown from now on."""
        with self._lock:
            self._chosen[viewer.session_id] = account_id
            self._chosen.move_to_end(viewer.session_id)
            if len(self._chosen) > MOST_CHOICES:
                self._chosen.popitem(last=False)

    def sign_out(self, key: str, *, address: str) -> None:
        """The session is over."""
        self.signing.sign_out(key, address=address)

    def _accounts(self, principal: Principal) -> tuple[Choice, ...]:
        with self._store.reading() as session:
            found: dict[str, Choice] = {}
            for permission in PERMISSIONS:
                try:
                    reach = principal.reach(permission)
                except QanatError:
                    continue
                rows, _ = accounts.page(session, reach=reach, name=None, descending=False, offset=0, limit=1000)
                rows = [*rows, *accounts.of_zones(session, reach.zones)]
                found.update({row.id: Choice(row.id, row.name) for row in rows})
                if reach.is_everything:
                    break
        return tuple(found.values())


def is_same(sent: str, csrf: str) -> bool:
    """Whether a form came with its session's own token."""
    return hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), csrf.encode())


def _name(found: Current, *, is_person: bool) -> str:
    return found.person.user.email if is_person else found.principal.token.name or "token"
