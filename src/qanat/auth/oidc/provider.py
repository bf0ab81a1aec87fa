"""What an OpenID provider says, and how far it is believed: only what the issuer signed, for this edge, for this browser, now."""

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_urlsafe
from threading import Lock, Semaphore
from time import monotonic
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import jwt
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from qanat.auth.oidc.fetching import closeness, failed, fetch
from qanat.errors import QanatError, RetryLaterError, escape_text
from qanat.settings.people import OidcSettings

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Signatures by a key pair. Not `none`, and no HMAC: a public key would be its secret."""
DISCOVERY = "/.well-known/openid-configuration"
SKEW_S = 60
FRESH_S = 3600.0
STALE_S = 24 * 3600.0
"""As long as what was read before does, while the provider can't be asked."""
AGAIN_S = 10.0
"""After a failure; and keys aren't asked for more often, whoever shows a token of an unknown one."""
AT_ONCE = 4


class Fetch(Protocol):
    """As `fetching.fetch`."""

    def __call__(
        self, url: str, *, closest: int, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in on its way through the provider, of one browser. `session_id` and `user_id`: of who links their account."""

    state: str
    nonce: str
    verifier: str = field(repr=False)
    redirect_uri: str
    following: str = "/"
    session_id: str = ""
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class Claims:
    """Who it is, by the provider's word. `email`: "" unless it is verified."""

    issuer: str
    subject: str
    email: str
    groups: tuple[str, ...]


@dataclass(slots=True)
class _Read:
    value: Any = None
    at_s: float = -STALE_S
    tried_s: float = -AGAIN_S
    error: QanatError | None = None


class Provider:
    """The one that the settings name. Safe for many threads; no more than a few of them wait for it at once."""

    def __init__(self, settings: OidcSettings, *, fetch: Fetch = fetch, clock: Any = monotonic) -> None:
        self.settings = settings
        self._fetch = fetch
        self._clock = clock
        self._turns = Semaphore(AT_ONCE)
        self._lock = Lock()
        self._documents: dict[str, _Read] = {}
        self._closest: int | None = None

    @property
    def issuer(self) -> str:
        """As it writes itself."""
        return self.settings.issuer or ""

    def begin(
        self, redirect_uri: str, *, following: str = "/", session_id: str = "", user_id: str = ""
    ) -> tuple[str, Begun]:
        """Where the browser goes, and what it has to come back with.

        Raises:
            QanatError: `oidc_failed`; RetryLaterError `busy`.
        """
        begun = Begun(
            state=token_urlsafe(32),
            nonce=token_urlsafe(32),
            verifier=token_urlsafe(48),
            redirect_uri=redirect_uri,
            following=following,
            session_id=session_id,
            user_id=user_id,
        )
        challenge = base64.urlsafe_b64encode(sha256(begun.verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(dict.fromkeys(("openid", *self.settings.scopes))),
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        at = self._endpoint("authorization_endpoint")
        return f"{at}{'&' if urlsplit(at).query else '?'}{urlencode(query)}", begun

    def leave(self, back: str) -> str | None:
        """Where the browser signs out of the provider as well; None: it has no such page."""
        at = self._metadata().get("end_session_endpoint")
        if not isinstance(at, str) or urlsplit(at).scheme not in ("https", "http"):
            return None
        query = urlencode({"client_id": self.settings.client_id, "post_logout_redirect_uri": back})
        return f"{at}{'&' if urlsplit(at).query else '?'}{query}"

    def finish(self, begun: Begun, given: Mapping[str, str]) -> Claims:
        """Who came back. `given`: the callback's query.

        Raises:
            QanatError: `oidc_refused`: the provider refused, or what it says isn't proven; `oidc_failed`; RetryLaterError `busy`.
        """
        if not hmac.compare_digest(given.get("state", "").encode(), begun.state.encode()):
            raise refused("the answer belongs to another sign-in")
        said_issuer = given.get("iss")
        if said_issuer is None and self._metadata().get("authorization_response_iss_parameter_supported") is True:
            raise refused("the answer doesn't say whose it is")
        if said_issuer is not None and said_issuer != self.issuer:
            raise refused("the answer is another issuer's")
        if "error" in given:
            told = " ".join(given[each] for each in ("error", "error_description") if each in given)
            raise refused(f"the provider says: {escape_text(told[:300])}")
        if not given.get("code"):
            raise refused("the provider gave no code")
        answer = self._tokens(begun, given["code"])
        claims = self._proven(answer["id_token"], begun.nonce)
        return self._claims({**claims, **self._more(claims, answer.get("access_token"))})

    def _tokens(self, begun: Begun, code: str) -> dict[str, Any]:
        settings, headers = self.settings, {}
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": begun.redirect_uri,
            "code_verifier": begun.verifier,
        }
        secret = self._secret()
        methods = self._metadata().get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if secret and "client_secret_basic" in methods:
            pair = f"{quote(settings.client_id, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = settings.client_id
            if secret:
                form["client_secret"] = secret
        answer = self._asked(self._endpoint("token_endpoint"), form=form, headers=headers)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise refused("the provider gave no ID token")
        return answer

    def _secret(self) -> str:
        file = self.settings.client_secret_file
        if file is None:
            return ""
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise QanatError(
                "oidc_failed", f"the client's secret can't be read: {error}", where="control.oidc.client_secret_file"
            ) from error

    def _more(self, claims: Mapping[str, Any], access_token: object) -> dict[str, Any]:
        """What the ID token leaves out of what is needed, by UserInfo (OpenID Connect Core, section 5.3), where the provider has
        it. It is believed only of the same subject; an address and whether it is verified come from one of them."""
        needed = ("email", *((self.settings.groups_claim,) if self.settings.roles else ()))
        has_more = isinstance(access_token, str) and "userinfo_endpoint" in self._metadata()
        if not has_more or all(name in claims for name in needed):
            return {}
        headers = {"authorization": f"Bearer {access_token}"}
        told = self._asked(self._endpoint("userinfo_endpoint"), headers=headers)
        if told.get("sub") != claims["sub"]:
            raise refused("the provider's UserInfo is of somebody else")
        more = {name: told[name] for name in needed if name in told and name not in claims}
        return {**more, "email_verified": told.get("email_verified")} if "email" in more else more

    def _proven(self, token: str, nonce: str) -> dict[str, Any]:
        """The ID token's claims."""
        try:
            head = jwt.get_unverified_header(token)
            algorithm = head.get("alg")
            if algorithm not in ALGORITHMS:
                raise refused(f"ID tokens signed by {str(algorithm)[:20]!r} are not taken")
            key = self._key(head.get("kid"), algorithm)
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self.settings.client_id,
                issuer=self.issuer,
                leeway=SKEW_S,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except (PyJWTError, TypeError, ValueError) as error:
            raise refused(f"the ID token isn't good: {error}") from error
        said = claims.get("nonce")
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
            raise refused("the ID token is of another sign-in")
        audience = claims["aud"]
        is_shared = (isinstance(audience, list) and len(audience) > 1) or "azp" in claims
        if is_shared and claims.get("azp") != self.settings.client_id:
            raise refused("the ID token was made for another client")
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise refused("the ID token names nobody")
        return claims

    def _claims(self, claims: Mapping[str, Any]) -> Claims:
        email, groups = claims.get("email"), claims.get(self.settings.groups_claim)
        is_verified = claims.get("email_verified") is True and isinstance(email, str)
        named = groups if isinstance(groups, list) else [groups]
        return Claims(
            self.issuer,
            claims["sub"],
            str(email) if is_verified else "",
            tuple(each for each in named if isinstance(each, str)),
        )

    def _key(self, key_id: object, algorithm: str) -> PyJWK:
        for is_again in (False, True):
            document = self._document(self._endpoint("jwks_uri"), again=is_again)
            found = [
                each for each in document.get("keys") or [] if isinstance(each, dict) and _is_usable(each, algorithm)
            ]
            named = [each for each in found if key_id is None or each.get("kid") == key_id]
            if len(named) == 1:
                return PyJWK(named[0], algorithm=algorithm)
            if named:
                raise refused("the ID token doesn't say which of the provider's keys signed it")
        raise refused("the ID token is signed by none of the provider's keys")

    def _metadata(self) -> dict[str, Any]:
        found = self._document(self.issuer.rstrip("/") + DISCOVERY)
        if found.get("issuer") != self.issuer:
            raise failed(
                f"the discovery document is of the issuer {str(found.get('issuer'))[:200]!r}, not of {self.issuer}"
            )
        return found

    def _endpoint(self, name: str) -> str:
        found = self._metadata().get(name)
        if not isinstance(found, str) or urlsplit(found).scheme not in ("https", "http"):
            raise failed(f"the provider's {name} is no URL")
        return found

    def _document(self, url: str, *, again: bool = False) -> dict[str, Any]:
        """A document of the provider's, as it was within the hour; `again`: as it is now, or was some seconds ago."""
        with self._lock:
            read = self._documents.setdefault(url, _Read())
            now = self._clock()
            is_due = now - read.at_s >= (AGAIN_S if again else FRESH_S)
            if not is_due or now - read.tried_s < AGAIN_S:
                if read.value is None or now - read.at_s >= STALE_S:
                    raise read.error or failed("the provider is being asked")
                known: dict[str, Any] = read.value
                return known
            read.tried_s = now
        try:
            found = self._asked(url)
        except QanatError as error:
            with self._lock:
                read.error = error
                if read.value is None or now - read.at_s >= STALE_S:
                    raise
                kept: dict[str, Any] = read.value
            return kept
        with self._lock:
            read.value, read.at_s, read.tried_s, read.error = found, now, -AGAIN_S if not again else now, None
        return found

    def _asked(
        self, url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        if not self._turns.acquire(blocking=False):
            raise RetryLaterError("busy", "others wait for the provider already", retry_after_s=1.0)
        try:
            if self._closest is None:
                self._closest = closeness(self.issuer)
            body = self._fetch(url, closest=self._closest, form=form, headers=headers)
        finally:
            self._turns.release()
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise failed(f"{urlsplit(url).hostname} answered with no JSON object")
        return found


def refused(message: str) -> QanatError:
    """What was shown proves nothing."""
    return QanatError("oidc_refused", message, where="control.oidc", hint="begin again, or sign in another way")


def _is_usable(key: Mapping[str, Any], algorithm: str) -> bool:
    kinds = {"R": "RSA", "P": "RSA", "E": "EC"}
    kind = "OKP" if algorithm == "EdDSA" else kinds[algorithm[0]]
    return key.get("kty") == kind and key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
