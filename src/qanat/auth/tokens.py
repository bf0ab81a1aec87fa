"""API tokens: `qnt_`, 30 random characters, 6 of checksum: 40 of [A-Za-z0-9_] in a row, as stock clients demand.

The checksum lets scanners and us tell a mistyped or cut token from an unknown one without asking the database.
"""

import hmac
import zlib
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from secrets import choice
from string import ascii_letters, digits
from typing import Any, Literal

from qanat.control import api_tokens
from qanat.control.policies import EVERYTHING_POLICY, account_policy
from qanat.store import Write
from qanat.store.models import ApiToken

PREFIX = "qnt_"
ALPHABET = digits + ascii_letters
RANDOM_CHARACTERS = 30
CHECKSUM_CHARACTERS = 6
LENGTH = len(PREFIX) + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS

TokenStatus = Literal["active", "disabled", "expired"]


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
    """As stock clients read it. A token that isn't valid yet is active, and still not `is_usable`."""
    if token.disabled:
        return "disabled"
    if token.expires_on is not None and now >= token.expires_on:
        return "expired"
    return "active"


def is_usable(token: ApiToken, now: datetime) -> bool:
    """Whether the token may be used at `now`, from somewhere."""
    return status(token, now) == "active" and (token.not_before is None or now >= token.not_before)


def may_come_from(token: ApiToken, address: str) -> bool:
    """Whether the token's bounds let it be used from `address`; from an unknown one only when it has none."""
    if not token.allowed_ips and not token.denied_ips:
        return True
    try:
        came_from = parse_address(address)
    except ValueError:
        return False
    if any(came_from in ip_network(text) for text in token.denied_ips):
        return False
    return not token.allowed_ips or any(came_from in ip_network(text) for text in token.allowed_ips)


def parse_address(address: str) -> IPv4Address | IPv6Address:
    """An address as the socket told it, an IPv4 one in an IPv6 form as IPv4. ValueError: none."""
    parsed = ip_address(address.partition("%")[0])
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def issue(
    write: Write,
    *,
    name: str,
    text: str | None = None,
    account_id: str | None = None,
    policies: list[dict[str, Any]] | None = None,
    owner: api_tokens.Owner | None = None,
    kind: str = "api",
    allowed_ips: Sequence[str] = (),
    denied_ips: Sequence[str] = (),
    not_before: datetime | None = None,
    expires_on: datetime | None = None,
    disabled: bool = False,
) -> tuple[str, ApiToken]:
    """A new token (or `text`, made by `make_token` before): its text, which nobody can ask for again, and its row.

    Without `policies` it holds every permission on `account_id`, or on everything. Without an `owner` it is the first
    user's. Nothing is checked here: control/grants.py knows what one token may give another.
    """
    text = text if text is not None else make_token()
    row = api_tokens.create(
        write,
        sha256=token_hash(text),
        owner=owner,
        kind=kind,
        content=api_tokens.TokenContent(
            name=name,
            policies=policies or [account_policy(account_id) if account_id else EVERYTHING_POLICY],
            allowed_ips=list(allowed_ips),
            denied_ips=list(denied_ips),
            not_before=not_before,
            expires_on=expires_on,
            disabled=disabled,
        ),
    )
    return text, row
