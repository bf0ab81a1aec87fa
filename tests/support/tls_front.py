"""TLS in front of a plain listener, for clients that speak nothing else: what an operator puts before the API."""

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme

from tests.support.tls import AnySocket, TlsSocket


@contextmanager
def tls_front(folder: Path, target: str, *, proxied: str = "") -> Iterator[tuple[str, Path]]:
    """An address of 127.0.0.1 that forwards to `target`, and the file with the authority its certificate is from.
    `proxied`: a name that it answers for as a proxy, to clients that reach it by `HTTPS_PROXY`."""
    authority = trustme.CA()
    ca_file = folder / "front-ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(proxied or "127.0.0.1").configure_cert(context)
    host, _, port = target.rpartition(":")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), self.request:
                if proxied:
                    _answer_connect(self.request, proxied)
                client = TlsSocket(self.request, context)
                with socket.create_connection((host, int(port))) as server:
                    back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                    back.start()
                    _copy(client, server)
                    back.join()

    with _Server(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.server_address[1]}", ca_file
        listener.shutdown()
        thread.join(5.0)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def _answer_connect(client: socket.socket, name: str) -> None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (read := client.recv(1)):
            raise ConnectionError("it asked for nothing")
        head += read
    if not head.startswith(f"CONNECT {name}:443 ".encode()):
        raise ConnectionError("it asked for another host")
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


def _copy(source: AnySocket, sink: AnySocket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    # an end on one side is the end of both: HTTP clients here never half-close
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
