"""Plain TCP for tests: an origin that runs a script for each connection, and a proxy that leads every CONNECT to one address."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

Script = Callable[[socket.socket], None]


class TcpOrigin:
    """Listens on a port of its own; `ended` counts the connections whose script is over."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.ended = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._script(connection)
        self.ended += 1

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def echo(connection: socket.socket) -> None:
    """Sends back what comes, and `done` after its end."""
    while data := connection.recv(1 << 16):
        connection.sendall(data)
    connection.sendall(b"done")


def connect_proxy(target: str) -> TcpOrigin:
    """For clients that know no other way to an address than a name: every CONNECT is a connection to `target`."""
    host, _, port = target.rpartition(":")

    def tunnel(client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        with socket.create_connection((host, int(port))) as onward:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_copy, args=(onward, client), daemon=True)
            back.start()
            _copy(client, onward)
            back.join()

    return TcpOrigin(tunnel)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
