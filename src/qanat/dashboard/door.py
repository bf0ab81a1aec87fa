"""Signing in: an API token is shown once and becomes a session, whose key only the browser holds.

A session is not more than its token: every request asks for the token again, so that one that was deleted, has expired or comes
from elsewhere ends its sessions with it. Sessions are in memory; after a restart one signs in again."""

import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_urlsafe
from threading import Lock
from time import monotonic

from qanat.auth.failed_logins import FailedLogins
from qanat.auth.guesses import Guesses
from qanat.auth.tokens import token_hash
from qanat.auth.verifier import Verifier
from qanat.control import accounts
from qanat.control.principal import Principal
from qanat.errors import QanatError, RetryLaterError
from qanat.store import Store
from qanat.store.reach import PERMISSIONS, Permission

MOST_SESSIONS = 10_000
MOST_OF_TOKEN = 50
IDLE_S = 12 * 3600.0
LONGEST_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Choice:
    """An account that the viewer may look at."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who looks: `accounts` are those within reach, `account_id` the one that is shown ("" without any). `csrf` stands in every
    form."""

    principal: Principal
    name: str
    accounts: tuple[Choice, ...]
    account_id: str
    csrf: str

    @property
    def account(self) -> str:
        """The name of the account that is shown."""
        return next((each.name for each in self.accounts if each.id == self.account_id), "")

    def may(self, permission: Permission) -> bool:
        """Whether it is held on the account that is shown: what can't be done isn't offered."""
        try:
            return self.principal.reach(permission).has_account(self.account_id)
        except QanatError:
            return False


@dataclass(slots=True)
class _Session:
    token: bytes
    csrf: str
    began: float
    seen: float
    account_id: str = ""


class Door:
    """Safe for many threads."""

    def __init__(
        self,
        store: Store,
        verifier: Verifier,
        *,
        guesses: Guesses,
        failed_logins: FailedLogins,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._verifier = verifier
        self._guesses = guesses
        self._failed_logins = failed_logins
        self._clock = clock
        self._lock = Lock()
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def sign_in(self, text: str, *, address: str) -> str:
        """A new session's key, for the cookie.

        Raises:
            QanatError: `token_refused`; `too_many_failures`, with the time to wait.
        """
        text = text.strip()
        try:
            self._verifier.verify(text, address=address)
        except QanatError:
            self._failed_logins.note(address=address, way="token")
            wait = self._guesses.failed(address=address, credentials=text)
            if wait is None:
                raise
            raise RetryLaterError(
                "too_many_failures", "Too many failed authentication attempts", retry_after_s=wait
            ) from None
        key, now, hashed = token_urlsafe(32), self._clock(), token_hash(text)
        with self._lock:
            self._forget(now)
            own = [each for each, session in self._sessions.items() if session.token == hashed]
            for each in own[: max(0, len(own) + 1 - MOST_OF_TOKEN)]:
                del self._sessions[each]
            while len(self._sessions) >= MOST_SESSIONS:
                self._sessions.popitem(last=False)
            self._sessions[_hash(key)] = _Session(hashed, token_urlsafe(32), now, now)
        return key

    def viewer(self, key: str, *, address: str) -> Viewer | None:
        """Who the session is of; None: it is over, or its token is."""
        now = self._clock()
        with self._lock:
            session = self._sessions.get(_hash(key)) if key else None
            if session is None or now - session.seen > IDLE_S or now - session.began > LONGEST_S:
                return None
            session.seen = now
        try:
            principal = self._verifier.again(session.token, address=address)
        except QanatError as error:
            if error.code != "token_refused":
                raise
            return None
        seen = self._accounts(principal)
        chosen = session.account_id if any(each.id == session.account_id for each in seen) else ""
        return Viewer(
            principal=principal,
            name=principal.token.name or "token",
            accounts=seen,
            account_id=chosen or (seen[0].id if seen else ""),
            csrf=session.csrf,
        )

    def choose(self, key: str, account_id: str) -> None:
        """The account that is shown from now on."""
        with self._lock:
            session = self._sessions.get(_hash(key))
            if session is not None:
                session.account_id = account_id

    def sign_out(self, key: str) -> None:
        """The session is over."""
        with self._lock:
            self._sessions.pop(_hash(key), None)

    def _accounts(self, principal: Principal) -> tuple[Choice, ...]:
        with self._store.reading() as session:
            found: dict[str, Choice] = {}
            for permission in PERMISSIONS:
                try:
                    reach = principal.reach(permission)
                except QanatError:
                    continue
                rows, _ = accounts.page(session, reach=reach, name=None, descending=False, offset=0, limit=1000)
                found.update({row.id: Choice(row.id, row.name) for row in rows})
                if reach.is_everything:
                    break
        return tuple(found.values())

    def _forget(self, now: float) -> None:
        over = [
            each
            for each, session in self._sessions.items()
            if now - session.seen > IDLE_S or now - session.began > LONGEST_S
        ]
        for each in over:
            del self._sessions[each]


def is_same(sent: str, csrf: str) -> bool:
    """Whether a form came with its session's own token."""
    return hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), csrf.encode())


def _hash(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
