"""`tunnel --name NAME`: makes the tunnel if it isn't there, routes its hostname, and gives what its connector runs by."""

from qanat.cli.stock import credentials
from qanat.cli.stock.command_line import Command, Invocation
from qanat.cli.stock.commands import API
from qanat.cli.stock.routes import route_dns, route_lb
from qanat.cli.stock.session import Session
from qanat.cli.stock.tunnels import make
from qanat.connector.log import Log
from qanat.connector.sources import OwnTunnel, Sources
from qanat.errors import QanatError

_COMMAND = Command(("tunnel",), "", "", "", API)


def named_tunnel(sources: Sources, log: Log) -> OwnTunnel:
    """QanatError in stock's words; a hostname that can't be routed is logged, and the tunnel runs."""
    session = Session(Invocation(_COMMAND, (), {}, sources.values, "qanat"))
    try:
        return _prepared(session, sources, log)
    finally:
        session.close()


def _prepared(session: Session, sources: Sources, log: Log) -> OwnTunnel:
    name, hostname = sources.get("name", ""), sources.get("hostname", "")
    if hostname and hostname == sources.get("url", ""):
        raise QanatError("usage", "hostname and url shouldn't match. See --help for more information")
    file = sources.file("credentials-file") or ""
    found = session.tunnels_named(name)
    if found:
        tunnel_id = str(found[0]["id"])
        log.info("Reusing existing tunnel with this name", tunnelID=tunnel_id)
    else:
        made = make(session, name, file=file, secret="", source="local")
        tunnel_id, file = str(made.tunnel["id"]), made.file
        log.info(f"Created tunnel {name}", tunnelID=tunnel_id)
    if hostname:
        _route(session, tunnel_id, hostname, sources, log)
    if known := credentials.find(session, tunnel_id, file):
        return OwnTunnel({"credentials-file": known})
    token = str(session.one("GET", f"{session.tunnels_path}/{tunnel_id}/token", "get tunnel token"))
    return OwnTunnel({"token": token})


def _route(session: Session, tunnel_id: str, hostname: str, sources: Sources, log: Log) -> None:
    pool = sources.get("lb-pool", "")
    try:
        if pool:
            done = route_lb(session, tunnel_id, hostname, pool)
        else:
            done = route_dns(session, tunnel_id, hostname, overwrite=sources.get("overwrite-dns", False))
    except QanatError as error:
        log.error(
            "Failed to add route, the tunnel runs without it",
            error=error.message,
            route=f"lb {hostname} {pool}" if pool else f"dns {hostname}",
        )
        return
    log.info(done)
