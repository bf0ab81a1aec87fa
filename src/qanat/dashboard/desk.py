"""What pages work on: the store, the running edge, and who is signed in."""

from dataclasses import dataclass, field

from qanat.auth.management import ManagementKey
from qanat.dashboard.door import Door
from qanat.dashboard.live import Live
from qanat.dashboard.overview import Overviews
from qanat.store import Store
from qanat.store.keys import KeyRing
from qanat.store.skipped import SkippedRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Shared by all pages. `hosts`: the names, in lower case, that are answered for beside loopback."""

    store: Store
    keys: KeyRing
    live: Live
    door: Door
    overviews: Overviews
    location: str
    version: str
    hosts: frozenset[str] = frozenset()
    skipped: SkippedRows = field(default_factory=SkippedRows)
    management: ManagementKey | None = None
