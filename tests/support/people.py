"""Users that sign in: with quick password hashes, and a clock that a test moves."""

from dataclasses import dataclass, field

import pyotp
from argon2 import PasswordHasher

from qanat.auth import one_time, second_factor
from qanat.auth.failed_logins import FailedLogins
from qanat.auth.passwords import Passwords
from qanat.auth.sessions import Opened, Sessions
from qanat.auth.sign_in import From, SignIn
from qanat.auth.verifier import Verifier
from qanat.control import users
from qanat.control.policies import EVERYTHING_POLICY
from qanat.control.roles import Role
from qanat.store import Store
from qanat.store.sealing import Sealer
from tests.support.clock import MovedClock
from tests.support.writes import written

PASSWORD = "correct horse battery"
HERE = From("192.0.2.1", "Browser/1.0")


def quick_passwords() -> Passwords:
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@dataclass
class People:
    """Everybody of a store."""

    store: Store
    sealer: Sealer
    clock: MovedClock = field(init=False)
    passwords: Passwords = field(default_factory=quick_passwords)
    sessions: Sessions = field(init=False)
    sign_in: SignIn = field(init=False)

    def __post_init__(self) -> None:
        self.clock = MovedClock(self.store)
        self.sessions = Sessions(self.store)
        self.failed = FailedLogins(self.store)
        verifier = Verifier(self.store)
        self.sign_in = SignIn(self.store, self.sealer, self.sessions, verifier, self.failed, passwords=self.passwords)

    def add(self, email: str, role: Role = "viewer", account_id: str = "*", password: str = PASSWORD) -> str:
        """A user who can sign in; their id."""
        person = written(self.store, users.add, email=email, account_id=account_id, role=role, own=[EVERYTHING_POLICY])
        written(self.store, users.set_password, person.user.id, self.passwords.hashed(password))
        return person.user.id

    def enter(self, email: str, who: From = HERE, password: str = PASSWORD) -> Opened:
        return self.sign_in.by_password(email, password, who)

    def with_authenticator(self, user_id: str) -> tuple[pyotp.TOTP, list[str]]:
        """An app of the user's, and the recovery codes."""
        totp = pyotp.TOTP(written(self.store, second_factor.begin, self.sealer, user_id))
        codes = written(self.store, second_factor.confirm, self.sealer, user_id, self.code(totp))
        return totp, codes

    def code(self, totp: pyotp.TOTP) -> str:
        """What the app shows now."""
        return totp.at(self.clock.now)

    def one_time(self, user_id: str) -> str:
        return written(self.store, one_time.make, user_id, "reset")
