"""The development CA: made at the first start, so that TLS works before anybody has a certificate."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from qanat.errors import QanatError

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=397)
RENEW_BEFORE = timedelta(days=60)
BACKDATED = timedelta(hours=1)  # for clocks that are a little behind
MAX_FILE_NAME = 120
"""Longer names of leaves are kept under their hash: file systems take 255 bytes, some (eCryptfs) 143."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A chain and its key, PEM. `unkept`: why its file could not be written; it is good for this run all the same."""

    chain: bytes
    key: bytes
    unkept: OSError | None = field(default=None, compare=False)


class Authority:
    """Signs leaves, and keeps them under `directory` until they are due."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, directory: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._directory = directory

    @property
    def certificate_der(self) -> bytes:
        """The CA's own certificate, DER."""
        return self._certificate.public_bytes(serialization.Encoding.DER)

    @classmethod
    def open(cls, *, ca_file: Path, directory: Path) -> Self:
        """Loads the CA, or makes it when neither its certificate nor its key is there. QanatError `ca_damaged`."""
        key_file = directory / "ca.key"
        directory.mkdir(mode=0o700, exist_ok=True)
        if not key_file.exists() and not ca_file.exists():
            key, certificate = _make_ca()
            _write(key_file, _key_pem(key), 0o600)
            _write(ca_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
            return cls(certificate, key, directory)
        try:
            loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(ca_file.read_bytes())
        except (OSError, ValueError) as error:
            raise _ca_damaged(ca_file, key_file, str(error)) from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != certificate.public_key():
            raise _ca_damaged(ca_file, key_file, "they don't belong together")
        return cls(certificate, loaded, directory)

    def leaf(self, keep_as: str, names: Sequence[str]) -> KeyPair:
        """A certificate for DNS `names`: the kept one while it is good, else a new one."""
        file = self._directory / leaf_file(keep_as)
        kept = self._kept(file, names)
        return kept if kept is not None else self.keep(keep_as, self._make(names))

    def keep(self, keep_as: str, pair: KeyPair) -> KeyPair:
        """Writes a leaf's file, or says in `unkept` why that can't be."""
        try:
            # not synced: one that a crash cut short is noticed, and made anew
            _write(self._directory / leaf_file(keep_as), pair.chain + pair.key, 0o600, synced=False)
        except OSError as error:
            return KeyPair(pair.chain, pair.key, error)
        return KeyPair(pair.chain, pair.key)

    def sweep(self, keep: Iterable[str]) -> int:
        """Removes the files of every other leaf; how many. What can't be removed stays."""
        kept = {leaf_file(name) for name in keep}
        removed = 0
        for file in self._directory.iterdir():
            if file.name not in kept and file.name.endswith((".pem", ".pem.new")):
                try:
                    file.unlink()
                    removed += 1
                except OSError:
                    continue
        return removed

    def renew_at(self, pair: KeyPair) -> datetime:
        """From when on `leaf` makes a new one in place of this."""
        return x509.load_pem_x509_certificate(pair.chain).not_valid_after_utc - RENEW_BEFORE

    def _kept(self, file: Path, names: Sequence[str]) -> KeyPair | None:
        """None for what isn't there, isn't due to last, or is damaged in any way."""
        try:
            text = file.read_bytes()
            leaf = x509.load_pem_x509_certificates(text)[0]
            leaf.verify_directly_issued_by(self._certificate)
            named = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            cut = text.index(b"-----BEGIN PRIVATE KEY-----")
            if serialization.load_pem_private_key(text[cut:], None).public_key() != leaf.public_key():
                return None
        except Exception:  # noqa: BLE001 - parsers of damaged bytes raise what they like
            return None
        if named.get_values_for_type(x509.DNSName) != list(names):
            return None
        if leaf.not_valid_after_utc - datetime.now(UTC) < RENEW_BEFORE:
            return None
        return KeyPair(text[:cut], text[cut:])

    def _make(self, names: Sequence[str]) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, names[0])] if len(names[0]) <= 64 else []
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(min(now + LEAF_LIFE, self._certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=not subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return KeyPair(leaf.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _make_ca() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"qanat development CA {serial % 0x10000:04x}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def leaf_file(name: str) -> str:
    """The file's name for a leaf. No hostname has a `~`, so that none can take another's place."""
    return f"{name}.pem" if len(name) <= MAX_FILE_NAME else f"~{sha256(name.encode()).hexdigest()}.pem"


def _write(file: Path, content: bytes, mode: int, *, synced: bool = True) -> None:
    beside = file.with_name(file.name + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            if synced:
                opened.flush()
                os.fsync(opened.fileno())
        beside.replace(file)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _ca_damaged(ca_file: Path, key_file: Path, reason: str) -> QanatError:
    return QanatError(
        "ca_damaged",
        f"the development CA ({ca_file}, {key_file}) can't be used: {reason}",
        where=str(ca_file),
        hint="restore both files, or delete both and trust the new ca.pem that the next start makes",
    )
