"""What a rule can be about: few kinds, each with its thresholds and their bounds. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Literal

from qanat.errors import QanatError

Bound = Literal["tunnel", "zone", "hostname"]
OfEdge = Literal["never", "may", "must"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that a rule sets, within bounds. `unit`: `s`, `days`, `share` (0 to 1), or "" for a count."""

    name: str
    label: str
    unit: Literal["s", "days", "share", ""]
    least: float
    most: float
    default: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`told`: what happens, as one would say it. `bounds`: what a rule may be bounded to. `of_edge`: whether it may (or must) be
    about the edge itself. `is_event`: it happens once, and nothing of it ends."""

    name: str
    label: str
    told: str
    thresholds: tuple[Threshold, ...] = ()
    bounds: tuple[Bound, ...] = ()
    of_edge: OfEdge = "never"
    is_event: bool = False


def _for_s(default: float) -> Threshold:
    return Threshold("for_s", "for at least", "s", 0, 86_400, default)


def _window(default: float) -> Threshold:
    return Threshold("window_s", "within", "s", 60, 3600, default)


_EVERY = (
    Kind(
        name="tunnel_down",
        label="Tunnel down",
        told="a tunnel is DOWN: no connector is connected, or no origin of it answers",
        thresholds=(_for_s(60),),
        bounds=("tunnel",),
    ),
    Kind(
        name="tunnel_degraded",
        label="Tunnel degraded",
        told="a tunnel is DEGRADED or DOWN",
        thresholds=(_for_s(300),),
        bounds=("tunnel",),
    ),
    Kind(
        name="hostname_down",
        label="Hostname down",
        told="no origin behind a hostname answers, though its tunnel is connected",
        thresholds=(_for_s(60),),
        bounds=("tunnel", "zone", "hostname"),
    ),
    Kind(
        name="node_gone",
        label="Node gone",
        told="a host with a connector token of its own has no connection left",
        thresholds=(_for_s(300),),
        bounds=("tunnel",),
    ),
    Kind(
        name="certificate_expiring",
        label="Certificate expiring",
        told="a certificate ends soon, and no other has come in its place",
        thresholds=(Threshold("days", "within", "days", 1, 90, 14),),
        bounds=("zone", "hostname"),
        of_edge="may",
    ),
    Kind(
        name="certificate_failing",
        label="Certificate not renewed",
        told="a certificate could not be ordered or renewed",
        thresholds=(Threshold("failures", "after failures in a row", "", 1, 20, 3),),
        bounds=("zone", "hostname"),
        of_edge="may",
    ),
    Kind(
        name="error_rate",
        label="Error rate",
        told="many of a hostname's requests fail: 5xx of the origin, or of the edge for it, or cut",
        thresholds=(
            Threshold("share", "share of failed requests", "share", 0.001, 1, 0.05),
            _window(300),
            Threshold("requests", "of so many requests, at least", "", 1, 1_000_000, 50),
        ),
        bounds=("tunnel", "zone", "hostname"),
    ),
    Kind(
        name="cutover_rolled_back",
        label="Cutover rolled back",
        told="a cutover was taken back, or stopped halfway",
        bounds=("tunnel", "hostname"),
        is_event=True,
    ),
    Kind(
        name="promotion",
        label="Promotion by itself",
        told="a standby was promoted without anybody asking for it",
        bounds=("tunnel",),
        is_event=True,
    ),
    Kind(
        name="sign_in_failures",
        label="Failed sign-ins",
        told="many credentials were refused: passwords, tokens, codes, of the API and of connectors",
        thresholds=(Threshold("failures", "at least", "", 1, 100_000, 20), _window(600)),
        of_edge="must",
    ),
)
KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _EVERY})
DEFAULTS = tuple(kind for kind in _EVERY if kind.name != "tunnel_degraded")
"""What a newcomer is offered: a degraded tunnel is told by what is broken in it."""


def get(name: str) -> Kind:
    """QanatError `alert_bad_field`."""
    kind = KINDS.get(name)
    if kind is None:
        raise QanatError("alert_bad_field", f"{name[:40]!r} is none of {', '.join(KINDS)}", where="kind")
    return kind


def checked(kind: Kind, given: Mapping[str, float]) -> dict[str, float]:
    """All of the kind's thresholds; those that aren't given have their defaults. QanatError `alert_bad_field`."""
    unknown = sorted(given.keys() - {each.name for each in kind.thresholds})
    if unknown:
        raise QanatError(
            "alert_bad_field", f"{kind.name} has no threshold {unknown[0][:40]!r}", where=f"settings.{unknown[0][:40]}"
        )
    found = {}
    for each in kind.thresholds:
        value = given.get(each.name, each.default)
        if isinstance(value, bool) or not isfinite(value) or not each.least <= value <= each.most:
            raise QanatError(
                "alert_bad_field",
                f"{value!r} is not from {each.least:g} to {each.most:g}",
                where=f"settings.{each.name}",
            )
        found[each.name] = value
    return found


def held_for_s(kind: Kind, settings: Mapping[str, float]) -> float:
    """How long it has to hold before it is told."""
    return float(settings.get("for_s", 0)) if any(each.name == "for_s" for each in kind.thresholds) else 0.0
