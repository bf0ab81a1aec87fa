"""What the chores work through row by row, each in a short write of its own: what fails for one keeps no other."""

from datetime import timedelta

from qanat.auth import origin_certificates
from qanat.auth.sessions import Sessions
from qanat.control import connections, connector_tokens, forgetting, quick_tunnels, records
from qanat.store import SYSTEM, Store
from qanat.store.reach import EVERYTHING
from qanat.store.skipped import SkippedRows, each_alone


def end_connector_tokens(store: Store, skipped: SkippedRows | None = None) -> int:
    """Ends those whose time is over; how many. One that can't be ended is noted."""

    def end(token_id: str) -> bool:
        with store.writing(SYSTEM) as write:
            return connector_tokens.expire(write, token_id)

    with store.reading() as session:
        due = connector_tokens.due(session, store.clock())
    return each_alone("token_expiry", due, end, skipped)


def end_quick_tunnels(store: Store, skipped: SkippedRows | None = None, *, expiry: timedelta) -> int:
    """Deletes those without a connection for `expiry`, and what is left of those that are deleted; how many were deleted. One
    that can't be deleted is noted."""

    def end(tunnel_id: str) -> bool:
        with store.writing(SYSTEM) as write:
            return quick_tunnels.expire(write, tunnel_id)

    def drop(record_id: str) -> bool:
        with store.writing(SYSTEM) as write:
            records.delete(write, zones[record_id], record_id, reach=EVERYTHING)
        return True

    def forget(tunnel_id: str) -> bool:
        with store.writing(SYSTEM) as write:
            quick_tunnels.forget(write, tunnel_id)
        return True

    with store.reading() as session:
        due = quick_tunnels.due(session, store.clock(), expiry=expiry)
        old = quick_tunnels.old(session, store.clock())
    ended = each_alone("quick_tunnel", due, end, skipped)
    with store.reading() as session:
        zones = quick_tunnels.left_records(session)
    each_alone("quick_tunnel", zones, drop, skipped)
    each_alone("quick_tunnel", old, forget, skipped)
    return ended


def forget_deleted(store: Store) -> int:
    """Rows beyond `limits.deleted`, the oldest first; how many. In short writes, so that others come between."""
    with store.reading() as session:
        old = list(forgetting.old(session, store.clock(), keep=store.limits.deleted))
    forgotten = 0
    for rows in old:
        with store.recording() as write:
            forgotten += forgetting.forget(write, rows)
    return forgotten


def trim(store: Store) -> None:
    """Forgets which connections were lost long ago, the oldest events, sessions that are over, and certificates
    that nobody fetched."""
    with store.recording() as write:
        connections.trim(write)
    Sessions(store).sweep()
    origin_certificates.sweep(store)
