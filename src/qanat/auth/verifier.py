"""Who a request's credentials belong to: tokens from memory where that is safe, and the legacy key.

On SQLite this process alone writes, so a token stays in memory until a notice of any change of tokens; the notice comes
after the commit and before the change is answered, so that a deleted token is refused from its deletion's answer on. On
PostgreSQL another node may write: there every request reads the row.
"""

import hmac
import re
from collections import OrderedDict
from datetime import datetime, timedelta
from threading import Lock

import structlog

from qanat.auth.tokens import is_usable, is_well_formed, may_come_from, token_hash
from qanat.control import accounts, api_tokens
from qanat.control.policies import EVERYTHING_POLICY
from qanat.control.principal import KEY_KIND, Principal
from qanat.errors import QanatError
from qanat.store import Notice, Store
from qanat.store.models import ApiToken
from qanat.store.notices import NoticeKind

MAX_KEPT = 10_000
USE_NOTED_EVERY = timedelta(minutes=1)
KEY_FORM = re.compile(r"[0-9a-f]{37}")
EMAIL_FORM = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,255}")

log = structlog.get_logger(__name__)


class Verifier:
    """Safe for many threads; lives as long as its store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._kept: dict[bytes, ApiToken] = {}
        self._generation = 0
        self._uses = _Uses(store)
        store.notices.subscribe(self._hear)

    def verify(self, text: str, *, address: str) -> Principal:
        """Who the token belongs to. One that is unknown, wrong, expired, not valid yet, disabled or used from outside its
        bounds gets one and the same answer.

        Raises:
            QanatError: `token_refused`.
        """
        hashed = token_hash(text)
        token = self._kept.get(hashed)
        if token is None or not self._is_good(token, address):
            # Every refusal costs one reading, also of a token in memory: its time does not tell what is wrong.
            token = self._read(hashed) if is_well_formed(text) else None
        known = hmac.compare_digest(token.sha256 if token is not None else bytes(32), hashed)
        if token is None or not known or not self._is_good(token, address):
            raise QanatError("token_refused", "Invalid access token", where="Authorization")
        self._uses.note(token, address)
        return Principal(token=token, address=address)

    def recall(self, text: str, *, address: str) -> Principal | None:
        """As `verify`, where nothing has to be read or written; None: ask `verify`. Never waits for the database."""
        hashed = token_hash(text)
        token = self._kept.get(hashed)
        if token is None or not hmac.compare_digest(token.sha256, hashed):
            return None
        if not self._is_good(token, address) or not self._uses.is_noted(token, address):
            return None
        return Principal(token=token, address=address)

    def verify_key(self, email: str, key: str, *, address: str) -> Principal:
        """Who the legacy key and email belong to: all that the user may touch.

        Raises:
            QanatError: `credentials_email_malformed`, `credentials_key_malformed`, `credentials_unknown`.
        """
        check_key_form(email, key)
        with self._store.reading() as session:
            user = accounts.find_by_key(session, token_hash(key))
        is_theirs = hmac.compare_digest(
            user.email.casefold().encode() if user is not None else b"", email.casefold().encode("utf-8", "replace")
        )
        if user is None or not is_theirs:
            raise QanatError("credentials_unknown", "Unknown X-Auth-Key or X-Auth-Email")
        token = ApiToken(
            id=user.id,
            user_id=user.id,
            account_id=None,
            kind=KEY_KIND,
            policies=[EVERYTHING_POLICY],
            allowed_ips=[],
            denied_ips=[],
            disabled=False,
            not_before=None,
            expires_on=None,
            last_used_from=None,
        )
        self._uses.note(token, address)
        return Principal(token=token, address=address)

    def _is_good(self, token: ApiToken, address: str) -> bool:
        return is_usable(token, self._store.clock()) and may_come_from(token, address)

    def _read(self, hashed: bytes) -> ApiToken | None:
        generation = self._generation
        with self._store.reading() as session:
            token = api_tokens.find_by_sha256(session, hashed)
        if token is not None and self._store.file is not None:
            with self._lock:
                # A change between our reading and now would otherwise keep what it took away.
                if generation == self._generation and len(self._kept) < MAX_KEPT:
                    self._kept[hashed] = token
        return token

    def _hear(self, notice: Notice) -> None:
        if notice.kind is NoticeKind.API_TOKEN:
            with self._lock:
                self._generation += 1
                self._kept = {}


class _Uses:
    """Notes tokens' use, at most once a minute each, and the first from an address."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._addresses: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._noted: OrderedDict[str, datetime] = OrderedDict()

    def is_noted(self, token: ApiToken, address: str) -> bool:
        """Whether a use now needs no writing."""
        now = self._store.clock()
        with self._lock:
            return self._is_noted(token, address, now)

    def _is_noted(self, token: ApiToken, address: str, now: datetime) -> bool:
        noted = self._noted.get(token.id)
        return not self._is_new(token, address) and noted is not None and now - noted < USE_NOTED_EVERY

    def _is_new(self, token: ApiToken, address: str) -> bool:
        return (token.id, address) not in self._addresses and token.last_used_from != address

    def note(self, token: ApiToken, address: str) -> None:
        now = self._store.clock()
        seen = (token.id, address)
        with self._lock:
            if self._is_noted(token, address, now):
                return
            is_new = self._is_new(token, address)
            self._addresses[seen] = None
            self._noted[token.id] = now
            for memory in (self._addresses, self._noted):
                if len(memory) > MAX_KEPT:
                    memory.popitem(last=False)
        try:
            with self._store.recording() as write:
                api_tokens.note_use(write, token, address, is_new_address=is_new)
        except QanatError as error:
            # A full disk must not keep a good token from reading.
            with self._lock:
                self._noted.pop(token.id, None)
                if is_new:
                    self._addresses.pop(seen, None)
            log.warning("a token's use could not be noted", token_id=token.id, reason=error.message)


def check_key_form(email: str, key: str) -> None:
    """QanatError `credentials_email_malformed`, `credentials_key_malformed`."""
    if not EMAIL_FORM.fullmatch(email):
        raise QanatError(
            "credentials_email_malformed", "Invalid request headers", hint="Invalid format for X-Auth-Email header"
        )
    if not KEY_FORM.fullmatch(key):
        raise QanatError(
            "credentials_key_malformed", "Invalid request headers", hint="Invalid format for X-Auth-Key header"
        )
