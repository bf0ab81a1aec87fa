"""One connector can't hurt other tunnels by dialling, by what it answers or by what it reports (security.md S12, S30, S33)."""

import base64
import json
import os
import uuid
from itertools import count

import pytest

from tests.support import rpc
from tests.support.api import Tunnel
from tests.support.connector import Protocol
from tests.support.connectors import Http2Connector, Http2Stream, QuicConnector, QuicStream, serialised
from tests.support.fixtures import quic_only
from tests.support.http1 import Fields
from tests.support.neighbours import API_S, ATTACKER, Victim, lab, repeated, unharmed  # noqa: F401
from tests.support.sites import Fakes, Lab, Link
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.alone, pytest.mark.requirement("S12", "S30", "S33")]

DIALS = 12.0
"""A second: what the connectors of these tests manage on their own thread."""


def token(tunnel_id: str, secret: bytes) -> str:
    fields = {"a": "f" * 32, "t": tunnel_id, "s": base64.b64encode(secret).decode()}
    return base64.b64encode(json.dumps(fields).encode()).decode()


def dial(lab: Lab, protocol: Protocol, text: str, **more: object) -> None:  # noqa: F811
    """Registers, and goes again whatever the answer is."""
    kind = QuicConnector if protocol == "quic" else Http2Connector
    try:
        kind(lab.edge.tunnel, lab.edge.ca_file, text, **more).close()  # type: ignore[arg-type]
    except rpc.Refused:
        pass
    except (ConnectionError, TimeoutError) as error:
        raise OSError(str(error)) from error


def test_registrations_that_are_refused(lab: Lab, link: Link, fakes: Fakes, victim: Victim) -> None:  # noqa: F811
    """Tunnels that nobody has, and wrong secrets of one that there is."""
    tunnel, _ = fakes.tunnel()
    account = rpc.Token.parse(tunnel.token).account
    known = base64.b64encode(
        json.dumps({"a": account, "t": tunnel.id, "s": base64.b64encode(os.urandom(32)).decode()}).encode()
    ).decode()
    numbers = count()

    def step() -> None:
        text = known if next(numbers) % 2 else token(str(uuid.uuid4()), os.urandom(32))
        dial(lab, link.protocol, text)

    unharmed(victim, attack=lambda: repeated(step, per_second=DIALS, threads=2))
    other, hostname = fakes.tunnel()
    fakes.connector(link.protocol, other)
    wait_until(lambda: lab.status(hostname) == 200, "another's connector to be served")


HOSTILE: list[tuple[str, Fields]] = [
    ("fields", [(f"x-{n}", "v") for n in range(16000)]),
    ("nominations", [("connection", ",".join(f"x-{n}" for n in range(8000))), *((f"x-{n}", "v") for n in range(5000))]),
    # a fifth more than an answer's head may have; the tests' connector spends a quarter of a second on its HPACK
    ("long values", [(f"x-{n}", "v" * 8000) for n in range(20)]),
]


@pytest.mark.parametrize(("what", "fields"), HOSTILE, ids=[what for what, _ in HOSTILE])
def test_answers_with_hostile_heads(
    lab: Lab,  # noqa: F811
    link: Link,
    fakes: Fakes,
    victim: Victim,
    what: str,
    fields: Fields,
) -> None:
    tunnel, hostname = fakes.tunnel()
    metadata = [("HttpStatus", "200"), *((f"HttpHeader:{name}", text) for name, text in fields)]
    ready = rpc.DATA + rpc.connect_response(metadata)
    packed = serialised(fields)

    async def over_quic(stream: QuicStream) -> None:
        await stream.body()
        stream.write(ready, end=True)

    async def over_http2(stream: Http2Stream) -> None:
        await stream.body()
        stream.head(200, [("cf-cloudflared-response-headers", packed)], end=True)

    if link.protocol == "quic":
        fakes.quic(tunnel, handler=over_quic)
    else:
        fakes.http2(tunnel, handler=over_http2)

    def step() -> None:
        with lab.edge.h1(hostname, timeout_s=5.0, source=ATTACKER) as client:
            assert client.get().status in (200, 502, 530)

    unharmed(victim, attack=lambda: repeated(step, per_second=8, threads=2))


def test_events_of_one_connector(lab: Lab, link: Link, fakes: Fakes, victim: Victim, api_victim: Victim) -> None:  # noqa: F811
    """Registers and leaves again and again, each of which is an event that the control plane writes down."""
    tunnel, _ = fakes.tunnel()
    unharmed(
        victim,
        api_victim,
        attack=lambda: repeated(lambda: dial(lab, link.protocol, tunnel.token), per_second=DIALS, threads=2),
        seconds=API_S,
    )
    events_of(lab, tunnel)


def events_of(lab: Lab, tunnel: Tunnel) -> None:  # noqa: F811
    """The control plane has kept up: what the attacker did has been written down."""
    wait_until(lambda: not lab.edge.api.connections(tunnel.id), "the attacker's last connection to be seen as gone")


@quic_only
def test_local_configurations_of_one_connector(
    lab: Lab,  # noqa: F811
    fakes: Fakes,
    victim: Victim,
    api_victim: Victim,
) -> None:
    """30 a second, 64 KiB each, of a tunnel that is managed by its connector."""
    tunnel, _ = fakes.tunnel(config_src="local")
    connector = fakes.quic(tunnel)
    rules = [{"hostname": f"h{n}.test", "service": "http_status:200"} for n in range(1000)]
    document = json.dumps({"ingress": [*rules, {"service": "http_status:404"}]}).encode()

    async def report() -> None:
        await connector._server.updateLocalConfiguration(config=document)

    def step() -> None:
        try:
            connector.call(report())
        except Exception as error:
            raise OSError(str(error)) from error

    unharmed(victim, api_victim, attack=lambda: repeated(step, per_second=30), seconds=API_S)
