"""A visitor of the public hostname: HTTP/1.1, HTTP/2 and WebSocket, as a browser would, to the edge's loopback port."""

import asyncio
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from websockets.asyncio.client import connect


class Visitor:
    """Trusts the edge's development CA only, and resolves `hostname` to the edge's address."""

    def __init__(self, hostname: str, edge: str, ca_file: Path) -> None:
        self.hostname = hostname
        self._address, _, port = edge.rpartition(":")
        self._port = int(port)
        self._ca_file = ca_file

    def _tls(self) -> ssl.SSLContext:
        """A new one each time: httpx writes its ALPN names into the one that it gets."""
        return ssl.create_default_context(cafile=str(self._ca_file))

    def client(self, *, http2: bool) -> httpx.Client:
        """One that keeps its connection."""
        return httpx.Client(http1=not http2, http2=http2, verify=self._tls(), trust_env=False, timeout=10.0)

    def get(
        self,
        path: str,
        *,
        http2: bool = False,
        client: httpx.Client | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """GET https://HOSTNAME/PATH."""
        if client is None:
            with self.client(http2=http2) as own:
                return self.get(path, client=own, headers=headers)
        request = client.build_request(
            "GET",
            f"https://{self._address}:{self._port}{path}",
            headers={"Host": self.hostname, **(headers or {})},
            extensions={"sni_hostname": self.hostname},
        )
        return client.send(request)

    def echo(self, message: str) -> str:
        """One message over a WebSocket, and what came back."""
        # Not websockets' threaded client: it reads and writes one TLS socket in two threads, and now and then hangs.
        return asyncio.run(self._echo(message))

    async def _echo(self, message: str) -> str:
        async with connect(
            f"wss://{self.hostname}:{self._port}/socket",
            host=self._address,
            port=self._port,
            ssl=self._tls(),
            server_hostname=self.hostname,
            proxy=None,
        ) as connection:
            await connection.send(message)
            async with asyncio.timeout(10.0):
                return str(await connection.recv())


@dataclass
class Traffic:
    """Requests in a row on two kept connections (HTTP/1.1 and HTTP/2) while the block runs."""

    visitor: Visitor
    answers: list[tuple[float, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(http2,), daemon=True) for http2 in (False, True)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, http2: bool) -> None:
        with self.visitor.client(http2=http2) as client:
            while not self._over.is_set():
                try:
                    answer = self.visitor.get("/during", client=client)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.answers.append((time.monotonic(), answer.text))
                else:
                    self.failures.append(f"{answer.status_code} {answer.text[:80]}")
