"""The control plane, thin and end to end: create, configure, publish, run, break, recover, delete."""

import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import rpc
from tests.support.api import ApiError, Tunnel
from tests.support.connector import Connector
from tests.support.connectors import Http2Connector, QuicConnector
from tests.support.edge import Edge
from tests.support.http1 import Http1Client
from tests.support.origin import Origin
from tests.support.sites import Fakes, Lab, Link
from tests.support.waiting import stays_true, wait_until

CATCH_ALL = {"service": "http_status:404"}


def answered(edge: Edge, hostname: str) -> tuple[int, bytes] | None:
    try:
        with edge.h1(hostname) as client:
            answer = client.get()
            return answer.status, answer.body
    except OSError:
        return None


def test_main_job_from_nothing_to_recovery(lab: Lab, folder: Path, link: Link) -> None:
    """The whole story that the demo tells: made, connected, configured, broken, recovered."""
    edge, api = lab.edge, lab.edge.api
    hostname = f"app-{link.protocol}.main.example.test"
    origin = Origin()
    try:
        tunnel = api.create_tunnel(f"main {link.protocol}")
        assert api.tunnel(tunnel.id)["status"] == "inactive"
        assert api.tunnel(tunnel.id)["connections"] == []
        version = api.put_configuration(tunnel.id, [{"hostname": hostname, "service": origin.service}, CATCH_ALL])
        api.publish(lab.zone, hostname, tunnel.id)
        wait_until(lambda: (answered(edge, hostname) or (0,))[0] == 530, "the route")
        connector = Connector(folder / "one", edge, tunnel.token, protocol=link.protocol, connections=4)
        wait_until(lambda: api.tunnel(tunnel.id)["status"] == "healthy", "status healthy")
        wait_until(lambda: answered(edge, hostname) == (200, b"hello"), "an answer")
        wait_until(lambda: connector.version == version, "the version at the connector")
        shown = api.connectors(tunnel.id)
        assert [c["id"] for c in shown] == [connector.connector_id]
        wait_until(lambda: api.connectors(tunnel.id)[0]["config_version"] == version, "the version in the API")
        assert shown[0]["version"]
        assert shown[0]["arch"].startswith("linux_")
        assert {c["colo_name"] for c in shown[0]["conns"]} == {"lab01"}
        assert {c["origin_ip"] for c in shown[0]["conns"]} == {"127.0.0.1"}
        connector.stop()
        down = wait_until(lambda: t if (t := api.tunnel(tunnel.id))["status"] == "down" else None, "status down")
        assert down["conns_inactive_at"]
        assert (answered(edge, hostname) or (0,))[0] == 530
        connector = Connector(folder / "two", edge, tunnel.token, protocol=link.protocol, connections=2)
        wait_until(lambda: api.tunnel(tunnel.id)["status"] in ("healthy", "degraded"), "recovery")
        wait_until(lambda: answered(edge, hostname) == (200, b"hello"), "an answer again")
        connector.stop()
    finally:
        origin.close()


@pytest.mark.alone
def test_configuration_takes_effect_at_once(lab: Lab, link: Link) -> None:
    tunnelled = lab.tunnelled(link)
    api = lab.edge.api
    hostname = f"effect.{tunnelled.domain}"
    took = []
    with lab.edge.h1(hostname) as client:
        for n in range(5):
            status = 410 + n
            tunnelled.rules[:] = [rule for rule in tunnelled.rules if rule["hostname"] != hostname]
            tunnelled.rules.insert(0, {"hostname": hostname, "service": f"http_status:{status}"})
            start = time.monotonic()
            api.put_configuration(tunnelled.tunnel.id, [*tunnelled.rules, CATCH_ALL])
            wait_until(lambda s=status: client.get().status == s, "the effect", every_s=0.001)  # type: ignore[misc]
            took.append(time.monotonic() - start)
    assert sorted(took)[2] < 0.5, took


def test_record_decides_where_a_hostname_goes(lab: Lab, fakes: Fakes) -> None:
    api = lab.edge.api
    first, hostname = fakes.tunnel()
    with pytest.raises(ApiError) as refused:
        api.publish(lab.zone, hostname, first.id)
    assert refused.value.status == 400
    record = api.call("GET", f"/zones/{lab.zone}/dns_records", name=hostname)[0]
    second = api.create_tunnel("second home")
    fakes.quic(second)
    api.call("PATCH", f"/zones/{lab.zone}/dns_records/{record['id']}", {"content": f"{second.id}.cfargotunnel.com"})
    wait_until(lambda: lab.status(hostname) == 200, "the new route")
    api.delete_record(lab.zone, record["id"])
    wait_until(lambda: plain_status(lab.edge, hostname) == 404, "no route")


def plain_status(edge: Edge, hostname: str) -> int:
    with edge.plain(hostname) as client:
        return client.get().status


def test_unproxied_record_is_no_route(lab: Lab) -> None:
    api = lab.edge.api
    tunnel = api.create_tunnel("unproxied")
    record = {
        "type": "CNAME",
        "name": "dark.example.test",
        "content": f"{tunnel.id}.cfargotunnel.com",
        "proxied": False,
    }
    try:
        api.call("POST", f"/zones/{lab.zone}/dns_records", record)
    except ApiError as refused:
        assert refused.status == 400
    assert plain_status(lab.edge, "dark.example.test") == 404


# ------------------------------------------------------------------------------------------------ refusals
def join(fakes: Fakes, protocol: str, token: str) -> None:
    kind = QuicConnector if protocol == "quic" else Http2Connector
    kind(fakes.edge.tunnel, fakes.edge.ca_file, token).close()


def with_secret(token: str, secret: bytes) -> str:
    import base64
    import json

    fields = json.loads(base64.b64decode(token))
    fields["s"] = base64.b64encode(secret).decode()
    return base64.b64encode(json.dumps(fields).encode()).decode()


@pytest.mark.parametrize("protocol", ["quic", "http2"])
@pytest.mark.parametrize("why", ["wrong secret", "short secret", "empty secret", "unknown tunnel", "deleted tunnel"])
def test_registration_is_refused_with_a_reason(fakes: Fakes, protocol: str, why: str) -> None:
    api = fakes.edge.api
    tunnel: Tunnel = api.create_tunnel(f"{why} {protocol}")
    code = "wrong_secret"
    token = tunnel.token
    if why == "wrong secret":
        token = with_secret(token, b"x" * 32)
    elif why == "short secret":
        token = with_secret(token, rpc.Token.parse(token).secret[:31])
    elif why == "empty secret":
        token = with_secret(token, b"")
    elif why == "deleted tunnel":
        api.delete_tunnel(tunnel.id)
        code = "deleted_tunnel"
    else:
        import base64
        import json
        import uuid

        fields = json.loads(base64.b64decode(token))
        fields["t"] = str(uuid.uuid4())
        token = base64.b64encode(json.dumps(fields).encode()).decode()
        code = "unknown_tunnel"
    mark = fakes.edge.process.mark()
    with pytest.raises(rpc.Refused) as refused:
        join(fakes, protocol, token)
    assert refused.value.should_retry, "a permanent refusal makes a stock connector hammer"
    assert refused.value.retry_after_s >= 10
    assert refused.value.cause
    line = fakes.edge.process.wait_for(code, after=mark).string
    assert "127.0.0.1" in line
    assert str(rpc.Token.parse(token).tunnel_id) in line
    assert api.connections(tunnel.id) == [] if why not in ("deleted tunnel",) else True


def test_our_connector_says_why_it_is_refused_and_waits(fakes: Fakes, folder: Path, link: Link) -> None:
    tunnel, _ = fakes.tunnel()
    mark = fakes.edge.process.mark()
    connector = Connector(
        folder / "c", fakes.edge, with_secret(tunnel.token, b"x" * 32), protocol=link.protocol, wait=False
    )
    try:
        fakes.edge.process.wait_for("wrong_secret", after=mark)
        connector.process.wait_for("(?i)secret|unauthorized|refused")
        count = len([line for line in fakes.edge.process.since(mark) if "wrong_secret" in line])
        stays_true(
            lambda: len([line for line in fakes.edge.process.since(mark) if "wrong_secret" in line]) == count,
            "it hammers",
            for_s=2.0,
        )
        assert connector.process.running
        assert connector.local("/ready").status_code == 503
        assert connector.local("/healthcheck").text == "OK\n"
    finally:
        connector.stop()


def test_deleted_tunnel_loses_its_connections(fakes: Fakes) -> None:
    tunnel, hostname = fakes.tunnel()
    connector = fakes.quic(tunnel)
    wait_until(lambda: fakes.lab.status(hostname) == 200, "traffic")
    api = fakes.edge.api
    account = api.call("GET", f"/accounts/{api.account}")
    api.call("PUT", f"/accounts/{api.account}", {"name": account["name"], "settings": {"delete_disconnects": False}})
    try:
        with pytest.raises(ApiError) as refused:
            api.delete_tunnel(tunnel.id)
    finally:
        api.call("PUT", f"/accounts/{api.account}", {"name": account["name"], "settings": {"delete_disconnects": True}})
    assert refused.value.status == 400
    assert refused.value.errors[0]["code"] == 1022
    api.delete_tunnel(tunnel.id, cascade=True)
    connector.wait_ended()
    wait_until(lambda: fakes.lab.status(hostname) == 410, "the end of traffic")
    assert api.call("GET", f"/accounts/{api.account}/cfd_tunnel/{tunnel.id}")["deleted_at"]


def test_disconnect_really_disconnects(fakes: Fakes) -> None:
    tunnel, _ = fakes.tunnel()
    connectors: list[QuicConnector | Http2Connector] = [fakes.quic(tunnel), fakes.http2(tunnel, index=1)]
    wait_until(lambda: len(fakes.edge.api.connections(tunnel.id)) == 2, "two connections")
    fakes.edge.api.disconnect(tunnel.id)
    for connector in connectors:
        connector.wait_ended()
    assert wait_until(lambda: fakes.edge.api.connections(tunnel.id) == [], "no connections")


# ------------------------------------------------------------------------------------------------ versions
def test_versions_only_rise_and_equal_is_no_change(edge: Edge) -> None:
    tunnel = edge.api.create_tunnel("versions")
    assert edge.api.configuration(tunnel.id)["version"] == 0
    first = edge.api.put_configuration(tunnel.id, [CATCH_ALL])
    assert edge.api.put_configuration(tunnel.id, [CATCH_ALL]) == first
    second = edge.api.put_configuration(tunnel.id, [{"service": "http_status:503"}])
    assert second == first + 1
    assert edge.api.put_configuration(tunnel.id, [CATCH_ALL]) == second + 1
    edge.api.delete_tunnel(tunnel.id)


def test_configuration_is_echoed_as_it_was_put(edge: Edge) -> None:
    tunnel = edge.api.create_tunnel("echo")
    ingress: list[dict[str, Any]] = [
        {"hostname": "a.example.com", "service": "https://127.0.0.1:8443", "originRequest": {"noTLSVerify": True}},
        {"service": "http_status:404"},
    ]
    edge.api.put_configuration(tunnel.id, ingress, originRequest={"connectTimeout": 30})
    config = edge.api.configuration(tunnel.id)["config"]
    assert config["ingress"] == ingress
    assert config["originRequest"] == {"connectTimeout": 30}
    assert config["warp-routing"] == {"enabled": False}
    edge.api.delete_tunnel(tunnel.id)


@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_pushed_document_is_the_put_one(fakes: Fakes, protocol: str) -> None:
    import json

    tunnel, hostname = fakes.tunnel()
    ingress: list[dict[str, Any]] = [
        {"hostname": hostname, "service": "http://127.0.0.1:1", "originRequest": {"connectTimeout": 3}},
        CATCH_ALL,
    ]
    version = fakes.edge.api.put_configuration(tunnel.id, ingress)
    connector = fakes.connector(protocol, tunnel)  # type: ignore[arg-type]
    pushed, document = connector.wait_configuration()
    assert pushed == version
    assert json.loads(document)["ingress"] == ingress


# ------------------------------------------------------------------------------------------------ API's own door
def test_api_needs_its_token(edge: Edge) -> None:
    base = edge.ready["api"]
    account = edge.api.account
    for headers in ({}, {"Authorization": "Bearer " + "x" * 40}, {"Authorization": "Basic eDp5"}):
        answer = httpx.get(f"{base}/accounts/{account}/cfd_tunnel", headers=headers, trust_env=False, verify=False)
        assert answer.status_code in (400, 401, 403)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["success"] is False


def test_first_token_is_shown_once_and_kept_private(edge: Edge) -> None:
    file = edge.data_dir / "first-token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"[0-9A-Za-z_-]{40}", file.read_text().strip())
    token = file.read_text().strip()
    assert sum(line.count(token) for line in edge.process.lines) <= 1
    assert edge.data_dir.stat().st_mode & 0o077 == 0


def test_secrets_are_not_in_the_log(lab: Lab, link: Link) -> None:
    tunnelled = lab.tunnelled(link)
    token = tunnelled.tunnel.token
    for process in (lab.edge.process, tunnelled.connector.process):
        log = process.log()
        assert token not in log
        assert token[-40:-4] not in log
    assert not any(token in line for line in lab.edge.process.argv_seen().split())


def test_edge_keeps_its_state_over_a_restart(folder: Path) -> None:
    edge = Edge(folder / "edge")
    tunnel = edge.api.create_tunnel("kept")
    zone = edge.api.create_zone("example.test")
    edge.api.publish(zone, "kept.example.test", tunnel.id)
    version = edge.api.put_configuration(tunnel.id, [CATCH_ALL])
    edge.stop()
    edge.restart()
    try:
        assert edge.api.configuration(tunnel.id)["version"] == version
        with QuicConnector(edge.tunnel, edge.ca_file, tunnel.token) as connector:
            assert connector.wait_configuration()[0] == version
            with Http1Client(edge.https, "kept.example.test", edge.ca_file) as client:
                assert client.get().status == 200
    finally:
        edge.stop()
