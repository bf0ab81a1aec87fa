"""Channels of an account: webhooks and mailboxes. What is secret of them (a webhook's whole URL, its key, a password) is sealed;
a key is shown when it is made, and never again."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from os import urandom
from secrets import token_hex
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.control.users import check_email
from qanat.errors import QanatError
from qanat.ids import parse_hostname
from qanat.store.database import Write
from qanat.store.models import AlertChannel, AlertRule
from qanat.store.sealing import Sealer

Security = Literal["starttls", "tls", "none"]
MOST_CHANNELS = 20
MOST_RECIPIENTS = 10
MAX_NAME, MAX_URL, MAX_PASSWORD = 80, 2000, 1000
KEY_BYTES = 24
KEY_PREFIX = "whsec_"
"""As Standard Webhooks has it: what verifies such signatures takes the key as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """`url` None: as it is."""

    url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mailbox by somebody's SMTP server. `password` None: as it is."""

    host: str
    port: int
    security: Security
    sender: str
    recipients: Sequence[str]
    username: str = ""
    password: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelContent:
    """What a channel is."""

    name: str
    to: Webhook | Mail
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Opened:
    """A channel with its secrets. `url`, `key`: of a webhook; `password`: of a mailbox."""

    id: str
    kind: str
    document: dict[str, Any]
    url: str
    key: bytes
    password: str


def listed(session: Session, account_id: str) -> list[AlertChannel]:
    """The oldest first."""
    query = select(AlertChannel).where(AlertChannel.account_id == account_id)
    return list(session.scalars(query.order_by(AlertChannel.created_at, AlertChannel.id)))


def get(session: Session, account_id: str, channel_id: str) -> AlertChannel:
    """QanatError `alert_channel_unknown`, the same for another account's."""
    channel = session.get(AlertChannel, channel_id)
    if channel is None or channel.account_id != account_id:
        raise QanatError("alert_channel_unknown", "no such channel")
    return channel


def add(write: Write, sealer: Sealer, account_id: str, content: ChannelContent) -> tuple[AlertChannel, str | None]:
    """The channel, and a webhook's key.

    Raises:
        QanatError: `alert_bad_field`, `alert_too_many`.
    """
    held = write.session.scalar(select(func.count()).where(AlertChannel.account_id == account_id)) or 0
    if held >= MOST_CHANNELS:
        raise QanatError("alert_too_many", f"an account has at most {MOST_CHANNELS} channels", hint="delete some")
    channel_id = token_hex(16)
    document, secret = checked(content.to, {}, {})
    key = None
    if isinstance(content.to, Webhook):
        key = secret["key"] = new_key()
    channel = AlertChannel(
        id=channel_id,
        account_id=account_id,
        name=check_name(content.name),
        kind=_kind(content.to),
        enabled=content.enabled,
        document=document,
        sealed_secret=sealer.seal(json.dumps(secret).encode(), channel_id),
        created_at=write.at,
        modified_at=write.at,
        last_at=None,
        last_error="",
        delivered_at=None,
        dropped=0,
    )
    write.session.add(channel)
    write.session.flush()
    write.audit("alert_channel.create", channel_id, account_id=account_id, detail=_told(channel))
    return channel, key


def change(write: Write, sealer: Sealer, account_id: str, channel_id: str, content: ChannelContent) -> AlertChannel:
    """It stays of its kind. A password goes to no other server: where that changes it is to be given anew.

    Raises:
        QanatError: `alert_channel_unknown`, `alert_bad_field`.
    """
    channel = get(write.session, account_id, channel_id)
    if _kind(content.to) != channel.kind:
        raise QanatError("alert_bad_field", f"this channel is a {channel.kind}, and stays one", where="kind")
    secret = json.loads(sealer.open(channel.sealed_secret, channel.id))
    document, changed = checked(content.to, channel.document, secret)
    channel.name, channel.enabled = check_name(content.name), content.enabled
    channel.document = document
    if changed != secret:
        channel.sealed_secret = sealer.seal(json.dumps(changed).encode(), channel.id)
    channel.modified_at = write.at
    write.audit("alert_channel.change", channel.id, account_id=account_id, detail=_told(channel))
    return channel


def roll_key(write: Write, sealer: Sealer, account_id: str, channel_id: str) -> tuple[AlertChannel, str]:
    """Another key for a webhook; the one before signs no more.

    Raises:
        QanatError: `alert_channel_unknown`, `alert_bad_field`: it has no key.
    """
    channel = get(write.session, account_id, channel_id)
    if channel.kind != "webhook":
        raise QanatError("alert_bad_field", "only a webhook has a key", where="channel_id")
    secret = json.loads(sealer.open(channel.sealed_secret, channel.id))
    key = secret["key"] = new_key()
    channel.sealed_secret = sealer.seal(json.dumps(secret).encode(), channel.id)
    channel.modified_at = write.at
    write.audit("alert_channel.roll", channel.id, account_id=account_id, detail={"name": channel.name})
    return channel, key


def delete(write: Write, account_id: str, channel_id: str) -> AlertChannel:
    """With what waits for it; rules that named it name it no more. QanatError `alert_channel_unknown`."""
    channel = get(write.session, account_id, channel_id)
    for rule in write.session.scalars(select(AlertRule).where(AlertRule.account_id == account_id)):
        if channel_id in rule.channels:
            rule.channels = [each for each in rule.channels if each != channel_id]
    write.session.delete(channel)
    write.audit("alert_channel.delete", channel_id, account_id=account_id, detail={"name": channel.name})
    return channel


def opened(channel: AlertChannel, sealer: Sealer) -> Opened:
    """For whoever sends. QanatError `secret_key_wrong`; `alert_bad_field`: it has no URL yet."""
    secret = json.loads(sealer.open(channel.sealed_secret, channel.id))
    if channel.kind == "webhook" and not secret.get("url"):
        raise QanatError(
            "alert_bad_field", "its URL isn't known here: it came by an import", where="url", hint="give it"
        )
    return Opened(
        id=channel.id,
        kind=channel.kind,
        document=dict(channel.document),
        url=secret.get("url", ""),
        key=base64.b64decode(secret.get("key", "").removeprefix(KEY_PREFIX)),
        password=secret.get("password", ""),
    )


def check_name(name: str) -> str:
    """QanatError `alert_bad_field`."""
    bare = name.strip()
    if not 1 <= len(bare) <= MAX_NAME or not bare.isprintable():
        raise QanatError("alert_bad_field", f"a name has 1 to {MAX_NAME} printable characters", where="name")
    return bare


def check_url(url: str) -> str:
    """QanatError `alert_bad_field`. Where it leads is asked each time that something is sent (guard.py)."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (it raises)
    except ValueError:
        raise _bad("url", "not a URL") from None
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise _bad("url", f"a URL has at most {MAX_URL} printable ASCII characters, and no spaces")
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise _bad("url", "a URL such as https://hooks.example.com/… is wanted")
    if "@" in parts.netloc:
        raise _bad("url", "no name and password stand in a URL: check the signature instead")
    if parts.fragment:
        raise _bad("url", "a fragment (#…) is not sent")
    return url


def checked(
    to: Webhook | Mail, document: dict[str, Any], secret: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What may be shown, and what may not; `document`, `secret`: as they were. QanatError `alert_bad_field`."""
    if isinstance(to, Webhook):
        if to.url is None and "url" not in secret:
            raise _bad("url", "it is missing")
        url = check_url(to.url) if to.url is not None else secret["url"]
        return {"place": _place(url)}, {**secret, "url": url}
    if to.security not in get_args(Security):
        raise _bad("security", "it is starttls, tls or none")
    if not 1 <= to.port <= 65535:
        raise _bad("port", "it is from 1 to 65535")
    if not 1 <= len(to.recipients) <= MOST_RECIPIENTS:
        raise _bad("recipients", f"1 to {MOST_RECIPIENTS} addresses")
    if len(to.username) > MAX_PASSWORD or not to.username.isprintable():
        raise _bad("username", "not a user's name")
    shown = {
        "host": _host(to.host),
        "port": to.port,
        "security": to.security,
        "sender": _mailbox(to.sender, "sender"),
        "recipients": [_mailbox(each, "recipients") for each in to.recipients],
        "username": to.username,
    }
    is_same = all(shown[name] == document.get(name) for name in ("host", "port", "security", "username"))
    password = to.password if to.password is not None else secret.get("password", "") if is_same else ""
    if to.username and not password:
        raise _bad("password", "a user's name comes with a password, and that is given anew for another server")
    if len(password) > MAX_PASSWORD or "\x00" in password:
        raise _bad("password", f"at most {MAX_PASSWORD} characters")
    if password and to.security == "none":
        raise _bad("security", "a password goes only over TLS")
    return shown, {"password": password if to.username else ""}


def _host(text: str) -> str:
    bare = text.strip().strip("[]")
    try:
        return str(ip_address(bare))
    except ValueError:
        pass
    if bare == "localhost":
        return bare
    try:
        return str(parse_hostname(bare, wildcard=False))
    except QanatError as error:
        raise _bad("host", error.message) from None


def _mailbox(text: str, where: str) -> str:
    try:
        return check_email(text.strip())
    except QanatError as error:
        raise _bad(where, error.message) from None


def _place(url: str) -> str:
    """Of a URL what anybody may see: the path of many a webhook is its secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/…"


def _kind(to: Webhook | Mail) -> str:
    return "webhook" if isinstance(to, Webhook) else "email"


def new_key() -> str:
    """What a webhook is signed by."""
    return KEY_PREFIX + base64.b64encode(urandom(KEY_BYTES)).decode()


def _told(channel: AlertChannel) -> dict[str, object]:
    told = {"name": channel.name, "kind": channel.kind, "enabled": channel.enabled}
    return {**told, **cast(dict[str, object], channel.document)}


def _bad(where: str, message: str) -> QanatError:
    return QanatError("alert_bad_field", message, where=where)
