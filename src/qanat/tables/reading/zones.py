"""What zones say of themselves, for the edge."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.store.models import Zone, ZoneSetting


def read_zone_settings(session: Session) -> Mapping[str, Mapping[str, Any]]:
    """Values by name, by the zone's name; zones that say nothing, and paused ones, are left out."""
    query = select(Zone.name, ZoneSetting.name.label("setting"), ZoneSetting.value).join(
        ZoneSetting, ZoneSetting.zone_id == Zone.id
    )
    found: dict[str, dict[str, Any]] = {}
    for row in session.execute(query.where(Zone.paused.is_(False))):
        found.setdefault(row.name, {})[row.setting] = row.value["value"]
    return found
