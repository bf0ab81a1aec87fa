"""A stock connector and ours with the same file, flags and requests, side by side: settings line, endpoints, log lines, and what
the origin receives field by field. What differs on purpose is named here with its reason, and told in docs/compatibility.md."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.process.test_connector_start import run
from tests.support.connector import STOCK, Connector, Kind
from tests.support.fixtures import NO_STOCK
from tests.support.http1 import Fields
from tests.support.origin import Origin
from tests.support.sites import Fakes, Lab
from tests.support.waiting import wait_until
from tests.support.websocket import REQUEST_FIELDS

pytestmark = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]

FILE = """\
tunnel: {tunnel}
tag: ["team=a, b"]
retries: 7
grace-period: 1s
no-autoupdate: true
originRequest: {{connectTimeout: 3s, keepAliveConnections: 7, noHappyEyeballs: true}}
warp-routing: {{connectTimeout: 4s, maxActiveFlows: 9, tcpKeepAlive: 20s}}
ingress:
- {{path: ^/host, service: "{origin}", originRequest: {{httpHostHeader: internal.test, tcpKeepAlive: 1m}}}}
- {{path: ^/whole, service: "{origin}", originRequest: {{disableChunkedEncoding: true, http2Origin: true}}}}
- {{path: ^/plain, service: "{origin}"}}
- {{hostname: "*.elsewhere.test", service: "https://127.0.0.1:1", originRequest: {{noTLSVerify: true, matchSNItoHost: true,
    originServerName: x.test, proxyType: "", access: {{teamName: t, audTag: [a]}}}}}}
- {{hostname: sock.elsewhere.test, service: "unix:/nowhere.sock"}}
- {{hostname: ssh.elsewhere.test, service: "ssh://localhost"}}
- {{service: http_status:418}}
"""


@dataclass
class Side:
    """One of the two: its connector, the origin that only it reaches, and its public hostname."""

    kind: Kind
    connector: Connector
    origin: Origin
    hostname: str
    file: Path

    def settings(self) -> dict[str, str]:
        """The `Settings:` line, aliases and all."""
        line = self.connector.process.wait_for(r"Settings: map\[(.*)\]").group(1)
        return dict(re.findall(r"([a-z0-9-]+):(.*?)(?= [a-zA-Z0-9-]+:|$)", line))


@pytest.fixture(scope="module")
def sides(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    fakes = Fakes(lab)
    made = []
    for kind in ("cloudflared", "qanat"):
        folder = tmp_path_factory.mktemp(kind)
        origin = Origin()
        tunnel, hostname = fakes.tunnel(config_src="local")
        file = folder / "config.yml"
        file.write_text(FILE.format(tunnel=tunnel.id, origin=origin.service))
        env = {"TUNNEL_POST_QUANTUM": "false", "NO_TLS_VERIFY": "true"}
        connector = Connector(
            folder, lab.edge, tunnel.token, kind=kind, flags=("--config", str(file)), env=env, grace_period="1s"
        )
        wait_until(lambda hostname=hostname: lab.status(hostname) == 418, f"{kind} to serve")  # type: ignore[misc]
        made.append(Side(kind, connector, origin, hostname, file))
    yield made[0], made[1]
    for side in made:
        side.connector.process.kill()
        side.origin.close()
    fakes.close()


def test_the_settings_line_tells_of_the_same_flags_with_the_same_values(sides: tuple[Side, Side]) -> None:
    stock, ours = (side.settings() for side in sides)
    # stock tells of variables in the line after this one, if their name has TUNNEL_ in it
    assert {name: ours.pop(name) for name in ("post-quantum", "no-tls-verify")} == {
        "post-quantum": "false",
        "no-tls-verify": "true",
    }
    # of the test's own: names that differ by side, and what only one of them is started with
    own = {"config", "edge", "token-file", "ha-connections", "no-prechecks"}
    assert {name: stock.get(name) for name in ours if name not in own} == {
        name: text for name, text in ours.items() if name not in own
    }
    # stock tells each alias, and every flag that has a variable, also where its value is the default
    assert set(stock) - set(ours) - own <= {"p", "cred-file", "n", "pq", "proto-loglevel", "f", "F"}


def plain(side: Side, document: Any) -> Any:
    """A document without what belongs to one side."""
    if isinstance(document, dict):
        return {key: plain(side, item) for key, item in document.items()}
    if isinstance(document, list):
        return [plain(side, item) for item in document]
    return document.replace(side.origin.service, "ORIGIN") if isinstance(document, str) else document


def test_the_configuration_in_force_is_told_in_the_same_words(sides: tuple[Side, Side]) -> None:
    stock, ours = (plain(side, side.connector.local("/config").json()) for side in sides)
    for theirs, own in zip(stock["config"]["ingress"], ours["config"]["ingress"], strict=True):
        assert own == theirs
    assert ours == stock


def told(lab: Lab, side: Side) -> Any:
    """What the edge was told by updateLocalConfiguration."""
    with closing(sqlite3.connect(f"file:{lab.edge.data_dir / 'qanat.db'}?mode=ro", uri=True)) as database:
        query = "select local_configuration from tunnels where local_configuration like ?"
        row = database.execute(query, (f"%{side.origin.service}%",)).fetchone()
    return plain(side, json.loads(row[0])) if row else None


def test_the_edge_is_told_the_local_configuration_in_the_same_words(lab: Lab, sides: tuple[Side, Side]) -> None:
    stock, ours = (wait_until(partial(told, lab, side), f"what {side.kind} tells") for side in sides)
    for document in (stock, ours):
        document["__configuration_flags"].pop("metrics", None)
    for theirs, own in zip(stock["ingress"], ours["ingress"], strict=True):
        assert own == theirs
    assert ours == stock


@pytest.mark.parametrize("path", ["/ready", "/healthcheck", "/quicktunnel", "/config", "/metrics", "/nothing", "/"])
def test_an_endpoint_answers_alike(sides: tuple[Side, Side], path: str) -> None:
    stock, ours = (side.connector.local(path) for side in sides)
    assert ours.status_code == stock.status_code
    if ours.status_code != 200:
        return
    assert ours.headers["content-type"].partition(";")[0] == stock.headers["content-type"].partition(";")[0]
    if path in ("/healthcheck", "/quicktunnel"):
        assert ours.content == stock.content
    if path == "/ready":
        assert {**ours.json(), "connectorId": ""} == {**stock.json(), "connectorId": ""}
        assert list(ours.json()) == list(stock.json())


LINES = (
    r"INF Starting tunnel tunnelID=[0-9a-f-]{36}$",
    r"INF Version \S+",
    r"INF Environmental variables map\[.*TUNNEL_POST_QUANTUM:false.*\]",
    r"INF Generated Connector ID: [0-9a-f-]{36}$",
    r"INF Initial protocol quic$",
    r"INF Starting metrics server on 127\.0\.0\.1:\d+/metrics$",
    r"INF Registered tunnel connection connIndex=0 connection=[0-9a-f-]{36} event=0 ip=127\.0\.0\.1 location=\S+ protocol=quic$",
)


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_scripts_wait_for_is_there_in_both(sides: tuple[Side, Side], line: str) -> None:
    for side in sides:
        side.connector.process.wait_for(line)


BODY = b"x" * 3000
REQUESTS: dict[str, tuple[str, str, Fields, bytes | None]] = {
    "a plain GET": ("GET", "/plain/a%2fb?q=1&r=%zz", [], None),
    "a browser's GET": (
        "GET",
        "/plain",
        [("User-Agent", "Mozilla/5.0"), ("Accept", "*/*"), ("Accept-Encoding", "gzip, br"), ("Cookie", "a=1; b=2")],
        None,
    ),
    "fields twice": ("GET", "/plain", [("X-One", "1"), ("X-One", "2"), ("x-lower", "l"), ("X-Empty", "")], None),
    "client's own forwarding fields": (
        "GET",
        "/plain",
        [("X-Forwarded-For", "1.2.3.4"), ("X-Real-Ip", "1.2.3.4"), ("Forwarded", "for=1.2.3.4"), ("Via", "1.1 x")],
        None,
    ),
    "hop-by-hop": ("GET", "/plain", [("Connection", "keep-alive, x-hop"), ("X-Hop", "1"), ("TE", "trailers")], None),
    "another Host": ("GET", "/host/x", [("X-Forwarded-Host", "evil.test")], None),
    "a POST": ("POST", "/plain", [("Content-Type", "text/plain")], BODY),
    "a POST without chunks": ("POST", "/whole", [], BODY),
    "an empty POST": ("POST", "/plain", [], b""),
    "a PUT": ("PUT", "/plain", [("Expect", "100-continue")], BODY),
    "a DELETE": ("DELETE", "/plain", [], None),
    "a HEAD": ("HEAD", "/plain", [], None),
    "an OPTIONS": ("OPTIONS", "/plain", [("Origin", "https://x.test")], None),
    "a range": (
        "GET",
        "/plain",
        [("Range", "bytes=0-1"), ("If-None-Match", '"x"'), ("Authorization", "Basic eA==")],
        None,
    ),
    "a WebSocket": ("GET", "/plain", REQUEST_FIELDS, None),
}

PER_REQUEST = {"cf-ray", "cf-warp-tag-id", "host", "x-forwarded-host", "sec-websocket-key"}
"""Values that no two requests, or no two connectors, have in common."""


@pytest.mark.parametrize("name", REQUESTS)
def test_the_origin_receives_the_same_fields(lab: Lab, sides: tuple[Side, Side], name: str) -> None:
    method, target, fields, body = REQUESTS[name]
    seen: list[tuple[str, set[tuple[str, str]], bytes]] = []
    for side in sides:
        before = len(side.origin.requests)
        with lab.edge.h1(side.hostname) as client:
            answer = client.request(method, target, fields, body)
            assert answer.status == 200
        request = side.origin.wait_requests(before + 1)[before]
        found = {
            (key.lower(), text.replace(side.hostname, "HOSTNAME") if key.lower() in PER_REQUEST else text)
            for key, text in request.fields
        }
        found = {(key, "") if key in PER_REQUEST - {"host", "x-forwarded-host"} else (key, text) for key, text in found}
        seen.append((f"{request.method} {request.target} {request.version}", found, request.body))
    (stock_line, stock, stock_body), (line, ours, own_body) = seen
    assert (line, own_body) == (stock_line, stock_body)
    # Go's client asks for gzip where nobody did, and unpacks it itself; HTTP/1.1 connections are kept unless it says otherwise
    assert stock - ours <= {("accept-encoding", "gzip"), ("connection", "keep-alive")}
    # TE belongs to one hop: RFC 9110 10.1.4 wants it named
    assert ours - stock <= ({("connection", "TE")} if ("te", "trailers") in stock else set())


STARTS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "no origin at all": ((), {}),
    "a URL with everything": (
        (
            *("--url", "https://localhost:8443", "--no-tls-verify", "--no-chunked-encoding", "--http2-origin"),
            *("--proxy-connect-timeout", "3s", "--proxy-tls-timeout", "4s", "--proxy-tcp-keepalive", "5s"),
            *("--proxy-keepalive-connections", "6", "--proxy-keepalive-timeout", "7s", "--proxy-no-happy-eyeballs"),
            *("--http-host-header", "h.test", "--origin-server-name", "o.test"),
            *("--proxy-address", "127.0.0.9", "--proxy-port", "1080"),
        ),
        {},
    ),
    "a URL by a variable": ((), {"TUNNEL_URL": "127.0.0.1:8080", "TUNNEL_HTTP_HOST_HEADER": "h.test"}),
    "TCP for SOCKS clients": (("--url", "tcp://localhost:99", "--socks5"), {}),
    "SSH": (("--url", "ssh://localhost"), {}),
    "a jump host": (("--bastion",), {"TUNNEL_PROXY_PORT": "7"}),
    "a socket": (("--unix-socket", "/nowhere.sock"), {}),
    "a page of its own": (("--hello-world", "--url", "http://ignored"), {}),
}


@pytest.mark.parametrize("name", STARTS)
def test_one_origin_by_flags_is_the_same_configuration(folder: Path, name: str) -> None:
    flags, env = STARTS[name]
    found = []
    for kind in ("cloudflared", "qanat"):
        process = run(kind, folder, *flags, env=env)
        address = process.wait_for(r"Starting metrics server on ([0-9.:]+)/metrics").group(1)
        found.append(httpx.get(f"http://{address}/config", trust_env=False, timeout=10.0, verify=False).json())
        process.kill()
    stock, ours = found
    assert ours == stock


ENDS: dict[str, tuple[tuple[str, ...], dict[str, str], int | tuple[int, int]]] = {
    "a tag that is none": (("--tag", "x"), {}, 1),
    "a variable's tag that is none": ((), {"TUNNEL_TAG": "a=b,x"}, 1),
    "a protocol that is none, by a variable": ((), {"TUNNEL_TRANSPORT_PROTOCOL": "tcp"}, 1),
    "a boolean that is none, by a variable": ((), {"TUNNEL_POST_QUANTUM": "perhaps"}, (0, 1)),
    "a folder as CA": (("--cacert", "/etc"), {}, 1),
    "a URL that is none": (("--url", "http://::1:80"), {}, 1),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_ends_the_start_ends_it_with_the_same_status(folder: Path, name: str) -> None:
    flags, env, status = ENDS[name]
    expected = (status, status) if isinstance(status, int) else status  # a mistake is never a success here
    assert tuple(run(kind, folder, *flags, env=env).wait() for kind in ("cloudflared", "qanat")) == expected
