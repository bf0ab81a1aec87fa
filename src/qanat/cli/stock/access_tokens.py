"""Tokens of Access applications: which application stands in front of a URL, its token in a file, and how one is got."""

import fcntl
import json
import os
import re
import time
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from msgspec import Struct

from qanat.cli.stock import browser
from qanat.client.profiles import write_secret
from qanat.client.transport import AddressError, Response, Transport, TransportError
from qanat.connector.log import Log
from qanat.connector.sources import SEARCH_PATHS, expanded
from qanat.errors import QanatError

AUTH_DOMAIN = ".cloudflareaccess.com"
CERTS_PATH = "/cdn-cgi/access/certs"
AUTHORIZED_PATH = "/cdn-cgi/access/authorized"
LOGIN_PATH = "/cdn-cgi/access/login"
PATIENCE_S = 10.0
OLDEST_S, CLOCK_SKEW_S = 86_400, 300
MOST_REDIRECTS = 10


class Application(Struct, frozen=True):
    """Who asks for the login: `auth_domain` of the organisation, `audience` and `hostname` of the application."""

    auth_domain: str
    audience: str
    hostname: str


def call(method: str, url: str, headers: list[tuple[str, str]], body: object = None) -> Response:
    """One request, no redirect followed. QanatError `application_unreachable`."""
    parts = urlsplit(url)
    transport = Transport(f"{parts.scheme}://{parts.netloc}", timeout_s=PATIENCE_S, use_proxies=True)
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    content = json.dumps(body).encode() if body is not None else None
    try:
        return transport.request(method, path, query={}, headers=[("user-agent", "qanat"), *headers], body=content)
    except (AddressError, TransportError) as error:
        raise QanatError("application_unreachable", f"{parts.netloc}: {error}") from error
    finally:
        transport.close()


def application(url: str) -> Application:
    """By what the edge signs of it: whoever answers at a URL could name an application of somebody else's. QanatError."""
    signed = call("HEAD", url, [("cf-access-metadata-request", "true")]).headers.get("cf-access-metadata", "")
    if not signed:
        raise QanatError("access_application_unknown", f"failed to find Access application at {url}")
    domain = str(_claims(signed).get("auth_domain", "")).lower()
    if not re.fullmatch(r"[a-z0-9.-]+", domain) or not domain.endswith(AUTH_DOMAIN):
        raise _untrusted(f"auth_domain '{domain[:80]}' does not end with '{AUTH_DOMAIN}'")
    claims = _verified(signed, call("GET", f"https://{domain}{CERTS_PATH}", []).body)
    hostname = urlsplit(url).hostname or ""
    if str(claims.get("hostname", "")).lower() != hostname.lower():
        raise _untrusted(f"it is of '{str(claims.get('hostname'))[:80]}', not of {hostname}")
    if claims.get("type") != "match" or not claims.get("aud"):
        raise _untrusted("it names no application")
    issued, now = claims.get("iat"), time.time()
    if not isinstance(issued, int) or not now - OLDEST_S <= issued <= now + CLOCK_SKEW_S:
        raise _untrusted("it is older than a day, or from the future: is this host's clock right?")
    return Application(domain, str(claims["aud"]), str(claims.get("app_hostname") or claims["hostname"]))


def _verified(signed: str, keys: bytes) -> dict[str, Any]:
    jwt = _module("jwt")
    try:
        found = jwt.PyJWKSet.from_dict(json.loads(keys))
        key_id = jwt.get_unverified_header(signed).get("kid")
        key = next(key for key in found.keys if key.key_id == key_id)
        options = {"verify_aud": False, "verify_iat": False}
        claims: dict[str, Any] = jwt.decode(signed, key.key, algorithms=["RS256"], options=options)
    except (ValueError, StopIteration, jwt.PyJWTError) as error:
        raise _untrusted(f"its signature doesn't hold ({type(error).__name__})") from None
    return claims


def _untrusted(reason: str) -> QanatError:
    return QanatError("access_application_unknown", f"what the edge says of the application can't be trusted: {reason}")


def _claims(token: str) -> dict[str, Any]:
    """Unverified."""
    try:
        body = token.split(".")[1]
        found = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# ---------------------------------------------------------------- files


def _folder() -> Path:
    folder = Path(expanded(SEARCH_PATHS[0], os.environ.get("HOME", "/nonexistent")))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def token_file(found: Application) -> Path:
    """Where stock keeps it, too."""
    return _folder() / f"{found.hostname}-{found.audience}-token".replace("/", "-").replace("*", "-")


def _org_file(found: Application) -> Path:
    return _folder() / f"{found.auth_domain}-org-token".replace("/", "-")


def kept_token(found: Application) -> str:
    """Empty without one that is good: an ended one, or one of another application, is removed."""
    return _kept(token_file(found), found.audience)


def _kept(file: Path, audience: str | None) -> str:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    claims = _claims(text)
    ends = claims.get("exp")
    named = claims.get("aud")
    audiences = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    if not isinstance(ends, int) or time.time() > ends or (audience is not None and audience not in audiences):
        with suppress(OSError):
            file.unlink()
        return ""
    return text


def forget(found: Application) -> None:
    """Removes the application's token."""
    with suppress(FileNotFoundError):
        token_file(found).unlink()


@contextmanager
def token_lock(found: Application) -> Iterator[None]:
    """So that of many ssh started at once one opens a browser and the others wait for its token."""
    with token_file(found).with_suffix(".qanat-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# ---------------------------------------------------------------- how a token is got


def org_exchange(url: str, found: Application, log: Log) -> str:
    """By the organisation's token, if one is kept: no page is shown. "" where that doesn't do."""
    org = _kept(_org_file(found), None)
    if not org:
        return ""
    session = ""
    was_authorized = False
    for _ in range(MOST_REDIRECTS):
        place = urlsplit(url)
        cookies = (
            [f"CF_Authorization={org}"] if LOGIN_PATH in place.path and place.hostname == found.auth_domain else []
        )
        cookies += [f"CF_AppSession={session}"] if AUTHORIZED_PATH in place.path and session else []
        try:
            answer = call("HEAD", url, [("cookie", "; ".join(cookies))] if cookies else [])
        except QanatError as error:
            log.debug(f"failed to exchange org token for app token: {error.message}")
            return ""
        given = _cookies(answer)
        session = given.get("CF_AppSession", session)
        was_authorized = AUTHORIZED_PATH in place.path
        if was_authorized and (text := given.get("CF_Authorization", "")):
            write_secret(token_file(found), text, replace=True)
            return text
        location = answer.headers.get("location")
        if answer.status not in (301, 302, 303, 307, 308) or not location or was_authorized:
            return ""
        url = urljoin(url, location)
        if not url.startswith("https://"):
            return ""
    return ""


def _cookies(answer: Response) -> dict[str, str]:
    pairs = (line.partition(";")[0].partition("=") for line in answer.headers.get("set-cookie", "").split("\n"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def log_in(url: str, found: Application, log: Log, host_only: bool, auto_close: bool) -> str:
    """By a page in the browser; the tokens come sealed for this process alone. QanatError `login_failed`."""
    nacl = _module("nacl.public")
    private = nacl.PrivateKey.generate()
    key = urlsafe_b64encode(bytes(private.public_key)).decode()
    parts = urlsplit(url)
    asked = {"aud": found.audience, "token": key}
    back = urlunsplit(("https", parts.netloc, "" if host_only else parts.path, urlencode(asked), ""))
    fields = {**asked, "edge_token_transfer": "true", "redirect_url": back, "send_org_token": "true"}
    if auto_close:
        fields["close_interstitial"] = "true"
    browser.show(urlunsplit(("https", parts.netloc, "/cdn-cgi/access/cli", urlencode(fields), "")), "token")
    answer = browser.fetch(f"{browser.STORE}transfer/{key}", log)
    try:
        sender = nacl.PublicKey(urlsafe_b64decode(answer.headers.get("service-public-key", "")))
        tokens = json.loads(nacl.Box(private, sender).decrypt(b64decode(answer.body)))
        app, org = str(tokens["app_token"]), str(tokens.get("org_token") or "")
    except Exception as error:  # noqa: BLE001 - whatever a stranger sends
        raise QanatError("login_failed", f"what was fetched is no token ({type(error).__name__})") from None
    if org:
        write_secret(_org_file(found), org, replace=True)
    write_secret(token_file(found), app, replace=True)
    return app


# ---------------------------------------------------------------- SSH


def short_lived_certificate(url: str, token: str) -> None:
    """A P-256 key beside the tokens, made once, and the certificate that the organisation signs for it. QanatError."""
    place = urlsplit(url)
    key_file = _folder() / f"{place.hostname}{place.path.rstrip('/')}-cf_key".replace("/", "-")
    public = key_file.with_name(f"{key_file.name}.pub")
    if not public.exists():
        private, text = _new_key()
        write_secret(key_file, private, replace=True)
        write_secret(public, text + b"\n", replace=True)
    issuer = str(_claims(token).get("iss", ""))
    if not (urlsplit(issuer).hostname or "").endswith(AUTH_DOMAIN) or not issuer.startswith("https://"):
        raise QanatError("login_failed", "the token names no issuer that signs certificates")
    asked = {"public_key": public.read_text(encoding="ascii"), "jwt": token, "issuer": issuer}
    answer = call("POST", f"{issuer}/cdn-cgi/access/cert_sign", [("content-type", "application/json")], asked)
    try:
        found = json.loads(answer.body)
        certificate = str(found["certificate"]) if answer.status == 200 else ""
    except (ValueError, KeyError, TypeError, RecursionError):
        found, certificate = {}, ""
    if not certificate:
        reason = found.get("message") if isinstance(found, dict) else None
        raise QanatError("login_failed", f"{answer.status}: {reason or 'no certificate was signed'}", where=issuer)
    write_secret(key_file.with_name(f"{key_file.name}-cert.pub"), certificate, replace=True)


def _new_key() -> tuple[bytes, bytes]:
    """Private in PEM as stock has it, public in a line as ssh has it."""
    ec = _module("cryptography.hazmat.primitives.asymmetric.ec")
    forms = _module("cryptography.hazmat.primitives.serialization")
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.TraditionalOpenSSL, forms.NoEncryption())
    return private, key.public_key().public_bytes(forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH)


def _module(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise QanatError(
            "extra_missing",
            f"this is not installed here ({name} is missing)",
            where="qanat access",
            hint="pip install 'qanat[access]'",
        ) from None
