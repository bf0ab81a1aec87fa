"""`/zones/{zone_id}/settings`: what stock clients ask of a zone, told with what holds here. A zone's own are `always_use_https`
and `security_header`; all else is the same for every zone and can't be set."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok, rfc3339
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.control import zone_settings, zones
from qanat.errors import QanatError

router = resource(prefix="/zones/{zone_id}/settings", tags=["zones"])

FIXED: dict[str, Any] = {
    "0rtt": "off",
    "always_online": "off",
    "automatic_https_rewrites": "off",
    "brotli": "off",
    "browser_cache_ttl": 0,  # as the origin says
    "browser_check": "off",
    "development_mode": "off",
    "early_hints": "on",
    "email_obfuscation": "off",
    "hotlink_protection": "off",
    "http2": "on",
    "http3": "off",
    "ip_geolocation": "off",
    "ipv6": "on",
    "min_tls_version": "1.2",
    "mirage": "off",
    "opportunistic_encryption": "off",
    "opportunistic_onion": "off",
    "origin_error_page_pass_thru": "on",
    "polish": "off",
    "prefetch_preload": "off",
    "privacy_pass": "off",
    "pseudo_ipv4": "off",
    "response_buffering": "off",
    "rocket_loader": "off",
    "security_level": "essentially_off",
    "server_side_exclude": "off",
    "sort_query_string_for_cache": "off",
    "ssl": "full",  # the tunnel is encrypted; how the connector calls the origin, its rules say
    "tls_1_3": "on",
    "tls_client_auth": "off",
    "true_client_ip_header": "off",
    "waf": "off",
    "webp": "off",
    "websockets": "on",
}


OWN = ("always_use_https", "security_header")


class SettingShape(Shape):
    """A setting; `editable`: a zone may have its own."""

    id: Annotated[str, Field(examples=["min_tls_version"])]
    value: Annotated[Any, Field(examples=["1.2"])]
    editable: Annotated[bool, Field(examples=[False])]
    modified_on: Annotated[str | None, Field(examples=[None], description="when the zone set it; null: it never did")]


class SettingChange(BaseModel):
    """A value to set."""

    model_config = ConfigDict(strict=True)

    value: Any = Field(examples=["1.2"])


@router.get("")
@needs("zone.read")
def list_settings(zone_id: str, ctx: Ctx, who: Who) -> Ok[list[SettingShape]]:
    """What holds for the zone."""
    with ctx.store.reading() as session:
        zones.get(session, zone_id, reach=who.reach("zone.read"))
        settings = _settings(ctx, session, zone_id)
    return ok(list(settings.values()))


@router.get("/{setting}")
@needs("zone.read")
def get_setting(zone_id: str, setting: str, ctx: Ctx, who: Who) -> Ok[SettingShape]:
    """One setting; 404 with code 7000 for one that means nothing here."""
    with ctx.store.reading() as session:
        zones.get(session, zone_id, reach=who.reach("zone.read"))
        return ok(_setting(ctx, session, zone_id, setting))


@router.patch("/{setting}")
@needs("zone.edit")
def change_setting(zone_id: str, setting: str, body: SettingChange, ctx: Ctx, who: Who) -> Ok[SettingShape]:
    """Sets `always_use_https` or `security_header` of the zone; of the others it takes the value that holds, and refuses any
    else."""
    if setting in OWN:
        with ctx.store.writing(who.actor) as write:
            zone_settings.put(write, zone_id, setting, body.value, reach=who.reach("zone.edit"))
    with ctx.store.reading() as session:
        zones.get(session, zone_id, reach=who.reach("zone.edit"))
        holds = _setting(ctx, session, zone_id, setting)
    if setting not in OWN and body.value != holds["value"]:
        raise QanatError(
            "setting_fixed", f"{setting} is {holds['value']!r} on this edge, for every zone", where="value"
        )
    return ok(holds)


def _settings(ctx: Context, session: Session, zone_id: str) -> dict[str, SettingShape]:
    said = zone_settings.of(session, zone_id)
    defaults = {
        "always_use_https": "on" if ctx.redirects_http else "off",
        "security_header": zone_settings.default_security_header(),
    }
    settings: dict[str, SettingShape] = {}
    for name, value in {**defaults, **FIXED}.items():
        own, at = said.get(name, (value, None))
        settings[name] = {"id": name, "value": own, "editable": name in OWN, "modified_on": rfc3339(at)}
    return settings


def _setting(ctx: Context, session: Session, zone_id: str, name: str) -> SettingShape:
    settings = _settings(ctx, session, zone_id)
    if name not in settings:
        raise QanatError("endpoint_unknown", f"qanat has no setting {name[:60]!a} of zones")
    return settings[name]
