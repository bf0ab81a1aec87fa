"""What a zone says of itself: HTTPS only, HSTS, error pages of its own, what becomes of repointed records; and its end."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

from qanat.control import zone_settings, zones
from qanat.control.zone_settings import PAGE_KINDS, PageKind
from qanat.cutover.repointing import POLICIES, parse_policy
from qanat.dashboard.ask import Ask, Pages, status_of
from qanat.dashboard.links import with_query, zone_url
from qanat.dashboard.zone_of import zone_of
from qanat.errors import QanatError
from qanat.store.versions import Expected

pages = Pages()

PATH = "/zones/{zone_id}/settings"
AGES: Mapping[str, str] = MappingProxyType(
    {"300": "5 minutes", "86400": "a day", "2592000": "30 days", "31536000": "a year", "63072000": "2 years"}
)
KINDS: Mapping[PageKind, str] = MappingProxyType(
    {
        "1000_errors": "When a hostname leads nowhere: numbers from 1000 on, such as 1033, no connection",
        "500_errors": "All other failures from 500 on, such as 502, the origin refuses",
    }
)
TOLD_POLICIES: Mapping[str, str] = MappingProxyType(
    {
        "": "as the edge says",
        "enforce": "enforce: refuse a move to a tunnel that doesn't serve",
        "warn": "warn: make it, and say so in log and audit",
        "off": "off: don't look",
    }
)
FLAGS = ("include_subdomains", "preload", "nosniff")


@pages.get(PATH, "zone.read")
def settings(ask: Ask) -> Response:
    """All of them."""
    return _shown(ask)


@pages.post(f"{PATH}/https", "zone.edit")
def put_https(ask: Ask) -> Response:
    """Whether plain HTTP is sent to HTTPS, and what browsers are told to remember of it."""
    zone = zone_of(ask, "zone.edit")
    header: dict[str, Any] = {"enabled": bool(ask.form.get("enabled"))}
    try:
        age = ask.form.get("max_age", "0")
        if not age.isascii() or not age.isdigit() or len(age) > 9:
            raise QanatError("setting_bad_value", f"{age[:20]!a} is not a number of seconds", where="max_age")
        header |= {"max_age": int(age) if header["enabled"] else 0}
        header |= {name: header["enabled"] and bool(ask.form.get(name)) for name in FLAGS}
        with ask.desk.store.writing(ask.who.actor) as write:
            reach = ask.who.reach("zone.edit")
            _check_unchanged(ask, zone_settings.version(write.session, zone.id))
            redirects = "on" if ask.form.get("always_use_https") else "off"
            zone_settings.put(write, zone.id, "always_use_https", redirects, reach=reach)
            said = {"strict_transport_security": header}
            zone_settings.put(write, zone.id, "security_header", said, reach=reach)
    except QanatError as error:
        return _shown(ask, error=error, of="https")
    return _led_back(ask, zone, "https")


@pages.post(f"{PATH}/error-page", "zone.edit")
def put_error_page(ask: Ask) -> Response:
    """HTML of the zone's own, or the edge's page again."""
    zone, kind = zone_of(ask, "zone.edit"), ask.form.get("kind", "")
    try:
        found = next((each for each in PAGE_KINDS if each == kind), None)
        if found is None:
            raise QanatError("setting_bad_value", "there is no such kind of error page", where="kind")
        reach = ask.who.reach("zone.edit")
        with ask.desk.store.writing(ask.who.actor) as write:
            _check_unchanged(ask, zone_settings.version(write.session, zone.id))
            if ask.form.get("action") == "remove":
                zone_settings.remove_page(write, zone.id, found, reach=reach)
            else:
                html = ask.form.get("content", "").replace("\r\n", "\n")
                zone_settings.put_page(write, zone.id, found, html, reach=reach)
    except QanatError as error:
        return _shown(ask, error=error, of=kind)
    return _led_back(ask, zone, "page")


@pages.post(f"{PATH}/policy", "dns.edit")
def put_policy(ask: Ask) -> Response:
    """What becomes of a record that would go from a tunnel that serves to one that doesn't."""
    zone, policy = zone_of(ask, "dns.edit"), ask.form.get("policy", "")
    chosen = parse_policy(policy, where="policy") if policy else None
    with ask.desk.store.writing(ask.who.actor) as write:
        zones.set_cutover_policy(write, zone.id, chosen, reach=ask.who.reach("dns.edit"))
    return _led_back(ask, zone, "policy")


def _check_unchanged(ask: Ask, now: str) -> None:
    """QanatError `version_stale`: somebody else set something since the form was opened."""
    try:
        Expected(frozenset({ask.form.get("version", "")})).check(now)
    except QanatError as error:
        raise QanatError(
            error.code, "the zone's settings were changed meanwhile", hint="what holds now is shown below: set it anew"
        ) from error


def _led_back(ask: Ask, zone: Any, saved: str) -> Response:
    return ask.led_to(with_query(zone_url(zone.id, "settings"), saved=saved))


def _shown(ask: Ask, *, error: QanatError | None = None, of: str = "") -> Response:
    zone = zone_of(ask, "zone.edit" if ask.request.method == "POST" else "zone.read")
    with ask.desk.store.reading() as session:
        said = zone_settings.of(session, zone.id)
        own = zone_settings.pages(session, zone.id)
        version = zone_settings.version(session, zone.id)
    https, https_at = said.get("always_use_https", ("on" if ask.desk.redirects_http else "off", None))
    header, header_at = said.get("security_header", (zone_settings.default_security_header(), None))
    hsts = header["strict_transport_security"]
    age = str(hsts["max_age"] or 2592000)
    shown_pages = [(kind, KINDS[kind], *own.get(kind, ("", None))) for kind in KINDS]
    return ask.show(
        "zone-settings.html",
        status=status_of(error) if error is not None else 200,
        zone=zone,
        part="settings",
        redirects=https == "on",
        redirects_at=https_at,
        redirects_http=ask.desk.redirects_http,
        hsts=hsts,
        hsts_at=header_at,
        hsts_sent=zone_settings.hsts(header)[0],
        age=age,
        ages=AGES if age in AGES else {**AGES, age: f"{age} s"},
        own_pages=shown_pages,
        typed=ask.form.get("content", "") if error is not None else "",
        policies={"": f"{TOLD_POLICIES['']}: {ask.desk.cutover_policy}"}
        | {each: TOLD_POLICIES[each] for each in POLICIES},
        name_servers=ask.desk.name_servers,
        version=version,
        saved=ask.query("saved"),
        error=error,
        of=of,
        may_edit=ask.viewer.may_in("zone.edit", zone.id),
        may_policy=ask.viewer.may_in("dns.edit", zone.id),
    )
