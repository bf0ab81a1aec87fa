"""What the endpoints of zones answer."""

from typing import Annotated

from pydantic import Field

from qanat.api.http.shapes import Shape

ZONE_ID = "023e105f4ecef8ad9ca31a8372d0c353"
TIME = "2024-01-02T03:04:05.123456Z"


class ZoneAccountShape(Shape):
    """Whose zone it is."""

    id: Annotated[str, Field(examples=["01a7362d577a6c3019a474fd6f485823"])]
    name: Annotated[str, Field(examples=["first"])]


class ZoneOwnerShape(Shape):
    """The account, once more."""

    id: Annotated[str, Field(examples=["01a7362d577a6c3019a474fd6f485823"])]
    type: Annotated[str, Field(examples=["organization"])]
    name: Annotated[str, Field(examples=["first"])]


class PlanShape(Shape):
    """The one plan."""

    id: Annotated[str, Field(examples=["0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee"])]
    name: Annotated[str, Field(examples=["Free Website"])]
    price: Annotated[int, Field(examples=[0])]
    currency: Annotated[str, Field(examples=["USD"])]
    frequency: Annotated[str, Field(examples=[""])]
    is_subscribed: bool
    can_subscribe: bool
    legacy_id: Annotated[str, Field(examples=["free"])]
    legacy_discount: bool
    externally_managed: bool


class ZoneMetaShape(Shape):
    """Constants that clients read."""

    step: Annotated[int, Field(examples=[2])]
    custom_certificate_quota: Annotated[int, Field(examples=[0])]
    page_rule_quota: Annotated[int, Field(examples=[3])]
    phishing_detected: bool
    cdn_only: bool
    dns_only: bool
    foundation_dns: bool


class NamedShape(Shape):
    """Nobody."""

    id: str | None
    name: str | None


class IdShape(Shape):
    """Nothing."""

    id: str | None


class ZoneShape(Shape):
    """A zone."""

    id: Annotated[str, Field(examples=[ZONE_ID])]
    name: Annotated[str, Field(examples=["example.com"], description="international labels in Unicode")]
    status: Annotated[str, Field(examples=["active"])]
    paused: bool
    type: Annotated[str, Field(examples=["full"])]
    development_mode: Annotated[int, Field(examples=[0])]
    name_servers: Annotated[
        list[str], Field(examples=[["ns1.example.net", "ns2.example.net"]], description="of the edge's settings")
    ]
    original_name_servers: list[str] | None
    original_registrar: str | None
    original_dnshost: str | None
    vanity_name_servers: list[str]
    created_on: Annotated[str, Field(examples=[TIME])]
    modified_on: Annotated[str, Field(examples=[TIME])]
    activated_on: Annotated[str | None, Field(examples=[TIME])]
    account: ZoneAccountShape
    owner: ZoneOwnerShape
    plan: PlanShape
    meta: ZoneMetaShape
    tenant: NamedShape
    tenant_unit: IdShape
    permissions: Annotated[list[str], Field(examples=[["#zone:read", "#dns_records:edit"]])]


class RatePlanShape(Shape):
    """The plan of a subscription."""

    id: Annotated[str, Field(examples=["free"])]
    public_name: Annotated[str, Field(examples=["Free Website"])]
    currency: Annotated[str, Field(examples=["USD"])]
    scope: Annotated[str, Field(examples=["zone"])]
    sets: list[str]
    is_contract: bool
    externally_managed: bool


class SubscriptionShape(Shape):
    """A zone's subscription."""

    id: Annotated[str, Field(examples=[ZONE_ID])]
    state: Annotated[str, Field(examples=["Provisioned"])]
    price: Annotated[int, Field(examples=[0])]
    currency: Annotated[str, Field(examples=["USD"])]
    frequency: Annotated[str, Field(examples=["monthly"])]
    rate_plan: RatePlanShape
    component_values: list[dict[str, int]]


class DeletedZoneShape(Shape):
    """Which zone it was."""

    id: Annotated[str, Field(examples=[ZONE_ID])]


class PageRuleShape(Shape):
    """A page rule; there are none."""


class RegionalHostnameShape(Shape):
    """A regional hostname; there are none."""
