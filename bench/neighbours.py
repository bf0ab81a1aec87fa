"""Attackers for `neighbour_p99_ratio`: visitors that leave downloads unread, or whose uploads the origin leaves unread.

`python -m bench.neighbours` is that origin: it accepts, reads nothing, and prints its port.
"""

import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from threading import Event, Thread

from bench.load import Target

STREAMS = 100
UPLOADS, ANNOUNCED, SENT = 60, 100_000_000, 6 << 20
SMALL_BUFFER = 16384
SETTLE_S = 10.0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113 4.1."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def head(hostname: str, path: str) -> bytes:
    """GET as a header block that needs no table but the static one (RFC 7541 appendix A)."""
    return b"\x82\x87\x04" + bytes([len(path)]) + path.encode() + b"\x01" + bytes([len(hostname)]) + hostname.encode()


def connected(target: Target, context: ssl.SSLContext, stack: ExitStack) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", target.port), 10.0)
    return stack.enter_context(context.wrap_socket(plain, server_hostname=target.hostname))


@contextmanager
def unread_downloads(target: Target, context: ssl.SSLContext) -> Iterator[None]:
    """One HTTP/2 connection that asks for 100 large bodies and lets none of their bytes come."""
    with ExitStack() as stack:
        context.set_alpn_protocols(["h2"])
        sock = connected(target, context, stack)
        window = frame(4, 0, 0, b"\0\x04\0\0\0\0")
        asked = b"".join(frame(1, 5, 1 + 2 * n, head(target.hostname, "/large")) for n in range(STREAMS))
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + window + frame(4, 1, 0, b"") + asked)
        time.sleep(1.0)  # the origin sends as far as it may
        yield


@contextmanager
def unread_uploads(target: Target, context: ssl.SSLContext) -> Iterator[None]:
    """60 uploads of 100 MB each to an origin that reads nothing; up to 6 MiB of each are sent."""
    context.set_alpn_protocols(["http/1.1"])
    text = f"POST /unread HTTP/1.1\r\nHost: {target.hostname}\r\nContent-Length: {ANNOUNCED}\r\n\r\n"
    with ExitStack() as stack:
        left = {}
        for _ in range(UPLOADS):
            sock = connected(target, context, stack)
            sock.sendall(text.encode())
            sock.setblocking(False)
            left[sock] = SENT
        over, stands = Event(), Event()

        def send() -> None:
            piece, idle = bytes(65536), 0
            while not over.is_set():
                went = 0
                for sock, rest in left.items():
                    with suppress(OSError):  # it takes no more now, or it was thrown out
                        sent = sock.send(piece[:rest]) if rest else 0
                        left[sock] -= sent
                        went += sent
                idle = 0 if went else idle + 1
                if idle == 3:
                    stands.set()
                over.wait(0.02)

        sender = Thread(target=send, daemon=True)
        sender.start()
        try:
            stands.wait(SETTLE_S)
            yield
        finally:
            over.set()
            sender.join()


Attack = Callable[[Target, ssl.SSLContext], AbstractContextManager[None]]
ATTACKS: dict[str, Attack] = {"downloads": unread_downloads, "uploads": unread_uploads}


def main() -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    sys.stdout.write(f"port {listener.getsockname()[1]}\n")
    sys.stdout.flush()
    kept = []
    while True:
        kept.append(listener.accept()[0])


if __name__ == "__main__":
    main()
