"""What the endpoints of records take and answer."""

from typing import Annotated, Any, NotRequired

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from qanat.api.http.shapes import Shape
from qanat.control.record_changes import RecordChange
from qanat.dns.forms import AUTOMATIC_TTL, RecordDraft
from qanat.errors import QanatError

RECORD_ID = "372e67954025e0ba6aaa6d586b9e0b59"
TUNNEL_TARGET = "c1744f8b-faa1-48a4-9e5c-02ac921467fa.cfargotunnel.com"
EXAMPLE: JsonDict = {"type": "CNAME", "name": "app.example.com", "content": TUNNEL_TARGET, "proxied": True, "ttl": 1}
DATA_EXAMPLE = {"priority": 10, "weight": 5, "port": 5060, "target": "sip.example.com"}


class SettingsInput(BaseModel):
    """Settings of a record; others are ignored."""

    model_config = ConfigDict(strict=True)

    flatten_cname: bool | None = None
    ipv4_only: bool | None = None
    ipv6_only: bool | None = None


class RecordInput(BaseModel):
    """A record, or what of it changes. Fields that only answers have are ignored."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [EXAMPLE]})

    name: str | None = Field(None, description="`@`, relative to the zone, or whole.")
    type: str | None = None
    content: str | None = Field(None, description="The value as text; types with parts take `data` instead.")
    data: dict[str, Any] | None = Field(None, description="The parts of the value.", examples=[DATA_EXAMPLE])
    priority: int | None = Field(None, description="Of MX and URI; of SRV where `data` has none.")
    ttl: int | None = Field(None, description="1 (automatic), or 30 to 86400 seconds; a proxied record has 1.")
    proxied: bool | None = None
    comment: str | None = Field(None, description="At most 500 characters.")
    tags: list[str] | None = Field(None, examples=[["team:web"]])
    settings: SettingsInput | None = None
    private_routing: bool | None = None

    @field_validator("ttl", "priority", mode="before")
    @classmethod
    def _whole(cls, value: object) -> object:
        return int(value) if isinstance(value, float) and value.is_integer() else value

    @field_validator("proxied", mode="before")
    @classmethod
    def _boolean(cls, value: object) -> object:
        if value is not None and not isinstance(value, bool):
            raise PydanticCustomError("record_bad_proxied", "it is true or false")
        return value

    def draft(self) -> RecordDraft:
        """The whole record: what isn't given has its default. QanatError `body_malformed`: a field is missing."""
        for field in ("type", "name"):
            if getattr(self, field) is None and not (field == "name" and self.type == "SRV" and self.data):
                raise QanatError("body_malformed", "the field is required", where=field)
        if self.content is None and not self.data:
            raise QanatError("body_malformed", "the field is required", where="content")
        return RecordDraft(
            name=self.name or "",
            type=self.type or "",
            content=self.content,
            data=self.data,
            priority=self.priority,
            ttl=AUTOMATIC_TTL if self.ttl is None else self.ttl,
            proxied=bool(self.proxied),
            comment=self.comment,
            tags=tuple(self.tags or ()),
            settings=self.settings.model_dump() if self.settings else {},
            private_routing=self.private_routing,
        )

    def change(self) -> RecordChange:
        """Only what is given."""
        given = {field: getattr(self, field) for field in self.model_fields_set if field != "id"}
        if self.settings is not None:
            given["settings"] = self.settings.model_dump()
        return RecordChange(given)


class RecordIdInput(BaseModel):
    """Which record."""

    model_config = ConfigDict(strict=True)

    id: str = Field(examples=[RECORD_ID])


class IdentifiedRecordInput(RecordInput):
    """A record with its id."""

    id: str = Field(examples=[RECORD_ID])


class BatchInput(BaseModel):
    """Changes that happen together or not at all: deletes, then patches, puts and posts."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"deletes": [{"id": RECORD_ID}], "posts": [EXAMPLE]}]}
    )

    deletes: list[RecordIdInput] | None = None
    patches: list[IdentifiedRecordInput] | None = None
    puts: list[IdentifiedRecordInput] | None = None
    posts: list[RecordInput] | None = None


class RecordShape(Shape):
    """A record. `data` is there when it was written so; in lists also when it was derived from the content."""

    id: Annotated[str, Field(examples=[RECORD_ID])]
    zone_id: Annotated[str, Field(examples=["023e105f4ecef8ad9ca31a8372d0c353"])]
    zone_name: Annotated[str, Field(examples=["example.com"])]
    name: Annotated[str, Field(examples=["app.example.com"])]
    type: Annotated[str, Field(examples=["CNAME"])]
    content: Annotated[str, Field(examples=[TUNNEL_TARGET])]
    data: NotRequired[Annotated[dict[str, str | int | float], Field(examples=[DATA_EXAMPLE])]]
    priority: NotRequired[Annotated[int, Field(examples=[10])]]
    proxiable: Annotated[bool, Field(examples=[True])]
    proxied: Annotated[bool, Field(examples=[True])]
    ttl: Annotated[int, Field(examples=[1])]
    settings: Annotated[
        dict[str, bool], Field(examples=[{"flatten_cname": False, "ipv4_only": False, "ipv6_only": False}])
    ]
    meta: dict[str, str]
    comment: Annotated[str | None, Field(examples=["the shop"])]
    tags: Annotated[list[str], Field(examples=[["team:web"]])]
    private_routing: NotRequired[bool]
    created_on: Annotated[str, Field(examples=["2024-01-02T03:04:05.123456Z"])]
    modified_on: Annotated[str, Field(examples=["2024-01-02T03:04:05.123456Z"])]
    comment_modified_on: NotRequired[Annotated[str, Field(examples=["2024-01-02T03:04:05.123456Z"])]]
    tags_modified_on: NotRequired[Annotated[str, Field(examples=["2024-01-02T03:04:05.123456Z"])]]


class DeletedRecordShape(Shape):
    """What was deleted."""

    id: Annotated[str, Field(examples=[RECORD_ID])]


class BatchShape(Shape):
    """The records of a batch, each list in the order of the request."""

    deletes: list[RecordShape]
    patches: list[RecordShape]
    puts: list[RecordShape]
    posts: list[RecordShape]


class ImportShape(Shape):
    """How an import went; records that were there already are parsed and not added."""

    recs_added: Annotated[int, Field(examples=[5])]
    total_records_parsed: Annotated[int, Field(examples=[5])]
