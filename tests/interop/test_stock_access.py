"""`cloudflared access tcp` through our edge, to a TCP service of our connector and of a stock one."""

import hashlib
import os
import subprocess
import threading
from contextlib import suppress

import pytest

from tests.support.connector import STOCK
from tests.support.fixtures import NO_STOCK, every_connector
from tests.support.processes import clean_environment
from tests.support.sites import Publisher
from tests.support.tcp import TcpOrigin, connect_proxy, echo

pytestmark = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]

SIZE = int(os.environ.get("QANAT_TEST_ACCESS_BYTES", 8 << 20))
BLOCK = bytes(range(256)) * 256


@every_connector
def test_the_stock_client_carries_bytes_unharmed_both_ways_at_once(publish: Publisher) -> None:
    origin = TcpOrigin(echo)
    site = publish(f"tcp://{origin.address}")
    proxy = connect_proxy(site.edge.https)
    environment = clean_environment() | {
        "HTTPS_PROXY": f"http://{proxy.address}",
        "SSL_CERT_FILE": str(site.edge.ca_file),
    }
    assert STOCK
    client = subprocess.Popen(
        [STOCK, "access", "tcp", "--hostname", site.hostname],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert client.stdin and client.stdout
    sent, got = hashlib.sha256(), hashlib.sha256()
    stdin = client.stdin

    def send() -> None:
        for _ in range(SIZE // len(BLOCK)):
            stdin.write(BLOCK)
            sent.update(BLOCK)
        stdin.flush()

    sending = threading.Thread(target=send)
    sending.start()
    try:
        left = SIZE
        while left and (data := os.read(client.stdout.fileno(), 1 << 16)):
            got.update(data)
            left -= len(data)
        assert left == 0
        sending.join()
        assert got.digest() == sent.digest()
    finally:
        client.kill()
        client.wait()
        sending.join()
        with suppress(BrokenPipeError):
            stdin.close()
        client.stdout.close()
        origin.close()
        proxy.close()
