"""A peer that never ends: each byte comes in the time of one read, and far more of them than there is time for."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Literal

from tests.support.waiting import PATIENCE_S

Part = Literal["tls", "head", "body"]
BEGINNINGS: dict[Part, bytes] = {
    "tls": b"\x16\x03\x03\x40\x00",  # a record of 16 KiB, announced
    "head": b"HTTP/1.1 200 OK\r\nX-Long: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-Type: application/json\r\n\r\n",
}


@contextmanager
def dripping(part: Part, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Its URL. `tls`: it gets as far as a handshake with it, and drips behind it."""
    over = Event()

    def drip(dialled: socket.socket) -> None:
        connection = tls.wrap_socket(dialled, server_side=True) if tls is not None else dialled
        with connection, suppress(OSError):
            connection.sendall(BEGINNINGS[part])
            connection.settimeout(0.02)
            while not over.is_set():
                connection.sendall(b" ")
                with suppress(TimeoutError):
                    while connection.recv(4096):
                        pass

    def serve() -> None:
        while not over.is_set():
            with suppress(OSError):
                drip(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve, daemon=True)
        thread.start()
        try:
            scheme = "https" if part == "tls" or tls is not None else "http"
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)
