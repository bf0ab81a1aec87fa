"""What the endpoints answer: dictionaries, whose types are the OpenAPI description too. No model is made of an answer: what a
client sent is echoed byte by byte (api.md 2.5, 3.2), which a model's defaults would spoil."""

from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic asks for it below Python 3.12

Result = TypeVar("Result")


@with_config(ConfigDict(extra="allow"))
class Shape(TypedDict):
    """Base of the described answers; clients must tolerate further fields."""


class ErrorSource(Shape):
    """Which field of the body an error is about, a JSON pointer."""

    pointer: Annotated[str, Field(examples=["/config/ingress/2/service"])]


class ErrorLink(Shape):
    """What is behind an error."""

    code: Annotated[int, Field(examples=[6111])]
    message: Annotated[str, Field(examples=["Invalid format for Authorization header"])]


class ErrorShape(Shape):
    """One error: the stock `code`, and qanat's own stable `qanat_code` (docs/reference/errors)."""

    code: Annotated[int, Field(examples=[1056])]
    message: Annotated[str, Field(examples=["ingress[2].service: `htp://app` is in no form that a connector knows"])]
    qanat_code: NotRequired[Annotated[str, Field(examples=["ingress_bad_service"])]]
    source: NotRequired[ErrorSource]
    error_chain: NotRequired[Annotated[list[ErrorLink], Field(examples=[[]])]]


class ResultInfo(Shape):
    """Where a page is in its list."""

    page: Annotated[int, Field(ge=1, examples=[1])]
    per_page: Annotated[int, Field(ge=1, le=5000, examples=[100], description="as it was served")]
    count: Annotated[int, Field(ge=0, examples=[1], description="rows on this page")]
    total_count: Annotated[int, Field(ge=0, examples=[1])]
    total_pages: Annotated[int, Field(ge=0, examples=[1])]


class Envelope(BaseModel):
    """Base of what is around every answer, which is only described: its schema is built when somebody asks for it, not at every
    start of an edge."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class Failed(Envelope):
    """Every failure."""

    success: Literal[False]
    errors: list[ErrorShape] = Field(min_length=1)
    messages: list[str] = Field(examples=[[]], max_length=0)
    result: None


FAILS: dict[int | str, dict[str, Any]] = {"default": {"model": Failed, "description": "Refused or failed"}}


class Answer(Envelope, Generic[Result]):
    """Every success."""

    success: Literal[True]
    errors: list[ErrorShape] = Field(examples=[[]], max_length=0)
    messages: list[str] = Field(examples=[[]], max_length=0)
    result: Result


class PageAnswer(Envelope, Generic[Result]):
    """A page of a list."""

    success: Literal[True]
    errors: list[ErrorShape] = Field(examples=[[]], max_length=0)
    messages: list[str] = Field(examples=[[]], max_length=0)
    result: list[Result]
    result_info: ResultInfo


ConnectorTokenText = Annotated[
    str, Field(examples=["eyJhIjoiMDIzZTEwNWY0ZWNlZjhhZDljYTMxYTgzNzJkMGMzNTMiLCJ0IjoiZjcw…"])
]
ApiTokenText = Annotated[str, Field(examples=["qnt_" + "Z" * 36])]
JwtText = Annotated[str, Field(examples=["eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0dW4iOnsi…"])]


def answers(model: Any) -> dict[int | str, dict[str, Any]]:
    """`responses=` of an endpoint whose `result` is a `model`."""
    return {200: {"model": Answer[model], "description": "Done"}, **FAILS}


def page_answers(model: Any) -> dict[int | str, dict[str, Any]]:
    """`responses=` of an endpoint that answers a page of `model`s (and takes `AskedPage`: its parameters are described)."""
    return {200: {"model": PageAnswer[model], "description": "A page"}, **FAILS}


def text_answers(media_type: str, example: str) -> dict[int | str, dict[str, Any]]:
    """`responses=` of an endpoint that answers a text without an envelope."""
    content = {media_type: {"schema": {"type": "string"}, "example": example}}
    # no model: FastAPI would describe JSON beside it
    return {200: {"content": content, "description": "The text"}, **FAILS}


Described = str | tuple[str, Mapping[str, Any]]


def queries(described: Mapping[str, Described]) -> dict[str, Any]:
    """`openapi_extra=` of an endpoint that reads its query by hand: name → what it means, or that and its JSON schema.

    What isn't there is a text. A test calls every endpoint and compares what it read with what is described.
    """
    parameters = []
    for name, told in described.items():
        text, schema = (told, {"type": "string"}) if isinstance(told, str) else told
        parameters.append({"name": name, "in": "query", "required": False, "description": text, "schema": dict(schema)})
    return {"parameters": parameters}
