"""An origin that reads uploads as fast as it can and answers how much came: `python -m bench.sink` prints its port."""

import socket
import threading


def serve(sock: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    with sock:
        pending = b""
        while True:
            while b"\r\n\r\n" not in pending:
                data = sock.recv(65536)
                if not data:
                    return
                pending += data
            head, _, pending = pending.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
            length = fields.get(b"content-length")
            if length is None or b"transfer-encoding" in fields:
                sock.sendall(b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            left = int(length) - len(pending)
            pending = b""
            while left > 0:
                got = sock.recv_into(buffer, min(left, len(buffer)))
                if not got:
                    return
                left -= got
            body = length.strip()
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"port {listener.getsockname()[1]}", flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
