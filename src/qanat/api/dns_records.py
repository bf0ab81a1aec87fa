"""`/zones/{zone_id}/dns_records`."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, field_validator
from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import InstrumentedAttribute
from starlette.datastructures import QueryParams

from qanat.api.context import Ctx, Who
from qanat.api.envelope import ok, ok_page, rfc3339
from qanat.api.pagination import AskedPage
from qanat.errors import QanatError
from qanat.store import records, zones
from qanat.store.models import Record, Zone
from qanat.store.record_form import AUTOMATIC_TTL, PROXIABLE, RecordDraft, record_name, txt_value

router = APIRouter(tags=["dns_records"])


class RecordInput(BaseModel):
    """A record, or what of it changes. Fields that only answers have are ignored."""

    model_config = ConfigDict(strict=True)

    name: str | None = None
    type: str | None = None
    content: str | None = None
    ttl: int | None = None
    proxied: bool | None = None
    comment: str | None = None
    tags: list[str] | None = None
    settings: dict[str, Any] | None = None

    @field_validator("ttl", mode="before")
    @classmethod
    def _whole(cls, value: object) -> object:
        return int(value) if isinstance(value, float) and value.is_integer() else value


@router.get("/zones/{zone_id}/dns_records")
def list_records(zone_id: str, request: Request, ctx: Ctx, who: Who, page: AskedPage) -> Response:
    """The zone's records."""
    query = request.query_params
    with ctx.store.reading() as session:
        zone = zones.get_zone(session, zone_id, only=who.only_account)
        rows, total = records.list_records(
            session,
            zone.id,
            filters=list(_filters(query, zone)),
            match_any=query.get("match") == "any",
            order=query.get("order"),
            descending=query.get("direction") == "desc",
            offset=page.offset,
            limit=page.per_page,
        )
    return ok_page([shown(row, zone) for row in rows], page, total)


@router.post("/zones/{zone_id}/dns_records")
def create_record(zone_id: str, body: RecordInput, ctx: Ctx, who: Who) -> Response:
    """Makes a record; a proxied CNAME to `<tunnel id>.cfargotunnel.com` routes the hostname to that tunnel."""
    record = records.create_record(ctx.store, who.actor, zone_id, _draft(body), only=who.only_account)
    return ok(_shown_in(ctx, record))


@router.get("/zones/{zone_id}/dns_records/{record_id}")
def get_record(zone_id: str, record_id: str, ctx: Ctx, who: Who) -> Response:
    """One record."""
    with ctx.store.reading() as session:
        zone = zones.get_zone(session, zone_id, only=who.only_account)
        return ok(shown(records.get_record(session, zone.id, record_id), zone))


@router.put("/zones/{zone_id}/dns_records/{record_id}")
def replace_record(zone_id: str, record_id: str, body: RecordInput, ctx: Ctx, who: Who) -> Response:
    """The whole record anew: what is missing goes back to its default."""
    record = records.replace_record(ctx.store, who.actor, zone_id, record_id, _draft(body), only=who.only_account)
    return ok(_shown_in(ctx, record))


@router.patch("/zones/{zone_id}/dns_records/{record_id}")
def change_record(zone_id: str, record_id: str, body: RecordInput, ctx: Ctx, who: Who) -> Response:
    """What is given changes, `null` takes away, the rest stays."""
    with ctx.store.reading() as session:
        zone = zones.get_zone(session, zone_id, only=who.only_account)
        before = records.get_record(session, zone.id, record_id)
    record = records.replace_record(
        ctx.store, who.actor, zone_id, record_id, _changed(before, body), only=who.only_account
    )
    return ok(_shown_in(ctx, record))


@router.delete("/zones/{zone_id}/dns_records/{record_id}")
def delete_record(zone_id: str, record_id: str, ctx: Ctx, who: Who) -> Response:
    """Deletes a record."""
    record = records.delete_record(ctx.store, who.actor, zone_id, record_id, only=who.only_account)
    return ok({"id": record.id})


def shown(record: Record, zone: Zone) -> dict[str, Any]:
    """A record as stock clients read it (api.md 3.2)."""
    result: dict[str, Any] = {
        "id": record.id,
        "zone_id": zone.id,
        "zone_name": zone.name,
        "name": record.name,
        "type": record.type,
        "content": record.content,
        "proxiable": record.type in PROXIABLE,
        "proxied": record.proxied,
        "ttl": record.ttl,
        "settings": record.settings,
        "meta": {},
        "comment": record.comment,
        "tags": record.tags,
        "created_on": rfc3339(record.created_at),
        "modified_on": rfc3339(record.modified_at),
    }
    if record.comment_modified_at is not None:
        result["comment_modified_on"] = rfc3339(record.comment_modified_at)
    if record.tags_modified_at is not None:
        result["tags_modified_on"] = rfc3339(record.tags_modified_at)
    return result


def _shown_in(ctx: Ctx, record: Record) -> dict[str, Any]:
    with ctx.store.reading() as session:
        return shown(record, zones.get_zone(session, record.zone_id))


def _draft(body: RecordInput) -> RecordDraft:
    for field in ("type", "name", "content"):
        if getattr(body, field) is None:
            raise QanatError("body_malformed", "the field is required", where=field)
    return RecordDraft(
        name=body.name or "",
        type=body.type or "",
        content=body.content or "",
        ttl=AUTOMATIC_TTL if body.ttl is None else body.ttl,
        proxied=bool(body.proxied),
        comment=body.comment,
        tags=tuple(body.tags or ()),
        settings=_set(body.settings),
    )


def _changed(before: Record, body: RecordInput) -> RecordDraft:
    given = body.model_fields_set

    def taken(field: str, default: Any) -> Any:
        value = getattr(body, field) if field in given else getattr(before, field)
        return default if value is None else value

    # ttl of a proxied record reads as automatic; it stays so when the proxy is switched off, as on a fresh record.
    return RecordDraft(
        name=taken("name", before.name),
        type=taken("type", before.type),
        content=taken("content", before.content),
        ttl=taken("ttl", AUTOMATIC_TTL),
        proxied=taken("proxied", False),
        comment=body.comment if "comment" in given else before.comment,
        tags=tuple(taken("tags", ())),
        settings=_set(taken("settings", {})),
    )


def _set(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (settings or {}).items() if value is not None}


def _filters(query: QueryParams, zone: Zone) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    for text in _values(query, "name", "name.exact"):
        filters.append(Record.name == _name(text, zone))
    for text in _values(query, "content", "content.exact"):
        forms = {text, txt_value(text), text.lower().removesuffix(".")}
        filters.append(or_(Record.content == text, Record.content_key.in_(forms)))
    for text in _values(query, "comment", "comment.exact"):
        filters.append(Record.comment == text)
    columns: tuple[tuple[str, InstrumentedAttribute[Any]], ...] = (
        ("name", Record.name),
        ("content", Record.content),
        ("comment", Record.comment),
    )
    for field, column in columns:
        filters.extend(column.icontains(text, autoescape=True) for text in _values(query, f"{field}.contains"))
        filters.extend(column.istartswith(text, autoescape=True) for text in _values(query, f"{field}.startswith"))
        filters.extend(column.iendswith(text, autoescape=True) for text in _values(query, f"{field}.endswith"))
    if "comment.present" in query:
        filters.append(Record.comment.is_not(None))
    if "comment.absent" in query:
        filters.append(Record.comment.is_(None))
    for text in _values(query, "type"):
        filters.append(Record.type == text.upper())
    for text in _values(query, "proxied"):
        filters.append(Record.proxied.is_(text.lower() == "true"))
    for text in _values(query, "search"):
        filters.append(
            or_(*(column.icontains(text, autoescape=True) for column in (Record.name, Record.content, Record.comment)))
        )
    return filters


def _values(query: QueryParams, *names: str) -> list[str]:
    return [value for name in names for value in query.getlist(name) if value]


def _name(text: str, zone: Zone) -> str:
    """A filter's name is an FQDN already; one of another zone finds nothing instead of becoming relative."""
    bare = text.lower().removesuffix(".")
    try:
        name = record_name(bare, zone.name)
    except QanatError:
        return bare
    return name if bare == "@" or "." not in bare or bare.endswith(zone.name) or not bare.isascii() else bare
