"""Store rows → immutable tables for the edge. Pure functions; the edge turns them into the engine's types."""

from qanat.tables.certificates import LeafNames, compile_leaves
from qanat.tables.closest import owner
from qanat.tables.routes import (
    compile_routes,
    read_hostnames_below,
    read_routes,
    read_stops,
    read_zone_hostnames,
)
from qanat.tables.tunnels import TunnelEntry, compile_tunnel, read_tunnel, read_tunnels

__all__ = [
    "LeafNames",
    "TunnelEntry",
    "compile_leaves",
    "compile_routes",
    "compile_tunnel",
    "owner",
    "read_hostnames_below",
    "read_routes",
    "read_stops",
    "read_tunnel",
    "read_tunnels",
    "read_zone_hostnames",
]
