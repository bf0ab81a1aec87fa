import base64
import json
from typing import Any

import pytest

from qanat.connector.edges import EdgePlace, Edges
from qanat.connector.flags import read_command_line
from qanat.connector.options import Options, read_options
from qanat.connector.sources import gather
from qanat.errors import QanatError

HOSTED = "_v2-origintunneld._tcp.argotunnel.com"


def token(**more: object) -> str:
    secret = base64.b64encode(bytes(32)).decode()
    document = {"a": "ab" * 16, "t": "0c9e8b5a-7d3f-4f6e-9b1a-2f4d6c8e0a13", "s": secret, **more}
    return base64.b64encode(json.dumps(document).encode()).decode()


def options(*arguments: str, of: dict[str, Any] | None = None, **environment: str) -> Options:
    line = ["tunnel", "run", "--token", token(**(of or {})), *arguments]
    return read_options(gather(read_command_line(line), environment))


def edges(*arguments: str, of: dict[str, Any] | None = None, **environment: str) -> Edges:
    return options(*arguments, of=of, **environment).edges


def test_without_an_edge_the_hosted_one_is_looked_up_as_stock_does() -> None:
    got = edges()
    assert got.named_by == "hosted"
    assert got.places == tuple(
        EdgePlace(f"{name}.v2.argotunnel.com:7844", HOSTED, None, 443) for name in ("region1", "region2")
    )


def test_a_region_has_a_service_and_names_of_its_own() -> None:
    for got in (edges("--region", "us"), edges(of={"e": "us"})):
        assert {place.service for place in got.places} == {"_us-v2-origintunneld._tcp.argotunnel.com"}
        assert got.targets == ("us-region1.v2.argotunnel.com:7844", "us-region2.v2.argotunnel.com:7844")
    with pytest.raises(QanatError, match="endpoint"):
        edges("--region", "us", of={"e": "fed"})
    with pytest.raises(QanatError, match="not the name of a region"):
        edges("--region", "u s")


def test_host_and_port_mean_what_they_mean_to_stock() -> None:
    assert edges("--edge", "edge.example.net:7900").places == (EdgePlace("edge.example.net:7900"),)
    assert edges("--edge", "[::1]:7844").places == (EdgePlace("[::1]:7844", other_port=443),)


def test_a_name_alone_is_a_service_or_a_host_at_the_usual_port() -> None:
    service = "_v2-origintunneld._tcp.edge.example.net"
    place = EdgePlace("edge.example.net:7844", service, "edge.example.net", 443)
    assert edges("--edge", "Edge.example.net").places == (place,)
    assert edges("--edge", "192.0.2.7").places == (EdgePlace("192.0.2.7:7844", other_port=443),)
    assert edges("--edge", "2001:db8::7").places == (EdgePlace("[2001:db8::7]:7844", other_port=443),)


def test_an_own_ca_signs_the_names_that_stock_connectors_ask_for() -> None:
    got = options(of={"edge": "edge.example.net", "ca": base64.b64encode(b"DER").decode()})
    assert got.edges.places[0].server_name is None
    assert got.edge_ca_pem == b"-----BEGIN CERTIFICATE-----\nREVS\n-----END CERTIFICATE-----\n"
    assert got.edge_more_ca_pem is None


def test_a_token_may_carry_its_edge_and_the_flag_wins() -> None:
    got = edges(of={"edge": ["a.example.net", "b.example.net:7900"]})
    assert (got.named_by, got.targets) == ("token", ("a.example.net:7844", "b.example.net:7900"))
    assert edges("--edge", "c:1", of={"edge": "a.example.net"}).targets == ("c:1",)
    with pytest.raises(QanatError, match="its CA is not valid base64"):
        edges(of={"ca": "?"})


def test_a_name_server_may_be_chosen_for_edges() -> None:
    assert edges("--edge-resolver", "192.0.2.53").resolver == "192.0.2.53:53"
    assert edges("--edge-resolver", "[::1]:5353").resolver == "[::1]:5353"
    with pytest.raises(QanatError, match="not an address"):
        edges("--edge-resolver", "dns.example")


@pytest.mark.case(45)
def test_an_http_proxy_leads_to_all_edges_that_are_not_excepted() -> None:
    proxy = "http://user:p%40ss@proxy.example:3128"
    got = edges("--edge", "a.example.net,b.corp.example:7844", HTTPS_PROXY=proxy, NO_PROXY="corp.example")
    assert [place.through_proxy for place in got.places] == [True, False]
    assert got.proxy is not None
    assert (got.proxy.address, got.proxy.authorization) == (
        "proxy.example:3128",
        b"Basic " + base64.b64encode(b"user:p@ss"),
    )
    assert "p@ss" not in repr(got) and base64.b64encode(b"user:p@ss").decode() not in repr(got)
    assert edges("--edge", "127.0.0.1:7844", HTTPS_PROXY=proxy).proxy is None, "loopback"
    quic = options("--edge", "a:1", "--protocol", "quic", HTTPS_PROXY=proxy)
    assert quic.edges.proxy is None
    assert any("QUIC can't go through a proxy" in warning for warning in quic.warnings)
