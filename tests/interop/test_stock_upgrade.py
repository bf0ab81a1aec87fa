"""A stock connector over HTTP/2 while the edge is upgraded twice in a row: its first connection returns at once, so that nobody
waits for its back-off, which is up to 20 s for the others and doubles.

`QANAT_TEST_CLOUDFLARED` names the binary.
"""

import re
import signal
from pathlib import Path

import pytest

from tests.process.test_edge_upgrade import HOSTNAME, PATIENCE_S, Upgraded
from tests.support.connector import REGISTERED, STOCK, Connector
from tests.support.fixtures import NO_STOCK
from tests.support.origin import Origin
from tests.support.visitors import Visitor
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]
CONNECTIONS = 4


def returned(connector: Connector) -> int:
    """How often the first connection has registered."""
    return sum(
        found.group(1) == "0" for line in connector.process.lines if (found := re.search(REGISTERED, line)) is not None
    )


def test_upgrades_in_a_row_fail_no_request_of_a_stock_connectors_visitors(folder: Path) -> None:
    origin = Origin()
    edge = Upgraded(folder / "edge", grace_period_s="20", drain_timeout_s="60")
    connector: Connector | None = None
    visitors: list[Visitor] = []
    try:
        tunnel = edge.api.create_tunnel("app")
        edge.api.publish(edge.api.create_zone("example.test"), HOSTNAME, tunnel.id)
        edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
        connector = Connector(
            folder / "c", edge, tunnel.token, kind="cloudflared", protocol="http2", connections=CONNECTIONS
        )
        with edge.h1(HOSTNAME, timeout_s=PATIENCE_S) as client:
            wait_until(lambda: client.get().status == 200, "traffic", timeout_s=PATIENCE_S)
        visitors = [Visitor(edge, HOSTNAME, kind) for kind in ("h1", "h2")]
        for number in (1, 2):
            code, answer, said = edge.upgrade("--timeout", "80")
            assert code == 0, said
            edge.wait_in_charge(answer["pid"])
            for visitor in visitors:
                visitor.wait_more()
            assert returned(connector) == number + 1, "it has come by its first connection"
    finally:
        for visitor in visitors:
            visitor.stop()
        if connector is not None:
            connector.process.kill()
        edge.api.close()
        edge.process.signal(signal.SIGTERM)  # which it passes on
        edge.process.wait(timeout_s=PATIENCE_S)
        edge.process.kill()
        origin.close()
    assert [failed for visitor in visitors for failed in visitor.failed] == []
    assert "already connected to this server" in connector.process.log(), "how it was told"
