"""Store rows → immutable tables for the edge, which turns them into the engine's types. `reading` reads the rows; everything
else here is pure: `routes`, `tunnels`, `certificates`, and `closest`, what DNS answers a name with."""

from qanat.tables.certificates import LeafNames, compile_leaves
from qanat.tables.closest import owner
from qanat.tables.routes import Destination, compile_destinations, compile_routes
from qanat.tables.tunnels import TunnelEntry, compile_tunnel

__all__ = [
    "Destination",
    "LeafNames",
    "TunnelEntry",
    "compile_destinations",
    "compile_leaves",
    "compile_routes",
    "compile_tunnel",
    "owner",
]
