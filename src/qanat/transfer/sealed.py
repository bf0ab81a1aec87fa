"""Secrets in a document: AES-256-GCM under a key that scrypt makes of a passphrase. Each is bound to the id it belongs to."""

import base64
import binascii
import os
from threading import Lock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from qanat.errors import QanatError
from qanat.transfer.document import SecretsPart

N, R, P = 2**16, 8, 1  # 64 MiB and some 0.2 s a guess
MAX_N = 2**17
SALT_BYTES, KEY_BYTES, NONCE_BYTES = 16, 32, 12
MIN_PASSPHRASE, MAX_PASSPHRASE = 12, 1024
CHECK = "qanat-account"
KDF, CIPHER = "scrypt", "AES-256-GCM"

_one_at_a_time = Lock()  # its memory is the price of a guess: a handful of requests must not take it all


class PassphraseSealer:
    """Seals and opens secrets of one document."""

    def __init__(self, key: bytes, part: SecretsPart) -> None:
        self._cipher = AESGCM(key)
        self.part = part

    def seal(self, secret: bytes, context: str) -> str:
        """base64 of nonce (12) | ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, secret, context.encode())).decode()

    def open(self, sealed: str, context: str) -> bytes:
        """QanatError `export_secret_damaged`."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError, binascii.Error):
            raise QanatError(
                "export_secret_damaged",
                f"the secret of {context} was changed, or belongs to another object",
                where=context,
            ) from None


def new_sealer(passphrase: str) -> PassphraseSealer:
    """For a new document. QanatError `passphrase_weak`."""
    if not MIN_PASSPHRASE <= len(passphrase) <= MAX_PASSPHRASE:
        raise QanatError(
            "passphrase_weak",
            f"a passphrase has {MIN_PASSPHRASE} to {MAX_PASSPHRASE} characters",
            where="qanat-passphrase",
        )
    salt = os.urandom(SALT_BYTES)
    part = SecretsPart(kdf=KDF, n=N, r=R, p=P, salt=base64.b64encode(salt).decode(), cipher=CIPHER, check="")
    sealer = PassphraseSealer(_key(passphrase, salt, N), part)
    part.check = sealer.seal(CHECK.encode(), CHECK)
    return sealer


def open_sealer(passphrase: str, part: SecretsPart) -> PassphraseSealer:
    """For a document that was read. QanatError `passphrase_wrong`, `export_malformed`."""
    try:
        salt = base64.b64decode(part.salt, validate=True)
    except (ValueError, binascii.Error):
        salt = b""
    cost_is_sane = 2**14 <= part.n <= MAX_N and part.n.bit_count() == 1 and (part.r, part.p) == (R, P)
    if (part.kdf, part.cipher) != (KDF, CIPHER) or not cost_is_sane or len(salt) < SALT_BYTES:
        raise QanatError(
            "export_malformed", "the secrets are sealed in a way that this qanat doesn't know", where="secrets"
        )
    sealer = PassphraseSealer(_key(passphrase, salt, part.n), part)
    try:
        sealer.open(part.check, CHECK)
    except QanatError:
        raise QanatError(
            "passphrase_wrong", "the passphrase is not the one that the file was sealed with", where="qanat-passphrase"
        ) from None
    return sealer


def _key(passphrase: str, salt: bytes, n: int) -> bytes:
    with _one_at_a_time:
        return Scrypt(salt=salt, length=KEY_BYTES, n=n, r=R, p=P).derive(passphrase[:MAX_PASSPHRASE].encode())
