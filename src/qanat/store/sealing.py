"""Secrets at rest: AES-256-GCM under keys that are kept beside the database, never in it (security.md S7, S32)."""

import errno
import os
import stat
import subprocess
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from qanat.errors import QanatError
from qanat.store import secret_file

FIRST_FORM = b"\x01"
FORM = b"\x02"
ID_BYTES = 4
NONCE_BYTES = 12
KEY_BYTES = 32
COMMAND_TIMEOUT_S = 30


class Sealer:
    """Seals with the newest of its keys and opens with all, each secret bound to what it belongs to (`context`).

    Seal within the write that stores it: a rotation takes in every secret of the writes before it, and of no other.
    """

    def __init__(self, newest: bytes, *older: bytes) -> None:
        self._ciphers: dict[bytes, AESGCM] = {}
        self._newest = b""
        self._lock = Lock()
        self.use(newest, *older)

    @property
    def key_id(self) -> str:
        """The newest key's, in hex."""
        return self._newest.hex()

    def use(self, newest: bytes, *older: bytes) -> None:
        """From now on seals with `newest`. What could be opened before still can: a reader may hold an older row."""
        with self._lock:
            self._ciphers = {**self._ciphers, **{key_id(key): AESGCM(key) for key in (newest, *older)}}
            self._newest = key_id(newest)

    def is_current(self, sealed: bytes) -> bool:
        """Whether it was sealed with the newest key, as far as its form says."""
        return sealed[:1] == FORM and sealed[1 : 1 + ID_BYTES] == self._newest

    def seal(self, secret: bytes, context: str) -> bytes:
        """form (1) | key id (4) | nonce (12) | ciphertext and tag."""
        newest = self._newest
        nonce = os.urandom(NONCE_BYTES)
        return FORM + newest + nonce + self._ciphers[newest].encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises QanatError `secret_key_wrong`: another key sealed it, or it was changed or moved to another row."""
        form, rest = sealed[:1], sealed[1:]
        if form == FORM:
            cipher = self._ciphers.get(rest[:ID_BYTES])
            ciphers = [cipher] if cipher is not None else []
            rest = rest[ID_BYTES:]
        elif form == FIRST_FORM:  # before there were key ids
            ciphers = list(self._ciphers.values())
        else:
            raise QanatError("secret_key_wrong", f"the sealed secret of {context} has an unknown form", where=context)
        for cipher in ciphers:
            try:
                return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], context.encode())
            except (InvalidTag, ValueError):
                continue
        raise QanatError(
            "secret_key_wrong",
            f"the secret of {context} can't be opened with this data directory's key",
            where=context,
            hint="restore secret.key from the backup that belongs to this database",
        )


def key_id(key: bytes) -> bytes:
    """What a sealed secret says of its key; tells nothing of the key itself."""
    return sha256(b"qanat key id\x00" + key).digest()[:ID_BYTES]


def new_key() -> bytes:
    """A random key."""
    return os.urandom(KEY_BYTES)


def make_key(path: Path) -> Sealer:
    """Writes a new key file (0600) and fails when there is one: a key is never overwritten."""
    key = new_key()
    secret_file.create(path, _content([key]))
    return Sealer(key)


def replace_keys(path: Path, keys: Sequence[bytes]) -> None:
    """The key file anew, newest key first: it has the old or the new content at any moment.

    Raises:
        QanatError: `store_full`, `data_dir_unusable`: it has the old content.
    """
    try:
        secret_file.replace(path, _content(keys))
    except OSError as error:
        code = "store_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "data_dir_unusable"
        raise QanatError(
            code, f"the key file can't be written: {error.strerror}; it is as before", where=str(path)
        ) from error


def read_keys(path: Path) -> list[bytes]:
    """A key file's keys, newest first. QanatError `secret_key_unsafe` (others may read it) or `secret_key_bad`."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise QanatError(
            "secret_key_unsafe", f"{path} can be read by others", where=str(path), hint=f"chmod 600 {path}"
        )
    return parse_keys(path.read_bytes(), where=str(path))


def load_key(path: Path) -> Sealer:
    """The sealer with a key file's keys. Raises as `read_keys`."""
    return Sealer(*read_keys(path))


def run_key_command(command: Sequence[str]) -> list[bytes]:
    """The keys that a command prints. QanatError `key_command_failed`, `secret_key_bad`; neither shows what it printed."""
    where = "store.key_command"
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=COMMAND_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise QanatError(
            "key_command_failed", f"{command[0]} gave no key within {COMMAND_TIMEOUT_S} s", where=where
        ) from None
    except OSError as error:
        raise QanatError("key_command_failed", f"can't run {command[0]}: {error.strerror}", where=where) from None
    if done.returncode:
        raise QanatError(
            "key_command_failed",
            f"{command[0]} ended with status {done.returncode}",
            where=where,
            hint="run it by hand as the edge's user; it must print the key",
        )
    return parse_keys(done.stdout, where=where)


def parse_keys(content: bytes, *, where: str) -> list[bytes]:
    """One key a line, in hex, newest first. QanatError `secret_key_bad`."""
    try:
        keys = [bytes.fromhex(line) for line in content.decode("ascii").split()]
    except ValueError:
        keys = []
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise QanatError(
            "secret_key_bad",
            f"{where} does not hold keys of {KEY_BYTES} bytes in hexadecimal, one a line",
            where=where,
            hint="restore it from the backup that belongs to this database",
        ) from None
    return keys


def _content(keys: Sequence[bytes]) -> bytes:
    return b"".join(key.hex().encode() + b"\n" for key in keys)
