"""An edge that shares no code with ours (aioquic and pycapnp): it takes one connector and says to it whatever a test wants."""

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from aioquic.asyncio.server import QuicServer, serve
from aioquic.quic.configuration import QuicConfiguration

from tests.support import rpc
from tests.support.connectors import QuicProtocol, QuicStream
from tests.support.waiting import PATIENCE_S, wait_until


@dataclass
class Response:
    """A ConnectResponse and what followed it."""

    error: str
    metadata: rpc.Metadata
    body: bytes
    reset: int | None

    @property
    def status(self) -> int:
        return int(dict(self.metadata)["HttpStatus"])


@dataclass
class Registration:
    """What a connector said when it registered."""

    account: str
    secret: bytes
    tunnel_id: uuid.UUID
    index: int
    connector_id: uuid.UUID
    features: list[str]
    version: str
    arch: str


@dataclass
class Session:
    """One connector's connection."""

    protocol: QuicProtocol
    registrations: list[Registration] = field(default_factory=list)
    unregistered: bool = False
    local_configurations: list[bytes] = field(default_factory=list)


class _RegistrationServer(rpc.control.RegistrationServer.Server):  # type: ignore[misc]
    def __init__(self, edge: "QuicEdge", session: Session) -> None:
        self.edge = edge
        self.session = session

    async def registerConnection(  # noqa: N802
        self,
        auth: Any,
        tunnelId: bytes,
        connIndex: int,
        options: Any,
        _context: Any,
        **_: Any,
    ) -> None:
        client = options.client
        self.session.registrations.append(
            Registration(
                str(auth.accountTag),
                bytes(auth.tunnelSecret),
                uuid.UUID(bytes=bytes(tunnelId)),
                int(connIndex),
                uuid.UUID(bytes=bytes(client.clientId)),
                [str(feature) for feature in client.features],
                str(client.version),
                str(client.arch),
            )
        )
        result = _context.results.init("result").init("result")
        if self.edge.refusal is not None:
            error = result.init("error")
            error.cause, error.shouldRetry = self.edge.refusal.cause, self.edge.refusal.should_retry
            error.retryAfter = int(self.edge.refusal.retry_after_s * 1e9)
            return
        details = result.init("connectionDetails")
        details.uuid = uuid.uuid4().bytes
        details.locationName = "lab01"
        details.tunnelIsRemotelyManaged = self.edge.remotely_managed

    async def unregisterConnection(self, _context: Any, **_: Any) -> None:  # noqa: N802
        self.session.unregistered = True

    async def updateLocalConfiguration(self, config: bytes, _context: Any, **_: Any) -> None:  # noqa: N802
        self.session.local_configurations.append(bytes(config))
        if self.edge.refuses_local_configuration:
            raise ValueError("no such configuration here")


class QuicEdge:
    """Listens on a port of its own from the start until `close`. `sessions` are the connections, newest last."""

    def __init__(self, folder: Path, *, remotely_managed: bool = True) -> None:
        self.remotely_managed = remotely_managed
        self.refusal: rpc.Refused | None = None
        self.refuses_local_configuration = False
        self.sessions: list[Session] = []
        authority = trustme.CA()
        self.ca_file = folder / "lab-edge-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        leaf = authority.issue_cert("quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com")
        self._chain, self._key = folder / "lab-edge.pem", folder / "lab-edge.key"
        leaf.cert_chain_pems[0].write_to_path(str(self._chain))
        leaf.private_key_pem.write_to_path(str(self._key))
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keep: list[Any] = []
        self._server: QuicServer
        self._thread = rpc.LoopThread()
        self.address: str = self._thread.call(self._listen())

    def __enter__(self) -> "QuicEdge":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _listen(self) -> str:
        configuration = QuicConfiguration(is_client=False, alpn_protocols=["argotunnel"], idle_timeout=10.0)
        configuration.load_cert_chain(str(self._chain), str(self._key))
        edge = self

        class Accepted(QuicProtocol):
            def __init__(self, *args: Any, **more: Any) -> None:
                super().__init__(*args, **more)
                self.session = Session(self)
                self.on_stream = self._opened

            def _opened(self, stream: QuicStream) -> None:
                if stream.number == 0:
                    edge._tasks.add(asyncio.create_task(edge._control(self.session, stream)))

        self._server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Accepted)
        transport: Any = self._server._transport
        return f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"

    async def _control(self, session: Session, stream: QuicStream) -> None:
        self.sessions.append(session)
        capnp_stream, task = await rpc.bridged(stream.write, stream.more)
        self._tasks.add(task)
        server = rpc.TwoPartyServer(capnp_stream, bootstrap=_RegistrationServer(self, session))
        self._keep.append(server)

    def wait_registered(self, count: int = 1, *, timeout_s: float = PATIENCE_S) -> Session:
        """The session of the `count`th registration."""
        found = wait_until(
            lambda: r if len(r := [s for s in self.sessions if s.registrations]) >= count else None,
            f"{count} registrations",
            timeout_s=timeout_s,
        )
        return found[count - 1]

    def push(self, version: int, document: Any, *, session: Session | None = None) -> tuple[int, str]:
        """updateConfiguration; (latestAppliedVersion, err)."""
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        protocol = (session or self.sessions[-1]).protocol

        async def work() -> tuple[int, str]:
            stream = protocol.next_stream()
            stream.write(rpc.RPC)
            capnp_stream, task = await rpc.bridged(stream.write, stream.more)
            client = rpc.TwoPartyClient(capnp_stream)
            try:
                server = client.bootstrap().cast_as(rpc.control.CloudflaredServer)
                result = (await server.updateConfiguration(version=version, config=raw)).result
                return int(result.latestAppliedVersion), str(result.err)
            finally:
                stream.write(b"", end=True)
                task.cancel()

        return self._thread.call(work())

    def open(self, raw: bytes, *, end: bool = False, session: Session | None = None) -> QuicStream:
        """A stream with these bytes, whatever they are."""
        protocol = (session or self.sessions[-1]).protocol

        async def work() -> QuicStream:
            stream = protocol.next_stream()
            stream.write(raw, end=end)
            return stream

        return self._thread.call(work())

    def request(
        self, dest: str, metadata: rpc.Metadata, body: bytes = b"", *, kind: str = rpc.HTTP, end: bool = True
    ) -> Response:
        """A whole request of one data stream."""
        return self.response(self.open(rpc.DATA + rpc.connect_request(dest, metadata, kind) + body, end=end))

    def response(self, stream: QuicStream) -> Response:
        async def work() -> Response:
            data = bytearray()
            while piece := await stream.more():
                data += piece
            size = rpc.message_size(bytes(data[8:]))
            if size is None or len(data) < 8 + size:
                return Response("", [], bytes(data), stream.reset)
            assert bytes(data[:8]) == rpc.DATA, bytes(data[:8])
            with rpc.connect.ConnectResponse.from_bytes(bytes(data[8 : 8 + size])) as message:
                return Response(str(message.error), rpc.pairs(message.metadata), bytes(data[8 + size :]), stream.reset)

        return self._thread.call(work())

    def close(self) -> None:
        async def work() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._keep.clear()
            self._server.close()
            await asyncio.sleep(0)

        try:
            self._thread.call(work())
        finally:
            self._thread.stop()
