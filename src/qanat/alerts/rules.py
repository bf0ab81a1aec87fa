"""Rules of an account: made, changed, silenced, deleted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from secrets import token_hex

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from qanat.alerts import kinds
from qanat.alerts.channels import check_name
from qanat.alerts.channels import listed as listed_channels
from qanat.errors import QanatError
from qanat.ids import parse_hostname
from qanat.store.database import Write
from qanat.store.models import AlertFiring, AlertRule, Tunnel, Zone
from qanat.store.reach import Reach

MOST_RULES = 100
LONGEST_SILENCE = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleContent:
    """What a rule says. `settings`: thresholds that aren't the kind's defaults; `channels`: ids, none: it is only shown."""

    name: str
    kind: str
    settings: Mapping[str, float] = field(default_factory=dict)
    tunnel_id: str | None = None
    zone_id: str | None = None
    hostname: str | None = None
    of_edge: bool = False
    channels: Sequence[str] = ()
    enabled: bool = True


def listed(session: Session, account_id: str) -> list[AlertRule]:
    """The oldest first, those that were made together by name."""
    query = select(AlertRule).where(AlertRule.account_id == account_id)
    return list(session.scalars(query.order_by(AlertRule.created_at, AlertRule.name, AlertRule.id)))


def get(session: Session, account_id: str, rule_id: str) -> AlertRule:
    """QanatError `alert_rule_unknown`, the same for another account's."""
    rule = session.get(AlertRule, rule_id)
    if rule is None or rule.account_id != account_id:
        raise QanatError("alert_rule_unknown", "no such rule")
    return rule


def add(write: Write, account_id: str, content: RuleContent, *, may_edge: bool) -> AlertRule:
    """`may_edge`: who asks sees every account, and with that the edge itself.

    Raises:
        QanatError: `alert_bad_field`, `alert_too_many`, `alert_edge_forbidden`, `alert_channel_unknown`.
    """
    values = checked(write.session, account_id, content, may_edge=may_edge)
    held = write.session.scalar(select(func.count()).where(AlertRule.account_id == account_id)) or 0
    if held >= MOST_RULES:
        raise QanatError("alert_too_many", f"an account has at most {MOST_RULES} rules", hint="delete some")
    rule = AlertRule(
        id=token_hex(16),
        account_id=account_id,
        silenced_until=None,
        created_at=write.at,
        modified_at=write.at,
        **values,
    )
    write.session.add(rule)
    write.session.flush()
    write.audit("alert_rule.create", rule.id, account_id=account_id, detail=_told(rule))
    return rule


def change(write: Write, account_id: str, rule_id: str, content: RuleContent, *, may_edge: bool) -> AlertRule:
    """What is open of it ends without a word when it means something else from now on. Raises as `add`, and
    `alert_rule_unknown`."""
    rule = get(write.session, account_id, rule_id)
    become(write, rule, checked(write.session, account_id, content, may_edge=may_edge), may_edge=may_edge)
    rule.modified_at = write.at
    write.audit("alert_rule.change", rule.id, account_id=account_id, detail=_told(rule))
    return rule


def become(write: Write, rule: AlertRule, values: Mapping[str, object], *, may_edge: bool) -> None:
    """What was `checked`; what is open of it ends where it means something else from now on. QanatError
    `alert_edge_forbidden`."""
    if rule.of_edge and not may_edge:
        raise _edge_forbidden()
    before = _meaning(rule)
    for name, value in values.items():
        setattr(rule, name, value)
    if _meaning(rule) != before or not rule.enabled:
        _end(write, rule)


def delete(write: Write, account_id: str, rule_id: str) -> AlertRule:
    """With what fired of it. QanatError `alert_rule_unknown`."""
    rule = get(write.session, account_id, rule_id)
    write.session.execute(sql_delete(AlertFiring).where(AlertFiring.rule_id == rule_id))
    write.session.delete(rule)
    write.audit("alert_rule.delete", rule_id, account_id=account_id, detail={"name": rule.name, "kind": rule.kind})
    return rule


def silence(write: Write, account_id: str, rule_id: str, *, for_s: float) -> AlertRule:
    """Nobody is told for so long (0: from now on they are again): what fired and still holds then is told at its end.

    Raises:
        QanatError: `alert_rule_unknown`, `alert_bad_field`.
    """
    rule = get(write.session, account_id, rule_id)
    if not 0 <= for_s <= LONGEST_SILENCE.total_seconds():
        raise QanatError(
            "alert_bad_field", f"a rule is silenced for 0 to {LONGEST_SILENCE.total_seconds():.0f} s", where="for_s"
        )
    rule.silenced_until = write.at + timedelta(seconds=for_s) if for_s else None
    write.audit(
        "alert_rule.silence", rule_id, account_id=account_id, detail={"name": rule.name, "until": rule.silenced_until}
    )
    return rule


def add_defaults(write: Write, account_id: str, *, channels: Sequence[str], may_edge: bool) -> list[AlertRule]:
    """A rule of each usual kind that the account has none of. Raises as `add`."""
    there = {rule.kind for rule in listed(write.session, account_id)}
    made = []
    for kind in kinds.DEFAULTS:
        if kind.name in there or (kind.of_edge == "must" and not may_edge):
            continue
        content = RuleContent(
            name=kind.label, kind=kind.name, channels=channels, of_edge=kind.of_edge != "never" and may_edge
        )
        made.append(add(write, account_id, content, may_edge=may_edge))
    if not made:
        write.idle()
    return made


def zone_names(session: Session, account_id: str, *, reach: Reach) -> dict[str, str]:
    """What a rule may be bounded to: the account's zones within reach, by id."""
    seen = reach.zones_where(Zone.id, Zone.account_id)
    query = select(Zone.id, Zone.name).where(Zone.account_id == account_id, seen).order_by(Zone.name)
    return {str(row[0]): str(row[1]) for row in session.execute(query)}


def checked(session: Session, account_id: str, content: RuleContent, *, may_edge: bool) -> dict[str, object]:
    """A rule's columns. Raises as `add`."""
    kind = kinds.get(content.kind)
    bounds = {"tunnel": content.tunnel_id, "zone": content.zone_id, "hostname": content.hostname}
    for name, value in bounds.items():
        if value is not None and name not in kind.bounds:
            where = name if name == "hostname" else f"{name}_id"
            raise QanatError("alert_bad_field", f"{kind.name} is not bounded to a {name}", where=where)
    if content.of_edge and kind.of_edge == "never":
        raise QanatError("alert_bad_field", f"{kind.name} is about nothing of the edge itself", where="of_edge")
    if kind.of_edge == "must" and not content.of_edge:
        raise QanatError("alert_bad_field", f"{kind.name} is about the edge itself, and has to say so", where="of_edge")
    if content.of_edge and not may_edge:
        raise _edge_forbidden()
    if content.tunnel_id is not None:
        tunnel = session.get(Tunnel, content.tunnel_id)
        if tunnel is None or tunnel.account_id != account_id or tunnel.deleted_at is not None:
            raise QanatError("alert_bad_field", "the account has no such tunnel", where="tunnel_id")
    if content.zone_id is not None:
        zone = session.get(Zone, content.zone_id)
        if zone is None or zone.account_id != account_id:
            raise QanatError("alert_bad_field", "the account has no such zone", where="zone_id")
    known = {channel.id for channel in listed_channels(session, account_id)}
    for channel_id in content.channels:
        if channel_id not in known:
            raise QanatError("alert_channel_unknown", f"no such channel: {channel_id[:40]!r}", where="channels")
    return {
        "name": check_name(content.name),
        "kind": kind.name,
        "enabled": content.enabled,
        "settings": kinds.checked(kind, content.settings),
        "tunnel_id": content.tunnel_id,
        "zone_id": content.zone_id,
        "hostname": _hostname(content.hostname),
        "of_edge": content.of_edge,
        "channels": list(dict.fromkeys(content.channels)),
    }


def _hostname(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return str(parse_hostname(text, wildcard=True))
    except QanatError as error:
        raise QanatError("alert_bad_field", error.message, where="hostname") from None


def _meaning(rule: AlertRule) -> tuple[object, ...]:
    return (rule.kind, rule.settings, rule.tunnel_id, rule.zone_id, rule.hostname, rule.of_edge)


def _end(write: Write, rule: AlertRule) -> None:
    there = update(AlertFiring).where(AlertFiring.rule_id == rule.id, AlertFiring.resolved_at.is_(None))
    write.session.execute(there.values(resolved_at=write.at))


def _told(rule: AlertRule) -> dict[str, object]:
    told = {"name": rule.name, "kind": rule.kind, "settings": rule.settings, "channels": rule.channels}
    bounds = {"tunnel_id": rule.tunnel_id, "zone_id": rule.zone_id, "hostname": rule.hostname}
    return {**told, **{name: value for name, value in bounds.items() if value is not None}, "enabled": rule.enabled}


def _edge_forbidden() -> QanatError:
    return QanatError(
        "alert_edge_forbidden",
        "a rule about the edge itself is for those who may edit every account",
        where="of_edge",
    )
