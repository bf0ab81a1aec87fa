"""S40: what a pushed configuration may not make a connector dial, and that its neighbours on the same connector serve on."""

import re
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.connector import Connector
from tests.support.edge import Edge
from tests.support.origin import Origin
from tests.support.sites import Lab

pytestmark = pytest.mark.requirement("S40")

CATCH_ALL = {"service": "http_status:404"}


@pytest.fixture
def tunnel(lab: Lab, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Its id and its token."""
    made = lab.edge.api.create_tunnel(request.node.name)
    return made.id, made.token


def metrics_port(connector: Connector) -> int:
    return int(connector.metrics_address.rpartition(":")[2])


def rules(domain: str, port: int, good: str) -> list[dict[str, str]]:
    """The connector's own listener, in spellings that validation and the resolver take, metadata, and somebody who is well."""
    services = [f"http://127.0.0.1:{port}", f"http://localhost:{port}", f"http://[::ffff:7f00:1]:{port}"]
    services += ["http://169.254.169.254", "http://[fd00:ec2::254]", "http://[::ffff:a9fe:a9fe]"]
    denied = [{"hostname": f"d{n}.{domain}", "service": service} for n, service in enumerate(services)]
    return [*denied, {"hostname": f"good.{domain}", "service": good}, CATCH_ALL]


def test_a_pushed_rule_reaches_neither_metadata_nor_the_connector_itself(
    lab: Lab, tunnel: tuple[str, str], folder: Path
) -> None:
    edge = lab.edge
    domain = "s40.example.test"
    edge.api.publish(lab.zone, f"*.{domain}", tunnel[0])
    with closing(Origin()) as origin:
        connector = Connector(folder / "connector", edge, tunnel[1])
        try:
            port = metrics_port(connector)
            put(edge, connector, tunnel[0], rules(domain, port, f"http://127.0.0.1:{origin.listener.getsockname()[1]}"))
            assert status(edge, f"good.{domain}") == (200, "")
            for number in range(6):
                assert status(edge, f"d{number}.{domain}") == (502, "origin_denied"), number
            assert status(edge, f"good.{domain}") == (200, "")
            log = "\n".join(connector.process.lines)
            for number in (0, 2, 3, 4, 5):
                assert re.search(rf"WRN ingress\[{number}\]\.service: .*list it in --allow-origins", log), number
            assert "the connector denies this address to a pushed configuration" in log
        finally:
            connector.process.kill()


def test_what_is_listed_is_reached(lab: Lab, tunnel: tuple[str, str], folder: Path) -> None:
    edge = lab.edge
    domain = "s40b.example.test"
    edge.api.publish(lab.zone, f"*.{domain}", tunnel[0])
    connector = Connector(folder / "connector", edge, tunnel[1], flags=("--allow-origins", "localhost,169.254.0.0/16"))
    try:
        port = metrics_port(connector)
        put(edge, connector, tunnel[0], rules(domain, port, "http_status:200"))
        assert status(edge, f"d1.{domain}", "/healthcheck")[0] == 200, "the metrics port answers who is no browser"
        assert status(edge, f"d0.{domain}", "/healthcheck") == (502, "origin_denied")
    finally:
        connector.process.kill()


def put(edge: Edge, connector: Connector, tunnel_id: str, ingress: list[dict[str, str]]) -> None:
    connector.wait_version(edge.api.put_configuration(tunnel_id, list(ingress)))


def status(edge: Edge, hostname: str, target: str = "/") -> tuple[int, str]:
    """The status, and the cause where the edge knows one."""
    with edge.h1(hostname) as client:
        answer = client.get(target)
    cause = edge.cause(answer.request_id) if answer.status == 502 else ""
    return answer.status, cause
