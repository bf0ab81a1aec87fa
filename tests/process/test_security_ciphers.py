"""security.md S1 by OpenSSL, which has the old ciphers that rustls lacks. (TLS 1.3, S2 and QUIC: crates/edge/tests/tls.rs and
crates/transport/tests/tls.rs.)"""

import socket
import ssl
import warnings

import pytest

from tests.support.edge import Edge
from tests.support.fixtures import quic_only
from tests.support.sites import Site

pytestmark = pytest.mark.requirement("S1")

EXPECTED = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"}
"""The development CA's keys are ECDSA; for an RSA key it is the same list with ECDHE-RSA."""


def handshake(address: str, name: str, ciphers: str, newest: ssl.TLSVersion) -> ssl.SSLSocket | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(ciphers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that they are old is the point
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = newest
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), 10.0)
    try:
        return context.wrap_socket(sock, server_hostname=name)
    except OSError:
        sock.close()
        return None


def every_cipher() -> list[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return sorted({each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"})


def where(edge: Edge, hostname: str, listener: str) -> tuple[str, str]:
    return (edge.https, hostname) if listener == "public" else (edge.tunnel, "h2.cftunnel.com")


@quic_only
@pytest.mark.parametrize("listener", ["public", "tunnel"])
def test_no_cipher_but_ecdhe_with_aead(site: Site, listener: str) -> None:
    address, name = where(site.edge, site.hostname, listener)
    offered = every_cipher()
    assert {each for each in offered if "CBC" in each or "SHA" in each or each.startswith(("DHE", "AES"))}, offered
    taken = set()
    for cipher in offered:
        try:
            sock = handshake(address, name, f"{cipher}:@SECLEVEL=0", ssl.TLSVersion.TLSv1_2)
        except ssl.SSLError:
            continue
        if sock is not None:
            with sock:
                assert sock.compression() is None
                taken.add(str(sock.cipher()[0]))  # type: ignore[index]
    assert taken == EXPECTED


@quic_only
@pytest.mark.parametrize("listener", ["public", "tunnel"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_no_old_version(site: Site, listener: str, version: ssl.TLSVersion) -> None:
    address, name = where(site.edge, site.hostname, listener)
    assert handshake(address, name, "ALL:@SECLEVEL=0", version) is None
