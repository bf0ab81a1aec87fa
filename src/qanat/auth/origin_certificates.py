"""cert.pem for the management commands of stock cloudflared and ours (api.md 4.2): a token for an account's tunnels and one
zone's records. Granted on the page of `tunnel login`, it waits here, sealed, for the client that knows the key."""

import json
import re
from base64 import b64encode
from datetime import timedelta
from hashlib import sha256
from textwrap import wrap

from sqlalchemy import select

from qanat.auth.tokens import issue
from qanat.control import accounts, api_tokens, zones
from qanat.control.api_tokens import Owner
from qanat.control.grants import check_held
from qanat.control.policies import origin_certificate_policies
from qanat.control.principal import Principal
from qanat.control.zones import account_of
from qanat.errors import QanatError
from qanat.store import Actor, Store, Write
from qanat.store.models import ApiToken, WaitingCertificate, Zone
from qanat.store.sealing import Sealer

KIND = "origin_cert"
PEM_TYPE = "ARGO TUNNEL TOKEN"
PEM_COLUMNS = 64
WAITS = timedelta(minutes=15)

_KEY = re.compile(r"[A-Za-z0-9_-]{43,128}={0,2}")
"""At least 256 bits, as stock's: whoever knows it gets the certificate."""


def make(write: Write, who: Principal, zone_id: str) -> tuple[str, ApiToken, Zone]:
    """The token's text, which nobody can ask for again, its row, and the zone. The account owns it: it is listed and deleted with
    the account's tokens, and bounded as whoever asks is.

    Raises:
        QanatError: `zone_unknown`, `account_unknown`; `token_escalates`: the asking one may not do all that itself.
    """
    session = write.session
    zone = zones.get(session, zone_id, reach=who.reach("zone.read"))
    account = accounts.get(session, zone.account_id, reach=who.reach("token.edit"))
    policies = origin_certificate_policies(account.id, zone.id)
    check_held(who.token.policies, policies, account_of(session), where="Authorization")
    text, token = issue(
        write,
        name=f"origin certificate of {zone.name}"[:120],
        policies=policies,
        owner=Owner(user_id=who.token.user_id, account_id=account.id),
        kind=KIND,
        allowed_ips=who.token.allowed_ips,
        denied_ips=who.token.denied_ips,
        expires_on=who.token.expires_on,
    )
    return text, token, zone


def pem(zone: Zone, token: str, *, api_url: str = "") -> str:
    """The text that cloudflared reads; without an `endpoint`, which would only choose among Cloudflare's own. `api_url`: of the
    API that made it, which `qanat` goes by and a stock cloudflared passes over."""
    fields = {"zoneID": zone.id, "accountID": zone.account_id, "apiToken": token}
    if api_url:
        fields["apiURL"] = api_url
    body = b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()
    return "\n".join([f"-----BEGIN {PEM_TYPE}-----", *wrap(body, PEM_COLUMNS), f"-----END {PEM_TYPE}-----", ""])


def is_key(key: str) -> bool:
    """Whether a client may have made it."""
    return _KEY.fullmatch(key) is not None


def leave(write: Write, sealer: Sealer, key: str, token: ApiToken, text: str) -> None:
    """For who knows the key, once, and not for long. QanatError `login_callback_bad`: no key, or one that was used before."""
    if not is_key(key):
        raise QanatError(
            "login_callback_bad", "the callback names no key", where="callback", hint="run the login again"
        )
    row_id = _id(key)
    if write.session.get(WaitingCertificate, row_id) is not None:
        raise QanatError(
            "login_callback_bad", "this login was allowed already", where="callback", hint="run the login again"
        )
    sealed = sealer.seal(text.encode(), row_id)
    ends = write.at + WAITS
    write.session.add(
        WaitingCertificate(id=row_id, token_id=token.id, sealed_secret=sealed, expires_at=ends, fetched_at=None)
    )
    detail = {"expires_at": ends.isoformat()}
    write.audit("origin_certificate.grant", token.id, account_id=token.account_id, detail=detail)


def fetch(store: Store, sealer: Sealer, key: str, *, address: str) -> str | None:
    """What waits for the key, once; None: nothing does, or not any more."""
    row_id = _id(key)
    with store.reading() as session:
        known = session.get(WaitingCertificate, row_id)
        if known is None or known.fetched_at is not None:
            return None
    with store.recording() as write:
        row = write.session.get(WaitingCertificate, row_id)
        token = write.session.get(ApiToken, row.token_id) if row is not None else None
        if row is None or token is None or row.fetched_at is not None or write.at >= row.expires_at:
            return None
        text = sealer.open(row.sealed_secret, row.id).decode()
        row.sealed_secret, row.fetched_at = sealer.seal(b"", row.id), write.at
        fetcher = Actor(kind="address", name=address, address=address)
        write.audit("origin_certificate.fetch", token.id, account_id=token.account_id, actor=fetcher)
    return text


def sweep(store: Store) -> int:
    """Takes back what nobody fetched in time, with its token; how many."""
    over = select(WaitingCertificate).where(WaitingCertificate.expires_at <= store.clock())
    with store.reading() as session:
        if session.scalar(over.limit(1)) is None:
            return 0
    taken = 0
    with store.recording() as write:
        for row in write.session.scalars(over).all():
            token = write.session.get(ApiToken, row.token_id)
            write.session.delete(row)
            write.session.flush()
            if token is not None and row.fetched_at is None:
                api_tokens.delete(write, token.id, owner=Owner(user_id=token.user_id, account_id=token.account_id))
                taken += 1
    return taken


def _id(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
