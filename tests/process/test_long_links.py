"""Transfers over a line between connector and edge that is long and loses packets: they arrive whole, whatever they are
sent by. How fast they are is the bench's to say (bench/link.py)."""

from pathlib import Path

import pytest

from tests.support.connector import Connector
from tests.support.edge import Edge
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.waiting import wait_until

BODY = bytes(range(256)) * 4000


def status_of(edge: Edge, hostname: str) -> int | None:
    try:
        with edge.h1(hostname) as client:
            return client.get().status
    except OSError:
        return None


@pytest.mark.parametrize("congestion", ["tolerant", "cubic", "bbr"])
def test_bodies_arrive_whole_where_one_datagram_in_fifty_is_lost(edge: Edge, folder: Path, congestion: str) -> None:
    origin = Origin()
    relay = Relay(edge.tunnel, delay_s=0.01)
    tunnel = edge.api.create_tunnel(f"far {congestion}")
    hostname = f"{congestion}.long.example"
    edge.api.publish(edge.api.create_zone(hostname), hostname, tunnel.id)
    edge.api.put_configuration(tunnel.id, [{"service": origin.service}])
    flags = ("--congestion", congestion)
    connector = Connector(folder / "far", relay.address, tunnel.token, ca_file=edge.ca_file, flags=flags)
    try:
        wait_until(lambda: status_of(edge, hostname) == 200, "the connector to serve")
        relay.lose_every = 50
        origin.answers(200, BODY)
        with edge.h1(hostname, timeout_s=60.0) as client:
            assert client.get("/down").body == BODY
            assert client.request("POST", "/up", body=BODY).status == 200
        assert origin.last.body == BODY
        assert relay.lost > 0
    finally:
        connector.stop()
        relay.close()
        origin.close()
