"""`python -m bench.websockets`: how much memory a connector takes that holds very many WebSockets open; prints JSON.

They come over HTTP/2 (RFC 8441), so that no process needs more file descriptors than a system gives, and each carries a message
there and back before the memory is looked at."""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import h2.config
import h2.connection
import h2.events

from bench.chain import CONNECTIONS, QANAT, REGISTERED, Api
from bench.processes import BenchError, Child

HOSTNAME = "ws.bench.test"
STREAMS = 100
"""On one client's connection."""
FRAME = b"\x82\x85\x00\x00\x00\x00hello"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    key = next(
        line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    )
    accept = base64.b64encode(
        hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    )
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while data := await reader.read(1 << 16):
        writer.write(data)


async def _origin() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0, backlog=4096)
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


class Client:
    """One HTTP/2 connection with its WebSockets."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        host, _, port = address.rpartition(":")
        raw = socket.create_connection((host, int(port)), timeout=60)
        self._socket = context.wrap_socket(raw, server_hostname=HOSTNAME)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._answered: set[int] = set()
        self._echoed: dict[int, bytes] = {}
        self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def _receive(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise BenchError("the edge closed a client's connection")
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                fields = {str(name): str(value) for name, value in event.headers or ()}
                if fields.get(":status") != "200":
                    raise BenchError(f"a WebSocket was answered {fields}")
                self._answered.add(event.stream_id)
            elif isinstance(event, h2.events.DataReceived):
                self._echoed[event.stream_id] = self._echoed.get(event.stream_id, b"") + event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)):
                raise BenchError(f"a WebSocket ended: {event}")
        self._flush()

    def open(self, count: int) -> None:
        """Opens so many, and sends a message through each."""
        while not self._h2.remote_settings.enable_connect_protocol:
            self._receive()
        streams = []
        for _ in range(count):
            stream = self._h2.get_next_available_stream_id()
            fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/")]
            self._h2.send_headers(stream, [*fields, (":authority", HOSTNAME), ("sec-websocket-version", "13")])
            self._flush()
            streams.append(stream)
        while len(self._answered) < count:
            self._receive()
        for stream in streams:
            self._h2.send_data(stream, FRAME)
        self._flush()
        while len(self._echoed) < count or any(len(data) < len(FRAME) for data in self._echoed.values()):
            self._receive()


def _edge(stack: ExitStack, folder: Path) -> dict[str, str]:
    flags = {
        "data-dir": str(folder / "edge"),
        **dict.fromkeys(("public-https", "public-http", "tunnel-address", "control-address"), "127.0.0.1:0"),
        "log-level": "warning",
        "limits-connections-per-address": "10000",
        "limits-new-connections-per-address": "10000",
        "limits-streams-per-tunnel": "100000",
    }
    argv = [*QANAT, "edge", "--output", "json", *(part for name, text in flags.items() for part in (f"--{name}", text))]
    edge = Child("edge", argv)
    stack.callback(edge.stop)
    ready: dict[str, str] = json.loads(edge.wait_for(r"^\{.*\"ready\".*\}$", timeout_s=120)[1].string)
    return ready


def _connector(stack: ExitStack, folder: Path, ready: dict[str, str], token: str, protocol: str) -> Child:
    file = folder / "token"
    file.touch(0o600)
    file.write_text(token)
    edges = ["--edge", ready["tunnel"], "--cacert", ready["ca"], "--ha-connections", str(CONNECTIONS)]
    argv = [
        *QANAT,
        "tunnel",
        *edges,
        "--protocol",
        protocol,
        "--metrics",
        "127.0.0.1:0",
        "run",
        "--token-file",
        str(file),
    ]
    connector = Child("connector", argv)
    stack.callback(connector.stop)
    for index in range(CONNECTIONS):
        connector.wait_for(REGISTERED.format(index), timeout_s=120)
    return connector


def measure(count: int, protocol: str, folder: Path) -> dict[str, float]:
    """MiB of a connector at rest, and with `count` WebSockets open."""
    with ExitStack() as stack:
        origin = Child("origin", [sys.executable, "-m", "bench.websockets", "--origin"])
        stack.callback(origin.stop)
        port = origin.wait_for(r"port (\d+)", timeout_s=60)[1].group(1)
        ready = _edge(stack, folder)
        api = Api(ready["api"], (Path(ready["data_dir"]) / "first-token").read_text().strip())
        stack.callback(api.close)
        zone = api.call("POST", "/zones", {"name": "bench.test", "account": {"id": api.account}})["id"]
        made = api.call("POST", f"/accounts/{api.account}/cfd_tunnel", {"name": "ws", "config_src": "cloudflare"})
        target = f"{made['id']}.cfargotunnel.com"
        record = {"type": "CNAME", "name": HOSTNAME, "content": target, "proxied": True, "ttl": 1}
        api.call("POST", f"/zones/{zone}/dns_records", record)
        api.put_ingress(made["id"], [{"service": f"http://127.0.0.1:{port}"}])
        connector = _connector(stack, folder, ready, made["token"], protocol)
        time.sleep(2)
        rest = connector.rss_mb()
        context = ssl.create_default_context(cafile=ready["ca"])
        context.set_alpn_protocols(["h2"])
        started = time.monotonic()
        clients: list[Client] = []
        while (left := count - STREAMS * len(clients)) > 0:
            clients.append(Client(ready["https"], context))
            clients[-1].open(min(STREAMS, left))
        took = time.monotonic() - started
        time.sleep(5)
        connector.check()
        return {"websockets": count, "rest_mb": rest, "open_mb": connector.rss_mb(), "opened_in_s": round(took, 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.websockets", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="WebSockets open at once")
    parser.add_argument("--protocol", choices=("quic", "http2"), default="quic")
    parser.add_argument("--origin", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.origin:
        asyncio.run(_origin())
    with tempfile.TemporaryDirectory(prefix="qanat-bench-") as folder:
        print(
            json.dumps(
                {
                    "protocol": asked.protocol,
                    "load": os.getloadavg()[0],
                    **measure(asked.count, asked.protocol, Path(folder)),
                }
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
