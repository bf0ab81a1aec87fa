"""Signing in: by password and second factor, by passkey, by an OpenID provider, by an API token, or by a one-time token, with a
limit for who guesses (S33, S35)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from qanat.auth import one_time, second_factor
from qanat.auth.begun import Begun
from qanat.auth.failed_logins import FailedLogins, Way
from qanat.auth.guesses import Guesses
from qanat.auth.passwords import Passwords
from qanat.auth.sessions import Opened, Sessions
from qanat.auth.verifier import Verifier
from qanat.control import users
from qanat.errors import QanatError, RetryLaterError
from qanat.store import Actor, Store, Write
from qanat.store.models import SignedIn
from qanat.store.sealing import Sealer

if TYPE_CHECKING:
    from qanat.auth.oidc.provider import Begun as AtProvider
    from qanat.auth.oidc.provider import Claims, Provider
    from qanat.auth.passkeys import Challenge

MOST_WRONG_CODES = 5
"""Of one sign-in; then the password is asked for again."""
JUST_NOW = timedelta(minutes=10)
MOST_OF_NAME = 30
"""Failures of one name from everywhere, before it waits: many more than from one address, so that nobody can keep another out
from afar by guessing a little."""


@dataclass(frozen=True, slots=True)
class From:
    """Where somebody comes from. `cookie`: the session's secret that they brought, "" for none."""

    address: str
    user_agent: str = ""
    cookie: str = ""


class SignIn:
    """Safe for many threads. Unlike tokens, passwords and codes can be guessed: who has failed too often waits, even with the
    right one."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        sessions: Sessions,
        verifier: Verifier,
        failed_logins: FailedLogins,
        *,
        passwords: Passwords | None = None,
        guesses: Guesses | None = None,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._verifier = verifier
        self._failed_logins = failed_logins
        self.sessions = sessions
        self.passwords = passwords or Passwords()
        self._guesses = guesses or Guesses()
        self._of_names = Guesses(limit=MOST_OF_NAME)
        self.challenges: Begun[Challenge] = Begun()
        """By what binds them to one browser: a session's id, or a cookie's secret."""
        self.at_provider: Begun[AtProvider] = Begun()
        """Those whom the OpenID provider will lead back."""

    def by_password(self, email: str, password: str, who: From) -> Opened:
        """A session, which awaits a second factor where the user has one. An unknown address, a wrong password and a user who is
        shut out get one answer, after the same work.

        Raises:
            QanatError: `sign_in_refused`; RetryLaterError `too_many_failures`.
        """
        name = sha256(email.casefold().encode("utf-8", "surrogateescape")).hexdigest()
        self._check_wait(who, name)
        with self._store.reading() as session:
            user = users.find_by_email(session, email)
        is_it = self.passwords.matches(user.password_hash if user is not None else None, password)
        if user is None or not is_it or user.disabled:
            raise self._failed(who, name, "password")
        with self._store.recording() as write:
            needs_code = second_factor.is_set(write.session, user.id)
            return self._open(write, user.id, "password", who, is_pending=needs_code)

    def by_code(self, code: str, who: From) -> Opened:
        """The second factor, of who has given the password: another session, which is whole.

        Raises:
            QanatError: `sign_in_over`: the password has to be given again; `code_refused`; RetryLaterError
                `too_many_failures`.
        """
        with self._store.reading() as session:
            row = self.sessions.pending(session, who.cookie, self._store.clock())
        if row is None:
            raise QanatError("sign_in_over", "signing in took too long", hint="begin again")
        name = f"code {row.user_id}"
        self._check_wait(who, name)
        try:
            with self._store.recording() as write:
                write.actor = Actor(kind="user", name=row.user_id, address=who.address)
                second_factor.take(write, self._sealer, row.user_id, code)
                return self._open(write, row.user_id, row.way, who)
        except QanatError as error:
            if error.code == "code_refused":
                self._count_wrong_code(row.id)
                self._note(who, name, "second_factor")
            raise

    def awaits(self, session: Session, who: From) -> str:
        """Whose second factor is awaited; "" for nobody's."""
        row = self.sessions.pending(session, who.cookie, self._store.clock())
        return row.user_id if row is not None else ""

    def by_passkey(self, credential: str, who: From, *, begun: str) -> Opened:
        """The answer to the challenge that was put under `begun`: a whole session, of who has given the password, or of who was
        verified by the device itself.

        Raises:
            QanatError: `sign_in_over`: there is no such challenge, or not any more; `passkey_refused`.
        """
        from qanat.auth import passkey_answers

        challenge = self.challenges.take(begun)
        if challenge is None:
            raise QanatError("sign_in_over", "signing in took too long", hint="begin again")
        with self._store.reading() as session:
            awaited = self.awaits(session, who)
        if challenge.user_id != awaited:
            raise QanatError(
                "sign_in_over", "the password was given in the meantime, or too long ago", hint="begin again"
            )
        try:
            with self._store.recording() as write:
                row = passkey_answers.verify(write, challenge, credential)
                write.actor = Actor(kind="user", name=row.user_id, address=who.address)
                if users.get(write.session, row.user_id).user.disabled:
                    raise QanatError(
                        "passkey_refused", "this passkey isn't known here, or not any more", where="passkey"
                    )
                return self._open(write, row.user_id, "password" if awaited else "passkey", who)
        except QanatError as error:
            if error.code == "passkey_refused":
                self._failed_logins.note(address=who.address, way="passkey")
            raise

    def claims_of(self, provider: "Provider", begun: "AtProvider", given: Mapping[str, str], who: From) -> "Claims":
        """Who came back from the provider. QanatErrors as `Provider.finish`'s, the refused ones noted."""
        try:
            return provider.finish(begun, given)
        except QanatError as error:
            self._note_refused(error, who)
            raise

    def by_claims(self, provider: "Provider", claims: "Claims", who: From) -> Opened:
        """A session of whom the provider's word makes a user here. QanatError `oidc_refused`."""
        from qanat.auth.oidc import identities

        try:
            with self._store.recording() as write:
                user_id = identities.find(write, provider.settings, claims, address=who.address)
        except QanatError as error:
            self._note_refused(error, who)
            raise
        return self.by_user(user_id, "oidc", who)

    def by_user(self, user_id: str, way: str, who: From) -> Opened:
        """Of somebody who has proven who they are elsewhere; a second factor that they have set here is asked for."""
        with self._store.recording() as write:
            return self._open(write, user_id, way, who, is_pending=second_factor.is_set(write.session, user_id))

    def by_token(self, text: str, who: From) -> Opened:
        """A session with no more than the API token holds, for no longer than it is good.

        Raises:
            QanatError: `token_refused`; RetryLaterError `too_many_failures`.
        """
        try:
            principal = self._verifier.verify(text.strip(), address=who.address)
        except QanatError as error:
            if error.code != "token_refused":
                raise
            self._failed_logins.note(address=who.address, way="token")
            self._tell_wait(self._guesses.failed(address=who.address, credentials=text.strip()))
            raise
        with self._store.recording() as write:
            return self.sessions.open(
                write,
                principal.token.user_id,
                way="token",
                address=who.address,
                user_agent=who.user_agent,
                token=principal.token,
                before=who.cookie or None,
            )

    def by_one_time_token(self, text: str, who: From, *, password: str, email: str | None = None) -> Opened:
        """Sets the password that the token is for, and signs in; a second factor is asked for where there is one.

        Raises:
            QanatError: as `one_time.use`'s; RetryLaterError `too_many_failures`.
        """
        self._check_wait(who, "one time")
        try:
            with self._store.reading() as session:
                found = one_time.find(session, text, at=self._store.clock())
            if found is None:
                raise one_time.refused()
            # outside of the write, which keeps others waiting
            hashed = self.passwords.hashed(password, email=email or found[1].email)
            with self._store.recording() as write:
                user = one_time.use(write, text, password_hash=hashed, email=email, address=who.address)
                needs_code = second_factor.is_set(write.session, user.id)
                return self._open(write, user.id, "one_time", who, is_pending=needs_code)
        except QanatError as error:
            if error.code == "one_time_token_refused":
                self._failed_logins.note(address=who.address, way="one_time")
                self._guesses.failed(address=who.address, credentials="")
            raise

    def sign_out(self, secret: str, *, address: str) -> None:
        """The session ends here, on the server; a cookie without one is nobody's."""
        found = self.sessions.find(secret, address=address)
        if found is not None:
            actor = Actor(kind="user", name=found.person.user.id, address=address)
            with self._store.writing(actor) as write:
                self.sessions.end(write, found.session.id, user_id=found.person.user.id)

    def check_again(self, user_id: str, password: str, who: From) -> None:
        """Before what is dangerous: who sits there knows the password; or, of a user who has none, has signed in just now.

        Raises:
            QanatError: `sign_in_refused`, `sign_in_over`; RetryLaterError `too_many_failures`.
        """
        name = f"again {user_id}"
        self._check_wait(who, name)
        with self._store.reading() as session:
            user = users.get(session, user_id).user
        if user.password_hash is None:
            found = self.sessions.find(who.cookie, address=who.address)
            if found is None or self._store.clock() - found.session.created_at > JUST_NOW:
                raise QanatError(
                    "sign_in_over",
                    "you have no password, and signed in a while ago",
                    hint="sign out and in, then do it",
                )
            return
        if not self.passwords.matches(user.password_hash, password):
            raise self._failed(who, name, "password")

    def _open(self, write: Write, user_id: str, way: str, who: From, *, is_pending: bool = False) -> Opened:
        return self.sessions.open(
            write,
            user_id,
            way=way,
            address=who.address,
            user_agent=who.user_agent,
            is_pending=is_pending,
            before=who.cookie or None,
        )

    def _note_refused(self, error: QanatError, who: From) -> None:
        if error.code == "oidc_refused":
            self._failed_logins.note(address=who.address, way="oidc")

    def _count_wrong_code(self, session_id: str) -> None:
        with self._store.recording() as write:
            row = write.session.get(SignedIn, session_id)
            if row is not None:
                row.failures += 1
                if row.failures >= MOST_WRONG_CODES:
                    write.session.delete(row)

    def _check_wait(self, who: From, name: str) -> None:
        waits = [
            self._guesses.wait(address=who.address, credentials=_here(name, who)),
            self._of_names.wait(address=_of_name(name), credentials=_of_name(name)),
        ]
        self._tell_wait(max((wait for wait in waits if wait is not None), default=None))

    def _failed(self, who: From, name: str, way: Way) -> QanatError:
        self._note(who, name, way)
        return QanatError("sign_in_refused", "the address or the password is wrong")

    def _note(self, who: From, name: str, way: Way) -> None:
        self._failed_logins.note(address=who.address, way=way)
        self._guesses.failed(address=who.address, credentials=_here(name, who))
        self._of_names.failed(address=_of_name(name), credentials=_of_name(name))

    def _tell_wait(self, wait: float | None) -> None:
        if wait is not None:
            raise RetryLaterError("too_many_failures", "Too many failed authentication attempts", retry_after_s=wait)


def _of_name(name: str) -> str:
    return sha256(name.encode()).hexdigest()


def _here(name: str, who: From) -> str:
    return sha256(f"{name} {who.address}".encode("utf-8", "surrogateescape")).hexdigest()
