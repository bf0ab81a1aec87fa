"""What alerts look like in the API."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qanat.alerts.channels import ChannelContent, Mail, Webhook
from qanat.alerts.kinds import KINDS
from qanat.alerts.rules import RuleContent
from qanat.api.http.envelope import rfc3339
from qanat.api.http.shapes import Shape
from qanat.api.v4.token_shapes import HEX_ID, MOMENT
from qanat.errors import QanatError
from qanat.store.models import AlertChannel, AlertDelivery, AlertFiring, AlertRule

TUNNEL = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"
KIND = ", ".join(f"`{name}`" for name in KINDS)
SETTINGS = "thresholds of the kind; those left out have its defaults"
CHANNELS = "ids of channels; none: it is only shown"
KEY = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
URL = "https://hooks.example.com/services/T0/B0/x"


class RuleInput(BaseModel):
    """A rule."""

    model_config = ConfigDict(strict=True)

    name: str = Field(examples=["Tunnel down"])
    kind: str = Field(examples=["tunnel_down"], description=KIND)
    settings: dict[str, float] = Field(default_factory=dict, examples=[{"for_s": 60}], description=SETTINGS)
    tunnel_id: str | None = Field(default=None, examples=[None], description="only of this tunnel")
    zone_id: str | None = Field(default=None, examples=[None], description="only of hostnames in this zone")
    hostname: str | None = Field(default=None, examples=[None], description="only of this hostname")
    of_edge: bool = Field(
        default=False,
        examples=[False],
        description="also what belongs to the edge itself: certificates without a zone, sign-ins; for who may edit every account",
    )
    channels: list[str] = Field(default_factory=list, max_length=20, examples=[[]], description=CHANNELS)
    enabled: bool = Field(default=True, examples=[True])

    def content(self) -> RuleContent:
        """For the capability."""
        return RuleContent(**self.model_dump())


class DefaultsInput(BaseModel):
    """The rules that are usual."""

    model_config = ConfigDict(strict=True)

    channels: list[str] = Field(default_factory=list, max_length=20, examples=[[]], description=CHANNELS)


class SilenceInput(BaseModel):
    """For how long nobody is told."""

    model_config = ConfigDict(strict=True)

    for_s: float = Field(examples=[3600], description="0: from now on they are told again")


class ChannelInput(BaseModel):
    """A webhook (`url`) or a mailbox (the fields from `host` on)."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    name: str = Field(examples=["on call"])
    kind: Literal["webhook", "email"] = Field(examples=["webhook"])
    enabled: bool = Field(default=True, examples=[True])
    url: str | None = Field(
        default=None, examples=[URL], repr=False, description="never shown again; null at a change: as it is"
    )
    host: str | None = Field(default=None, examples=[None], description="of the SMTP server")
    port: int = Field(default=587, examples=[587])
    security: Literal["starttls", "tls", "none"] = Field(default="starttls", examples=["starttls"])
    sender: str | None = Field(default=None, examples=[None])
    recipients: list[str] = Field(default_factory=list, max_length=10, examples=[[]])
    username: str = Field(default="", examples=[""])
    password: str | None = Field(
        default=None, examples=[None], repr=False, description="never shown again; null at a change: as it is"
    )

    def content(self) -> ChannelContent:
        """For the capability. QanatError `alert_bad_field`."""
        if self.kind == "webhook":
            return ChannelContent(name=self.name, to=Webhook(url=self.url), enabled=self.enabled)
        if self.host is None or self.sender is None:
            where = "host" if self.host is None else "sender"
            raise QanatError("alert_bad_field", "a mailbox has a host, a sender and recipients", where=where)
        mail = Mail(
            host=self.host,
            port=self.port,
            security=self.security,
            sender=self.sender,
            recipients=self.recipients,
            username=self.username,
            password=self.password,
        )
        return ChannelContent(name=self.name, to=mail, enabled=self.enabled)


class RuleShape(Shape):
    """A rule."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    name: Annotated[str, Field(examples=["Tunnel down"])]
    kind: Annotated[str, Field(examples=["tunnel_down"])]
    settings: Annotated[dict[str, float], Field(examples=[{"for_s": 60}])]
    tunnel_id: Annotated[str | None, Field(examples=[TUNNEL])]
    zone_id: Annotated[str | None, Field(examples=[HEX_ID])]
    hostname: Annotated[str | None, Field(examples=["app.example.com"])]
    of_edge: Annotated[bool, Field(examples=[False])]
    channels: Annotated[list[str], Field(examples=[[HEX_ID]])]
    enabled: Annotated[bool, Field(examples=[True])]
    silenced_until: Annotated[str | None, Field(examples=[MOMENT])]
    created_at: Annotated[str, Field(examples=[MOMENT])]
    modified_at: Annotated[str, Field(examples=[MOMENT])]


class FiringShape(Shape):
    """One time that a rule held for something; open while `resolved_at` is null."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    rule_id: Annotated[str, Field(examples=[HEX_ID])]
    subject: Annotated[str, Field(examples=["tunnel web"])]
    why: Annotated[str, Field(examples=["no connector is connected"])]
    since: Annotated[str, Field(examples=[MOMENT])]
    fired_at: Annotated[str, Field(examples=[MOMENT])]
    told_at: Annotated[str | None, Field(examples=[MOMENT], description="null: silenced, or it has no channel")]
    resolved_at: Annotated[str | None, Field(examples=[None])]
    spells: Annotated[int, Field(examples=[1], description="how often it began while it was open")]


class ChannelShape(Shape):
    """A channel, and how its newest delivery went. Neither a webhook's path nor a password is shown."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    name: Annotated[str, Field(examples=["on call"])]
    kind: Annotated[Literal["webhook", "email"], Field(examples=["webhook"])]
    enabled: Annotated[bool, Field(examples=[True])]
    to: Annotated[dict[str, Any], Field(examples=[{"place": "https://hooks.example.com/…"}])]
    last_at: Annotated[str | None, Field(examples=[MOMENT])]
    last_error: Annotated[str, Field(examples=[""], description="of the newest try; empty: it went well")]
    delivered_at: Annotated[str | None, Field(examples=[MOMENT])]
    waiting: Annotated[int, Field(examples=[0])]
    dropped: Annotated[int, Field(examples=[0], description="messages that had no room in the queue, ever")]
    created_at: Annotated[str, Field(examples=[MOMENT])]
    modified_at: Annotated[str, Field(examples=[MOMENT])]


class KeyedChannelShape(ChannelShape):
    """A channel with its key."""

    key: Annotated[
        str | None, Field(examples=[KEY], description="by which a webhook is signed; shown here, and never again")
    ]


class TestedShape(Shape):
    """What came of a test."""

    delivered: Annotated[bool, Field(examples=[True])]
    code: Annotated[str | None, Field(examples=["alert_unreachable"])]
    error: Annotated[str | None, Field(examples=["hooks.example.com: no answer within 10 s"])]
    channel: ChannelShape


class DeliveryShape(Shape):
    """A message to a channel."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    event_id: Annotated[str, Field(examples=[HEX_ID], description="the same in every channel, at every try")]
    channel_id: Annotated[str, Field(examples=[HEX_ID])]
    type: Annotated[str, Field(examples=["alert.fired"])]
    title: Annotated[str, Field(examples=["Firing: Tunnel down: tunnel web"])]
    state: Annotated[Literal["waiting", "delivered", "failed", "dropped"], Field(examples=["delivered"])]
    attempts: Annotated[int, Field(examples=[1])]
    error: Annotated[str, Field(examples=[""])]
    created_at: Annotated[str, Field(examples=[MOMENT])]
    next_at: Annotated[str | None, Field(examples=[None], description="when it is tried again")]
    finished_at: Annotated[str | None, Field(examples=[MOMENT])]


class ThresholdShape(Shape):
    """A number of a kind."""

    name: Annotated[str, Field(examples=["for_s"])]
    unit: Annotated[str, Field(examples=["s"])]
    least: Annotated[float, Field(examples=[0])]
    most: Annotated[float, Field(examples=[86400])]
    default: Annotated[float, Field(examples=[60])]


class KindShape(Shape):
    """What a rule can be about."""

    kind: Annotated[str, Field(examples=["tunnel_down"])]
    label: Annotated[str, Field(examples=["Tunnel down"])]
    told: Annotated[str, Field(examples=["a tunnel is DOWN"])]
    settings: list[ThresholdShape]
    bounds: Annotated[list[str], Field(examples=[["tunnel"]])]
    of_edge: Annotated[Literal["never", "may", "must"], Field(examples=["never"])]


class DeletedShape(Shape):
    """What is gone."""

    id: Annotated[str, Field(examples=[HEX_ID])]


def shown_rule(row: AlertRule) -> RuleShape:
    """One."""
    return {
        "id": row.id,
        "name": row.name,
        "kind": row.kind,
        "settings": row.settings,
        "tunnel_id": row.tunnel_id,
        "zone_id": row.zone_id,
        "hostname": row.hostname,
        "of_edge": row.of_edge,
        "channels": row.channels,
        "enabled": row.enabled,
        "silenced_until": rfc3339(row.silenced_until),
        "created_at": rfc3339(row.created_at),
        "modified_at": rfc3339(row.modified_at),
    }


def shown_firing(row: AlertFiring) -> FiringShape:
    """One."""
    return {
        "id": row.id,
        "rule_id": row.rule_id,
        "subject": row.label,
        "why": row.why,
        "since": rfc3339(row.since),
        "fired_at": rfc3339(row.fired_at),
        "told_at": rfc3339(row.told_at),
        "resolved_at": rfc3339(row.resolved_at),
        "spells": row.spells,
    }


def shown_channel(row: AlertChannel, waiting: int = 0) -> ChannelShape:
    """One; `waiting`: messages."""
    return {
        "id": row.id,
        "name": row.name,
        "kind": "webhook" if row.kind == "webhook" else "email",
        "enabled": row.enabled,
        "to": row.document,
        "last_at": rfc3339(row.last_at),
        "last_error": row.last_error,
        "delivered_at": rfc3339(row.delivered_at),
        "waiting": waiting,
        "dropped": row.dropped,
        "created_at": rfc3339(row.created_at),
        "modified_at": rfc3339(row.modified_at),
    }


def shown_delivery(row: AlertDelivery) -> DeliveryShape:
    """One; what it says in full went out, and is not shown."""
    return {
        "id": row.id,
        "event_id": row.event_id,
        "channel_id": row.channel_id,
        "type": str(row.message.get("type", "")),
        "title": str(row.message.get("title", "")),
        "state": row.state,  # type: ignore[typeddict-item]
        "attempts": row.attempts,
        "error": row.error,
        "created_at": rfc3339(row.created_at),
        "next_at": rfc3339(row.next_at) if row.state == "waiting" else None,
        "finished_at": rfc3339(row.finished_at),
    }


def shown_kinds() -> list[KindShape]:
    """Every kind."""
    return [
        {
            "kind": kind.name,
            "label": kind.label,
            "told": kind.told,
            "settings": [
                {
                    "name": each.name,
                    "unit": each.unit,
                    "least": each.least,
                    "most": each.most,
                    "default": each.default,
                }
                for each in kind.thresholds
            ],
            "bounds": list(kind.bounds),
            "of_edge": kind.of_edge,
        }
        for kind in KINDS.values()
    ]
