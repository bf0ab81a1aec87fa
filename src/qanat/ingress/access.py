"""`access`: who issues the tokens that let requests in, and where that issuer's keys are."""

import re
from urllib.parse import urlsplit

from qanat.errors import QanatError
from qanat.ids import parse_hostname
from qanat.ingress.origin import Access

_TEAM = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HINT = "write the team's name, a domain such as login.example.com, or the issuer's URL"

KEYS = "/cdn-cgi/access/certs"
"""Where an issuer's key set is (JWK), below it."""


def issuer_of(access: Access, *, where: str) -> str:
    """The issuer (`iss`) that a rule's tokens must have, as a URL without a trailing slash; "" without a team name, when nobody
    is let in.

    A name is a team at cloudflareaccess.com (with `environment: fed` at fed.cloudflareaccess.com), as with stock cloudflared. A
    name with a dot is that domain itself, and a URL is the issuer as it stands: so an own identity provider is named.

    Raises:
        QanatError: `ingress_bad_origin_request`, where: `….teamName`.
    """
    name = access.team_name
    if not name:
        return ""
    if "://" in name:
        return _issuer_url(name, where)
    if "." in name or ":" in name:
        return _issuer_url(f"https://{name}", where)
    if not _TEAM.fullmatch(name):
        raise _bad(f"'{name[:80]}' is not a valid team name", where)
    return f"https://{name}.{'fed.' if access.environment == 'fed' else ''}cloudflareaccess.com"


def _issuer_url(text: str, where: str) -> str:
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise _bad(f"'{text[:80]}' is not a valid URL: {error}", where) from None
    if not text.isprintable() or " " in text or not host or url.query or url.fragment or "@" in url.netloc:
        raise _bad(f"'{text[:80]}' is not the URL of an issuer", where)
    if url.scheme != "https" and not (url.scheme == "http" and host in _LOOPBACK):
        raise _bad(f"'{text[:80]}' is not https: its keys could be anybody's", where)
    if host not in _LOOPBACK:
        try:
            parse_hostname(host, wildcard=False)
        except QanatError as error:
            raise _bad(error.message, where) from None
    return text.rstrip("/")


def _bad(message: str, where: str) -> QanatError:
    return QanatError("ingress_bad_origin_request", message, where=f"{where}.teamName", hint=_HINT)
