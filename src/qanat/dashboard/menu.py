"""What stands at the top of every page."""

from typing import NamedTuple

from qanat.dashboard.door import Viewer
from qanat.store.reach import Permission


class Entry(NamedTuple):
    """A page of the menu, and what it needs: it isn't offered to others."""

    url: str
    label: str
    needs: Permission

    def is_here(self, path: str) -> bool:
        """Whether a page stands below it."""
        return path == self.url or (self.url != "/" and path.startswith(f"{self.url}/"))


MENU = (
    Entry("/", "Overview", "tunnel.read"),
    Entry("/tunnels", "Tunnels", "tunnel.read"),
    Entry("/hostnames", "Hostnames", "dns.read"),
    Entry("/zones", "Zones", "zone.read"),
    Entry("/cutovers", "Cutovers", "dns.read"),
    Entry("/certificates", "Certificates", "zone.read"),
    Entry("/start", "Connect a host", "tunnel.edit"),
    Entry("/tokens", "Tokens", "token.read"),
    Entry("/users", "Users", "account.read"),
    Entry("/alerts", "Alerts", "account.read"),
    Entry("/audit", "Audit", "audit.read"),
)


def menu_of(viewer: Viewer) -> list[Entry]:
    """What this viewer may look at."""
    return [entry for entry in MENU if viewer.may(entry.needs) or _of_zones(viewer, entry)]


def _of_zones(viewer: Viewer, entry: Entry) -> bool:
    """What lists only zones of the viewer's own reach."""
    return entry.url in ("/zones", "/certificates") and viewer.may_of_zones(entry.needs)
