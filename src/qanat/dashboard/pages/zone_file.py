"""A zone's records as a file: taken out, and put in once what that adds was shown."""

from threading import BoundedSemaphore

from starlette.responses import PlainTextResponse, Response

from qanat.control import record_batches, record_preview, records
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.links import with_query, zone_url
from qanat.dashboard.record_form import told
from qanat.dashboard.zone_of import zone_of
from qanat.dns import zone_file
from qanat.errors import QanatError
from qanat.ids import shown_hostname

pages = Pages()

MOST_BYTES = 4 * 1024 * 1024
MOST_SHOWN = 200
_reading = BoundedSemaphore(2)
"""A file of 10 000 records takes a second of computing."""


@pages.get("/zones/{zone_id}/export", "dns.read")
def export(ask: Ask) -> Response:
    """All of them as a zone file."""
    zone = zone_of(ask, "dns.read")
    with ask.desk.store.reading() as session:
        rows, _ = records.page(session, zone.id)
    text = "".join(zone_file.written(zone.name, rows))
    return PlainTextResponse(text, headers={"content-disposition": f'attachment; filename="{zone.name}.zone"'})


@pages.get("/zones/{zone_id}/import", "dns.edit")
def form(ask: Ask) -> Response:
    """Where a file is put in."""
    return _shown(ask)


@pages.post("/zones/{zone_id}/import", "dns.edit", most_bytes=MOST_BYTES)
def sent(ask: Ask) -> Response:
    """What the file would add is shown; or it is added, all or nothing."""
    zone = zone_of(ask, "dns.edit")
    text = ask.form.get("file", "").replace("\r\n", "\n")
    if not _reading.acquire(blocking=False):
        raise QanatError("busy", "two zone files are being read already", hint="wait for one of them")
    try:
        if not text.strip() or "\x00" in text:
            raise QanatError(
                "zone_file_malformed", "there is no zone file", where="file", hint="paste one, or choose it"
            )
        lines = zone_file.parsed(text, zone.name, proxied=bool(ask.form.get("proxied")))
        if ask.form.get("action") != "import":
            with ask.desk.store.reading() as session:
                preview = record_preview.of_lines(session, zone, lines, own=ask.desk.store.own_names)
            return _shown(ask, text=text, preview=preview)
        forms = record_batches.check_lines(lines, zone.name)
        with ask.desk.store.writing(ask.who.actor) as write:
            done = record_batches.import_lines(write, zone.id, forms, reach=ask.who.reach("dns.edit"))
    except QanatError as error:
        return _shown(ask, text=text, error=error)
    finally:
        _reading.release()
    return ask.led_to(with_query(zone_url(zone.id), imported=done.added))


def _shown(
    ask: Ask,
    *,
    text: str = "",
    preview: record_preview.ImportPreview | None = None,
    error: QanatError | None = None,
) -> Response:
    zone = zone_of(ask, "dns.edit")
    added = [(number, told(form)) for number, form in preview.added[:MOST_SHOWN]] if preview is not None else []
    return ask.show(
        "zone-import.html",
        status=400 if error is not None else 200,
        zone=zone,
        zone_shown=shown_hostname(zone.name),
        part="import",
        text=text,
        proxied=bool(ask.form.get("proxied")),
        preview=preview,
        added=added,
        most_shown=MOST_SHOWN,
        error=error,
    )
