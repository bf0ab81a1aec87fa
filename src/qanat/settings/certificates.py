"""Certificates: given ones, the development CA's, and those of CAs by ACME."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from qanat.settings.values import Part, check_address


class CertificateFiles(Part):
    """A certificate that was given: chain and key, PEM."""

    chain: Path = Field(description="PEM file: the leaf, then its intermediates.")
    key: Path = Field(description="PEM file: the leaf's private key.")


class TlsSettings(Part):
    """Certificates."""

    certificates: tuple[CertificateFiles, ...] = Field(
        default=(),
        description="Public certificates; they win over the development CA's. As JSON or [[tls.certificates]].",
    )
    tunnel_chain: Path | None = Field(
        default=None, description="PEM file: the tunnel listener's chain (none: from the development CA)."
    )
    tunnel_key: Path | None = Field(default=None, description="PEM file: the tunnel listener's private key.")
    development_ca: bool = Field(
        default=True, description="Make certificates by a private CA (ca.pem) for hostnames that no given one covers."
    )


class ExternalAccount(Part):
    """An account with a CA that ours is bound to (RFC 8555 7.3.4). Its HMAC key is secret: in a file, or in the environment."""

    directory: str = Field(description="The CA's directory, as in acme.directory.")
    key_id: str = Field(description="Key id, from the CA.")
    key_file: Path | None = Field(
        default=None,
        description="File with the HMAC key (base64url) on its first line; none: QANAT_ACME_HMAC_KEY has it.",
    )


def _check_email(email: str) -> str:
    name, at, host = email.rpartition("@")
    if email and (not at or not name or "." not in host or any(each.isspace() for each in email)):
        raise ValueError(f"{email!r} is not an email address, such as you@example.com")
    return email


def _check_url(url: str) -> str:
    if (
        url
        and not url.startswith("https://")
        and not url.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]"))
    ):
        raise ValueError(f"{url!r} is not an https:// URL (http:// is taken for loopback only)")
    return url


def _check_socket(address: str) -> str:
    return check_address(address) if address else ""


Url = Annotated[str, AfterValidator(_check_url)]


class AcmeSettings(Part):
    """Certificates of CAs by ACME (RFC 8555), for every hostname that has a record."""

    email: Annotated[str, AfterValidator(_check_email)] = Field(
        default="",
        description="Have certificates ordered, by accounts with this contact. Giving it agrees to the CAs' terms of service.",
    )
    directory: tuple[Url, ...] = Field(
        default=("https://acme-v02.api.letsencrypt.org/directory",),
        min_length=1,
        description="Directories of CAs; a later one is asked when those before it don't serve.",
    )
    terms_agreed: bool = Field(
        default=True,
        description="The terms of service of these CAs are agreed to; without it, none that has some is asked.",
    )
    external_accounts: tuple[ExternalAccount, ...] = Field(
        default=(), description="Accounts with CAs that want ours bound to one. As JSON or [[acme.external_accounts]]."
    )
    staging_first: bool = Field(
        default=False,
        description="Prove each new name to acme.staging_directory first, so that mistakes cost no rate limit.",
    )
    staging_directory: Url = Field(
        default="https://acme-staging-v02.api.letsencrypt.org/directory",
        description="The CA for acme.staging_first; its certificates are never served.",
    )
    challenges: tuple[Literal["http-01", "tls-alpn-01", "dns-01"], ...] = Field(
        default=("http-01", "tls-alpn-01"),
        description="How names are proved; each attempt takes the next one. Wildcards are always proved by dns-01.",
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file: who signs the HTTPS of a private CA's directory (none: the usual roots)."
    )
    dns_hook: tuple[str, ...] = Field(
        default=(),
        description="Command, one argument an entry, that writes TXT records for dns-01: `present|cleanup NAME. VALUE` is added.",
    )
    dns_api: Url = Field(
        default="",
        description="v4 API that writes TXT records for dns-01, such as https://api.cloudflare.com/client/v4.",
    )
    dns_token_file: Path | None = Field(default=None, description="File with the API token for acme.dns_api.")
    dns_resolver: Annotated[str, AfterValidator(_check_socket)] = Field(
        default="",
        description="Name server (host:port) that is asked whether a TXT record can be seen; none: those of its zone.",
    )
    dns_wait_s: float = Field(
        default=120.0, ge=0, description="Seconds that name servers may take to show a TXT record."
    )
