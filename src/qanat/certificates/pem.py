"""What a PEM chain and a key are: whose names, until when, and whether they belong together."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from qanat.errors import QanatError

MOST_IN_CHAIN = 10
LEAST_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a chain: the leaf's DNS names in lower case, the moment its first certificate ends, who issued it, and SHA-256 of the
    leaf in hex."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    issuer: str
    fingerprint: str


def read_chain(chain: bytes, *, where: str = "certificate") -> list[x509.Certificate]:
    """Leaf first, each issued by the next. QanatError `certificate_invalid`."""
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise _invalid(where, f"it holds no PEM certificates ({error})") from None
    if len(certificates) > MOST_IN_CHAIN:
        raise _invalid(where, f"it holds {len(certificates)} certificates, more than {MOST_IN_CHAIN}")
    for index, (issued, issuer) in enumerate(pairwise(certificates), start=1):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise _invalid(
                where, f"certificate {index + 1} didn't issue certificate {index}: put the leaf first, then each issuer"
            ) from None
    return certificates


def facts(chain: bytes, *, where: str = "certificate") -> Facts:
    """Of a chain. QanatError `certificate_invalid`."""
    certificates = read_chain(chain, where=where)
    leaf = certificates[0]
    try:
        named = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(sorted({name.lower() for name in named.get_values_for_type(x509.DNSName)}))
    except (x509.ExtensionNotFound, ValueError):
        names = ()
    if not names:
        raise _invalid(where, "its leaf names no host (no DNS name in subjectAltName)")
    common = leaf.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Facts(
        names=names,
        not_before=leaf.not_valid_before_utc,
        not_after=min(each.not_valid_after_utc for each in certificates),
        issuer=str(common[0].value) if common else leaf.issuer.rfc4514_string(),
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
    )


def check_pair(chain: bytes, key: bytes, *, now: datetime) -> Facts:
    """Facts of a chain that its key fits, and that can be served now.

    Raises:
        QanatError: `certificate_invalid`, `certificate_expired`.
    """
    found = facts(chain)
    try:
        private = serialization.load_pem_private_key(key, None)
    except TypeError:
        raise _invalid("private_key", "it is encrypted: give it without a passphrase") from None
    except ValueError:
        raise _invalid("private_key", "it holds no PEM private key") from None
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise _invalid("private_key", "it is neither an RSA nor an ECDSA key, which browsers need")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < LEAST_RSA_BITS:
        raise _invalid("private_key", f"its RSA key has {private.key_size} bits, less than {LEAST_RSA_BITS}")
    if private.public_key() != read_chain(chain)[0].public_key():
        raise _invalid("private_key", "it doesn't belong to the certificate")
    if found.not_after <= now:
        raise QanatError(
            "certificate_expired",
            f"the chain ended at {found.not_after:%Y-%m-%d %H:%M} UTC",
            where="certificate",
            hint="give a renewed one, with its own intermediates",
        )
    return found


def new_key() -> bytes:
    """An ECDSA key on P-256, PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _invalid(where: str, reason: str) -> QanatError:
    return QanatError("certificate_invalid", f"the {where.replace('_', ' ')} can't be used: {reason}", where=where)
