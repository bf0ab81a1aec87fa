"""Somebody who only wants to be served: `python victim.py ORDERS` sends requests at a steady rate until it is ended.

A process of its own, so that no attacker shares its interpreter. It prints a line for each request: its number, when it was
due (CLOCK_MONOTONIC), seconds from then until its whole answer was there, seconds that this process itself was late with it
(which tells how busy the machine's cores are), and what was wrong. A request is due by the clock and not by the answer before
it, so waiting behind others counts. ORDERS is a file (it may hold a token): see `Orders`.
"""

import asyncio
import contextlib
import gc
import json
import socket
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIZES = {"/small": 1024, "/page": 48 << 10}
"""What the victim's own origin answers; anything else is answered with the number of body bytes that came."""


@dataclass(frozen=True)
class Ask:
    """One kind of request. `size`: of the right answer's body (None: any); `fresh`: on a connection of its own."""

    method: str
    path: str
    status: int = 200
    size: int | None = None
    body_bytes: int = 0
    body: str = ""
    fresh: bool = False


@dataclass(frozen=True)
class Orders:
    """Whom to ask for what. `ca`: None for plain HTTP; `listener`: a bound socket (its number) for the origin."""

    address: str
    host: str
    asks: list[Ask]
    rate: float
    connections: int
    ca: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 5.0
    listener: int | None = None

    @classmethod
    def read(cls, path: Path) -> "Orders":
        found: dict[str, Any] = json.loads(path.read_text())
        return cls(**{**found, "asks": [Ask(**ask) for ask in found["asks"]]})


class Wrong(Exception):
    """An answer that is not the right one."""


async def message(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """First line and body of a message with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    length = 0
    for line in fields:
        name, _, text = line.partition(":")
        if name.lower() == "content-length":
            length = int(text)
        elif name.lower() == "transfer-encoding":
            raise Wrong(f"a body without a length: {first}")
    return first, await reader.readexactly(length)


class Line:
    """One connection, opened when it is first needed and again after a failure."""

    def __init__(self, orders: Orders, context: ssl.SSLContext | None) -> None:
        self._orders = orders
        self._context = context
        self._lock = asyncio.Lock()
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, ask: Ask) -> None:
        """Raises what was wrong."""
        async with self._lock:
            try:
                await self._exchange(ask)
            except BaseException:
                self.close()
                raise

    async def _exchange(self, ask: Ask) -> None:
        orders = self._orders
        if self._ends is None:
            host, _, port = orders.address.rpartition(":")
            name = orders.host if self._context is not None else None
            self._ends = await asyncio.open_connection(host, int(port), ssl=self._context, server_hostname=name)
        reader, writer = self._ends
        body = ask.body.encode() or b"x" * ask.body_bytes
        lines = [f"{ask.method} {ask.path} HTTP/1.1", f"Host: {orders.host}"]
        lines += [f"{name}: {text}" for name, text in orders.fields.items()]
        lines += [f"Content-Length: {len(body)}"] if body else []
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        first, got = await message(reader)
        if first.split(" ")[1] != str(ask.status) or (ask.size is not None and len(got) != ask.size):
            raise Wrong(f"{first}, {len(got)} bytes: {got[:200]!r}")

    def close(self) -> None:
        if self._ends is not None:
            self._ends[1].transport.abort()
            self._ends = None


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The victim's origin."""
    with contextlib.suppress(asyncio.IncompleteReadError, OSError):
        while True:
            first, body = await message(reader)
            path = first.split(" ")[1]
            answer = b"v" * SIZES[path] if path in SIZES else str(len(body)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
            await writer.drain()
    writer.close()


async def one(orders: Orders, line: Line, ask: Ask, number: int, due: float, late: float) -> None:
    reason = ""
    try:
        async with asyncio.timeout(orders.timeout_s):
            await line.ask(ask)
    except (Wrong, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        reason = f"{ask.method} {ask.path}: {type(error).__name__} {error}".replace("\n", " ")
    if ask.fresh:
        line.close()
    print(f"{number} {due:.6f} {time.monotonic() - due:.6f} {late:.6f} {reason}", flush=True)


async def run(orders: Orders) -> None:
    context = None
    if orders.ca is not None:
        context = ssl.create_default_context(cafile=orders.ca)
        context.set_alpn_protocols(["http/1.1"])
    if orders.listener is not None:
        await asyncio.start_server(serve, sock=socket.socket(fileno=orders.listener), backlog=256)
    lines = [Line(orders, context) for _ in range(orders.connections)]
    under_way: set[asyncio.Task[None]] = set()
    start = time.monotonic()
    number = 0
    while True:
        due = start + number / orders.rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        late = time.monotonic() - due
        ask = orders.asks[number % len(orders.asks)]
        line = Line(orders, context) if ask.fresh else lines[number % len(lines)]
        task = asyncio.create_task(one(orders, line, ask, number, due, late))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1


if __name__ == "__main__":
    gc.disable()
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(run(Orders.read(Path(sys.argv[1]))))
