"""Capabilities called by themselves, as a request or a chore would: each in a write of its own, by the system."""

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from qanat.control import accounts, zones
from qanat.control.record_batches import Batch, BatchDone, Imported, apply_batch, check_batch, check_lines, import_lines
from qanat.dns.forms import RecordDraft
from qanat.store import SYSTEM, Store, Write
from qanat.store.models import Account
from qanat.store.reach import EVERYTHING, Reach

Given = ParamSpec("Given")
Done = TypeVar("Done")


def written(
    store: Store, act: Callable[Concatenate[Write, Given], Done], *args: Given.args, **more: Given.kwargs
) -> Done:
    """What the capability answers."""
    with store.writing(SYSTEM) as write:
        return act(write, *args, **more)


def first_account(store: Store, name: str = "first") -> Account:
    """The oldest account, made with its owner when there is none."""
    with store.reading() as session:
        found = accounts.first_account(session)
    return found if found is not None else written(store, accounts.create_first, name=name)


def apply(store: Store, zone_id: str, batch: Batch, *, reach: Reach = EVERYTHING) -> BatchDone:
    """A batch of records."""
    with store.reading() as session:
        zone = zones.get(session, zone_id, reach=reach)
    return written(store, apply_batch, zone.id, check_batch(batch, zone.name), reach=reach)


def import_zone(
    store: Store, zone_id: str, lines: Sequence[tuple[int, RecordDraft]], *, reach: Reach = EVERYTHING
) -> Imported:
    """The records of a zone file."""
    with store.reading() as session:
        zone = zones.get(session, zone_id, reach=reach)
    return written(store, import_lines, zone.id, check_lines(lines, zone.name), reach=reach)
