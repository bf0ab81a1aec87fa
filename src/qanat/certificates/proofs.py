"""How a CA is shown that a name is ours: HTTP-01, TLS-ALPN-01 (by the edge), DNS-01 (by whoever writes the zone)."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Literal, Protocol

import josepy
from acme import challenges, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from qanat.certificates import pem
from qanat.certificates.failure import OrderFailedError

Kind = Literal["http-01", "tls-alpn-01", "dns-01"]
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


class Publisher(Protocol):
    """What answers CAs: the edge. Each returns when it does."""

    def put_http(self, hostname: str, token: str, key_authorization: str) -> None:
        """At `/.well-known/acme-challenge/TOKEN` of the hostname."""

    def drop_http(self, hostname: str, token: str) -> None:
        """Not any more."""

    def put_tls(self, hostname: str, chain: bytes, key: bytes) -> None:
        """To who offers `acme-tls/1`."""

    def drop_tls(self, hostname: str) -> None:
        """Not any more."""


class DnsWriter(Protocol):
    """Who writes TXT records. QanatError `acme_dns_failed`."""

    def present(self, name: str, value: str) -> None:
        """One more value of a name; returns when name servers answer with it."""

    def cleanup(self, name: str, value: str) -> None:
        """That value goes; others stay."""


@challenges.ChallengeResponse.register
class TlsAlpn01Response(challenges.KeyAuthorizationChallengeResponse):
    """RFC 8737, which the library doesn't have."""

    typ = "tls-alpn-01"


@challenges.Challenge.register
class TlsAlpn01(challenges.KeyAuthorizationChallenge):
    """RFC 8737."""

    response_cls = TlsAlpn01Response
    typ = "tls-alpn-01"

    def validation(self, account_key: josepy.JWK, **_unused: object) -> str:
        """The key authorization."""
        return str(self.key_authorization(account_key))


class Prover:
    """Proves one name. `kinds`: those that may be used; `attempt`: another one of them comes first with each."""

    def __init__(
        self, publisher: Publisher, kinds: Sequence[Kind], *, dns: DnsWriter | None = None, attempt: int = 0
    ) -> None:
        self._publisher = publisher
        self._kinds = list(kinds)
        self._dns = dns
        self._attempt = attempt
        self._shown = ExitStack()

    @contextmanager
    def proving(self) -> Iterator[None]:
        """What is shown inside is shown no more afterwards, however it ended."""
        with self._shown:
            yield

    def prove(
        self, name: str, offered: Iterable[messages.ChallengeBody], account_key: josepy.JWK
    ) -> tuple[messages.ChallengeBody, challenges.ChallengeResponse]:
        """Shows what one of the challenges asks for, and gives the answer to it. OrderFailedError."""
        by_kind = {challenge.chall.typ: challenge for challenge in offered if hasattr(challenge.chall, "typ")}
        usable: list[Kind] = [kind for kind in self._usable(name) if kind in by_kind]
        if not usable:
            raise OrderFailedError(
                "acme_no_challenge",
                f"the CA offers {', '.join(sorted(by_kind)) or 'nothing'} for {name}, and this edge can do "
                f"{', '.join(self._usable(name)) or 'none'}",
                whose="name",
                where="acme.challenges",
            )
        kind = usable[self._attempt % len(usable)]
        challenge = by_kind[kind]
        bare = name.removeprefix("*.")
        response, validation = challenge.chall.response_and_validation(account_key)
        if kind == "http-01":
            token = challenge.chall.encode("token")
            self._publisher.put_http(bare, token, validation)
            self._shown.callback(self._publisher.drop_http, bare, token)
        elif kind == "tls-alpn-01":
            self._publisher.put_tls(bare, *challenge_certificate(bare, validation))
            self._shown.callback(self._publisher.drop_tls, bare)
        elif self._dns is not None:
            record = f"_acme-challenge.{bare}"
            self._shown.callback(self._dns.cleanup, record, validation)
            self._dns.present(record, validation)
        return challenge, response

    def _usable(self, name: str) -> list[Kind]:
        if name.startswith("*."):
            return ["dns-01"] if self._dns is not None else []
        return [kind for kind in self._kinds if kind != "dns-01" or self._dns is not None]


def challenge_certificate(hostname: str, key_authorization: str) -> tuple[bytes, bytes]:
    """Self-signed, with what the CA looks for in a critical extension (RFC 8737 3); and its key. PEM."""
    key_pem = pem.new_key()
    key = serialization.load_pem_private_key(key_pem, None)
    now = datetime.now(UTC)
    digest = sha256(key_authorization.encode()).digest()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME challenge")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem
