"""What the system drops is told by socket."""

import socket
from pathlib import Path

import pytest

from qanat.datagrams import dropped_at
from tests.support.loopback import needs_ipv6

pytestmark = [
    pytest.mark.case(58),
    pytest.mark.skipif(not Path("/proc/self/net/udp").exists(), reason="this system doesn't tell"),
]


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_datagrams_that_found_no_room_are_counted_at_their_socket(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_DGRAM) as full,
        socket.socket(family, socket.SOCK_DGRAM) as roomy,
        socket.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        written = []
        for each in (full, roomy):
            each.bind((host, 0))
            port = each.getsockname()[1]
            written.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
            for _ in range(20):
                sender.sendto(b"x" * 1200, (host, port))
        assert dropped_at(written[:1]) == dropped_at(written) > 0
        assert dropped_at(written[1:]) == 0
    assert dropped_at(["no address", "127.0.0.1:0"]) == 0
