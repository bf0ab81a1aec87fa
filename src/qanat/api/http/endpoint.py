"""What an endpoint declares of the requests that it takes, below its `@router.…` and beside `@needs`: the gate in front of it
reads that, and knows no paths."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from qanat.api.http.body import MAX_BODY_BYTES, MAX_VALUES

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Form = Literal["json", "multipart"]
Weight = Literal["light", "heavy", "account"]


def _any_values(_size: int) -> int:
    return MAX_VALUES


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """As most endpoints are. `form`: of the body, where the method has one; whatever it is labelled. `max_bytes`: of the body;
    `max_values`: how many values and keys a body of so many bytes may have.

    `weight`: `light` for what is done at once; `heavy`: it may take a second whatever its body is; `account`: it holds a whole
    account, from the body's first byte on. `is_streamed`: its answer has no end in sight, and is sent as it is made.
    `asks_first`: who lacks what the endpoint needs is refused before the body is read.
    `refused_token`: code and message for a bad token, where they are others than everywhere.
    """

    form: Form = "json"
    max_bytes: int = MAX_BODY_BYTES
    max_values: Callable[[int], int] = _any_values
    weight: Weight = "light"
    is_streamed: bool = False
    asks_first: bool = False
    refused_token: tuple[str, str] | None = None


USUAL = Takes()


def takes(declared: Takes) -> Callable[[Endpoint], Endpoint]:
    """Declares what of an endpoint's requests is not as usual."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.qanat_takes = declared  # type: ignore[attr-defined]
        return endpoint

    return mark


def taken(endpoint: Callable[..., Any]) -> Takes:
    """What `takes` declared."""
    declared: Takes = getattr(endpoint, "qanat_takes", USUAL)
    return declared


HEAVY = Takes(weight="heavy")
STREAMED = Takes(is_streamed=True)
