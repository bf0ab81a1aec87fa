"""`/zones/{zone_id}/settings`: what stock clients ask of a zone, told with what holds here. Nothing of it can be set."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from qanat.api.http.context import Context, Ctx, Who, needs
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.routes import resource
from qanat.api.http.shapes import Shape
from qanat.control import zones
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
    "security_header": {
        "strict_transport_security": {
            "enabled": False,
            "max_age": 0,
            "include_subdomains": False,
            "preload": False,
            "nosniff": False,
        }
    },
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


class SettingShape(Shape):
    """A setting, which can't be changed."""

    id: Annotated[str, Field(examples=["min_tls_version"])]
    value: Annotated[Any, Field(examples=["1.2"])]
    editable: Annotated[bool, Field(examples=[False])]
    modified_on: Annotated[None, Field(examples=[None])]


class SettingChange(BaseModel):
    """A value to set."""

    model_config = ConfigDict(strict=True)

    value: Any = Field(examples=["1.2"])


@router.get("")
@needs("zone.read")
def list_settings(zone_id: str, ctx: Ctx, who: Who) -> Ok[list[SettingShape]]:
    """What holds for the zone, as for every other."""
    with ctx.store.reading() as session:
        zones.get(session, zone_id, reach=who.reach("zone.read"))
    return ok([shown(name, value) for name, value in _values(ctx).items()])


@router.get("/{setting}")
@needs("zone.read")
def get_setting(zone_id: str, setting: str, ctx: Ctx, who: Who) -> Ok[SettingShape]:
    """One setting; 404 with code 7000 for one that means nothing here."""
    with ctx.store.reading() as session:
        zones.get(session, zone_id, reach=who.reach("zone.read"))
    return ok(shown(setting, _value(ctx, setting)))


@router.patch("/{setting}")
@needs("zone.edit")
def change_setting(zone_id: str, setting: str, body: SettingChange, ctx: Ctx, who: Who) -> Ok[SettingShape]:
    """Takes the value that holds already, and refuses any other."""
    with ctx.store.reading() as session:
        zones.get(session, zone_id, reach=who.reach("zone.edit"))
    value = _value(ctx, setting)
    if body.value != value:
        raise QanatError("setting_fixed", f"{setting} is {value!r} on this edge, for every zone", where="value")
    return ok(shown(setting, value))


def shown(name: str, value: Any) -> SettingShape:
    """A setting as stock clients read it."""
    return {"id": name, "value": value, "editable": False, "modified_on": None}


def _values(ctx: Context) -> dict[str, Any]:
    return {"always_use_https": "on" if ctx.redirects_http else "off", **FIXED}


def _value(ctx: Context, name: str) -> Any:
    values = _values(ctx)
    if name not in values:
        raise QanatError("endpoint_unknown", f"qanat has no setting {name[:60]!a} of zones")
    return values[name]
