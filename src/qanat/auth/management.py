"""Management tokens: JWTs (ES256) that let a person read one tunnel's logs and diagnostics through the edge. Stock connectors
don't verify them, so the edge's engine does (crates/edge/src/management.rs, security.md S55)."""

import stat
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

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
WITH_LOGS = "ping"
"""What stock grants with `logs`: a client that follows them asks first whether the connector is there."""


class ManagementKey:
    """Signs management tokens."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, served_at: str = "") -> None:
        self._key = key
        self._served_at = served_at
        self.public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        """What the engine verifies them with: SubjectPublicKeyInfo, DER."""
        self._key_id = sha256(self.public).hexdigest()[:16]

    @classmethod
    def make(cls, served_at: str = "") -> "ManagementKey":
        """A new one, in memory."""
        return cls(ec.generate_private_key(ec.SECP256R1()), served_at)

    @classmethod
    def open(cls, path: Path, *, served_at: str = "") -> "ManagementKey":
        """From a PEM file (0600), made when there is none. A lost one costs only the tokens of the last hour. `served_at`: the
        management hostname and its port, which tokens tell their owners.

        Raises:
            QanatError: `management_key_bad`: others can read it, or it holds no such key.
        """
        if path.exists():
            return cls._load(path, served_at)
        made = cls.make(served_at)
        secret_file.replace(path, made._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made

    @classmethod
    def _load(cls, path: Path, served_at: str) -> "ManagementKey":
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
                f"{path} does not hold a private key on P-256 in PEM",
                where=str(path),
                hint="remove it, and a new one is made",
            )
        return cls(key, served_at)

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
                f"{unknown[0][:40]!a} is not a valid resource" if unknown else "no resource is named",
                where="resources",
                hint=f"name some of {', '.join(RESOURCES)}",
            )
        if "logs" in wanted:
            wanted = (*wanted, WITH_LOGS)
        issued_at = at.replace(microsecond=0)
        expires_at = issued_at + LIFETIME
        claims = {
            "iss": ISSUER,
            "iat": issued_at,
            "exp": expires_at,
            "tun": {"id": tunnel_id, "account_tag": account_id},
            "actor": {"id": actor, "support": False},
            "res": list(wanted),
            **({"host": self._served_at} if self._served_at else {}),
        }
        import jwt  # an edge's start doesn't wait for it

        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._key_id}), expires_at
