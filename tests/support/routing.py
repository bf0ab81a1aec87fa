"""The engine's table of routes, asked without an edge that serves: one that listens on loopback and is never opened."""

from collections.abc import Mapping
from functools import cache
from threading import Lock

import trustme
from sqlalchemy.orm import Session

from qanat.auth.management import ManagementKey
from qanat.descriptors import Shares
from qanat.edge.engine import Certificate, Edge, Route
from qanat.edge.process import engine_settings
from qanat.settings import load_edge_settings
from qanat.tables import compile_routes
from qanat.tables.reading import read_routes, read_stops

_LOCK = Lock()


@cache
def _edge() -> Edge:
    issued = trustme.CA().issue_cert("quic.cftunnel.com")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    flags = {"public.https": "off", "public.http": "off", "tunnel.address": "127.0.0.1:0", "engine.worker_threads": 1}
    settings = engine_settings(load_edge_settings(flags=flags), ManagementKey.make(), Shares.of(1024))
    return Edge(settings, tunnel_certificate=Certificate(chain_pem=chain, key_pem=issued.private_key_pem.bytes()))


def ask(table: Mapping[str, str | None], hostname: str) -> Route | None:
    """What a table of hostnames and tunnels says of a hostname."""
    with _LOCK:
        _edge().swap_routes([Route(hostname=name, tunnel_id=tunnel) for name, tunnel in table.items()])
        return _edge().route(hostname=hostname)


def routed(session: Session, hostname: str) -> Route | None:
    """The same, of the table that the store's rows make."""
    table: dict[str, str | None] = dict.fromkeys(set[str]().union(*read_stops(session).values()))
    for name, tunnel in compile_routes(read_routes(session)).items():
        table[name] = tunnel
    return ask(table, hostname)
