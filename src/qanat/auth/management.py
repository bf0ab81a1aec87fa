"""Management tokens: JWTs (ES256) that let a person read one tunnel's logs and diagnostics through the edge. Stock connectors
don't verify them, so the edge must (security.md S55)."""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from qanat.errors import QanatError
from qanat.store import secret_file

ALGORITHM = "ES256"
ISSUER = "qanat"
LIFETIME = timedelta(hours=1)
RESOURCES = ("logs", "admin", "host_details")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a management token is good for."""

    tunnel_id: str
    account_id: str
    actor: str
    resources: tuple[str, ...]
    expires_at: datetime


class ManagementKey:
    """Signs and verifies management tokens."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._key_id = sha256(public).hexdigest()[:16]

    @classmethod
    def make(cls) -> "ManagementKey":
        """A new one, in memory."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def open(cls, path: Path) -> "ManagementKey":
        """From a PEM file (0600), made when there is none. A lost one costs only the tokens of the last hour.

        Raises:
            QanatError: `management_key_bad`: others can read it, or it holds no such key.
        """
        if path.exists():
            return cls._load(path)
        made = cls.make()
        secret_file.replace(path, made._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made

    @classmethod
    def _load(cls, path: Path) -> "ManagementKey":
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise QanatError(
                "management_key_bad", f"{path} can be read by others", where=str(path), hint=f"chmod 600 {path}"
            )
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise QanatError(
                "management_key_bad",
                f"{path} holds no private key on P-256, PEM",
                where=str(path),
                hint="remove it, and a new one is made",
            )
        return cls(key)

    def issue(
        self, *, tunnel_id: str, account_id: str, actor: str, resources: Sequence[str], at: datetime
    ) -> tuple[str, datetime]:
        """A token with the claims that stock clients read, and when it expires: an hour from now.

        Raises:
            QanatError: `management_bad_resource`.
        """
        wanted = tuple(dict.fromkeys(resources))
        unknown = [each for each in wanted if each not in RESOURCES]
        if unknown or not wanted:
            raise QanatError(
                "management_bad_resource",
                f"{unknown[0][:40]!a} is no resource" if unknown else "no resource is named",
                where="resources",
                hint=f"name some of {', '.join(RESOURCES)}",
            )
        issued_at = at.replace(microsecond=0)
        expires_at = issued_at + LIFETIME
        claims = {
            "iss": ISSUER,
            "iat": issued_at,
            "exp": expires_at,
            "tun": {"id": tunnel_id, "account_tag": account_id},
            "actor": {"id": actor, "support": False},
            "res": list(wanted),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._key_id}), expires_at

    def verify(self, token: str, *, at: datetime) -> Grant:
        """What a token is good for.

        Raises:
            QanatError: `management_token_bad`: signature, form, age or claims are wrong; never says which.
        """
        try:
            # times against our own clock, not against the library's
            claims: Mapping[str, Any] = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                options={"require": ["exp", "iat"], "verify_exp": False, "verify_iat": False},
            )
            issued_s, expires_s = int(claims["iat"]), int(claims["exp"])
            grant = Grant(
                tunnel_id=str(claims["tun"]["id"]),
                account_id=str(claims["tun"]["account_tag"]),
                actor=str(claims["actor"]["id"]),
                resources=tuple(str(each) for each in claims["res"]),
                expires_at=datetime.fromtimestamp(expires_s, at.tzinfo),
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError):
            raise _bad() from None
        if not (issued_s - 60 <= at.timestamp() < expires_s) or expires_s - issued_s > LIFETIME.total_seconds():
            raise _bad()
        return grant


def _bad() -> QanatError:
    return QanatError("management_token_bad", "the management token is not good", hint="ask for a new one")
