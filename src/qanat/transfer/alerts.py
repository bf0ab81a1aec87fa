"""Alert rules and channels of a document."""

import base64
import binascii
import json
from typing import Any

import msgspec

from qanat import structs
from qanat.alerts import channels, rules
from qanat.alerts.channels import KEY_BYTES, KEY_PREFIX, Mail, Security, Webhook
from qanat.alerts.rules import RuleContent
from qanat.control.policies import reach_of
from qanat.errors import QanatError
from qanat.ids import parse_record_id
from qanat.store.models import AlertChannel, AlertRule
from qanat.transfer.document import AlertChannelPart, AlertRulePart
from qanat.transfer.run import Run, put

LONGEST_PLACE = 300


class _MailPart(msgspec.Struct, kw_only=True):
    host: str
    port: int
    security: Security
    sender: str
    recipients: list[str]
    username: str = ""


def write(run: Run) -> None:
    """All of them, when tunnels and zones are written. A rule about the edge itself is for who may edit every account."""
    _channels(run)
    run.write.session.flush()
    _rules(run)


def _channels(run: Run) -> None:
    rows = run.rows(AlertChannel, (part.id for part in run.document.alert_channels))
    held = len(channels.listed(run.write.session, run.account_id))
    seen: set[str] = set()
    for part in run.document.alert_channels:
        try:
            _check_id(part.id, seen)
            row = rows.get(part.id)
            held += row is None
            if held > channels.MOST_CHANNELS:
                raise QanatError("alert_too_many", f"an account has at most {channels.MOST_CHANNELS} channels")
            _channel(run, part, row)
        except QanatError as error:
            run.conflict("alert channel", part.id, part.name, str(error))


def _channel(run: Run, part: AlertChannelPart, row: AlertChannel | None) -> None:
    if row is not None and (row.account_id != run.account_id or row.kind != part.kind):
        raise QanatError("import_conflict", "the id is taken, or the channel is of another kind here")
    given = _secret(run, part)
    own = json.loads(run.sealer.open(row.sealed_secret, row.id)) if row is not None else {}
    document, secret, lacks = _place(part, row, given, own)
    values: dict[str, Any] = {
        "name": channels.check_name(part.name),
        "enabled": part.enabled and _can_send(document, secret),
        "document": document,
        "created_at": part.created_at,
        "modified_at": part.modified_at,
    }
    if row is not None:
        changed = put(row, values)
        if secret != own:
            row.sealed_secret, changed = run.sealer.seal(json.dumps(secret).encode(), row.id), True
        run.step("alert channel", part.id, part.name, "change" if changed else "same", lacks or None)
        return
    run.write.session.add(
        AlertChannel(
            id=part.id,
            account_id=run.account_id,
            kind=part.kind,
            sealed_secret=run.sealer.seal(json.dumps(secret).encode(), part.id),
            last_at=None,
            last_error="",
            delivered_at=None,
            dropped=0,
            **values,
        )
    )
    if lacks:
        run.outcome.new_channels.append(part.name)
    run.step("alert channel", part.id, part.name, "create", lacks or None)


def _can_send(document: dict[str, Any], secret: dict[str, str]) -> bool:
    return bool(secret.get("url") or secret.get("password") or document.get("username") == "")


def _secret(run: Run, part: AlertChannelPart) -> dict[str, str] | None:
    """What the file has of it. QanatError `export_secret_damaged`."""
    if part.secret is None or run.secrets is None:
        return None
    try:
        return structs.decode(run.secrets.open(part.secret, part.id), dict[str, str])
    except msgspec.MsgspecError:
        raise QanatError("export_secret_damaged", "it holds no channel's secret", where=part.id) from None


def _place(
    part: AlertChannelPart, row: AlertChannel | None, given: dict[str, str] | None, own: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str], str]:
    """Where it leads, what is secret of that, and what is lacking: without the file's secrets the place that is known here
    stays, and a new one is told to nobody."""
    if part.kind == "webhook":
        if given is not None and given.get("url"):
            document, secret = channels.checked(Webhook(url=given["url"]), {}, {})
            return document, {**secret, "key": _key(given.get("key", ""))}, ""
        if row is not None:
            stays = part.document != row.document
            return dict(row.document), own, "its URL is not in the file: the one here stays" if stays else ""
        place = part.document.get("place")
        if not isinstance(place, str) or len(place) > LONGEST_PLACE or not place.isprintable():
            raise QanatError("import_conflict", "a webhook has a place")
        return {"place": place}, {"key": channels.new_key()}, "its URL is not in the file: give it, and switch it on"
    mail = _mail(part)
    if given is not None or not mail.username:
        return *channels.checked(_with(mail, (given or {}).get("password")), {}, {}), ""
    if row is not None:
        try:
            return *channels.checked(_with(mail, None), dict(row.document), own), ""
        except QanatError:
            return dict(row.document), own, "its password is not in the file: the server that is known here stays"
    document, _ = channels.checked(_with(mail, "-"), {}, {})
    return document, {"password": ""}, "its password is not in the file: give it, and switch it on"


def _mail(part: AlertChannelPart) -> _MailPart:
    try:
        return structs.convert(part.document, _MailPart)
    except msgspec.ValidationError as error:
        raise QanatError("import_conflict", f"a mailbox has another form: {error}") from error


def _with(part: _MailPart, password: str | None) -> Mail:
    return Mail(**msgspec.structs.asdict(part), password=password)


def _key(text: str) -> str:
    try:
        is_key = len(base64.b64decode(text.removeprefix(KEY_PREFIX), validate=True)) == KEY_BYTES
    except (ValueError, binascii.Error):
        is_key = False
    if not is_key or not text.startswith(KEY_PREFIX):
        raise QanatError("import_conflict", "a webhook's key has another form")
    return text


def _rules(run: Run) -> None:
    may_edge = reach_of(run.giver.policies, "account.edit").is_everything
    rows = run.rows(AlertRule, (part.id for part in run.document.alert_rules))
    held = len(rules.listed(run.write.session, run.account_id))
    seen: set[str] = set()
    for part in run.document.alert_rules:
        try:
            _check_id(part.id, seen)
            row = rows.get(part.id)
            held += row is None
            if held > rules.MOST_RULES:
                raise QanatError("alert_too_many", f"an account has at most {rules.MOST_RULES} rules")
            _rule(run, part, row, may_edge=may_edge)
        except QanatError as error:
            run.conflict("alert rule", part.id, part.name, str(error))


def _rule(run: Run, part: AlertRulePart, row: AlertRule | None, *, may_edge: bool) -> None:
    if row is not None and row.account_id != run.account_id:
        raise QanatError("import_conflict", "the id is taken")
    if row is not None and all(getattr(row, name) == getattr(part, name) for name in part.__struct_fields__):
        run.step("alert rule", part.id, part.name, "same")  # whoever may not change it leaves it as it is
        return
    content = {name: getattr(part, name) for name in RuleContent.__dataclass_fields__}
    values = rules.checked(run.write.session, run.account_id, RuleContent(**content), may_edge=may_edge)
    values |= {"created_at": part.created_at, "modified_at": part.modified_at}
    if row is not None:
        rules.become(run.write, row, values, may_edge=may_edge)
        run.step("alert rule", part.id, part.name, "change")
        return
    run.write.session.add(AlertRule(id=part.id, account_id=run.account_id, silenced_until=None, **values))
    run.step("alert rule", part.id, part.name, "create")


def _check_id(text: str, seen: set[str]) -> None:
    if text in seen or parse_record_id(text) != text:
        raise QanatError("import_conflict", "the id is twice in the file, or not in lower case")
    seen.add(text)
