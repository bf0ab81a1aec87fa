"""What the engine warns of is in the log of the process that runs it: one line an event, few of a kind, no secret (S39)."""

import json
import re
from collections import Counter
from pathlib import Path

from tests.process.test_cases_tokens import TOKEN
from tests.support.connector import Connector
from tests.support.edges import QuicEdge
from tests.support.http2 import Reset
from tests.support.sites import Fakes


def test_an_edges_engine_warns_in_the_edges_log(fakes: Fakes) -> None:
    """Resets without end, of which the edge warns (S22): a line of its log, and at most five in ten seconds."""
    tunnel, hostname = fakes.tunnel()
    fakes.quic(tunnel, handler=_never)
    mark = fakes.edge.process.mark()
    for _ in range(7):
        try:
            with fakes.edge.h2(hostname) as client:
                for _ in range(400):
                    client.cancel(client.start("GET", "/"))
                    client.pump(timeout_s=0.0)
        except (Reset, OSError, AssertionError):
            pass
    fakes.edge.process.wait_for('"engine": ', after=mark)
    told = [json.loads(line) for line in fakes.edge.process.since(mark) if '"engine": ' in line]
    assert {line["level"] for line in told} <= {"warning", "error"}
    # which of the two bounds is hit first, h2's or ours, is a matter of time
    assert {line["event"].partition(" ")[0] for line in told} <= {"recv_reset;", "too"}
    assert max(Counter(line["event"] for line in told).values()) <= 5


async def _never(stream: object) -> None:
    pass


def test_a_connectors_engine_warns_in_the_connectors_log(folder: Path) -> None:
    with QuicEdge(folder, remotely_managed=False) as edge:
        edge.refuses_local_configuration = True
        connector = Connector(
            folder / "c", edge.address, TOKEN, ca_file=edge.ca_file, flags=("--url", "http://127.0.0.1:9")
        )
        try:
            connector.process.wait_for("the edge did not take the local configuration")
        finally:
            connector.stop()
    (line,) = [line for line in connector.process.lines if "did not take the local configuration" in line]
    assert re.match(r"\S+Z WRN the edge did not take the local configuration event=0 moreLikeIt=0$", line), line
    assert TOKEN not in connector.process.log()
