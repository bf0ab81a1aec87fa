"""Templates: everything that is put into one is escaped, and what a template names must be given."""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from qanat.dashboard.assets import url_of
from qanat.dashboard.links import hostname_url, zone_url
from qanat.dashboard.menu import menu_of
from qanat.errors import escape_text


@cache
def environment() -> Environment:
    """Made once; templates are compiled at their first use."""
    made = Environment(
        loader=PackageLoader("qanat.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    shown = (moment, epoch, iso, hostname_url, zone_url, count, seconds, size, told, fitted, as_json)
    made.filters.update({each.__name__: each for each in shown})
    made.globals.update(asset=url_of, menu=menu_of)
    return made


def render(template: str, **values: Any) -> str:
    """HTML."""
    return environment().get_template(template).render(**values)


def moment(at: datetime | None) -> Markup:
    """As an exact time, which the page shows by how long ago it was."""
    if at is None:
        return Markup('<span class="none">never</span>')
    exact = at.strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(at.isoformat(timespec="seconds"), exact, exact)


def epoch(at: float) -> Markup:
    """`moment`, of seconds since 1970."""
    return moment(datetime.fromtimestamp(at, UTC))


def iso(text: str) -> Markup:
    """`moment`, of a time as documents have it."""
    try:
        return moment(datetime.fromisoformat(text).astimezone(UTC))
    except (TypeError, ValueError):
        return Markup("{}").format(text)


def count(number: float) -> str:
    """`12 345`, with thin spaces."""
    return f"{number:,.0f}".replace(",", "\u2009")


def seconds(value: float | None) -> str:
    """`12 ms`, `1.4 s`."""
    if value is None:
        return "–"
    if value < 0.001:
        return "<1\u2009ms"
    return (
        f"{value * 1000:.0f}\u2009ms"
        if value < 1
        else f"{value:.1f}\u2009s"
        if value < 60
        else f"{value / 60:.0f}\u2009min"
    )


def size(number: float) -> str:
    """Bytes: `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.0f}\u2009{unit}" if number >= 10 or unit == "B" else f"{number:.1f}\u2009{unit}"


def fitted(text: str, width: int) -> str:
    """As much of it as a box of so many pixels has room for."""
    most = max(4, round((width - 14) / 6.4))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def as_json(value: object) -> str:
    """A part of a document, on one line."""
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def told(text: object) -> str:
    """What a stranger wrote, as one line: control characters and what turns the writing direction are spelt out."""
    return escape_text(str(text))
