"""Alerts: what holds now and what did, the rules that say so, and the channels by which it is told."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.responses import RedirectResponse, Response

from qanat.alerts import channels, deliveries, kinds, rules, sending
from qanat.alerts.channels import ChannelContent, Mail, Security, Webhook
from qanat.alerts.kinds import DEFAULTS, KINDS, Threshold
from qanat.alerts.rules import RuleContent
from qanat.control import tunnel_overview
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.paging import Paging
from qanat.errors import QanatError
from qanat.store.reach import Reach

pages = Pages()

IN_LIST = 30
MOST_DELIVERIES = 10
SILENCES: Mapping[str, str] = MappingProxyType(
    {"3600": "an hour", "14400": "4 hours", "86400": "a day", "604800": "a week", "0": "no longer"}
)
SECURITIES: Mapping[Security, str] = MappingProxyType(
    {"starttls": "STARTTLS (port 587)", "tls": "TLS from the start (port 465)", "none": "none, for a server near by"}
)


@pages.get("/alerts", "account.read")
def listed(ask: Ask) -> Response:
    """All of it, what holds now first."""
    return _shown(ask)


@pages.post("/alerts/defaults", "account.edit")
def add_defaults(ask: Ask) -> Response:
    """The rules that are usual, told by every channel that there is."""
    with ask.desk.store.writing(ask.viewer.actor) as write:
        ids = [channel.id for channel in channels.listed(write.session, ask.viewer.account_id)]
        rules.add_defaults(write, ask.viewer.account_id, channels=ids, may_edge=_may_edge(ask))
    return RedirectResponse("/alerts", 303)


@pages.get("/alerts/rules/new", "account.edit")
def new_rule(ask: Ask) -> Response:
    """The form for one of a kind."""
    kind = kinds.get(ask.query("kind", "tunnel_down"))
    content = RuleContent(name=kind.label, kind=kind.name, of_edge=kind.of_edge == "must")
    return _rule_form(ask, content, "/alerts/rules")


@pages.post("/alerts/rules", "account.edit")
def create_rule(ask: Ask) -> Response:
    """One more."""
    content = _rule_content(ask, ask.form.get("kind", ""))
    with ask.desk.store.writing(ask.viewer.actor) as write:
        rules.add(write, ask.viewer.account_id, content, may_edge=_may_edge(ask))
    return RedirectResponse("/alerts", 303)


@pages.get("/alerts/rules/{rule_id}", "account.edit")
def edit_rule(ask: Ask) -> Response:
    """The form, as the rule is."""
    with ask.desk.store.reading() as session:
        rule = rules.get(session, ask.viewer.account_id, ask.place["rule_id"])
    content = RuleContent(
        name=rule.name,
        kind=rule.kind,
        settings=rule.settings,
        tunnel_id=rule.tunnel_id,
        zone_id=rule.zone_id,
        hostname=rule.hostname,
        of_edge=rule.of_edge,
        channels=rule.channels,
        enabled=rule.enabled,
    )
    return _rule_form(ask, content, f"/alerts/rules/{rule.id}")


@pages.post("/alerts/rules/{rule_id}", "account.edit")
def change_rule(ask: Ask) -> Response:
    """Another content, of the same kind."""
    account_id, rule_id = ask.viewer.account_id, ask.place["rule_id"]
    with ask.desk.store.writing(ask.viewer.actor) as write:
        content = _rule_content(ask, rules.get(write.session, account_id, rule_id).kind)
        rules.change(write, account_id, rule_id, content, may_edge=_may_edge(ask))
    return RedirectResponse("/alerts", 303)


@pages.post("/alerts/rules/{rule_id}/silence", "tunnel.edit")
def silence_rule(ask: Ask) -> Response:
    """Nobody is told for a time."""
    for_s = ask.form.get("for_s", "")
    if for_s not in SILENCES:
        raise QanatError("alert_bad_field", "choose one of the times", where="for_s")
    with ask.desk.store.writing(ask.viewer.actor) as write:
        rules.silence(write, ask.viewer.account_id, ask.place["rule_id"], for_s=float(for_s))
    return RedirectResponse("/alerts", 303)


@pages.post("/alerts/rules/{rule_id}/delete", "account.edit")
def delete_rule(ask: Ask) -> Response:
    """With what fired of it."""
    with ask.desk.store.writing(ask.viewer.actor) as write:
        rules.delete(write, ask.viewer.account_id, ask.place["rule_id"])
    return RedirectResponse("/alerts", 303)


@pages.get("/alerts/channels/new", "account.edit")
def new_channel(ask: Ask) -> Response:
    """The form for a webhook or a mailbox."""
    return _channel_form(ask, "email" if ask.query("kind") == "email" else "webhook", "", {}, "/alerts/channels")


@pages.post("/alerts/channels", "account.edit")
def create_channel(ask: Ask) -> Response:
    """One more; a webhook's key is shown this once."""
    content = _channel_content(ask, ask.form.get("kind", ""))
    with ask.desk.store.writing(ask.viewer.actor) as write:
        row, key = channels.add(write, ask.desk.keys.sealer, ask.viewer.account_id, content)
    return _shown(ask, key=key, made=row.name) if key is not None else RedirectResponse("/alerts", 303)


@pages.get("/alerts/channels/{channel_id}", "account.edit")
def edit_channel(ask: Ask) -> Response:
    """The form, as the channel is; neither its URL nor its password is shown."""
    with ask.desk.store.reading() as session:
        row = channels.get(session, ask.viewer.account_id, ask.place["channel_id"])
    return _channel_form(ask, row.kind, row.name, row.document, f"/alerts/channels/{row.id}", enabled=row.enabled)


@pages.post("/alerts/channels/{channel_id}", "account.edit")
def change_channel(ask: Ask) -> Response:
    """Another content."""
    account_id, channel_id = ask.viewer.account_id, ask.place["channel_id"]
    with ask.desk.store.writing(ask.viewer.actor) as write:
        content = _channel_content(ask, channels.get(write.session, account_id, channel_id).kind)
        channels.change(write, ask.desk.keys.sealer, account_id, channel_id, content)
    return RedirectResponse("/alerts", 303)


@pages.post("/alerts/channels/{channel_id}/test", "account.edit")
def try_channel(ask: Ask) -> Response:
    """Sends a real message now, and shows what came of it."""
    desk, channel_id = ask.desk, ask.place["channel_id"]
    with desk.alerting(channel_id):
        tested = sending.try_out(
            desk.store, desk.keys.sealer, desk.sending, ask.viewer.actor, ask.viewer.account_id, channel_id
        )
    return _shown(ask, tested=tested)


@pages.post("/alerts/channels/{channel_id}/key", "account.edit")
def roll_key(ask: Ask) -> Response:
    """Another key, which is shown this once."""
    with ask.desk.store.writing(ask.viewer.actor) as write:
        row, key = channels.roll_key(write, ask.desk.keys.sealer, ask.viewer.account_id, ask.place["channel_id"])
    return _shown(ask, key=key, made=row.name)


@pages.post("/alerts/channels/{channel_id}/delete", "account.edit")
def delete_channel(ask: Ask) -> Response:
    """With what waits for it."""
    with ask.desk.store.writing(ask.viewer.actor) as write:
        channels.delete(write, ask.viewer.account_id, ask.place["channel_id"])
    return RedirectResponse("/alerts", 303)


def _shown(ask: Ask, *, key: str | None = None, made: str = "", tested: sending.Tested | None = None) -> Response:
    account_id, now = ask.viewer.account_id, ask.desk.store.clock()
    with ask.desk.store.reading() as session:
        every, own = rules.listed(session, account_id), channels.listed(session, account_id)
        waiting = deliveries.waiting(session, account_id)
        _, total = deliveries.firings(session, account_id, offset=0, limit=1)
        paging = Paging.of(ask.number("page"), IN_LIST, total, path="/alerts", name="page")
        fired, _ = deliveries.firings(session, account_id, offset=paging.offset, limit=IN_LIST)
        sent, _ = deliveries.page(session, account_id, offset=0, limit=MOST_DELIVERIES)
    missing = [kind for kind in DEFAULTS if not any(rule.kind == kind.name for rule in every)]
    return ask.show(
        "alerts.html",
        rules=every,
        rule_names={rule.id: rule.name for rule in every},
        channels=own,
        channel_names={channel.id: channel.name for channel in own},
        fired=fired,
        sent=sent,
        waiting=waiting,
        paging=paging,
        kinds=KINDS,
        told_settings=_told_settings,
        missing=missing,
        silences=SILENCES,
        now=now,
        key=key,
        made=made,
        tested=tested,
        may_edit=ask.viewer.may("account.edit"),
        may_silence=ask.viewer.may("tunnel.edit"),
    )


def _told_settings(rule: Any) -> list[str]:
    """A rule's thresholds, as one would say them."""
    units = {each.name: each for each in KINDS[rule.kind].thresholds} if rule.kind in KINDS else {}
    found = []
    for name, value in rule.settings.items():
        each = units.get(name)
        unit = each.unit if each is not None else ""
        number = f"{value * 100:g}\u2009%" if unit == "share" else f"{value:g}{f' {unit}' if unit else ''}"
        found.append(f"{each.label if each is not None else name} {number}")
    return found


def _rule_form(ask: Ask, content: RuleContent, url: str) -> Response:
    kind, account_id = kinds.get(content.kind), ask.viewer.account_id
    with ask.desk.store.reading() as session:
        tunnels = tunnel_overview.rows(session, account_id) if "tunnel" in kind.bounds else []
        own = channels.listed(session, account_id)
        there = (
            rules.zone_names(session, account_id, reach=ask.viewer.reach("zone.read")) if "zone" in kind.bounds else {}
        )
    return ask.show(
        "alert-rule.html",
        content=content,
        kind=kind,
        values={each.name: f"{content.settings.get(each.name, each.default):g}" for each in kind.thresholds},
        tunnels=tunnels,
        zones=there,
        channels=own,
        url=url,
        may_edge=_may_edge(ask),
    )


def _rule_content(ask: Ask, kind_name: str) -> RuleContent:
    form, kind = ask.form, kinds.get(kind_name)
    prefix = "channel-"
    return RuleContent(
        name=form.get("name", ""),
        kind=kind.name,
        settings={each.name: _number(form, each) for each in kind.thresholds},
        tunnel_id=form.get("tunnel") or None,
        zone_id=form.get("zone") or None,
        hostname=form.get("hostname", "").strip() or None,
        of_edge=bool(form.get("of_edge")),
        channels=[name.removeprefix(prefix) for name in form if name.startswith(prefix)],
        enabled=bool(form.get("enabled")),
    )


def _number(form: Mapping[str, str], threshold: Threshold) -> float:
    text = form.get(threshold.name, "").strip()
    try:
        return float(text) if text else threshold.default
    except ValueError:
        raise QanatError("alert_bad_field", f"{text[:40]!r} is not a number", where=threshold.name) from None


def _channel_form(
    ask: Ask, kind: str, name: str, document: Mapping[str, object], url: str, *, enabled: bool = True
) -> Response:
    return ask.show(
        "alert-channel.html",
        kind=kind,
        name=name,
        document=document,
        url=url,
        enabled=enabled,
        securities=SECURITIES,
    )


def _channel_content(ask: Ask, kind: str) -> ChannelContent:
    form = ask.form
    name, enabled = form.get("name", ""), bool(form.get("enabled"))
    if kind == "webhook":
        return ChannelContent(name=name, to=Webhook(url=form.get("url", "").strip() or None), enabled=enabled)
    port = form.get("port", "").strip()
    if not (port.isascii() and port.isdigit() and len(port) < 6):
        raise QanatError("alert_bad_field", "it is from 1 to 65535", where="port")
    security = next((each for each in SECURITIES if each == form.get("security")), None)
    if security is None:
        raise QanatError("alert_bad_field", "choose one of them", where="security")
    mail = Mail(
        host=form.get("host", "").strip(),
        port=int(port),
        security=security,
        sender=form.get("sender", ""),
        recipients=form.get("recipients", "").replace(",", " ").split(),
        username=form.get("username", ""),
        password=form.get("password") or None,
    )
    return ChannelContent(name=name, to=mail, enabled=enabled)


def _may_edge(ask: Ask) -> bool:
    """Whoever may edit every account."""
    reach: Reach = ask.who.reach("account.edit")
    return reach.is_everything
