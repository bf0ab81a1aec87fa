"""Passwords: Argon2id hashes (security.md S32), made by few at once, so that a flood of them can't take all the memory."""

from threading import Semaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from qanat.errors import QanatError

MIN_CHARACTERS = 12
MAX_CHARACTERS = 256
AT_ONCE = 2
"""Of 19 MiB each."""


def usual_hasher() -> PasswordHasher:
    """19 MiB, two passes, one lane: OWASP's first choice."""
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class Passwords:
    """Hashes and compares. `hasher`: another one makes tests quick."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or usual_hasher()
        self._turns = Semaphore(AT_ONCE)
        self._nobodys: str | None = None

    def hashed(self, password: str, *, email: str = "") -> str:
        """What is stored. QanatError `password_weak`."""
        check(password, email=email)
        with self._turns:
            return self._hasher.hash(password)

    def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether it is the password. Where there is none, as long is reckoned, so that nobody learns which users have one."""
        if len(password) > MAX_CHARACTERS:
            password = ""
        with self._turns:
            if password_hash is None and self._nobodys is None:
                self._nobodys = self._hasher.hash("nobody's")
            try:
                self._hasher.verify(password_hash or self._nobodys or "", password)
            except (VerificationError, InvalidHashError):
                return False
        return password_hash is not None


def check(password: str, *, email: str = "") -> None:
    """QanatError `password_weak`. Length is what counts: no rules about kinds of characters, which make passwords worse."""
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise _weak(f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters")
    if len(set(password)) < 5:
        raise _weak("a password has at least five different characters")
    if email and password.casefold() in (email.casefold(), email.partition("@")[0].casefold()):
        raise _weak("a password isn't one's own address")


def _weak(message: str) -> QanatError:
    return QanatError("password_weak", message, where="password", hint="three or four words in a row make a good one")
