"""What the engine warns of is in the log of the process that runs it: one line an event, few of a kind, no secret (S39)."""

import json
import re
from pathlib import Path

import pytest

from tests.process.test_cases_tokens import TOKEN
from tests.support.connector import Connector
from tests.support.edges import QuicEdge
from tests.support.sites import Fakes

pytestmark = pytest.mark.requirement("S39")


def test_an_edges_engine_warns_in_the_edges_log(fakes: Fakes) -> None:
    """A configuration that seven connectors fail to answer, again and again: at most five lines in ten seconds."""
    tunnel, _ = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:404"}])
    connectors = [fakes.quic(tunnel) for _ in range(7)]
    for connector in connectors:
        connector.wait_configuration()
        connector.configuration_answer = _broken
    mark = fakes.edge.process.mark()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:503"}])
    for connector in connectors:
        connector.wait_configuration(2)
    fakes.edge.process.wait_for('"engine": ', after=mark)
    told = [json.loads(line) for line in fakes.edge.process.since(mark) if '"engine": ' in line]
    assert {line["level"] for line in told} == {"warning"}
    assert all(line["event"].startswith("configuration push failed") for line in told)
    assert len(told) <= 5


def _broken(version: int, document: bytes) -> tuple[int, str]:
    raise RuntimeError("this connector is broken")


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
