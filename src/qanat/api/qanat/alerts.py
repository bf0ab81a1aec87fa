"""`/accounts/{account_id}/qanat/alerts`: rules, what fired of them, and the channels by which it is told."""

from fastapi import Request

from qanat.alerts import channels, deliveries, rules, sending
from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page
from qanat.api.http.filters import truth, words
from qanat.api.http.pagination import AskedPage
from qanat.api.http.paths import AccountPath, AlertChannelPath, AlertRulePath
from qanat.api.http.routes import resource
from qanat.api.http.shapes import queries
from qanat.api.qanat.alert_shapes import (
    ChannelInput,
    ChannelShape,
    DefaultsInput,
    DeletedShape,
    DeliveryShape,
    FiringShape,
    KeyedChannelShape,
    KindShape,
    RuleInput,
    RuleShape,
    SilenceInput,
    TestedShape,
    shown_channel,
    shown_delivery,
    shown_firing,
    shown_kinds,
    shown_rule,
)
from qanat.control.principal import Principal
from qanat.control.visibility import visible_account
from qanat.store.models import AlertChannel
from qanat.store.reach import Permission

router = resource(prefix="/accounts/{account_id}/qanat/alerts", tags=["qanat"])


@router.get("/kinds")
@needs("account.read")
def list_alert_kinds(account_id: AccountPath, ctx: Ctx, who: Who) -> Ok[list[KindShape]]:
    """What rules can be about, with their thresholds."""
    _check(ctx, who, account_id, "account.read")
    return ok(shown_kinds())


@router.get("/rules")
@needs("account.read")
def list_alert_rules(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[RuleShape]:
    """The account's rules, the oldest first."""
    _check(ctx, who, account_id, "account.read")
    with ctx.store.reading() as session:
        rows = rules.listed(session, account_id)
    some = rows[page.offset : page.offset + page.per_page]
    return ok_page([shown_rule(row) for row in some], page, len(rows))


@router.post("/rules")
@needs("account.edit")
def create_alert_rule(account_id: AccountPath, body: RuleInput, ctx: Ctx, who: Who) -> Ok[RuleShape]:
    """Makes a rule: it is looked at from now on."""
    _check(ctx, who, account_id, "account.edit")
    with ctx.store.writing(who.actor) as write:
        row = rules.add(write, account_id, body.content(), may_edge=_may_edge(who))
    return ok(shown_rule(row))


@router.post("/rules/defaults")
@needs("account.edit")
def create_default_alert_rules(account_id: AccountPath, body: DefaultsInput, ctx: Ctx, who: Who) -> Ok[list[RuleShape]]:
    """Makes a rule of each usual kind that the account has none of; answers those that were made."""
    _check(ctx, who, account_id, "account.edit")
    with ctx.store.writing(who.actor) as write:
        rows = rules.add_defaults(write, account_id, channels=body.channels, may_edge=_may_edge(who))
    return ok([shown_rule(row) for row in rows])


@router.get("/rules/{alert_rule_id}")
@needs("account.read")
def get_alert_rule(account_id: AccountPath, alert_rule_id: AlertRulePath, ctx: Ctx, who: Who) -> Ok[RuleShape]:
    """One rule."""
    _check(ctx, who, account_id, "account.read")
    with ctx.store.reading() as session:
        return ok(shown_rule(rules.get(session, account_id, alert_rule_id)))


@router.put("/rules/{alert_rule_id}")
@needs("account.edit")
def put_alert_rule(
    account_id: AccountPath, alert_rule_id: AlertRulePath, body: RuleInput, ctx: Ctx, who: Who
) -> Ok[RuleShape]:
    """Another content. What is open of it ends without a word if it means something else from now on."""
    _check(ctx, who, account_id, "account.edit")
    with ctx.store.writing(who.actor) as write:
        row = rules.change(write, account_id, alert_rule_id, body.content(), may_edge=_may_edge(who))
    return ok(shown_rule(row))


@router.post("/rules/{alert_rule_id}/silence")
@needs("tunnel.edit")
def silence_alert_rule(
    account_id: AccountPath, alert_rule_id: AlertRulePath, body: SilenceInput, ctx: Ctx, who: Who
) -> Ok[RuleShape]:
    """Nobody is told for so long. What fired meanwhile and still holds is told at the end."""
    _check(ctx, who, account_id, "tunnel.edit")
    with ctx.store.writing(who.actor) as write:
        row = rules.silence(write, account_id, alert_rule_id, for_s=body.for_s)
    return ok(shown_rule(row))


@router.delete("/rules/{alert_rule_id}")
@needs("account.edit")
def delete_alert_rule(account_id: AccountPath, alert_rule_id: AlertRulePath, ctx: Ctx, who: Who) -> Ok[DeletedShape]:
    """Deletes a rule with what fired of it."""
    _check(ctx, who, account_id, "account.edit")
    with ctx.store.writing(who.actor) as write:
        rules.delete(write, account_id, alert_rule_id)
    return ok({"id": alert_rule_id})


@router.get(
    "/firings",
    openapi_extra=queries(
        {
            "is_open": ("Those that hold now, or those that are over.", {"type": "boolean"}),
            "rule_id": "Those of this rule.",
        }
    ),
)
@needs("account.read")
def list_alert_firings(
    account_id: AccountPath, request: Request, ctx: Ctx, who: Who, page: AskedPage
) -> OkPage[FiringShape]:
    """What fired: what holds now, then the newest. Kept for 90 days."""
    _check(ctx, who, account_id, "account.read")
    query = request.query_params
    with ctx.store.reading() as session:
        rows, total = deliveries.firings(
            session,
            account_id,
            is_open=truth(query, "is_open"),
            rule_id=words(query, "rule_id"),
            offset=page.offset,
            limit=page.per_page,
        )
    return ok_page([shown_firing(row) for row in rows], page, total)


@router.get("/channels")
@needs("account.read")
def list_alert_channels(account_id: AccountPath, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[ChannelShape]:
    """The account's channels, the oldest first."""
    _check(ctx, who, account_id, "account.read")
    with ctx.store.reading() as session:
        rows, waiting = channels.listed(session, account_id), deliveries.waiting(session, account_id)
    some = rows[page.offset : page.offset + page.per_page]
    return ok_page([shown_channel(row, waiting.get(row.id, 0)) for row in some], page, len(rows))


@router.post("/channels")
@needs("account.edit")
def create_alert_channel(account_id: AccountPath, body: ChannelInput, ctx: Ctx, who: Who) -> Ok[KeyedChannelShape]:
    """Makes a channel. A webhook's key is in this answer, and in no other."""
    _check(ctx, who, account_id, "account.edit")
    with ctx.store.writing(who.actor) as write:
        row, key = channels.add(write, ctx.sealer, account_id, body.content())
    return ok({**shown_channel(row), "key": key})


@router.get("/channels/{alert_channel_id}")
@needs("account.read")
def get_alert_channel(
    account_id: AccountPath, alert_channel_id: AlertChannelPath, ctx: Ctx, who: Who
) -> Ok[ChannelShape]:
    """One channel."""
    _check(ctx, who, account_id, "account.read")
    return ok(_channel(ctx, account_id, alert_channel_id))


@router.put("/channels/{alert_channel_id}")
@needs("account.edit")
def put_alert_channel(
    account_id: AccountPath, alert_channel_id: AlertChannelPath, body: ChannelInput, ctx: Ctx, who: Who
) -> Ok[ChannelShape]:
    """Another content, of the same kind. A webhook's URL and a password stay where they are null."""
    _check(ctx, who, account_id, "account.edit")
    with ctx.store.writing(who.actor) as write:
        channels.change(write, ctx.sealer, account_id, alert_channel_id, body.content())
    return ok(_channel(ctx, account_id, alert_channel_id))


@router.post("/channels/{alert_channel_id}/key")
@needs("account.edit")
def roll_alert_channel_key(
    account_id: AccountPath, alert_channel_id: AlertChannelPath, ctx: Ctx, who: Who
) -> Ok[KeyedChannelShape]:
    """Another key for a webhook, in this answer alone; from now on it signs."""
    _check(ctx, who, account_id, "account.edit")
    with ctx.store.writing(who.actor) as write:
        row, key = channels.roll_key(write, ctx.sealer, account_id, alert_channel_id)
    return ok({**shown_channel(row), "key": key})


@router.post("/channels/{alert_channel_id}/test")
@needs("account.edit")
def check_alert_channel(
    account_id: AccountPath, alert_channel_id: AlertChannelPath, ctx: Ctx, who: Who
) -> Ok[TestedShape]:
    """Sends a real message now, and answers what came of it."""
    _check(ctx, who, account_id, "account.edit")
    with ctx.alerting.turn(alert_channel_id):
        tested = sending.try_out(ctx.store, ctx.sealer, ctx.sending, who.actor, account_id, alert_channel_id)
    return ok(
        {
            "delivered": tested.error is None,
            "code": tested.error.code if tested.error is not None else None,
            "error": str(tested.error) if tested.error is not None else None,
            "channel": shown_channel(tested.channel),
        }
    )


@router.delete("/channels/{alert_channel_id}")
@needs("account.edit")
def delete_alert_channel(
    account_id: AccountPath, alert_channel_id: AlertChannelPath, ctx: Ctx, who: Who
) -> Ok[DeletedShape]:
    """Deletes a channel with what waits for it; rules name it no more."""
    _check(ctx, who, account_id, "account.edit")
    with ctx.store.writing(who.actor) as write:
        channels.delete(write, account_id, alert_channel_id)
    return ok({"id": alert_channel_id})


@router.get("/deliveries", openapi_extra=queries({"channel_id": "Those of this channel."}))
@needs("account.read")
def list_alert_deliveries(
    account_id: AccountPath, request: Request, ctx: Ctx, who: Who, page: AskedPage
) -> OkPage[DeliveryShape]:
    """Messages, newest first: what waits, went out, failed or was dropped. The newest 1000 are kept, for 30 days."""
    _check(ctx, who, account_id, "account.read")
    with ctx.store.reading() as session:
        channel_id = words(request.query_params, "channel_id")
        rows, total = deliveries.page(
            session, account_id, channel_id=channel_id, offset=page.offset, limit=page.per_page
        )
    return ok_page([shown_delivery(row) for row in rows], page, total)


def _channel(ctx: Context, account_id: str, channel_id: str) -> ChannelShape:
    with ctx.store.reading() as session:
        row: AlertChannel = channels.get(session, account_id, channel_id)
        return shown_channel(row, deliveries.waiting(session, account_id).get(row.id, 0))


def _check(ctx: Context, who: Principal, account_id: str, permission: Permission) -> None:
    with ctx.store.reading() as session:
        visible_account(session, who, account_id, permission)


def _may_edge(who: Principal) -> bool:
    """What is the edge's own is seen by who edits every account."""
    return who.reach("account.edit").is_everything
