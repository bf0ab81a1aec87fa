"""Tunnel secrets at rest: AES-256-GCM under a key in a file beside the database, never in it (security.md S32)."""

import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from qanat.errors import QanatError

VERSION = b"\x01"
NONCE_BYTES = 12
KEY_BYTES = 32


class Sealer:
    """Seals and opens short secrets, each bound to what it belongs to (`context`)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, secret: bytes, context: str) -> bytes:
        """version (1) | nonce (12) | ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return VERSION + nonce + self._cipher.encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises QanatError `secret_key_wrong`: another key sealed it, or it was changed or moved to another row."""
        if sealed[:1] != VERSION:
            raise QanatError("secret_key_wrong", f"the sealed secret of {context} has an unknown form", where=context)
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, context.encode())
        except (InvalidTag, ValueError):
            raise QanatError(
                "secret_key_wrong",
                f"the secret of {context} can't be opened with this data directory's key",
                where=context,
                hint="restore secret.key from the backup that belongs to this database",
            ) from None


def make_key(path: Path) -> Sealer:
    """Writes a new key file (0600) and fails when there is one: a key is never overwritten."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        key = os.urandom(KEY_BYTES)
        file.write(key.hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return Sealer(key)


def load_key(path: Path) -> Sealer:
    """Reads a key file. QanatError `secret_key_unsafe` (others may read it) or `secret_key_bad`."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise QanatError(
            "secret_key_unsafe", f"{path} can be read by others", where=str(path), hint=f"chmod 600 {path}"
        )
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (ValueError, UnicodeDecodeError):
        key = b""
    if len(key) != KEY_BYTES:
        raise QanatError(
            "secret_key_bad",
            f"{path} is not a key of {KEY_BYTES} bytes in hex",
            where=str(path),
            hint="restore it from the backup that belongs to this database",
        )
    return Sealer(key)
