"""`/zones/{zone_id}/dns_records`."""

from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.responses import PlainTextResponse

from qanat.api.http.conditional import IfMatch, versioned
from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.endpoint import HEAVY, Takes, takes
from qanat.api.http.envelope import Ok, OkPage, ok, ok_page, rfc3339
from qanat.api.http.forms import read_form
from qanat.api.http.pagination import AskedPage
from qanat.api.http.repointing import Repoint
from qanat.api.http.routes import resource
from qanat.api.http.shapes import queries, text_answers
from qanat.api.v4.record_filters import QUERIES, filters, searched
from qanat.api.v4.record_shapes import BatchInput, BatchShape, DeletedRecordShape, ImportShape, RecordInput, RecordShape
from qanat.control import record_batches, records, zones
from qanat.control.principal import Principal
from qanat.dns import zone_file
from qanat.dns.forms import RecordDraft, check_record
from qanat.dns.record_types import PROXIABLE, RECORD_TYPES
from qanat.errors import QanatError
from qanat.ids import shown_hostname
from qanat.store.models import Record, Zone
from qanat.store.versions import row_version

router = resource(tags=["dns_records"])

ZONE_FILE = "$ORIGIN example.com.\n\n;; A Records\napp.example.com.\t1\tIN\tA\t192.0.2.1 ; cf_tags=cf-proxied:true\n"
FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "description": "A zone file.", "example": ZONE_FILE},
                        "proxied": {
                            "type": "string",
                            "enum": ["true", "false"],
                            "description": "For what can be proxied and doesn't say. Default `false`.",
                        },
                    },
                }
            }
        },
    }
}

Form = Annotated[dict[str, bytes], Depends(read_form)]


@router.get("/zones/{zone_id}/dns_records", openapi_extra=queries(QUERIES))
@needs("dns.read")
def list_records(zone_id: str, request: Request, ctx: Ctx, who: Who, page: AskedPage) -> OkPage[RecordShape]:
    """The zone's records."""
    query = request.query_params
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=who.reach("dns.read"))
        rows, total = records.page(
            session,
            zone.id,
            filters=filters(session, query, zone),
            match_any=query.get("match") == "any",
            search=searched(query),
            order=query.get("order"),
            descending=query.get("direction") == "desc",
            offset=page.offset,
            limit=page.per_page,
        )
    return ok_page([shown(row, zone, is_listed=True) for row in rows], page, total)


@router.post("/zones/{zone_id}/dns_records")
@needs("dns.edit")
def create_record(zone_id: str, body: RecordInput, ctx: Ctx, who: Who) -> Ok[RecordShape]:
    """Makes a record; a proxied CNAME to `<tunnel id>.cfargotunnel.com` routes the hostname to that tunnel."""
    with ctx.store.writing(who.actor) as write:
        record = records.create(write, zone_id, body.draft(), reach=who.reach("dns.edit"))
    return versioned(ok(_shown_in(ctx, record)), row_version(record))


@router.post("/zones/{zone_id}/dns_records/batch")
@needs("dns.edit")
@takes(HEAVY)
def batch_records(zone_id: str, body: BatchInput, ctx: Ctx, who: Who, repoint: Repoint) -> Ok[BatchShape]:
    """Deletes, patches, puts and posts, in this order and all or none. A hostname that a post makes anew is asked about like one
    that is repointed, when its old record is among the deletes."""
    reach = who.reach("dns.edit")
    batch = record_batches.Batch(
        deletes=[item.id for item in body.deletes or ()],
        patches=[(item.id, item.change()) for item in body.patches or ()],
        puts=[(item.id, _placed(f"puts[{at}]", item)) for at, item in enumerate(body.puts or ())],
        posts=[_placed(f"posts[{at}]", item) for at, item in enumerate(body.posts or ())],
    )
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=reach)
    checked = record_batches.check_batch(batch, zone.name)
    guard = repoint.guard(zone, record_batches.foreseen(checked, zone.name))
    with ctx.store.writing(who.actor) as write:
        done = record_batches.apply_batch(write, zone.id, checked, reach=reach, repoint=guard)
    repoint.watch(guard, who)
    return ok(
        {
            "deletes": [shown(record, zone) for record in done.deletes],
            "patches": [shown(record, zone) for record in done.patches],
            "puts": [shown(record, zone) for record in done.puts],
            "posts": [shown(record, zone) for record in done.posts],
        }
    )


@router.get("/zones/{zone_id}/dns_records/export", responses=text_answers("text/plain", ZONE_FILE))
@needs("dns.read")
@takes(HEAVY)
def export_records(zone_id: str, ctx: Ctx, who: Who) -> Response:
    """The records as a zone file."""
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=who.reach("dns.read"))
        rows, _ = records.page(session, zone.id)
    return PlainTextResponse("".join(zone_file.written(zone.name, rows)))


@router.post("/zones/{zone_id}/dns_records/import", openapi_extra=FILE_BODY)
@needs("dns.edit")
@takes(Takes(form="multipart", weight="heavy"))
def import_records(zone_id: str, form: Form, ctx: Ctx, who: Who) -> Ok[ImportShape]:
    """Adds the records of a zone file, all or none; those that are there already are left alone."""
    reach = who.reach("dns.edit")
    if "file" not in form:
        raise QanatError("body_malformed", "the form has no such field", where="file")
    try:
        text = form["file"].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise QanatError("zone_file_malformed", "the file is not UTF-8 text", where="file") from None
    if "\x00" in text:
        raise QanatError("zone_file_malformed", "the file has a NUL", where="file")
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=reach)
    is_proxied = form.get("proxied", b"").strip().lower() == b"true"
    forms = record_batches.check_lines(zone_file.parsed(text, zone.name, proxied=is_proxied), zone.name)
    with ctx.store.writing(who.actor) as write:
        done = record_batches.import_lines(write, zone.id, forms, reach=reach)
    return ok({"recs_added": done.added, "total_records_parsed": done.parsed})


@router.post("/zones/{zone_id}/dns_records/scan")
@needs("dns.edit")
def scan_records(zone_id: str, ctx: Ctx, who: Who) -> Ok[ImportShape]:
    """Looks for records elsewhere, and finds none: qanat asks no other server."""
    _editable(ctx, zone_id, who)
    return ok({"recs_added": 0, "total_records_parsed": 0})


@router.post("/zones/{zone_id}/dns_records/scan/trigger")
@needs("dns.edit")
def trigger_scan(zone_id: str, ctx: Ctx, who: Who) -> Ok[dict[str, str]]:
    """The same, to be reviewed later."""
    _editable(ctx, zone_id, who)
    return ok({})


@router.get("/zones/{zone_id}/dns_records/scan/review")
@needs("dns.read")
def review_scan(zone_id: str, ctx: Ctx, who: Who) -> Ok[list[RecordShape]]:
    """What a scan found: nothing."""
    with ctx.store.reading() as session:
        zones.get(session, zone_id, reach=who.reach("dns.read"))
    return ok([])


@router.get("/zones/{zone_id}/dns_records/{record_id}")
@needs("dns.read")
def get_record(zone_id: str, record_id: str, ctx: Ctx, who: Who) -> Ok[RecordShape]:
    """One record."""
    with ctx.store.reading() as session:
        zone = zones.get(session, zone_id, reach=who.reach("dns.read"))
        record = records.get(session, zone.id, record_id)
    return versioned(ok(shown(record, zone)), row_version(record))


@router.put("/zones/{zone_id}/dns_records/{record_id}")
@needs("dns.edit")
def replace_record(
    zone_id: str, record_id: str, body: RecordInput, ctx: Ctx, who: Who, if_match: IfMatch, repoint: Repoint
) -> Ok[RecordShape]:
    """The whole record anew: what is missing goes back to its default. A hostname goes from a tunnel that serves it to one that
    doesn't only by its zone's policy, or the header's: else it is refused (409)."""
    reach, draft = who.reach("dns.edit"), body.draft()
    zone = _editable(ctx, zone_id, who)
    guard = repoint.guard(zone, [(record_id, lambda _before: check_record(draft, zone.name))])
    with ctx.store.writing(who.actor) as write:
        record = records.replace(write, zone_id, record_id, draft, reach=reach, expected=if_match, repoint=guard)
    repoint.watch(guard, who)
    return versioned(ok(_shown_in(ctx, record)), row_version(record))


@router.patch("/zones/{zone_id}/dns_records/{record_id}")
@needs("dns.edit")
def change_record(
    zone_id: str, record_id: str, body: RecordInput, ctx: Ctx, who: Who, if_match: IfMatch, repoint: Repoint
) -> Ok[RecordShape]:
    """What is given changes; null unsets. A hostname that would go to a tunnel that doesn't serve: as for PUT."""
    reach, change = who.reach("dns.edit"), body.change()
    zone = _editable(ctx, zone_id, who)
    guard = repoint.guard(zone, [(record_id, lambda before: check_record(change.draft(before), zone.name))])
    with ctx.store.writing(who.actor) as write:
        record = records.change(write, zone_id, record_id, change, reach=reach, expected=if_match, repoint=guard)
    repoint.watch(guard, who)
    return versioned(ok(_shown_in(ctx, record)), row_version(record))


@router.delete("/zones/{zone_id}/dns_records/{record_id}")
@needs("dns.edit")
def delete_record(zone_id: str, record_id: str, ctx: Ctx, who: Who, if_match: IfMatch) -> Ok[DeletedRecordShape]:
    """Deletes a record."""
    with ctx.store.writing(who.actor) as write:
        record = records.delete(write, zone_id, record_id, reach=who.reach("dns.edit"), expected=if_match)
    return ok({"id": record.id})


def shown(record: Record, zone: Zone, *, is_listed: bool = False) -> RecordShape:
    """A record as stock clients read it (api.md 3.2). `data`, and an SRV's priority, that were not written are derived for
    lists only: octodns reads lists and needs them, Terraform reads single records and would see a change."""
    kind = RECORD_TYPES[record.type]
    result: RecordShape = {
        "id": record.id,
        "zone_id": zone.id,
        "zone_name": shown_hostname(zone.name),
        "name": record.name,
        "type": record.type,
        "content": kind.answered(record.content),
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
    data, priority = record.data, record.priority
    if is_listed:
        priority = kind.answered_priority(record.content, priority)
        data = data if data is not None else kind.parts(record.content, priority)
    if data is not None:
        result["data"] = data
    if priority is not None:
        result["priority"] = priority
    if record.private_routing is not None:
        result["private_routing"] = record.private_routing
    if record.comment_modified_at is not None:
        result["comment_modified_on"] = rfc3339(record.comment_modified_at)
    if record.tags_modified_at is not None:
        result["tags_modified_on"] = rfc3339(record.tags_modified_at)
    return result


def _shown_in(ctx: Context, record: Record) -> RecordShape:
    with ctx.store.reading() as session:
        return shown(record, zones.get(session, record.zone_id))


def _editable(ctx: Context, zone_id: str, who: Principal) -> Zone:
    with ctx.store.reading() as session:
        return zones.get(session, zone_id, reach=who.reach("dns.edit"))


def _placed(place: str, item: RecordInput) -> RecordDraft:
    try:
        return item.draft()
    except QanatError as error:
        raise QanatError(error.code, error.message, where=f"{place}.{error.where}", hint=error.hint) from error
