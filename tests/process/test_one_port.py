"""One port for browsers, connectors and the control API, told apart by ALPN and server name; a load balancer in front of it."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import cloudflare
import httpx
import pytest

from tests.support.api import ApiError, Tunnel
from tests.support.connector import STOCK, Connector, Kind, Protocol
from tests.support.edge import Edge
from tests.support.fixtures import NO_STOCK
from tests.support.http1 import Http1Client
from tests.support.waiting import wait_until

API = "api.edge.test"
APP = "app.one-port.test"
KINDS = [
    "qanat",
    pytest.param("cloudflared", marks=[pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    edge = Edge(tmp_path_factory.mktemp("one-port") / "edge", control_hostname="API.edge.test.", control_requests="8")
    yield edge
    edge.stop()


@pytest.fixture(scope="module")
def tunnel(shared: Edge) -> Tunnel:
    tunnel = shared.api.create_tunnel("one-port")
    shared.api.put_configuration(tunnel.id, [{"service": "http_status:218"}])
    shared.api.publish(shared.api.create_zone("one-port.test"), APP, tunnel.id)
    return tunnel


class Nearby(httpx.HTTPTransport):
    """Every name is on this machine, as DNS would say."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host="127.0.0.1")
        return super().handle_request(request)


def laptop(edge: Edge, *, http2: bool = False, source: str | None = None, **more: Any) -> httpx.Client:
    """A client elsewhere: it knows one URL, and trusts who signs the edge's certificates."""
    trust = ssl.create_default_context(cafile=str(edge.ca_file))
    transport = Nearby(verify=trust, http2=http2, local_address=source, trust_env=False)
    return httpx.Client(transport=transport, base_url=str(edge.ready["public_api"]), timeout=15.0, **more)


def first_token(edge: Edge) -> str:
    return (edge.data_dir / "first-token").read_text().strip()


@pytest.mark.parametrize("protocol", ["quic", "http2"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_connector_serves_by_the_public_port(
    shared: Edge, tunnel: Tunnel, folder: Path, kind: Kind, protocol: Protocol
) -> None:
    """Case 45's second half: where only 443 leads out."""
    connector = Connector(folder, shared.https, tunnel.token, kind=kind, protocol=protocol, ca_file=shared.ca_file)
    try:
        wait_until(lambda: served(shared) == 218, "an answer of the connector")
    finally:
        connector.stop()


def served(edge: Edge, *, h2: bool = False) -> int:
    with edge.h2(APP) if h2 else edge.h1(APP) as client:
        return client.get("/").status


@pytest.mark.parametrize("version", [1, 2])
def test_the_api_answers_a_laptop_under_one_url(shared: Edge, version: Literal[1, 2]) -> None:
    port = shared.https.rpartition(":")[2]
    assert shared.ready["public_api"] == f"https://{API}:{port}/client/v4"
    with laptop(shared, http2=version == 2, headers={"authorization": f"Bearer {first_token(shared)}"}) as client:
        answer = client.get("/user/tokens/verify")
        assert (answer.status_code, answer.json()["success"], answer.http_version[:6]) == (
            200,
            True,
            f"HTTP/{version}"[:6],
        )
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cf-ray"].endswith("-lab01")
        assert "server" not in answer.headers
        made = client.post("/zones", json={"name": f"laptop{version}.test", "account": {"id": shared.api.account}})
        assert made.json()["result"]["name"] == f"laptop{version}.test"
        missing = client.get("/nowhere")
        assert (missing.status_code, missing.headers["x-content-type-options"]) == (404, "nosniff")
        assert client.get("/zones", headers={"host": "localhost"}).status_code == 421
        assert client.get("/zones", headers={"host": "127.0.0.1"}).status_code == 421


def test_the_cloudflare_sdk_needs_nothing_but_the_url(shared: Edge) -> None:
    with (
        laptop(shared) as client,
        cloudflare.Cloudflare(
            api_token=first_token(shared), base_url=str(shared.ready["public_api"]), http_client=client
        ) as sdk,
    ):
        zone = sdk.zones.create(name="sdk-laptop.test", account={"id": shared.api.account}, type="full")
        assert [found.id for found in sdk.zones.list(name="sdk-laptop.test")] == [zone.id]
        tunnel = sdk.zero_trust.tunnels.cloudflared.create(
            account_id=shared.api.account, name="laptop", config_src="cloudflare"
        )
        assert tunnel.name == "laptop"


@pytest.mark.requirement("S33", "S34")
def test_guesses_and_bounds_of_tokens_are_those_of_the_clients_own_address(shared: Edge) -> None:
    """One that guesses is told to wait, others aren't; a token bound to networks sees who asks; nobody says it by himself."""
    forged = {"cf-connecting-ip": "127.0.0.9", "x-forwarded-for": "127.0.0.9", "qanat-client": "127.0.0.9"}
    bad = {"authorization": f"Bearer qnt_{'y' * 36}"}
    groups = {group["name"]: group["id"] for group in shared.api.call("GET", "/user/tokens/permission_groups")}
    policy = {
        "effect": "allow",
        "resources": {f"com.cloudflare.api.account.{shared.api.account}": "*"},
        "permission_groups": [{"id": groups["Zone Read"]}],
    }
    bound = {"name": "bound", "policies": [policy], "condition": {"request.ip": {"in": ["127.0.0.9/32"]}}}
    token = shared.api.call("POST", "/user/tokens", bound)["value"]
    good = {"authorization": f"Bearer {token}"}
    with laptop(shared, source="127.0.0.7") as guesser, laptop(shared, source="127.0.0.9") as other:
        assert [guesser.get("/zones", headers={**bad, **forged}).status_code for _ in range(6)] == [403] * 5 + [429]
        # another token: with the beginning of one that was tried too often, everybody has to wait
        assert other.get("/zones", headers={"authorization": f"Bearer qnt_{'x' * 36}"}).status_code == 403
        assert other.get("/zones", headers=good).status_code == 200
        assert guesser.get("/zones", headers={**good, **forged}).status_code in (403, 429)


def test_no_record_leads_the_apis_name_elsewhere(shared: Edge, tunnel: Tunnel) -> None:
    zone = shared.api.create_zone("edge.test")
    with pytest.raises(ApiError) as refused:
        shared.api.publish(zone, API, tunnel.id)
    assert refused.value.status == 400
    assert "control.hostname" in refused.value.text
    with pytest.raises(ApiError):
        shared.api.call("PUT", f"/zones/{zone}/tunnels/{tunnel.id}/routes", {"type": "dns", "user_hostname": API})
    # What DNS needs may stand there, and a wildcard around it changes nothing.
    shared.api.call("POST", f"/zones/{zone}/dns_records", {"type": "A", "name": API, "content": "192.0.2.1", "ttl": 60})
    shared.api.publish(zone, "*.edge.test", tunnel.id)
    with laptop(shared, headers={"authorization": f"Bearer {first_token(shared)}"}) as client:
        assert client.get("/zones").status_code == 200


def test_slow_api_clients_hold_up_no_visitor_and_no_other_client(shared: Edge, tunnel: Tunnel, folder: Path) -> None:
    """A second party that must not notice: bodies that never come take all places of one address."""
    connector = Connector(folder, shared.https, tunnel.token, ca_file=shared.ca_file)
    slow = []
    token = first_token(shared)
    fields = f"Host: {API}\r\nAuthorization: Bearer {token}\r\nContent-Length: 9\r\n\r\n"
    head = f"POST /client/v4/zones HTTP/1.1\r\n{fields}"
    try:
        for _ in range(3):
            client = Http1Client(shared.https, API, shared.ca_file, source="127.0.0.7")
            client.send(head.encode())
            slow.append(client)
        assert slow[2].answer().status == 503
        with laptop(shared, source="127.0.0.8", headers={"authorization": f"Bearer {token}"}) as other:
            assert other.get("/zones").status_code == 200
        assert shared.api.call("GET", "/zones")
        assert [served(shared), served(shared, h2=True)] == [218, 218]
    finally:
        for client in slow:
            client.close()
        connector.stop()


def test_behind_a_load_balancer_everybody_has_an_address_of_his_own(folder: Path) -> None:
    """The PROXY protocol, by the settings: taken of the listed, and of nobody else."""
    edge = Edge(folder / "edge", public_proxy_protocol="127.0.0.1", control_hostname=API)
    try:
        host, _, port = edge.https.rpartition(":")

        def asked(header: bytes, *, source: str = "127.0.0.1", token: str = "z") -> int | None:
            bad = f"Authorization: Bearer qnt_{token * 36}"
            sock = socket.create_connection((host, int(port)), timeout=10.0, source_address=(source, 0))
            try:
                sock.sendall(header)
                trust = ssl.create_default_context(cafile=str(edge.ca_file))
                with trust.wrap_socket(sock, server_hostname=API) as stream:
                    stream.sendall(f"GET /client/v4/zones HTTP/1.1\r\nHost: {API}\r\n{bad}\r\n\r\n".encode())
                    return int(stream.recv(4096).split()[1])
            except OSError:
                return None
            finally:
                sock.close()

        guesser, other = (f"PROXY TCP4 192.0.2.{last} 10.0.0.1 40000 443\r\n".encode() for last in (7, 8))
        assert [asked(guesser) for _ in range(6)] == [403] * 5 + [429]
        assert asked(other, token="x") == 403
        assert asked(b"") is None
        assert asked(other, source="127.0.0.2") is None
        assert asked(b"", source="127.0.0.2", token="w") == 403
    finally:
        edge.stop()
