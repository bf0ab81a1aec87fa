"""The boundary itself: what goes down is checked, what is refused says which field, values are frozen."""

import os
import re
import threading
import time
from typing import Any

import pytest
import trustme

from qanat.auth.management import ManagementKey
from qanat.connector.engine import Connector
from qanat.descriptors import Shares
from qanat.edge.engine import (
    Certificate,
    Edge,
    EngineError,
    Route,
    Tunnel,
    engine_errors,
    inspect_certificate,
)
from qanat.edge.engine_settings import engine_settings
from qanat.errors import CODES, QanatError
from qanat.ingress.engine import IngressTable, OriginBounds, Rule, check_json, check_patterns, explain
from qanat.ingress.origin import OriginRequest
from qanat.ingress.origin import settings as origin_settings
from qanat.settings import load_edge_settings

TUNNEL = "0c9e8b5a-7d3f-4f6e-9b1a-2f4d6c8e0a13"


@pytest.fixture(scope="module")
def pem() -> tuple[bytes, bytes]:
    issued = trustme.CA().issue_cert("App.example.test", "*.example.test")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return chain, issued.private_key_pem.bytes()


@pytest.fixture(scope="module")
def certificate(pem: tuple[bytes, bytes]) -> Certificate:
    return Certificate(chain_pem=pem[0], key_pem=pem[1])


def settings(**changes: object) -> Any:
    """The edge's own defaults, as it hands them over, without public listeners."""
    given = load_edge_settings(flags={"public.https": "off", "public.http": "off", "tunnel.address": "127.0.0.1:0"})
    return {**engine_settings(given, ManagementKey.make(), Shares.of(1024)), **changes}


def edge_place(address: str) -> dict[str, Any]:
    return {
        "address": address,
        "service": None,
        "server_name": None,
        "other_port": None,
        "through_proxy": False,
    }


def connector_settings(**changes: object) -> Any:
    return {
        "account_tag": "ab" * 16,
        "tunnel_id": TUNNEL,
        "tunnel_secret": bytes(32),
        "connector_id": TUNNEL,
        "edges": [edge_place("127.0.0.1:1")],
        "edge_resolver": None,
        "edge_resolver_over_tls": None,
        "proxy": None,
        "version": "test",
        "edge_ca_pem": None,
        "edge_more_ca_pem": None,
        "edge_ip_version": "auto",
        "edge_bind_address": None,
        "post_quantum": False,
        "protocol": "auto",
        "ha_connections": 4,
        "congestion": "tolerant",
        "quic_stream_window": 0,
        "quic_connection_window": 0,
        "quic_mtu_discovery": True,
        "write_stream_timeout_s": 0.0,
        "grace_period_s": 30.0,
        "rpc_timeout_s": 5.0,
        "dial_timeout_s": 15.0,
        "retries": 5,
        "worker_threads": 0,
        "max_unread_bytes": 0,
        "event_queue": 8192,
        "tell_requests": False,
        "tags": [],
        "features": [],
        "management_hostname": "",
        **changes,
    }


def rule(path: str, **changes: object) -> Rule:
    origin: Any = {**origin_settings(OriginRequest(), ca_pool_pem=None), **changes}
    return Rule(hostname="", path=path, kind="status", target="404", service="http_status:404", origin=origin)


def refusal(attempt: object) -> EngineError:
    with pytest.raises(EngineError) as caught:
        attempt()  # type: ignore[operator]
    return caught.value


def test_an_engine_error_carries_code_and_message() -> None:
    error = refusal(lambda: Route(hostname="a", targets=[("x", 1)], sticky="none"))
    assert error.args == (error.code, error.message)
    assert error.code == "bad_setting"
    assert error.message.startswith("targets: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("header_timeout_s", -1.0),
        ("header_timeout_s", float("nan")),
        ("header_timeout_s", float("inf")),
        ("http_mode", "proxy"),
        ("congestion", "reno"),
        ("trusted_proxies", ["10.0.0.0/33"]),
        ("https_address", "nowhere"),
    ],
)
def test_a_bad_edge_setting_is_named(certificate: Certificate, field: str, value: object) -> None:
    error = refusal(lambda: Edge(settings(**{field: value}), tunnel_certificate=certificate, sockets={}))
    assert (error.code, error.message.partition(":")[0]) in (("bad_setting", field), ("bad_setting", "bad setting"))
    assert field in error.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("edges", []),
        ("edges", [edge_place("host")]),
        ("edge_resolver", "name"),
        ("proxy", {"address": "host", "tls": False, "authorization": None}),
        ("tunnel_id", "x"),
        ("tunnel_secret", b""),
        ("protocol", "tcp"),
        ("ha_connections", 0),
        ("rpc_timeout_s", 0.0),
        ("edge_ca_pem", b"nothing"),
    ],
)
def test_a_bad_connector_setting_is_named(field: str, value: object) -> None:
    error = refusal(lambda: Connector(connector_settings(**{field: value})))
    assert error.code == "bad_setting"
    assert field in error.message


def without(settings: dict[str, object], name: str) -> Any:
    return {key: value for key, value in settings.items() if key != name}


def test_a_setting_that_is_missing_unknown_or_of_the_wrong_kind_is_named(certificate: Certificate) -> None:
    def edge(given: Any) -> str:
        error = refusal(lambda: Edge(given, tunnel_certificate=certificate, sockets={}))
        assert error.code == "bad_setting"
        return error.message

    assert edge(without(settings(), "max_connections")) == "missing field `max_connections`"
    assert "unknown field `speed`" in edge(settings(speed=1))
    assert edge(settings(max_connections="many")).startswith("max_connections: ")
    assert edge(settings(keep_alive_timeout_s=None)).startswith("keep_alive_timeout_s: ")
    for name in connector_settings():
        error = refusal(lambda name=name: Connector(without(connector_settings(), name)))
        assert (error.code, error.message) == ("bad_setting", f"missing field `{name}`")
    assert refusal(lambda: rule("", tls_timeout_s=-1.0)).message.startswith(
        "tls_timeout_s: -1 is not a valid number of"
    )


def test_a_secret_hash_has_32_bytes() -> None:
    error = refusal(
        lambda: Tunnel(
            tunnel_id=TUNNEL,
            account_tag="ab" * 16,
            name="t",
            secrets=[("", bytes(32)), ("of a host", b"short")],
            deleted=False,
            remotely_managed=True,
            configuration_version=0,
            configuration=None,
            active_token_id=None,
            epoch=0,
            fenced_token_ids=[],
        )
    )
    assert error.message == "secrets: 5 bytes, not 32"


def test_a_hold_lasts_thirty_seconds_at_most_and_tells_how_many_waited(certificate: Certificate) -> None:
    edge = Edge(settings(), tunnel_certificate=certificate, sockets={})
    try:

        def hold(timeout_s: float, tunnel_id: str = TUNNEL) -> None:
            edge.hold(name="x", hostnames=[], tunnel_ids=[tunnel_id], timeout_s=timeout_s, most=1)

        for wrong in (30.1, -1.0, float("nan")):
            assert refusal(lambda wrong=wrong: hold(wrong)).message.startswith("timeout_s: ")
        assert refusal(lambda: hold(1.0, "x")).message.startswith("tunnel_ids: ")
        hold(30.0)
        assert (edge.release(name="x"), edge.release(name="x")) == (0, 0)
        assert (edge.open_requests(tunnel_id=TUNNEL), edge.open_websockets(tunnel_id=TUNNEL, token_id="a")) == (0, 0)
        assert edge.cut(tunnel_id=TUNNEL, token_id=None, only_websockets=False) == 0
    finally:
        edge.close(grace_s=0.0)


def test_a_certificate_tells_its_names(pem: tuple[bytes, bytes], certificate: Certificate) -> None:
    assert certificate.hostnames == inspect_certificate(*pem) == ["*.example.test", "app.example.test"]
    other = trustme.CA().issue_cert("b.example.test").private_key_pem.bytes()
    for chain, key in ((b"", pem[1]), (pem[0], b""), (b"x", b"y"), (pem[0], other)):
        assert refusal(lambda chain=chain, key=key: Certificate(chain_pem=chain, key_pem=key)).code == "bad_certificate"


def test_values_are_frozen(certificate: Certificate) -> None:
    route = Route(hostname="a.example.test", targets=[(TUNNEL, 1)], sticky="none")
    with pytest.raises(AttributeError):
        route.hostname = "b.example.test"  # type: ignore[misc]
    assert repr(route) == f"Route(hostname=\"a.example.test\", targets=[('{TUNNEL}', 1)], sticky='none')"


def test_a_taken_address_is_an_error_of_ours_with_a_code(certificate: Certificate) -> None:
    first = Edge(settings(http_address="127.0.0.1:0"), tunnel_certificate=certificate, sockets={})
    try:
        taken = first.addresses().http
        assert taken is not None
        with pytest.raises(QanatError) as caught, engine_errors(where="public.http"):
            Edge(settings(http_address=taken), tunnel_certificate=certificate, sockets={})
        assert (caught.value.code, caught.value.where) == ("engine_bind_failed", "public.http")
        assert taken in caught.value.message
        assert caught.value.code in CODES
    finally:
        first.close(grace_s=0.0)


def test_an_edge_takes_the_sockets_of_another_by_their_roles(certificate: Certificate) -> None:
    given = settings(http_address="127.0.0.1:0")
    first = Edge(given, tunnel_certificate=certificate, sockets={})
    wanted = settings(https_address="127.0.0.1:0")
    second, sockets = None, first.sockets()
    try:
        assert sorted(sockets) == ["http", "tunnel_tcp", "tunnel_udp", "tunnel_udp/packets/0"]
        for role, fd in (
            ("https_udp", sockets["http"]),
            ("smtp", sockets["http"]),
            ("tunnel_udp", sockets["tunnel_tcp"]),
        ):
            error = refusal(lambda role=role, fd=fd: Edge(wanted, tunnel_certificate=certificate, sockets={role: fd}))
            assert error.code == "bad_socket" and role in error.message
        for fd in (-1, 999_999):
            error = refusal(lambda fd=fd: Edge(given, tunnel_certificate=certificate, sockets={"http": fd}))
            assert error.code == "bad_setting" and "http" in error.message
        second = Edge(given, tunnel_certificate=certificate, sockets=sockets)
        assert (second.addresses().http, second.addresses().tunnel) == (
            first.addresses().http,
            first.addresses().tunnel,
        )
        first.stop_accepting(tunnels_only=True)
        second.open_tunnels()
        assert (first.connected_tunnels(), second.connected_tunnels()) == ({}, {})
        second.expect(tunnel_ids=[TUNNEL], timeout_s=1.0)
        second.open()
        first.send_connectors_away(connectors_every_s=0.01)
        first.drain(notice_s=1.0, grace_s=1.0)
    finally:
        for fd in sockets.values():
            os.close(fd)
        first.close(grace_s=0.0)
        if second is not None:
            second.close(grace_s=0.0)
    assert first.sockets() == {}


def test_a_route_twice_changes_nothing(certificate: Certificate) -> None:
    edge = Edge(settings(), tunnel_certificate=certificate, sockets={})
    try:
        routes = [Route(hostname="a.example.test", targets=[(TUNNEL, 1)], sticky="none")] * 2
        assert refusal(lambda: edge.swap_routes(routes)).code == "route_conflict"
    finally:
        edge.close(grace_s=0.0)


def test_routes_change_in_one_step_or_not_at_all(certificate: Certificate) -> None:
    edge = Edge(settings(), tunnel_certificate=certificate, sockets={})
    try:
        route = Route(hostname="a.example.test", targets=[(TUNNEL, 1)], sticky="none")
        edge.change_routes(put=[route], remove=["never.example.test"])
        edge.change_routes(put=[], remove=["a.example.test"])
        for put, remove in (([route] * 2, []), ([route], ["a.example.test"]), ([], ["A.example.test"])):
            error = refusal(lambda put=put, remove=remove: edge.change_routes(put=put, remove=remove))
            assert error.code == "route_conflict"
        assert edge.disconnect(tunnel_id=TUNNEL, token_id="of a host") == 0
    finally:
        edge.close(grace_s=0.0)


def test_waiting_for_events_lets_other_threads_run_and_close_ends_it(certificate: Certificate) -> None:
    edge = Edge(settings(), tunnel_certificate=certificate, sockets={})
    taken: list[object] = []
    waiting = threading.Thread(target=lambda: taken.append(edge.next_events(limit=10, timeout_s=60.0)))
    waiting.start()
    edge.close(grace_s=0.0)
    waiting.join(timeout=10.0)
    assert taken == [[]]
    edge.close(grace_s=0.0)


def test_a_time_out_ends_the_wait(certificate: Certificate) -> None:
    edge = Edge(settings(), tunnel_certificate=certificate, sockets={})
    try:
        for timeout_s in (0.0, -1.0, float("nan"), 0.01):
            started = time.monotonic()
            assert edge.next_events(limit=1, timeout_s=timeout_s) == []
            assert time.monotonic() - started < 5.0
    finally:
        edge.close(grace_s=0.0)


def test_a_connector_that_was_never_started_stops() -> None:
    connector = Connector(connector_settings())
    connector.stop()
    assert [type(event).__name__ for event in connector.next_events(limit=9, timeout_s=5.0)] == ["Stopped"]
    connector.close()
    assert connector.next_events(limit=9, timeout_s=5.0) == []


def test_an_answer_that_nobody_waits_for_is_refused() -> None:
    connector = Connector(connector_settings())
    assert refusal(lambda: connector.answer_configuration(push_id=7, version=1)).code == "unknown_push"
    connector.close()


def test_patterns_are_go_ones_and_bad_rules_are_named() -> None:
    assert check_patterns(["^/a+", ""]) is None
    found = check_patterns(["^/a+", "(?<!x)y"])
    assert found is not None
    assert found[:2] == (1, "bad_pattern")
    assert explain(rules=[("a.test", ""), ("b.test", "^/x"), ("", "")], hostname="b.test", path="/", limit_s=9.0) == [
        False,
        True,
    ]
    error = refusal(lambda: IngressTable(rules=[rule("(")]))
    assert error.code == "bad_pattern"
    assert re.match(r"ingress\[0\]\.path", error.message)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '\ufeff[1, -2.5e3, "é\\ud83d\\ude00", null, true, {"a": []}]',
        "18446744073709551616000",
        "[" * 100 + "]" * 100,
    ],
)
def test_a_well_formed_json_text_passes(text: str) -> None:
    assert check_json(text.encode(), most_deep=100, most_values=1000) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" * 101 + b"]" * 101, "more than 100 deep"),
        (b'{"a":' * 1_000_000, "more than 100 deep"),
        (b"[" + b"[]," * 1000 + b"1]", "more than 1000 values"),
        (rb'"\u0000"', "NUL"),
        (rb'{"\u0000":1}', "NUL"),
        (rb'"\ud800"', "hex escape"),
        (b"NaN", "expected"),
        (b"1e999", "out of range"),
        (b"1 2", "trailing"),
        (b"", "EOF"),
        (b'"\xff"', "not UTF-8 at byte 1"),
    ],
)
def test_a_json_text_is_looked_at_before_it_is_built(text: bytes, said: str) -> None:
    told = check_json(text, most_deep=100, most_values=1000)
    assert told is not None
    assert said in told


def test_origin_bounds_name_a_bad_entry() -> None:
    assert refusal(lambda: OriginBounds(allowed=["10.0.0.0/64"], own=[])).code == "bad_setting"
    assert refusal(lambda: OriginBounds(allowed=[], own=["localhost:1"])).code == "bad_setting"
    bounds = OriginBounds(allowed=["169.254.1.0/24"], own=["127.0.0.1:20241"])
    assert bounds.refusal(target="http://169.254.1.5:80") is None
    assert bounds.refusal(target="http://169.254.2.5:80") is not None
    assert bounds.refusal(target="https://127.0.0.1:20241") is not None


def test_a_catastrophic_pattern_costs_nothing() -> None:
    table = IngressTable(rules=[rule("(a+)+$")])
    path = "/" + "a" * (1 << 20) + "b"
    started = time.perf_counter()
    table.match(hostname="h", path=path)
    assert time.perf_counter() - started < 10.0  # backtracking would take years
