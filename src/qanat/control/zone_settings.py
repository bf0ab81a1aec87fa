"""What a zone may say of itself: HTTPS only, HSTS, and error pages of its own. All else is the same for every zone."""

from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.control import zones
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.models import Zone, ZoneSetting
from qanat.store.notices import Notice, NoticeKind
from qanat.store.reach import Reach
from qanat.store.versions import CHARACTERS

PageKind = Literal["500_errors", "1000_errors"]
PAGE_KINDS: Final[tuple[PageKind, ...]] = get_args(PageKind)
PAGE_BYTES: Final = 32 * 1024
"""Of one error page: the edge holds all of them in memory."""
LONGEST_HSTS_S: Final = 2 * 366 * 86400

_PAGE = "error_page."
_HSTS: Final[dict[str, Any]] = {
    "enabled": False,
    "max_age": 0,
    "include_subdomains": False,
    "preload": False,
    "nosniff": False,
}


def page_setting(kind: PageKind) -> str:
    """The name under which an error page is kept."""
    return _PAGE + kind


def default_security_header() -> dict[str, Any]:
    """Of a zone that says nothing."""
    return {"strict_transport_security": dict(_HSTS)}


def check(name: str, value: Any) -> Any:
    """The value as it is kept. QanatError `setting_bad_value`, or `setting_fixed` for a name that no zone may set."""
    match name:
        case "always_use_https":
            if value not in ("on", "off"):
                raise _bad("on or off", value)
            return value
        case "security_header":
            return _checked_security_header(value)
        case _ if name.removeprefix(_PAGE) in PAGE_KINDS and name.startswith(_PAGE):
            return _checked_page(value)
        case _:
            raise QanatError("setting_fixed", f"{name[:60]} is no setting of a zone", where="value")


def of(session: Session, zone_id: str) -> dict[str, tuple[Any, datetime]]:
    """What the zone has set, error pages left out: value and time by name."""
    rows = session.scalars(
        select(ZoneSetting).where(
            ZoneSetting.zone_id == zone_id, ZoneSetting.name.not_in([_PAGE + kind for kind in PAGE_KINDS])
        )
    )
    return {row.name: (row.value["value"], row.modified_at) for row in rows}


def version(session: Session, zone_id: str) -> str:
    """Of all that the zone says: another one once any of it was set."""
    rows = session.execute(
        select(ZoneSetting.name, ZoneSetting.modified_at)
        .where(ZoneSetting.zone_id == zone_id)
        .order_by(ZoneSetting.name)
    )
    return sha256(repr([(name, at.isoformat()) for name, at in rows]).encode()).hexdigest()[:CHARACTERS]


def put(write: Write, zone_id: str, name: str, value: Any, *, reach: Reach) -> ZoneSetting:
    """Sets it. QanatError as `check`, `zone_unknown`."""
    zone = zones.get(write.session, zone_id, reach=reach)
    kept = {"value": check(name, value)}
    row = write.session.get(ZoneSetting, (zone.id, name))
    if row is None:
        row = ZoneSetting(zone_id=zone.id, name=name, value=kept, modified_at=write.at)
        write.session.add(row)
    elif row.value != kept:
        row.value, row.modified_at = kept, write.at
    told = {"setting": name} if name.startswith(_PAGE) else {"setting": name, "value": value}
    _changed(write, zone, told)
    return row


def pages(session: Session, zone_id: str) -> dict[PageKind, tuple[str, datetime]]:
    """The zone's own error pages: HTML and time by kind."""
    rows = {kind: session.get(ZoneSetting, (zone_id, _PAGE + kind)) for kind in PAGE_KINDS}
    return {kind: (row.value["value"], row.modified_at) for kind, row in rows.items() if row is not None}


def put_page(write: Write, zone_id: str, kind: PageKind, html: str, *, reach: Reach) -> ZoneSetting:
    """An error page of the zone's own. QanatError `error_page_too_large`, `error_page_empty`, `zone_unknown`."""
    return put(write, zone_id, _PAGE + kind, html, reach=reach)


def remove_page(write: Write, zone_id: str, kind: PageKind, *, reach: Reach) -> None:
    """The edge's page from now on; nothing happens where it was that already."""
    zone = zones.get(write.session, zone_id, reach=reach)
    row = write.session.get(ZoneSetting, (zone.id, _PAGE + kind))
    if row is not None:
        write.session.delete(row)
    _changed(write, zone, {"setting": _PAGE + kind, "removed": True})


def hsts(security_header: dict[str, Any]) -> tuple[str, bool]:
    """The value of Strict-Transport-Security ("" for none; RFC 6797 6.1), and whether `nosniff` is sent."""
    told = {**_HSTS, **security_header.get("strict_transport_security", {})}
    if not told["enabled"]:
        return "", False
    parts = [f"max-age={told['max_age']}"]
    parts += ["includeSubDomains"] if told["include_subdomains"] else []
    parts += ["preload"] if told["preload"] else []
    return "; ".join(parts), bool(told["nosniff"])


def _changed(write: Write, zone: Zone, detail: dict[str, Any]) -> None:
    write.audit("zone.setting", zone.id, account_id=zone.account_id, detail=detail)
    write.notice(Notice(NoticeKind.ZONE_SETTINGS, zone_id=zone.id, account_id=zone.account_id))


def _checked_security_header(value: Any) -> dict[str, Any]:
    given = value.get("strict_transport_security") if isinstance(value, dict) else None
    if not isinstance(given, dict) or len(value) != 1 or not given.keys() <= _HSTS.keys():
        raise _bad("{strict_transport_security: {enabled, max_age, include_subdomains, preload, nosniff}}", value)
    told = {**_HSTS, **{name: each for name, each in given.items() if each is not None}}
    for name, each in told.items():
        if name == "max_age":
            if type(each) is not int or not 0 <= each <= LONGEST_HSTS_S:
                raise _bad(f"max_age from 0 to {LONGEST_HSTS_S} seconds", each)
        elif not isinstance(each, bool):
            raise _bad(f"{name}: true or false", each)
    return {"strict_transport_security": told}


def _checked_page(html: Any) -> str:
    if not isinstance(html, str) or not html.strip():
        raise QanatError("error_page_empty", "an error page has some HTML", where="content")
    size = len(html.encode("utf-8", "surrogatepass"))
    if size > PAGE_BYTES:
        raise QanatError(
            "error_page_too_large",
            f"the page has {size} bytes, at most {PAGE_BYTES} are kept",
            where="content",
            hint="leave images to where they are, and name them by URL",
        )
    return html


def _bad(accepted: str, given: Any) -> QanatError:
    return QanatError("setting_bad_value", f"the value is {str(given)[:80]!a}; accepted is {accepted}", where="value")
