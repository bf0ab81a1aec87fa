"""API tokens as the API answers them: the description, and the rows told in it."""

from datetime import datetime
from hashlib import sha256
from json import dumps
from typing import Annotated, Literal, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from qanat.api.http.envelope import rfc3339
from qanat.api.http.shapes import Shape
from qanat.auth.tokens import status
from qanat.store.models import ApiToken

HEX_ID = "023e105f4ecef8ad9ca31a8372d0c353"
MOMENT = "2026-01-02T03:04:05.678901Z"
Status = Literal["active", "disabled", "expired"]


class PermissionGroupShape(Shape):
    """What a policy can grant, on which kinds of resources."""

    id: Annotated[str, Field(examples=["4755a26eedb94da69e1066d98aa820be"])]
    name: Annotated[str, Field(examples=["DNS Write"])]
    scopes: Annotated[list[str], Field(examples=[["com.cloudflare.api.account.zone"]])]


class GroupShape(Shape):
    """A permission group in a policy."""

    id: Annotated[str, Field(examples=["4755a26eedb94da69e1066d98aa820be"])]
    name: Annotated[str, Field(examples=["DNS Write"])]


class PolicyShape(Shape):
    """What a token may do, or may not, on which resources."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    effect: Annotated[str, Field(examples=["allow"])]
    resources: Annotated[
        dict[str, str | dict[str, str]], Field(examples=[{f"com.cloudflare.api.account.zone.{HEX_ID}": "*"}])
    ]
    permission_groups: list[GroupShape]


_Bounds = TypedDict(
    "_Bounds",
    {
        "in": NotRequired[Annotated[list[str], Field(examples=[["192.0.2.0/24"]])]],
        "not_in": NotRequired[Annotated[list[str], Field(examples=[["192.0.2.7/32"]])]],
    },
)


class BoundsShape(Shape, _Bounds):
    """From where a token may be used, and from where not."""


_Condition = TypedDict("_Condition", {"request_ip": BoundsShape, "request.ip": BoundsShape})


class ConditionShape(Shape, _Condition):
    """The same bounds under two names: the v4 Terraform provider reads `request.ip`, all others `request_ip`."""


class VerifiedShape(Shape):
    """The token of the request."""

    id: Annotated[str, Field(examples=[HEX_ID])]
    status: Status
    not_before: Annotated[str | None, Field(examples=[None])]
    expires_on: Annotated[str | None, Field(examples=[None])]


class TokenShape(VerifiedShape):
    """A token, without its value. `condition` is there when it has bounds."""

    name: Annotated[str, Field(examples=["terraform"])]
    issued_on: Annotated[str, Field(examples=[MOMENT])]
    modified_on: Annotated[str, Field(examples=[MOMENT])]
    last_used_on: Annotated[str | None, Field(examples=[MOMENT])]
    last_used_from: Annotated[str | None, Field(examples=["192.0.2.7"])]
    policies: list[PolicyShape]
    condition: NotRequired[ConditionShape]


class NewTokenShape(TokenShape):
    """A token just made."""

    value: Annotated[
        str, Field(examples=["qnt_" + "x" * 36], description="the token itself; it can't be asked for again")
    ]


class DeletedShape(Shape):
    """What was deleted."""

    id: Annotated[str, Field(examples=[HEX_ID])]


def shown_verified(token: ApiToken, now: datetime) -> VerifiedShape:
    """A token as `verify` shows it."""
    return {
        "id": token.id,
        "status": status(token, now),
        "not_before": rfc3339(token.not_before),
        "expires_on": rfc3339(token.expires_on),
    }


def shown(token: ApiToken, now: datetime) -> TokenShape:
    """A token as its owner reads it. Policies and bounds are told as they were sent: Terraform compares them."""
    result: TokenShape = {
        "id": token.id,
        "status": status(token, now),
        "not_before": rfc3339(token.not_before),
        "expires_on": rfc3339(token.expires_on),
        "name": token.name,
        "issued_on": rfc3339(token.created_at),
        "modified_on": rfc3339(token.modified_at),
        "last_used_on": rfc3339(token.last_used_at),
        "last_used_from": token.last_used_from,
        "policies": [
            cast(PolicyShape, {"id": _policy_id(token, number), **policy})
            for number, policy in enumerate(token.policies)
        ],
    }
    bounds: BoundsShape = {}
    if token.allowed_ips:
        bounds["in"] = token.allowed_ips
    if token.denied_ips:
        bounds["not_in"] = token.denied_ips
    if bounds:
        result["condition"] = {"request_ip": bounds, "request.ip": bounds}
    return result


def _policy_id(token: ApiToken, number: int) -> str:
    """The same as long as the policy stays the same."""
    return sha256(dumps([token.id, number, token.policies[number]], sort_keys=True).encode()).hexdigest()[:32]
