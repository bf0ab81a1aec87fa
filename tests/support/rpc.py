"""Cap'n Proto by pycapnp, an implementation that shares nothing with ours but the schema files."""

import asyncio
import base64
import json
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import capnp  # type: ignore[import-untyped]

from tests.support.waiting import PATIENCE_S

T = TypeVar("T")

capnp.remove_import_hook()
SCHEMA = Path(__file__).resolve().parents[2] / "crates" / "wire" / "schema"
connect: Any = capnp.load(str(SCHEMA / "connect.capnp"))
TwoPartyServer: Any = capnp.TwoPartyServer
TwoPartyClient: Any = capnp.TwoPartyClient
control: Any = capnp.load(str(SCHEMA / "control.capnp"))

DATA = bytes.fromhex("0a36cd12a13e") + b"01"
RPC = bytes.fromhex("52bb825cdb65")
HTTP, WEBSOCKET, TCP = "http", "websocket", "tcp"

Metadata = list[tuple[str, str]]


@dataclass(frozen=True)
class Token:
    """What a connector token says."""

    account: str
    tunnel_id: uuid.UUID
    secret: bytes

    @classmethod
    def parse(cls, text: str) -> "Token":
        fields = json.loads(base64.b64decode(text))
        return cls(fields["a"], uuid.UUID(fields["t"]), base64.b64decode(fields["s"]))


@dataclass(frozen=True)
class Registered:
    """`connectionDetails`."""

    connection_id: uuid.UUID
    location: str
    remotely_managed: bool


@dataclass(frozen=True)
class Refused(Exception):
    """`error` of a registration."""

    cause: str
    retry_after_s: float
    should_retry: bool


def message_size(data: bytes) -> int | None:
    """Length of the framed message at the start of `data`; None when its table is not whole yet."""
    if len(data) < 4:
        return None
    segments = int.from_bytes(data[:4], "little") + 1
    table = (4 + 4 * segments + 7) // 8 * 8
    if len(data) < table:
        return None
    words = sum(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "little") for i in range(segments))
    return table + 8 * words


def connect_request(dest: str, metadata: Metadata, kind: str = HTTP) -> bytes:
    message = connect.ConnectRequest.new_message(dest=dest, type=kind)
    fill(message.init("metadata", len(metadata)), metadata)
    return bytes(message.to_bytes())


def connect_response(metadata: Metadata, error: str = "") -> bytes:
    message = connect.ConnectResponse.new_message()
    if error:
        message.error = error
    fill(message.init("metadata", len(metadata)), metadata)
    return bytes(message.to_bytes())


def fill(into: Any, metadata: Metadata) -> None:
    for entry, (key, value) in zip(into, metadata, strict=True):
        entry.key = key
        entry.val = value


def pairs(metadata: Any) -> Metadata:
    return [(str(entry.key), str(entry.val)) for entry in metadata]


async def bridged(
    send: Callable[[bytes], None], receive: Callable[[], Awaitable[bytes]]
) -> tuple[Any, asyncio.Task[None]]:
    """A capnp stream whose bytes go out by `send` and come in by `receive` (b"": the end)."""
    inside, outside = socket.socketpair()
    stream = await capnp.AsyncIoStream.create_connection(sock=inside)
    reader, writer = await asyncio.open_connection(sock=outside)

    async def outwards() -> None:
        while data := await reader.read(65536):
            send(data)

    async def inwards() -> None:
        while data := await receive():
            writer.write(data)
            await writer.drain()
        writer.close()

    async def both() -> None:
        tasks = [asyncio.create_task(outwards()), asyncio.create_task(inwards())]
        try:
            await asyncio.gather(*tasks)
        except (ConnectionError, OSError):
            pass
        finally:
            for task in tasks:
                task.cancel()
            writer.close()

    return stream, asyncio.create_task(both())


class LoopThread:
    """An event loop with Cap'n Proto in a thread of its own; calls into it block the test until they are done."""

    def __init__(self) -> None:
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.loop = self._started.result(10.0)

    def _run(self) -> None:
        async def main() -> None:
            self._end = asyncio.Event()
            self._started.set_result(asyncio.get_running_loop())
            await self._end.wait()

        asyncio.run(capnp.run(main()))

    def call(self, work: Coroutine[Any, Any, T], *, timeout_s: float = PATIENCE_S) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def stop(self) -> None:
        if self._end is not None and self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._end.set)
            self._thread.join(10.0)


async def register(
    stream: Any,
    token: Token,
    *,
    connector_id: uuid.UUID,
    index: int = 0,
    features: tuple[str, ...] = ("allow_remote_config", "serialized_headers"),
    version: str = "test",
) -> tuple[Any, Any, Registered]:
    """Registers over a capnp stream; the client (keep it), the bootstrap, and the details. Raises Refused."""
    client = capnp.TwoPartyClient(stream)
    server = client.bootstrap().cast_as(control.RegistrationServer)
    request = server.registerConnection_request()
    request.auth.accountTag = token.account
    request.auth.tunnelSecret = token.secret
    request.tunnelId = token.tunnel_id.bytes
    request.connIndex = index
    options = request.options
    options.client.clientId = connector_id.bytes
    options.client.features = list(features)
    options.client.version = version
    options.client.arch = "linux_amd64"
    options.originLocalIp = bytes([127, 0, 0, 1])
    options.numPreviousAttempts = 0
    result = (await request.send()).result.result
    if result.which() == "error":
        error = result.error
        raise Refused(str(error.cause), error.retryAfter / 1e9, bool(error.shouldRetry))
    details = result.connectionDetails
    return (
        client,
        server,
        Registered(
            uuid.UUID(bytes=bytes(details.uuid)), str(details.locationName), bool(details.tunnelIsRemotelyManaged)
        ),
    )


class ConfigurationSink(control.CloudflaredServer.Server):  # type: ignore[misc]
    """The connector's bootstrap on an RPC stream: takes configurations into a list."""

    def __init__(self, answer: Callable[[int, bytes], tuple[int, str]]) -> None:
        self._answer = answer

    async def updateConfiguration(self, version: int, config: bytes, _context: Any, **_: Any) -> None:  # noqa: N802
        applied, error = self._answer(version, bytes(config))
        _context.results.init("result")
        _context.results.result.latestAppliedVersion = applied
        _context.results.result.err = error
