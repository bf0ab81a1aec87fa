"""security.md S25: RFC 9113 and RFC 7541, case by case, at the public listener and at the connector's end of its transport."""

import base64
import json
import socket
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.conformance import CASES, Case, alive_and_answers
from tests.support.connector import Connector
from tests.support.fixtures import quic_only
from tests.support.frames import FrameClient
from tests.support.origin import Exchange
from tests.support.sites import Site
from tests.support.tls import TlsSocket

pytestmark = pytest.mark.requirement("S25")


def held(exchange: Exchange) -> None:
    exchange.over = True
    exchange.wait_gone(within_s=20.0)


@quic_only  # how the tunnel is carried doesn't matter to the listener
@pytest.mark.parametrize("case", CASES, ids=str)
def test_public_listener(site: Site, case: Case) -> None:
    site.origin.on("/held", held)
    with FrameClient.dial(
        site.edge.https, site.hostname, site.edge.ca_file, start=not case.early, timeout_s=3.0
    ) as client:
        case.act(client)
        case.expect(client)
    with FrameClient.dial(site.edge.https, site.hostname, site.edge.ca_file) as other:
        other.get(1)
        assert other.until(lambda: other.is_over(1))
        assert other.status(1) == 200
    assert not any(
        name.startswith(":") for request in site.origin.requests for name, _ in request.fields + request.trailers
    )
    if not case.reaches:
        assert [request.target for request in site.origin.requests] == ["/"], "a malformed request reached the origin"


AT_A_CONNECTOR = [
    case
    for case in CASES
    if case.where in ("4.1", "5.4.1", "6.5", "6.5.2", "6.7") and case.expect is not alive_and_answers and not case.early
]
"""The connector is the HTTP/2 server of its transport. These cases need no request, and so no registration."""


class Front:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("h2.cftunnel.com", "probe.cftunnel.com").configure_cert(self.tls)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10.0)
        self.token = base64.b64encode(
            json.dumps(
                {"a": "f" * 32, "t": str(uuid.uuid4()), "s": base64.b64encode(bytes(range(32))).decode()}
            ).encode()
        ).decode()

    def accept(self) -> TlsSocket:
        sock, _ = self.listener.accept()
        sock.settimeout(5.0)
        return TlsSocket(sock, self.tls)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """What a connector takes for its edge, up to TLS."""
    front = Front(tmp_path_factory.mktemp("front"))
    yield front
    front.listener.close()


@pytest.mark.parametrize("case", AT_A_CONNECTOR, ids=str)
def test_connector(front: Front, folder: Path, case: Case) -> None:
    address = "{}:{}".format(*front.listener.getsockname())
    connector = Connector(
        folder, address, front.token, protocol="http2", ca_file=front.ca_file, wait=False, grace_period="1s"
    )
    try:
        with FrameClient(front.accept(), "app.example.test", timeout_s=3.0) as client:
            case.act(client)
            case.expect(client)
        assert connector.process.running
    finally:
        connector.process.kill()
