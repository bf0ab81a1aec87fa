"""Those who are told of alerts: a webhook's receiver, and an SMTP server."""

import json
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Hook:
    """Takes POSTs on loopback. `answer`: status and further header fields, asked at each."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[], tuple[int, dict[str, str]]] = lambda: (204, {})
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, fields = hook.answer()
                hook.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/hook?a=b"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """As they were sent."""
        return [json.loads(body) for _, body in list(self.got)]

    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Mailbox:
    """An SMTP server on loopback: one mail a connection, with STARTTLS and AUTH PLAIN where it has TLS. `refuse`: its answer to
    RCPT."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.mails: list[str] = []
        self.said: list[str] = []
        self.refuse = ""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                connection.settimeout(60)
                self._serve(connection)
            except OSError:
                pass
            finally:
                connection.close()

    def _serve(self, connection: socket.socket, *, is_secure: bool = False) -> None:
        lines = connection.makefile("rb")

        def say(text: str) -> None:
            connection.sendall(text.encode() + b"\r\n")

        if not is_secure:
            say("220 mailbox.test ESMTP")
        while line := lines.readline():
            text = line.decode().rstrip("\r\n")
            self.said.append(text)
            word = text.partition(" ")[0].upper()
            if word == "EHLO":
                more = ["AUTH PLAIN"] if is_secure else ["STARTTLS"] if self._tls else []
                for each in ["mailbox.test", *more]:
                    say(f"250-{each}")
                say("250 8BITMIME")
            elif word == "STARTTLS" and self._tls is not None:
                say("220 go on")
                lines.close()
                with self._tls.wrap_socket(connection, server_side=True) as secure:
                    self._serve(secure, is_secure=True)
                return
            elif word == "AUTH":
                say("235 you are" if text.endswith("AG1pcgBzZWNyZXQ=") else "535 you are not")  # mir, secret
            elif word == "RCPT" and self.refuse:
                say(self.refuse)
            elif word == "DATA":
                say("354 go on")
                mail = b""
                while (part := lines.readline()) != b".\r\n":
                    mail += part
                self.mails.append(mail.decode())
                say("250 taken")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
