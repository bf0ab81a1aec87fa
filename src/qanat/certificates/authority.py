"""A CA and our account with it, by certbot's `acme` library (RFC 8555, 9773): orders, and every way in which they fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event
from time import monotonic
from typing import Any

import josepy
import requests
import urllib3
from acme import client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization

from qanat.certificates import pem
from qanat.certificates.failure import OrderFailedError, Whose
from qanat.certificates.network import Network
from qanat.certificates.pem import Facts
from qanat.certificates.proofs import Prover
from qanat.errors import QanatError

ORDER_S = 300.0
ASK_AGAIN = timedelta(hours=6)
EARLY = timedelta(hours=1)
"""Clocks of CAs and hosts differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Who we are to a CA. `external`: key id and HMAC key (base64url) that bind the account to one with it (RFC 8555 7.3.4)."""

    email: str
    agreed: bool
    external: tuple[str, str] | None = None


class _Order(messages.NewOrder):
    """With the certificate that it replaces (RFC 9773 5)."""

    replaces: str | None = josepy.field("replaces", omitempty=True)


class Authority:
    """One conversation with a CA. `account_url` None: `register` comes first."""

    def __init__(
        self,
        directory: str,
        account_key: bytes,
        *,
        account_url: str | None = None,
        ca_file: str | None = None,
        now: Callable[[], datetime],
        stopping: Event | None = None,
        limit_s: float = ORDER_S,
    ) -> None:
        self._url = directory
        self._key = josepy.JWKEC(key=serialization.load_pem_private_key(account_key, None))
        self._account_url = account_url
        self._now = now
        self._stopping = stopping or Event()
        self._ends_at = monotonic() + limit_s
        self._limit = timedelta(seconds=limit_s)
        self._network = Network(self._key, ca_file=ca_file, now=now, ends_at=self._ends_at, stopping=self._stopping)
        self._client: client.ClientV2 | None = None

    @property
    def account_key(self) -> josepy.JWK:
        """What key authorizations are made with."""
        return self._key

    def register(self, terms: Terms) -> str:
        """The account's URL; the one before, where this key has an account. OrderFailedError."""
        with self._told():
            ca = self._open()
            meta = ca.directory.meta if "meta" in ca.directory.to_partial_json() else None
            service = getattr(meta, "terms_of_service", None)
            if service and not terms.agreed:
                raise OrderFailedError(
                    "acme_terms",
                    f"the CA's terms of service ({service}) are not agreed to",
                    whose="authority",
                    where="acme.terms_agreed",
                    hint="read them, and switch acme.terms_agreed on",
                )
            if getattr(meta, "external_account_required", False) and terms.external is None:
                raise OrderFailedError(
                    "acme_account_refused",
                    "the CA takes only accounts that are bound to one with it",
                    whose="authority",
                    where="acme.external_accounts",
                    hint="get a key id and an HMAC key from the CA, and name them under acme.external_accounts",
                )
            given: dict[str, Any] = {}
            if terms.external is not None:
                key_id, hmac_key = terms.external
                given["external_account_binding"] = messages.ExternalAccountBinding.from_data(
                    self._key.public_key(), key_id, hmac_key, ca.directory
                )
            asked = messages.NewRegistration.from_data(email=terms.email, terms_of_service_agreed=True, **given)
            try:
                url = ca.new_account(asked).uri
            except errors.ConflictError as known:
                url = known.location
            if not str(url).startswith(("https://", "http://")):
                raise _bad("its answer names no account")
            self._account_url = url
            return url

    def obtain(
        self,
        name: str,
        key: bytes,
        prover: Prover,
        *,
        open_url: str | None = None,
        replaces: bytes | None = None,
        opened: Callable[[str], None] = lambda url: None,
    ) -> tuple[str, Facts]:
        """A chain for one name and a key of ours, and what it is. `open_url`: an order that was begun before; `replaces`: the
        chain that is renewed; `opened` is told of a new order. OrderFailedError."""
        with self._told():
            ca = self._open()
            csr = crypto_util.make_csr(key, [name])
            order = self._reopened(ca, open_url, name, csr) if open_url is not None else None
            if order is None:
                order = self._ordered(ca, name, csr, replaces)
                opened(order.uri)
            bare = name.removeprefix("*.")
            with prover.proving():
                for authorization in order.authorizations:
                    body = authorization.body
                    if body.identifier.value.lower() != bare:
                        raise _bad(
                            f"it asks for a proof of {str(body.identifier.value)[:80]!r}, and the order is for {name}"
                        )
                    if body.status == messages.STATUS_PENDING:
                        ca.answer_challenge(*prover.prove(name, body.challenges, self._key))
                deadline = datetime.now() + timedelta(seconds=max(1.0, self._ends_at - monotonic()))
                if order.body.status in (messages.STATUS_PENDING, None):
                    order = ca.poll_authorizations(order, deadline)
                chain = self._finished(ca, order)
            return chain, self._checked(chain, key, name)

    def renewal(self, chain: bytes) -> tuple[datetime | None, datetime]:
        """When the CA would have a certificate renewed (None: it doesn't say), and when to ask again (RFC 9773).
        OrderFailedError."""
        with self._told():
            ca = self._open()
            try:
                renew_at, ask_at = ca.renewal_time(chain)
            except errors.ARIError as error:
                raise error.__cause__ or error from None
            if renew_at is not None and renew_at.tzinfo is None:
                renew_at = renew_at.replace(tzinfo=UTC)
            # The library's own moment has no time zone: what counts is how far away it is.
            wait = min(max(ask_at - datetime.now(), timedelta(minutes=10)), timedelta(days=1))
            return renew_at, self._now() + wait

    def _open(self) -> client.ClientV2:
        if self._client is None:
            directory = client.ClientV2.get_directory(self._url, self._network)
            for needed in ("newNonce", "newAccount", "newOrder"):
                if needed not in directory.to_partial_json():
                    raise _bad(f"its directory has no {needed}")
            self._client = client.ClientV2(directory, self._network)
        if self._account_url is not None:
            self._network.account = messages.RegistrationResource(uri=self._account_url, body=messages.Registration())
        return self._client

    def _ordered(self, ca: client.ClientV2, name: str, csr: bytes, replaces: bytes | None) -> messages.OrderResource:
        asked: dict[str, Any] = {"identifiers": [messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name)]}
        if replaces is not None and "renewalInfo" in ca.directory.to_partial_json():
            asked["replaces"] = client._renewal_info_path_component(pem.read_chain(replaces)[0])
        try:
            response = ca._post(ca.directory["newOrder"], _Order(**asked))
        except messages.Error as error:
            if "replaces" not in asked or error.code not in (
                "alreadyReplaced",
                "malformed",
                "unauthorized",
                "conflict",
            ):
                raise
            del asked["replaces"]
            response = ca._post(ca.directory["newOrder"], _Order(**asked))
        url = response.headers.get("Location")
        if not url:
            raise _bad("its answer to an order has no Location")
        return self._order_of(ca, url, response, csr)

    def _reopened(self, ca: client.ClientV2, url: str, name: str, csr: bytes) -> messages.OrderResource | None:
        """An order that was begun before a restart; None: it came to nothing, or the CA knows nothing of it."""
        try:
            order = self._order_of(ca, url, ca._post_as_get(url), csr)
        except messages.Error as error:
            if error.code in ("rateLimited", "serverInternal", "accountDoesNotExist"):
                raise
            return None
        names = {each.value.lower() for each in order.body.identifiers or ()}
        return None if order.body.status == messages.STATUS_INVALID or names != {name} else order

    def _order_of(self, ca: client.ClientV2, url: str, response: Any, csr: bytes) -> messages.OrderResource:
        body = messages.Order.from_json(response.json())
        if not body.authorizations or not body.finalize:
            raise _bad("its order names no authorizations, or nothing to finalize it by")
        authorizations = [ca._authzr_from_response(ca._post_as_get(each), uri=each) for each in body.authorizations]
        for each in authorizations:
            told: Any = each.body  # whatever the library's types say, a CA may leave out anything
            if told.identifier is None or not told.challenges:
                raise _bad("its authorization names no host, or no challenges")
        return messages.OrderResource(body=body, uri=url, authorizations=authorizations, csr_pem=csr)

    def _finished(self, ca: client.ClientV2, order: messages.OrderResource) -> str:
        """The chain. (The library's own loop sleeps before it looks, and can't be stopped.)"""
        asked = False
        while order.body.status != messages.STATUS_VALID:
            if order.body.status == messages.STATUS_INVALID:
                raise errors.IssuanceError(order.body.error or messages.Error.with_code("rejectedIdentifier"))
            if order.body.status != messages.STATUS_PROCESSING and not asked:
                try:
                    order = ca.begin_finalization(order)
                    asked = True
                    continue
                except messages.Error as error:
                    if error.code != "orderNotReady":
                        raise
            self._pause()
            body = messages.Order.from_json(ca._post_as_get(order.uri).json())
            asked = asked and body.status != messages.STATUS_READY
            order = order.update(body=body)
        if not order.body.certificate:
            raise _bad("its order is valid, and names no certificate")
        return str(ca._post_as_get(order.body.certificate).text)

    def _pause(self) -> None:
        """As long as the CA asks for, within reason."""
        asked = self._network.not_before
        wait = (asked - self._now()).total_seconds() if asked is not None else 1.0
        self._stopping.wait(min(max(wait, 0.5), 10.0))

    def _checked(self, chain: str, key: bytes, name: str) -> Facts:
        """Nothing is served that isn't what was asked for."""
        try:
            found = pem.check_pair(chain.encode(), key, now=self._now())
        except QanatError as error:
            raise OrderFailedError(
                "acme_certificate_bad", f"the CA's certificate: {error.message}", whose="authority"
            ) from error
        if found.names != (name,):
            raise OrderFailedError(
                "acme_certificate_bad",
                f"the CA's certificate is for {', '.join(found.names[:5])}, not {name}",
                whose="authority",
            )
        if found.not_before > self._now() + EARLY:
            reason = f"the CA's certificate is good only from {found.not_before:%Y-%m-%d %H:%M} UTC on"
            raise OrderFailedError("acme_certificate_bad", reason, whose="authority")
        return found

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever a CA or the way to it does becomes an OrderFailedError."""
        try:
            yield
        except OrderFailedError:
            raise
        except errors.ValidationError as error:
            raise OrderFailedError(
                "acme_validation_failed",
                _cut(f"the CA could not check that the name leads here: {_problems(error)}"),
                whose="name",
                hint="its DNS must lead to this edge, and ports 80 and 443 from the internet to its listeners",
            ) from error
        except messages.Error as error:
            raise self._refused(error) from error
        except errors.IssuanceError as error:
            raise self._refused(error.error) from error
        except requests.exceptions.JSONDecodeError as error:
            raise _bad("it is cut, or no JSON") from error
        except (errors.TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise OrderFailedError(
                "acme_timeout",
                f"the CA took more than {self._limit.total_seconds():g} s, or didn't answer",
                whose="authority",
            ) from error
        except requests.exceptions.SSLError as error:
            reason = f"the CA's own certificate is not trusted: {_cut(str(error))}"
            raise OrderFailedError("acme_unreachable", reason, whose="authority", where="acme.ca_file") from error
        except (requests.RequestException, OSError) as error:
            raise OrderFailedError(
                "acme_unreachable", f"the CA can't be reached: {_cut(str(error))}", whose="authority"
            ) from error
        except QanatError as error:
            raise OrderFailedError(error.code, error.message, whose="name", hint=error.hint) from error
        except Exception as error:  # the library's errors, and parsers' of whatever was answered
            response = error.args[0] if error.args and isinstance(error.args[0], requests.Response) else None
            if response is not None and response.status_code in (429, 503):
                raise self._limited(f"HTTP {response.status_code}") from error
            told = f"HTTP {response.status_code}" if response is not None else f"{type(error).__name__}: {error}"
            raise _bad(_cut(told)) from error

    def _refused(self, error: messages.Error) -> OrderFailedError:
        told = _cut(" ".join(each for each in (error.detail, *(sub.detail for sub in error.subproblems or ())) if each))
        code = error.code or "unknown"
        if code == "rateLimited":
            return self._limited(told)
        if code == "accountDoesNotExist":
            return OrderFailedError("acme_account_unknown", f"the CA has no such account: {told}", whose="authority")
        if code in ("externalAccountRequired", "invalidContact", "unsupportedContact", "userActionRequired"):
            return OrderFailedError(
                "acme_account_refused", f"the CA refuses the account: {told} ({code})", whose="authority"
            )
        whose: Whose = (
            "authority" if code in ("serverInternal", "badNonce", "unknown", "malformed", "unauthorized") else "name"
        )
        return OrderFailedError(
            "acme_refused", f"the CA refuses: {told} ({code})", whose=whose, not_before=self._network.not_before
        )

    def _limited(self, told: str) -> OrderFailedError:
        return OrderFailedError(
            "acme_rate_limited",
            f"the CA has had too many requests: {told}",
            whose="authority",
            not_before=self._network.not_before,
        )


def _problems(error: errors.ValidationError) -> str:
    told = []
    for authorization in error.failed_authzrs:
        for challenge in authorization.body.challenges:
            if challenge.error is not None:
                told.append(f"{challenge.chall.typ}: {challenge.error.detail or challenge.error.code}")
    return "; ".join(told) or "no reason given"


def _bad(reason: str) -> OrderFailedError:
    return OrderFailedError("acme_answer_bad", f"the CA's answer can't be used: {reason}", whose="authority")


def _cut(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:299]}…"
