"""The zone that a page is about."""

from typing import Any

from qanat.control import zones
from qanat.dashboard.ask import Ask
from qanat.store.reach import Permission

LONGEST_SEARCH = 200


def zone_of(ask: Ask, permission: Permission) -> Any:
    """The one that the path names, of the account that is shown. QanatError `zone_unknown`, the same for another's."""
    with ask.desk.store.reading() as session:
        zone = zones.get(session, ask.place["zone_id"], reach=ask.who.reach(permission))
    if zone.account_id != ask.viewer.account_id:
        raise zones.unknown()
    return zone


def searched(text: str) -> str:
    """What is looked for, as databases take it."""
    return text[:LONGEST_SEARCH].replace("\x00", "").strip()
