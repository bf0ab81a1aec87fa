"""What stands at the top of every page."""

from typing import NamedTuple

from qanat.dashboard.door import OF_ZONE, Viewer
from qanat.store.reach import Permission


class Entry(NamedTuple):
    """A page of the menu, and all that it needs: it isn't offered to others. What needs a permission on zones lists those of the
    viewer's own reach."""

    url: str
    label: str
    needs: tuple[Permission, ...]

    def is_here(self, path: str) -> bool:
        """Whether a page stands below it."""
        return path == self.url or (self.url != "/" and path.startswith(f"{self.url}/"))

    def is_for(self, viewer: Viewer) -> bool:
        """Whether the viewer may look at it."""
        return all(
            viewer.may_of_zones(each) if each.startswith(OF_ZONE) else viewer.may_here(each) for each in self.needs
        )


MENU = (
    Entry("/", "Overview", ("tunnel.read",)),
    Entry("/tunnels", "Tunnels", ("tunnel.read",)),
    Entry("/hostnames", "Hostnames", ("dns.read", "tunnel.read")),
    Entry("/zones", "Zones", ("zone.read",)),
    Entry("/cutovers", "Cutovers", ("dns.read", "tunnel.read")),
    Entry("/certificates", "Certificates", ("zone.read",)),
    Entry("/start", "Connect a host", ("tunnel.edit",)),
    Entry("/tokens", "Tokens", ("token.read",)),
    Entry("/users", "Users", ("account.read",)),
    Entry("/alerts", "Alerts", ("account.read",)),
    Entry("/audit", "Audit", ("audit.read",)),
)


def menu_of(viewer: Viewer) -> list[Entry]:
    """What this viewer may look at."""
    return [entry for entry in MENU if entry.is_for(viewer)]


def home_of(viewer: Viewer) -> str:
    """Where they begin: the first of it; "" for who may look at nothing."""
    return next((entry.url for entry in menu_of(viewer)), "/me" if viewer.is_person else "")
