"""The processes that are measured: nginx origin, nginx TLS front, edge, our connector, a stock cloudflared."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trustme

from bench.load import Target, tool
from bench.processes import BenchError, Child

SMALL, LARGE = 1024, 256 << 20
QANAT = [sys.executable, "-m", "qanat"]
REGISTERED = r"Registered tunnel connection .*connIndex={}"
CONNECTIONS = 4

ORIGIN = """\
daemon off; worker_processes 2; pid {folder}/origin.pid; error_log {folder}/origin.err warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 300s; keepalive_requests 1000000000;
  client_body_temp_path {folder}/o1; proxy_temp_path {folder}/o2; fastcgi_temp_path {folder}/o3;
  uwsgi_temp_path {folder}/o4; scgi_temp_path {folder}/o5;
  open_file_cache max=16; default_type application/octet-stream;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""
FRONT = """\
daemon off; worker_processes 2; pid {folder}/front.pid; error_log {folder}/front.err warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_timeout 300s; keepalive_requests 1000000000;
  client_body_temp_path {folder}/f1; proxy_temp_path {folder}/f2; fastcgi_temp_path {folder}/f3;
  uwsgi_temp_path {folder}/f4; scgi_temp_path {folder}/f5;
  client_max_body_size 0; default_type application/octet-stream;
  ssl_certificate {folder}/front.pem; ssl_certificate_key {folder}/front.key; ssl_protocols TLSv1.3;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_buffering on; proxy_max_temp_file_size 0; proxy_request_buffering off;
  upstream origin {{ server 127.0.0.1:{port}; keepalive 128; keepalive_requests 1000000000; }}
  upstream sink {{ server 127.0.0.1:{sink}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{chain} ssl; server_name nginx.bench.test;
    location / {{ proxy_pass http://origin; }}
    location /upload {{ proxy_pass http://sink; }}
  }}
  server {{ listen 127.0.0.1:{direct} ssl; server_name direct.bench.test; root {folder}/www; open_file_cache max=16; }}
}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_listening(child: Child, port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        child.check()
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise BenchError(f"{child.name} does not listen on {port}")


@dataclass
class Tunnel:
    """One connector with its own tunnel on the edge under test."""

    target: Target
    id: str
    token_file: Path
    connector: Child
    register_s: float


class Api:
    """The few calls that a run needs."""

    def __init__(self, base: str, token: str) -> None:
        self._client = httpx.Client(
            base_url=base, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
        )
        self.account: str = self.call("GET", "/accounts")[0]["id"]

    def call(self, method: str, path: str, body: object = None) -> Any:
        answer = self._client.request(method, path, json=body)
        envelope = answer.json()
        if not envelope.get("success"):
            raise BenchError(f"{method} {path}: {envelope}")
        return envelope["result"]

    def put_ingress(self, tunnel_id: str, ingress: list[dict[str, Any]]) -> int:
        path = f"/accounts/{self.account}/cfd_tunnel/{tunnel_id}/configurations"
        return int(self.call("PUT", path, {"config": {"ingress": ingress}})["version"])

    def close(self) -> None:
        self._client.close()


@dataclass
class Rig:
    """Everything up: what is measured and how it is reached."""

    folder: Path
    edge: Child
    ready: dict[str, Any]
    api: Api
    zone: str
    origin: str
    sink: str
    unread: str
    nginx: Target
    direct: Target
    upload: Path
    stock_binary: str | None
    protocol: str
    connector_prefix: Sequence[str] = ()
    """What a connector of ours is started under."""

    def rules(self) -> list[dict[str, Any]]:
        return [
            {"path": "^/upload", "service": self.sink},
            {"path": "^/unread", "service": self.unread},
            {"service": self.origin},
        ]

    def connector_argv(
        self, kind: str, token_file: Path, protocol: str, *, edge: str | None = None, flags: Sequence[str] = ()
    ) -> list[str]:
        """`edge`: another address than the edge's own. `flags`: more of the connector's."""
        address = edge or self.ready["tunnel"]
        general = ["--cacert", self.ready["ca"], "--protocol", protocol, "--metrics", "127.0.0.1:0"]
        general += ["--grace-period", "1s"]  # a stock connector waits for the whole of it when it is stopped
        general += flags
        run = ["run", "--token-file", str(token_file)]
        if kind == "qanat":
            edges = ["--edge", address, "--ha-connections", str(CONNECTIONS)]
            return [*self.connector_prefix, *QANAT, "tunnel", *edges, *general, "--loglevel", "warn", *run]
        assert self.stock_binary is not None
        edges = ["--edge", address] * CONNECTIONS
        return [self.stock_binary, "tunnel", "--no-autoupdate", "--no-prechecks", *edges, *general, *run]

    def start_connector(
        self,
        kind: str,
        token_file: Path,
        protocol: str,
        *,
        wait_all: bool = True,
        edge: str | None = None,
        flags: Sequence[str] = (),
    ) -> tuple[Child, float]:
        """A connector process and the seconds from its start to its first registered connection."""
        argv = self.connector_argv(kind, token_file, protocol, edge=edge, flags=flags)
        if kind == "qanat":
            argv[argv.index("warn")] = "info"  # the line that is waited for is of that level
        child = Child(f"{kind} connector", argv)
        try:
            took, _ = child.wait_for(REGISTERED.format(r"\d"), timeout_s=300)
            for index in range(CONNECTIONS if wait_all else 0):
                child.wait_for(REGISTERED.format(index))
        except BenchError:
            child.stop()
            raise
        return child, took

    def tunnel(
        self, kind: str, protocol: str, *, name: str | None = None, edge: str | None = None, flags: Sequence[str] = ()
    ) -> Tunnel:
        """A published tunnel with a running connector that answers."""
        name = name or f"{kind}-{protocol}"
        made = self.api.call(
            "POST", f"/accounts/{self.api.account}/cfd_tunnel", {"name": name, "config_src": "cloudflare"}
        )
        hostname = f"{name}.bench.test"
        record = {
            "type": "CNAME",
            "name": hostname,
            "content": f"{made['id']}.cfargotunnel.com",
            "proxied": True,
            "ttl": 1,
        }
        self.api.call("POST", f"/zones/{self.zone}/dns_records", record)
        self.api.put_ingress(made["id"], self.rules())
        token_file = self.folder / f"{name}.token"
        token_file.touch(0o600)
        token_file.write_text(made["token"])
        child, took = self.start_connector(kind, token_file, protocol, edge=edge, flags=flags)
        target = Target(name, hostname, int(self.ready["https"].rpartition(":")[2]))
        self.wait_answer(target, 200)
        return Tunnel(target, made["id"], token_file, child, took)

    def client(self) -> httpx.Client:
        """A client of the edge; ask `https://127.0.0.1:PORT` with `host(target)`."""
        return httpx.Client(verify=self.context(), trust_env=False, timeout=15)

    def context(self) -> Any:
        import ssl

        return ssl.create_default_context(cafile=self.ready["ca"])

    def get(self, client: httpx.Client, target: Target, path: str = "/small") -> int:
        return client.get(
            f"https://127.0.0.1:{target.port}{path}",
            headers={"Host": target.hostname},
            extensions={"sni_hostname": target.hostname},
        ).status_code

    def wait_answer(self, target: Target, status: int, *, within_s: float = 15) -> None:
        end = time.monotonic() + within_s
        seen: object = None
        while time.monotonic() < end:
            try:
                with self.client() as client:
                    seen = self.get(client, target)
                if seen == status:
                    return
            except httpx.TransportError as error:
                seen = error
            time.sleep(0.05)
        raise BenchError(f"{target.name} answers {seen}, not {status}")


@contextmanager
def rig(
    folder: Path,
    stock_binary: str | None,
    protocol: str,
    *,
    edge_prefix: Sequence[str] = (),
    large: int = LARGE,
    **settings: str,
) -> Iterator[Rig]:
    """Starts origin, front and edge (under `edge_prefix`, with `settings` of its own); ends all of them (and the connectors)
    afterwards. `large`: bytes of the large bodies."""
    www = folder / "www"
    www.mkdir(parents=True)
    (www / "small").write_bytes(os.urandom(SMALL))
    block = os.urandom(1 << 20)
    for path in (www / "large", folder / "upload"):
        with path.open("wb") as file:
            for _ in range(large >> 20):
                file.write(block)
    leaf = trustme.CA().issue_cert("nginx.bench.test", "direct.bench.test")
    leaf.private_key_pem.write_to_path(str(folder / "front.key"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "front.pem"))
    with ExitStack() as stack:

        def started(child: Child) -> Child:
            stack.callback(child.stop)
            return child

        sink = started(Child("sink", [sys.executable, "-m", "bench.sink"]))
        sink_port = int(sink.wait_for(r"port (\d+)")[1].group(1))
        unread = started(Child("unread", [sys.executable, "-m", "bench.neighbours"]))
        unread_port = int(unread.wait_for(r"port (\d+)")[1].group(1))
        ports = {"port": free_port(), "chain": free_port(), "direct": free_port(), "sink": sink_port}
        for name, text in (("origin", ORIGIN), ("front", FRONT)):
            (folder / f"{name}.conf").write_text(text.format(folder=folder, **ports))
            nginx = started(
                Child(f"nginx {name}", [tool("nginx"), "-p", str(folder), "-c", str(folder / f"{name}.conf")])
            )
            wait_listening(nginx, ports["port" if name == "origin" else "chain"])
        flags = {
            "data-dir": str(folder / "edge"),
            "public-https": "127.0.0.1:0",
            "public-http": "off",
            "tunnel-address": "127.0.0.1:0",
            "control-address": "127.0.0.1:0",
            "log-level": "warning",
            "account-limits-tunnels": "1000000",
            "account-limits-records": "10000000",
            **{name.replace("_", "-"): text for name, text in settings.items()},
        }
        argv = [
            *edge_prefix,
            *QANAT,
            "edge",
            "--output",
            "json",
            *(part for name, text in flags.items() for part in (f"--{name}", text)),
        ]
        edge = started(Child("edge", argv))
        ready = json.loads(edge.wait_for(r"^\{.*\"ready\".*\}$", timeout_s=300)[1].string)
        api = Api(ready["api"], (Path(ready["data_dir"]) / "first-token").read_text().strip())
        stack.callback(api.close)
        zone = api.call("POST", "/zones", {"name": "bench.test", "account": {"id": api.account}})["id"]
        yield Rig(
            folder,
            edge,
            ready,
            api,
            zone,
            f"http://127.0.0.1:{ports['port']}",
            f"http://127.0.0.1:{sink_port}",
            f"http://127.0.0.1:{unread_port}",
            Target("nginx chain", "nginx.bench.test", ports["chain"]),
            Target("nginx direct", "direct.bench.test", ports["direct"]),
            folder / "upload",
            stock_binary,
            protocol,
        )
