"""TLS that one thread may read while another writes: Python's own socket breaks OpenSSL's memory then."""

import socket
import ssl
from threading import Lock

PIECE = 65536


class TlsSocket:
    """An end over a connected socket, whose time-out holds for each wait: the client's, with a hostname, or the server's.
    Reading and writing share OpenSSL's state for moments only, and wait for the network without it."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, hostname: str | None = None) -> None:
        self._sock = sock
        self._came = ssl.MemoryBIO()
        self._goes = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_side=hostname is None, server_hostname=hostname)
        self._state = Lock()
        self._order = Lock()
        self._last = b""
        self.setsockopt = sock.setsockopt
        self.settimeout = sock.settimeout
        self.gettimeout = sock.gettimeout
        self.shutdown = sock.shutdown
        self.close = sock.close
        self._shake_hands()

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._sock.sendall(self._goes.read())
                self._take()
                continue
            self._sock.sendall(self._goes.read())
            return

    def selected_alpn_protocol(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    def recv(self, limit: int) -> bytes:
        """b"" at the end, whether or not the peer said that it was one."""
        while True:
            with self._state:
                try:
                    return self._tls.read(limit)
                except ssl.SSLWantReadError:
                    pass
                except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                    return b""
                except ssl.SSLError as error:
                    error.add_note(f"the last that came: {self._last!r}")
                    raise
            self._take()

    def _take(self) -> None:
        data = self._sock.recv(PIECE)
        self._last = data[:400]
        with self._state:
            if data:
                self._came.write(data)
            else:
                self._came.write_eof()

    def send(self, data: bytes) -> int:
        self.sendall(data)
        return len(data)

    def sendall(self, data: bytes) -> None:
        with self._order:
            for at in range(0, len(data), PIECE):
                with self._state:
                    self._tls.write(data[at : at + PIECE])
                    sealed = self._goes.read()
                self._sock.sendall(sealed)


AnySocket = socket.socket | TlsSocket
