"""`python -m bench.dashboard_served TUNNELS HOSTNAMES`: the dashboard of an edge with that many, all connected and probed, as a
process of its own. The engine alone is not there: nobody could start so many connectors here. Prints one JSON line, and runs
until it is terminated."""

import json
import logging
import signal
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import insert, select

from bench.populate import columns
from qanat.control import connections
from qanat.health.questions import Check, Judgment
from qanat.store.models import Connection, Connector, Record, Tunnel
from tests.support.control import Control, running_control

CONNECTIONS = 4
PROBED_EVERY_S = 30
ILL_OF = 97
"""One hostname in so many has an origin that doesn't answer."""
WRITES_EVERY_S = 10
"""As the series are kept."""


def main() -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    tunnel_count, hostname_count = (int(text) for text in sys.argv[1:])
    with (
        tempfile.TemporaryDirectory(prefix="qanat-bench-") as folder,
        running_control(Path(folder), dashboard=True) as control,
    ):
        spots = fill(control, tunnel_count, hostname_count)
        print(json.dumps({"url": control.url.removesuffix("/client/v4"), "token": control.token}), flush=True)
        live(control, spots, end)
    return 0


def fill(control: Control, tunnel_count: int, hostname_count: int) -> list[tuple[str, str]]:
    """Hostnames and their tunnels: first one of each by the product's own ways, then as many rows like it."""
    first = str(control.create_tunnel("tunnel 0")["id"])
    zone = control.create_zone("zone.test")
    route = {"type": "CNAME", "content": f"{first}.cfargotunnel.com", "proxied": True}
    control.create_record(zone["id"], name="h0.zone.test", **route)
    ingress = {"config": {"ingress": [{"service": "http://127.0.0.1:8080"}]}}
    control.call("PUT", f"{control.tunnels()}/{first}/configurations", ingress)
    with control.store.recording() as write:
        connections.registered(
            write,
            connection_id=f"{first}-0",
            tunnel_id=first,
            connector_id=first,
            index=0,
            protocol="quic",
            origin_ip="192.0.2.1",
            location="lab01",
            version="2026.8.2",
            arch="linux_amd64",
            features=[],
            at=datetime.now(UTC),
        )
    with control.store.reading() as session:
        tunnel, connector, connection, record = (
            columns(session.scalars(select(model)).first())  # type: ignore[arg-type]
            for model in (Tunnel, Connector, Connection, Record)
        )
    ids = [first, *(str(uuid4()) for _ in range(tunnel_count - 1))]
    spots = [(f"h{number}.zone.test", ids[number % len(ids)]) for number in range(hostname_count)]

    def record_row(name: str, tunnel_id: str) -> dict[str, Any]:
        content = f"{tunnel_id}.cfargotunnel.com"
        own = {"id": token_hex(16), "name": name, "tunnel_id": tunnel_id, "content": content, "content_key": content}
        return {**record, **own}

    with control.store.recording() as write:
        for model, rows in (
            (Tunnel, [{**tunnel, "id": each, "name": f"tunnel {n}"} for n, each in enumerate(ids[1:], 1)]),
            (Connector, [{**connector, "id": each, "tunnel_id": each} for each in ids[1:]]),
            (
                Connection,
                [
                    {**connection, "id": f"{each}-{n}", "tunnel_id": each, "connector_id": each, "index": n}
                    for each in ids
                    for n in range(CONNECTIONS)
                    if (each, n) != (first, 0)
                ],
            ),
            (Record, [record_row(*spot) for spot in spots[1:]]),
        ):
            if rows:
                write.session.execute(insert(model), rows)
    for each in ids:
        for number in range(CONNECTIONS):
            control.edge.health.registered(f"{each}-{number}", each, "")
    for number in range(hostname_count):
        for _ in range(3):
            answer(control, spots, number)
    return spots


def answer(control: Control, spots: list[tuple[str, str]], number: int, *, turned: bool = False) -> None:
    """A probe of one hostname's origin."""
    good = bool(number % ILL_OF) is not turned
    name, tunnel_id = spots[number]
    judgment = Judgment(good, "GET / answered 200" if good else "GET / answered 502")
    control.edge.health.answered((name, tunnel_id, ""), Check(), judgment)


def live(control: Control, spots: list[tuple[str, str]], end: threading.Event) -> None:
    """Probes go on, an origin turns ill or well each second, something is written now and then: no tick finds all as it was."""
    number = ticks = 0
    each = max(1, len(spots) // PROBED_EVERY_S // 10)
    while not end.wait(0.1):
        ticks += 1
        for _ in range(each):
            number = (number + 1) % len(spots)
            answer(control, spots, number)
        if ticks % 10 == 0:
            for _ in range(3):
                answer(control, spots, ticks // 10 % len(spots), turned=bool(ticks // 10 % 2))
        if ticks % (WRITES_EVERY_S * 10) == 0:
            with control.store.recording():
                pass


if __name__ == "__main__":
    sys.exit(main())
