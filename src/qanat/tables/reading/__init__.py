"""What the tables are made of, read from the store. All of the SQL of `tables` is here; what can't be read is left out."""

from qanat.tables.reading.routes import (
    read_hostnames_below,
    read_routes,
    read_shares,
    read_stops,
    read_zone_hostnames,
)
from qanat.tables.reading.tunnels import read_tunnel, read_tunnels
from qanat.tables.reading.zones import read_zone_settings

__all__ = [
    "read_hostnames_below",
    "read_routes",
    "read_shares",
    "read_stops",
    "read_tunnel",
    "read_tunnels",
    "read_zone_hostnames",
    "read_zone_settings",
]
