"""Connectors that share no code with ours: aioquic and `h2` below, pycapnp above. They record every byte the edge sends."""

import asyncio
import json
import ssl
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import h2.config
import h2.connection
import h2.events
from aioquic.asyncio.client import connect as quic_connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from tests.support import rpc
from tests.support.http1 import Fields
from tests.support.waiting import PATIENCE_S, wait_until


def host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


# -------------------------------------------------------------------------------------------------- QUIC
@dataclass
class QuicStream:
    """One stream that the edge opened."""

    number: int
    protocol: "QuicProtocol"
    raw: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None
    stopped: int | None = None
    dest: str = ""
    kind: str = ""
    metadata: rpc.Metadata = field(default_factory=list)
    taken: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def more(self) -> bytes:
        """Bytes after what was taken; b"" at the end or after a reset."""
        while len(self.raw) <= self.taken and not self.ended and self.reset is None:
            self.news.clear()
            await self.news.wait()
        data = bytes(self.raw[self.taken :])
        self.taken = len(self.raw)
        return data

    async def body(self) -> bytes:
        got = bytearray()
        while data := await self.more():
            got += data
        return bytes(got)

    async def read_request(self) -> None:
        """Reads the preamble and the ConnectRequest."""
        while True:
            data = bytes(self.raw)
            size = rpc.message_size(data[8:])
            if size is not None and len(data) >= 8 + size:
                break
            if self.ended or self.reset is not None:
                raise ConnectionError("the stream ended in its head")
            self.news.clear()
            await self.news.wait()
        assert data[:8] == rpc.DATA, data[:8]
        with rpc.connect.ConnectRequest.from_bytes(data[8 : 8 + size]) as request:
            self.dest, self.kind, self.metadata = str(request.dest), str(request.type), rpc.pairs(request.metadata)
        self.taken = 8 + size

    def write(self, data: bytes, *, end: bool = False) -> None:
        self.protocol.write(self.number, data, end=end)

    def respond(self, status: int, fields: Fields = [], body: bytes | None = None) -> None:  # noqa: B006
        """A ConnectResponse, and the whole body when one is given."""
        metadata = [("HttpStatus", str(status)), *((f"HttpHeader:{name}", value) for name, value in fields)]
        self.write(rpc.DATA + rpc.connect_response(metadata) + (body or b""), end=body is not None)

    def reset_now(self, code: int = 0) -> None:
        self.protocol.reset(self.number, code)

    @property
    def fields(self) -> Fields:
        return [(key.removeprefix("HttpHeader:"), text) for key, text in self.metadata if key.startswith("HttpHeader:")]


QuicHandler = Callable[[QuicStream], Awaitable[None]]


class QuicProtocol(QuicConnectionProtocol):
    """Hands streams to their readers, in both roles."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.streams: dict[int, QuicStream] = {}
        self.on_stream: Callable[[QuicStream], None] | None = None
        self.end: ConnectionTerminated | None = None
        self.ended = asyncio.Event()

    def stream(self, number: int) -> QuicStream:
        if number not in self.streams:
            self.streams[number] = QuicStream(number, self)
        return self.streams[number]

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.end = event
            self.ended.set()
            for stream in self.streams.values():
                stream.ended = True
                stream.news.set()
            return
        if not isinstance(event, StreamDataReceived | StreamReset | StopSendingReceived):
            return
        new = event.stream_id not in self.streams
        stream = self.stream(event.stream_id)
        if isinstance(event, StreamDataReceived):
            stream.raw += event.data
            stream.ended = stream.ended or event.end_stream
        elif isinstance(event, StreamReset):
            stream.reset = event.error_code
        else:
            stream.stopped = event.error_code
        stream.news.set()
        if new and self.on_stream is not None:
            self.on_stream(stream)

    def write(self, number: int, data: bytes, *, end: bool = False) -> None:
        self._quic.send_stream_data(number, data, end)
        self.transmit()

    def reset(self, number: int, code: int) -> None:
        self._quic.reset_stream(number, code)
        self.transmit()

    def stop(self, number: int, code: int) -> None:
        self._quic.stop_stream(number, code)
        self.transmit()

    def next_stream(self) -> QuicStream:
        return self.stream(self._quic.get_next_available_stream_id())


class Recorder(Protocol):
    """What tests ask of a recording connector, whatever its transport."""

    @property
    def received(self) -> bytes: ...
    @property
    def heads(self) -> list[Fields]: ...


async def answer_ok(stream: QuicStream) -> None:
    """The default handler: reads the body, answers 200 `ok`."""
    await stream.body()
    stream.respond(200, [("Content-Length", "2")], b"ok")


class QuicConnector:
    """One registered QUIC connection. Runs in a thread; `handler` answers data streams."""

    def __init__(
        self,
        edge: str,
        ca_file: Path,
        token: str,
        *,
        handler: QuicHandler = answer_ok,
        index: int = 0,
        connector_id: uuid.UUID | None = None,
        features: tuple[str, ...] = ("allow_remote_config", "serialized_headers"),
        register: bool = True,
    ) -> None:
        self.edge = edge
        self.ca_file = ca_file
        self.token = rpc.Token.parse(token)
        self.handler = handler
        self.index = index
        self.connector_id = connector_id or uuid.uuid4()
        self.features = features
        self.streams: list[QuicStream] = []
        self.configurations: list[tuple[int, bytes]] = []
        self.configuration_answer: Callable[[int, bytes], tuple[int, str]] = lambda version, _: (version, "")
        self.registered: rpc.Registered | None = None
        self.problems: list[str] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = rpc.LoopThread()
        self._context: Any = None
        self.protocol: QuicProtocol
        self._client: Any = None
        self._server: Any = None
        try:
            self._thread.call(self._open(register))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "QuicConnector":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def received(self) -> bytes:
        """Every byte of every stream that the edge opened."""
        return b"".join(bytes(stream.raw) for stream in self.streams)

    @property
    def heads(self) -> list[Fields]:
        return [stream.fields for stream in self.data_streams]

    @property
    def data_streams(self) -> list[QuicStream]:
        return [stream for stream in self.streams if stream.dest]

    def wait_configuration(self, count: int = 1) -> tuple[int, bytes]:
        wait_until(lambda: len(self.configurations) >= count, f"{count} pushed configurations")
        return self.configurations[-1]

    async def _open(self, register: bool) -> None:
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=["argotunnel"], server_name="quic.cftunnel.com", idle_timeout=5.0
        )
        configuration.load_verify_locations(cafile=str(self.ca_file))
        host, port = host_and_port(self.edge)
        self._context = quic_connect(host, port, configuration=configuration, create_protocol=QuicProtocol)
        self.protocol = await self._context.__aenter__()
        self.protocol.on_stream = self._accept
        self.control = self.protocol.next_stream()
        if register:
            stream, task = await rpc.bridged(self.control.write, self.control.more)
            self._tasks.add(task)
            self._client, self._server, self.registered = await rpc.register(
                stream, self.token, connector_id=self.connector_id, index=self.index, features=self.features
            )

    def _accept(self, stream: QuicStream) -> None:
        if stream.number % 4 == 1:
            self.streams.append(stream)
            self._tasks.add(asyncio.create_task(self._serve(stream)))

    async def _serve(self, stream: QuicStream) -> None:
        try:
            while len(stream.raw) < 6:
                stream.news.clear()
                await stream.news.wait()
            if bytes(stream.raw[:6]) == rpc.RPC:
                stream.taken = 6
                capnp_stream, task = await rpc.bridged(stream.write, stream.more)
                self._tasks.add(task)
                sink = rpc.ConfigurationSink(self._configured)
                await rpc.TwoPartyServer(capnp_stream, bootstrap=sink).on_disconnect()
                stream.write(b"", end=True)
            else:
                await stream.read_request()
                await self.handler(stream)
        except ConnectionError:
            pass
        except Exception as error:
            self.problems.append(f"{type(error).__name__}: {error}")

    def _configured(self, version: int, document: bytes) -> tuple[int, str]:
        self.configurations.append((version, document))
        return self.configuration_answer(version, document)

    def call(self, work: Any) -> Any:
        return self._thread.call(work)

    def unregister(self) -> None:
        async def work() -> None:
            await self._server.unregisterConnection()

        self._thread.call(work())

    def write_raw(self, data: bytes) -> QuicStream:
        """Opens a stream of our own and writes bytes to it."""

        async def work() -> QuicStream:
            stream = self.protocol.next_stream()
            stream.write(data)
            return stream

        return self._thread.call(work())

    def write_control(self, data: bytes) -> None:
        async def work() -> None:
            self.control.write(data)

        self._thread.call(work())

    def wait_ended(self, *, timeout_s: float = PATIENCE_S) -> ConnectionTerminated:
        """How the edge ended the connection."""
        return wait_until(lambda: self.protocol.end, "the end of the connection", timeout_s=timeout_s)

    def close(self) -> None:
        async def work() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._client = self._server = None
            if self._context is not None:
                await self._context.__aexit__(None, None, None)

        try:
            self._thread.call(work())
        finally:
            self._thread.stop()


# ------------------------------------------------------------------------------------------------ HTTP/2
@dataclass
class Http2Stream:
    """One request that the edge sent on the HTTP/2 transport."""

    number: int
    connector: "Http2Connector"
    fields: Fields
    ended: bool = False
    reset: int | None = None
    trailers: Fields = field(default_factory=list)
    incoming: bytearray = field(default_factory=bytearray)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def more(self) -> bytes:
        while not self.incoming and not self.ended and self.reset is None:
            self.news.clear()
            await self.news.wait()
        data = bytes(self.incoming)
        self.incoming.clear()
        return data

    async def body(self) -> bytes:
        got = bytearray()
        while data := await self.more():
            got += data
        return bytes(got)

    def head(self, status: int, fields: Fields, *, end: bool = False) -> None:
        self.connector.h2.send_headers(self.number, [(":status", str(status)), *fields], end_stream=end)
        self.connector.flush()

    def write(self, data: bytes, *, end: bool = False) -> None:
        self.connector.h2.send_data(self.number, data, end_stream=end)
        self.connector.flush()

    def respond(self, status: int, fields: Fields, body: bytes) -> None:
        """As stock does: the origin's fields serialised in one."""
        meta: Fields = [
            ("cf-cloudflared-response-headers", serialised(fields)),
            ("cf-cloudflared-response-meta", '{"src":"origin"}'),
            *((name.lower(), text) for name, text in fields if name.lower() == "content-length"),
        ]
        self.head(status, meta, end=not body)
        if body:
            self.write(body, end=True)

    def reset_now(self, code: int = 2) -> None:
        self.connector.h2.reset_stream(self.number, code)
        self.connector.flush()


def serialised(fields: Fields) -> str:
    """`cf-cloudflared-response-headers`."""
    import base64

    def encode(text: str) -> str:
        return base64.b64encode(text.encode("latin-1")).decode().rstrip("=")

    return ";".join(f"{encode(name)}:{encode(text)}" for name, text in fields)


Http2Handler = Callable[[Http2Stream], Awaitable[None]]


async def answer_ok_http2(stream: Http2Stream) -> None:
    await stream.body()
    stream.respond(200, [("Content-Length", "2")], b"ok")


class Http2Connector:
    """One registered connection of the HTTP/2 transport: the HTTP/2 server is here."""

    def __init__(
        self,
        edge: str,
        ca_file: Path,
        token: str,
        *,
        handler: Http2Handler = answer_ok_http2,
        index: int = 0,
        connector_id: uuid.UUID | None = None,
        features: tuple[str, ...] = ("allow_remote_config", "serialized_headers"),
    ) -> None:
        self.edge = edge
        self.ca_file = ca_file
        self.token = rpc.Token.parse(token)
        self.handler = handler
        self.index = index
        self.connector_id = connector_id or uuid.uuid4()
        self.features = features
        self.raw = bytearray()
        self.streams: list[Http2Stream] = []
        self.configurations: list[tuple[int, bytes]] = []
        self.configuration_answer: Callable[[int, bytes], tuple[int, str]] = lambda version, _: (version, "")
        self.registered: rpc.Registered | None = None
        self.refused: rpc.Refused | None = None
        self.problems: list[str] = []
        self.ended = False
        self._by_number: dict[int, Http2Stream] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._client: Any = None
        self._server: Any = None
        self._writer: asyncio.StreamWriter | None = None
        self._thread = rpc.LoopThread()
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="latin-1", validate_inbound_headers=False)
        )
        try:
            self._thread.call(self._open())
            wait_until(lambda: self.registered or self.refused, "an answer to the registration")
            if self.refused is not None:
                raise self.refused
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Http2Connector":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def received(self) -> bytes:
        """Every byte that came (after TLS), and every field once more in clear: HPACK hides it."""
        clear = "\n".join(
            f"{name}: {text}" for stream in self.streams for name, text in stream.fields + stream.trailers
        )
        return bytes(self.raw) + clear.encode("latin-1")

    @property
    def data_streams(self) -> list[Http2Stream]:
        control = ("control-stream", "update-configuration")
        return [s for s in self.streams if dict(s.fields).get("cf-cloudflared-proxy-connection-upgrade") not in control]

    @property
    def heads(self) -> list[Fields]:
        return [stream.fields for stream in self.data_streams]

    def wait_configuration(self, count: int = 1) -> tuple[int, bytes]:
        wait_until(lambda: len(self.configurations) >= count, f"{count} pushed configurations")
        return self.configurations[-1]

    async def _open(self) -> None:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        host, port = host_and_port(self.edge)
        reader, self._writer = await asyncio.open_connection(host, port, ssl=context, server_hostname="h2.cftunnel.com")
        self.h2.initiate_connection()
        self.flush()
        self._tasks.add(asyncio.create_task(self._read(reader)))

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data and self._writer is not None:
            self._writer.write(data)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(65536):
                self.raw += data
                for event in self.h2.receive_data(data):
                    self._take(event)
                self.flush()
        except (ConnectionError, OSError):
            pass
        except Exception as error:
            self.problems.append(f"{type(error).__name__}: {error}")
        finally:
            self.ended = True
            for stream in self.streams:
                stream.ended = True
                stream.news.set()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields: Fields = [(str(name), str(text)) for name, text in event.headers or []]
            stream = Http2Stream(event.stream_id or 0, self, fields)
            self._by_number[stream.number] = stream
            self.streams.append(stream)
            self._tasks.add(asyncio.create_task(self._serve(stream)))
            return
        found = self._by_number.get(getattr(event, "stream_id", 0) or 0)
        if found is None:
            return
        if isinstance(event, h2.events.DataReceived):
            found.incoming += event.data or b""
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, found.number)
        elif isinstance(event, h2.events.TrailersReceived):
            found.trailers = [(str(name), str(text)) for name, text in event.headers or []]
        elif isinstance(event, h2.events.StreamEnded):
            found.ended = True
        elif isinstance(event, h2.events.StreamReset):
            found.reset = int(event.error_code or 0)
        found.news.set()

    async def _serve(self, stream: Http2Stream) -> None:
        try:
            kind = dict(stream.fields).get("cf-cloudflared-proxy-connection-upgrade")
            if kind == "control-stream":
                stream.head(200, [])
                capnp_stream, task = await rpc.bridged(stream.write, stream.more)
                self._tasks.add(task)
                try:
                    self._client, self._server, self.registered = await rpc.register(
                        capnp_stream,
                        self.token,
                        connector_id=self.connector_id,
                        index=self.index,
                        features=self.features,
                    )
                except rpc.Refused as refused:
                    self.refused = refused
            elif kind == "update-configuration":
                document = json.loads(await stream.body())
                self.configurations.append((document["version"], json.dumps(document["config"]).encode()))
                version, error = self.configuration_answer(*self.configurations[-1])
                answer = json.dumps({"lastAppliedVersion": version, "err": {} if error else None}).encode()
                stream.head(200, [("content-length", str(len(answer)))])
                stream.write(answer, end=True)
            else:
                await self.handler(stream)
        except ConnectionError:
            pass
        except Exception as error:
            self.problems.append(f"{type(error).__name__}: {error}")

    def unregister(self) -> None:
        async def work() -> None:
            await self._server.unregisterConnection()

        self._thread.call(work())

    def wait_ended(self, *, timeout_s: float = PATIENCE_S) -> None:
        wait_until(lambda: self.ended, "the end of the connection", timeout_s=timeout_s)

    def close(self) -> None:
        async def work() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._client = self._server = None
            if self._writer is not None:
                self._writer.close()
                try:
                    await asyncio.wait_for(self._writer.wait_closed(), 2.0)
                except TimeoutError:  # the edge takes no more: what is unsent is nobody's
                    self._writer.transport.abort()
                except OSError:
                    pass

        try:
            self._thread.call(work())
        finally:
            self._thread.stop()
