"""The engine's table of routes, asked without an edge that serves: one that listens on loopback and is never opened."""

from collections.abc import Mapping, Sequence
from functools import cache
from threading import Lock

import trustme
from sqlalchemy.orm import Session

from qanat.auth.management import ManagementKey
from qanat.descriptors import Shares
from qanat.edge.engine import Certificate, Edge, Route
from qanat.edge.engine_settings import engine_settings
from qanat.settings import load_edge_settings
from qanat.tables import compile_destinations, compile_routes
from qanat.tables.reading import read_routes, read_shares, read_stops
from qanat.tables.routes import Sticky

_LOCK = Lock()


@cache
def _edge() -> Edge:
    issued = trustme.CA().issue_cert("quic.cftunnel.com")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    flags = {"public.https": "off", "public.http": "off", "tunnel.address": "127.0.0.1:0", "engine.worker_threads": 1}
    settings = engine_settings(load_edge_settings(flags=flags), ManagementKey.make(), Shares.of(1024))
    certificate = Certificate(chain_pem=chain, key_pem=issued.private_key_pem.bytes())
    return Edge(settings, tunnel_certificate=certificate, sockets={})


def ask(table: Mapping[str, str | None], hostname: str) -> Route | None:
    """What a table of hostnames and tunnels says of a hostname."""
    return _ask([_route(name, [(tunnel, 1)] if tunnel is not None else []) for name, tunnel in table.items()], hostname)


def routed(session: Session, hostname: str) -> Route | None:
    """The same, of the table that the store's rows make."""
    routes = compile_destinations(compile_routes(read_routes(session)), read_shares(session))
    rows = [_route(name, there.targets, there.sticky) for name, there in routes.items()]
    stops = set[str]().union(*read_stops(session).values())
    return _ask([*rows, *(_route(name, []) for name in stops - routes.keys())], hostname)


def _route(hostname: str, targets: Sequence[tuple[str, int]], sticky: Sticky = "none") -> Route:
    return Route(hostname=hostname, targets=targets, sticky=sticky)


def _ask(rows: list[Route], hostname: str) -> Route | None:
    with _LOCK:
        _edge().swap_routes(rows)
        return _edge().route(hostname=hostname)
