"""What qanat remembers: accounts, tokens, zones, records, tunnels, configurations, connections, and who wrote what."""

from qanat.store.audit import SYSTEM, Actor
from qanat.store.database import Store, Write
from qanat.store.notices import Notice, NoticeBus, NoticeKind
from qanat.store.schema import open_store

__all__ = ["SYSTEM", "Actor", "Notice", "NoticeBus", "NoticeKind", "Store", "Write", "open_store"]
