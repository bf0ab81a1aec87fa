"""The edge's listeners: both address families, and the TLS versions that security.md S1 names."""

import socket
import ssl
import warnings
from pathlib import Path

import pytest

from tests.support.connector import Connector, Protocol
from tests.support.connectors import host_and_port
from tests.support.edge import Edge
from tests.support.fixtures import quic_only
from tests.support.loopback import needs_ipv6
from tests.support.origin import Origin
from tests.support.sites import Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.requirement("S1")


def _tls(edge: Edge, hostname: str, newest: ssl.TLSVersion) -> tuple[str | None, bytes]:
    """The version that a client which knows none above `newest` gets, and the first line of the answer."""
    host, port = host_and_port(edge.https)
    context = ssl.create_default_context(cafile=str(edge.ca_file))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of what the edge must refuse
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    with (
        socket.create_connection((host.strip("[]"), port), timeout=10.0) as plain,
        context.wrap_socket(plain, server_hostname=hostname) as client,
    ):
        client.sendall(f"GET / HTTP/1.1\r\nHost: {hostname}\r\nConnection: close\r\n\r\n".encode())
        with client.makefile("rb") as answer:
            return client.version(), answer.readline()


@quic_only
def test_a_tls_1_2_client_is_served_and_an_older_one_refused(site: Site) -> None:
    assert _tls(site.edge, site.hostname, ssl.TLSVersion.TLSv1_2) == ("TLSv1.2", b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        _tls(site.edge, site.hostname, ssl.TLSVersion.TLSv1_1)


@needs_ipv6
@pytest.mark.parametrize("protocol", ["quic", "http2"])
@pytest.mark.case(40)
def test_everything_works_on_ipv6_alone(folder: Path, protocol: Protocol) -> None:
    origin = Origin()
    addresses = ("public_https", "public_http", "tunnel_address", "control_address")
    edge = Edge(folder / "edge", **dict.fromkeys(addresses, "[::1]:0"))
    try:
        assert all(address.startswith("[::1]:") for address in (edge.https, edge.http, edge.tunnel))
        assert edge.ready["api"].startswith("http://[::1]:")
        tunnel = edge.api.create_tunnel("six")
        echo = {"hostname": "app.six.test", "path": "^/echo$", "service": origin.service}
        edge.api.put_configuration(tunnel.id, [echo, {"service": "http_status:204"}])
        edge.api.publish(edge.api.create_zone("six.test"), "app.six.test", tunnel.id)
        connector = Connector(folder / "connector", edge, tunnel.token, protocol=protocol)
        try:
            connector.wait_version(1)
            (connection,) = wait_until(lambda: edge.api.connections(tunnel.id), "the connection to be listed")
            assert connection["origin_ip"] == "::1"
            assert _tls(edge, "app.six.test", ssl.TLSVersion.TLSv1_3) == ("TLSv1.3", b"HTTP/1.1 204 No Content\r\n")
            with edge.h1("app.six.test") as client:
                assert (
                    client.get("/echo", [("CF-Connecting-IP", "fd00::1"), ("X-Forwarded-For", "fd00::1")]).status == 200
                )
            assert origin.last.values("cf-connecting-ip") == ["::1"]
            assert origin.last.values("x-forwarded-for") == ["::1"]
        finally:
            connector.stop()
    finally:
        edge.stop()
        origin.close()
