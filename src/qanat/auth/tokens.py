"""API tokens: `qnt_`, 30 random characters, 6 of checksum: 40 of [A-Za-z0-9_] in a row, as stock clients demand.

The checksum lets scanners and us tell a mistyped or cut token from an unknown one without asking the database.
"""

import hmac
import zlib
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from secrets import choice
from string import ascii_letters, digits
from typing import Literal

from qanat.errors import QanatError
from qanat.store import Actor, Store
from qanat.store import tokens as store_tokens
from qanat.store.models import ApiToken

PREFIX = "qnt_"
ALPHABET = digits + ascii_letters
RANDOM_CHARACTERS = 30
CHECKSUM_CHARACTERS = 6
LENGTH = len(PREFIX) + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS

TokenStatus = Literal["active", "disabled", "expired"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a token, its user, and the account that it is bound to (None: all)."""

    token: ApiToken
    address: str

    @property
    def only_account(self) -> str | None:
        """The one account that may be seen; None for all."""
        return self.token.account_id

    @property
    def actor(self) -> Actor:
        """As the audit log names it."""
        return Actor(kind="token", name=self.token.id, address=self.address)


def make_token() -> str:
    """A new token; it is shown once and never stored."""
    random = "".join(choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return PREFIX + random + checksum(random)


def checksum(random: str) -> str:
    """CRC-32 of the random part, in base 62."""
    number = zlib.crc32(random.encode("ascii"))
    characters = []
    for _ in range(CHECKSUM_CHARACTERS):
        number, rest = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[rest])
    return "".join(reversed(characters))


def is_well_formed(text: str) -> bool:
    """Whether prefix, length, alphabet and checksum are those of a token."""
    if len(text) != LENGTH or not text.startswith(PREFIX) or not text.isascii():
        return False
    body = text[len(PREFIX) :]
    random, check = body[:RANDOM_CHARACTERS], body[RANDOM_CHARACTERS:]
    return all(character in ALPHABET for character in body) and hmac.compare_digest(checksum(random), check)


def token_hash(text: str) -> bytes:
    """What is stored of a token."""
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


def status(token: ApiToken, now: datetime) -> TokenStatus:
    """Whether the token may be used at `now`. One that isn't valid yet counts as disabled."""
    if token.disabled or (token.not_before is not None and now < token.not_before):
        return "disabled"
    if token.expires_on is not None and now >= token.expires_on:
        return "expired"
    return "active"


def verify(store: Store, text: str, *, address: str) -> Principal:
    """Who the token belongs to. An unknown, wrong, expired or disabled one gets one and the same answer.

    Raises:
        QanatError: `token_refused`.
    """
    hashed = token_hash(text)
    token = store_tokens.find_by_sha256(store, hashed) if is_well_formed(text) else None
    known = hmac.compare_digest(token.sha256 if token is not None else bytes(32), hashed)
    if token is None or not known or status(token, store.clock()) != "active":
        raise QanatError("token_refused", "Invalid access token", where="Authorization")
    store_tokens.note_use(store, token, address)
    return Principal(token=token, address=address)


def issue(
    store: Store,
    actor: Actor,
    *,
    name: str,
    text: str | None = None,
    account_id: str | None = None,
    not_before: datetime | None = None,
    expires_on: datetime | None = None,
) -> tuple[str, ApiToken]:
    """A new token (or `text`, made by `make_token` before): its text, which nobody can ask for again, and its row."""
    text = text if text is not None else make_token()
    row = store_tokens.create_token(
        store,
        actor,
        sha256=token_hash(text),
        name=name,
        account_id=account_id,
        not_before=not_before,
        expires_on=expires_on,
    )
    return text, row
