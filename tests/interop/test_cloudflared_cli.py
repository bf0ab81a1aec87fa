"""A stock cloudflared manages tunnels on our API: `--api-url` and a cert.pem of ours are all that differs.

`QANAT_TEST_CLOUDFLARED` names the binary.
"""

import base64
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloudflared import Cloudflared
from tests.support.connector import STOCK
from tests.support.control import Control
from tests.support.edge import Edge
from tests.support.fixtures import NO_STOCK
from tests.support.origin import Origin
from tests.support.processes import clean_environment
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]

A, B = "a.example", "b.example"


@pytest.fixture(scope="module")
def zones(live: Edge) -> dict[str, str]:
    return {name: live.api.create_zone(name) for name in (A, B)}


@pytest.fixture(scope="module")
def certificate(live: Edge, zones: dict[str, str]) -> str:
    made: str = live.api.call("POST", f"/qanat/zones/{zones[A]}/origin-certificate", {})["certificate"]
    return made


@pytest.fixture
def cf(live: Edge, certificate: str, tmp_path: Path) -> Cloudflared:
    return Cloudflared(tmp_path / "user", live, certificate)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A tunnel's name of this test's own."""
    return str(request.node.originalname.removeprefix("test_"))


@contextmanager
def running(cf: Cloudflared, *arguments: str, connections: int = 1) -> Iterator[Any]:
    process = cf.connects(*arguments, connections=connections)
    try:
        yield process
    finally:
        if process.running:
            process.signal(signal.SIGTERM)
        process.wait()


def credentials(cf: Cloudflared, tunnel: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((cf.folder / f"{tunnel}.json").read_text())
    return found


# -------------------------------------------------------------------------------------------------- create, list, info
def test_create(cf: Cloudflared, live: Edge, name: str) -> None:
    said = cf.succeeds("create", name)
    (tunnel,) = [row for row in cf.json("list") if row["name"] == name]
    assert f"Created tunnel {name} with id {tunnel['id']}" in said
    assert live.api.tunnel(tunnel["id"])["config_src"] == "local"
    assert credentials(cf, tunnel["id"])["AccountTag"] == live.api.account
    assert "tunnel with name already exists" in cf.fails("create", name)
    assert not [file for file in cf.folder.glob("*.json") if file.stem != tunnel["id"]]


def test_list(cf: Cloudflared, name: str) -> None:
    ids = {each: cf.create(each) for each in (f"{name}-a", f"{name}-b", "other-list")}
    assert ids[f"{name}-a"] in cf.succeeds("list")
    assert {row["id"] for row in cf.json("list", "--name-prefix", f"{name}-")} == {ids[f"{name}-a"], ids[f"{name}-b"]}
    assert [
        row["id"] for row in cf.json("list", "--name-prefix", f"{name}-", "--exclude-name-prefix", f"{name}-b")
    ] == [ids[f"{name}-a"]]
    assert [row["name"] for row in cf.json("list", "--id", ids[f"{name}-b"])] == [f"{name}-b"]
    assert [row["id"] for row in cf.json("list", "--name", f"{name}-a")] == [ids[f"{name}-a"]]
    cf.succeeds("delete", f"{name}-a")
    assert [row["name"] for row in cf.json("list", "--name-prefix", f"{name}-")] == [f"{name}-b"]
    deleted = {row["name"]: row["deleted_at"] for row in cf.json("list", "-d", "--name-prefix", f"{name}-")}
    assert set(deleted) == {f"{name}-a", f"{name}-b"}
    assert not deleted[f"{name}-a"].startswith("0001")
    assert "No tunnels were found" in cf.succeeds("list", "--name", "nothing of the kind")


@pytest.mark.case(64)
def test_list_over_more_than_two_pages(cf: Cloudflared, live: Edge, name: str) -> None:
    for number in range(12):
        live.api.create_tunnel(f"{name}-{number}")
    assert len({row["id"] for row in cf.json("--max-fetch-size 5 list", "--name-prefix", f"{name}-")}) == 12


def test_info_of_none_one_and_two_connectors(cf: Cloudflared, live: Edge, name: str) -> None:
    tunnel = cf.create(name)
    assert f"Your tunnel {tunnel} does not have any active connection." in cf.succeeds("info", name)
    with running(cf, "run", name):
        wait_until(lambda: len(live.api.connectors(tunnel)) == 1, "one connector in the API")
        found = cf.json("info", name)
        assert [each["id"] for each in found["conns"]] == [each["id"] for each in live.api.connectors(tunnel)]
        assert found["name"] == name
        assert tunnel in cf.succeeds("info", tunnel)
        with running(cf, "run", name, connections=2):
            wait_until(lambda: len(live.api.connectors(tunnel)) == 2, "two connectors in the API")
            assert len(cf.json("info", name)["conns"]) == 2
            wait_until(lambda: len(live.api.connections(tunnel)) == 3, "three connections")
            assert "lab01" in cf.succeeds("list", "--name", name)


def test_token_is_the_api_s(cf: Cloudflared, live: Edge, name: str, tmp_path: Path) -> None:
    tunnel = cf.create(name)
    token = cf.run("token", name).out.strip()
    path = f"/accounts/{live.api.account}/cfd_tunnel/{tunnel}/token"
    # cloudflared writes the token anew, its keys in another order
    assert fields(token) == fields(live.api.call("GET", path))
    assert fields(token)["s"] == credentials(cf, tunnel)["TunnelSecret"]
    cf.succeeds("token", "--cred-file", str(tmp_path / "again.json"), name)
    assert json.loads((tmp_path / "again.json").read_text())["TunnelSecret"] == fields(token)["s"]


def fields(token: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(base64.b64decode(token))
    return found


# -------------------------------------------------------------------------------------------------- delete, cleanup
def test_delete(cf: Cloudflared, live: Edge, name: str) -> None:
    tunnel = cf.create(name)
    cf.succeeds("delete", name)
    assert live.api.tunnel(tunnel)["deleted_at"]
    assert not (cf.folder / f"{tunnel}.json").exists()
    assert "already been deleted" in cf.fails("delete", tunnel)
    assert name in cf.fails("delete", name)
    assert cf.create(name) != tunnel


def test_delete_with_live_connections(cf: Cloudflared, live: Edge, name: str) -> None:
    """Refused without `-f`, which cascades; in between `cleanup` disconnects, but a live connector comes back."""
    tunnel = cf.create(name)
    with running(cf, "run", name) as connector:
        wait_until(lambda: live.api.connectors(tunnel), "the connector in the API")
        refused = cf.fails("delete", name)
        assert "active connections" in refused
        mark = connector.mark()
        cf.succeeds("cleanup", name)
        connector.wait_for("Registered tunnel connection", after=mark)
        cf.succeeds("delete", "-f", name)
        assert live.api.tunnel(tunnel)["deleted_at"]


def test_cleanup_of_one_connector(cf: Cloudflared, live: Edge, name: str) -> None:
    tunnel = cf.create(name)
    with running(cf, "run", name), running(cf, "run", name):
        wait_until(lambda: len(live.api.connectors(tunnel)) == 2, "two connectors")
        before = {each["conns"][0]["id"]: each["id"] for each in live.api.connectors(tunnel)}
        target = min(before.values())
        cf.succeeds("cleanup", "--connector-id", target, name)
        kept = next(connection for connection, connector in before.items() if connector != target)

        def only_one_is_new() -> bool:
            now = {connection["id"] for connection in live.api.connections(tunnel)}
            return kept in now and len(now) == 2 and len(now & set(before)) == 1

        wait_until(only_one_is_new, "the cut connector to be back, the other untouched")


# -------------------------------------------------------------------------------------------------- route dns
@pytest.mark.case(33)
def test_route_dns(cf: Cloudflared, live: Edge, zones: dict[str, str], name: str) -> None:
    """Short and full names, again, another tunnel, `--overwrite-dns`."""
    first, second = cf.create(f"{name}-1"), cf.create(f"{name}-2")
    assert f"Added CNAME app.{A} which will route to this tunnel" in cf.succeeds("route", "dns", f"{name}-1", "app")
    assert targets(live, zones[A]) == {f"app.{A}": target(first)}
    # again, in any spelling
    assert f"app.{A} is already configured to route to your tunnel" in cf.succeeds("route", "dns", first, "app")
    assert "is already configured" in cf.succeeds("route", "dns", first, f"APP.{A.upper()}")
    # another tunnel: refused with the code and what is there
    refused = cf.fails("route", "dns", second, "app")
    assert "1003" in refused
    assert target(first) in refused
    assert targets(live, zones[A]) == {f"app.{A}": target(first)}
    # overwritten, by short and by full name
    assert f"app.{A} updated to route to your tunnel" in cf.succeeds("route", "dns", "--overwrite-dns", second, "app")
    assert targets(live, zones[A]) == {f"app.{A}": target(second)}
    assert f"app.{A} updated" in cf.succeeds("route", "dns", "--overwrite-dns", first, f"app.{A}")
    assert targets(live, zones[A]) == {f"app.{A}": target(first)}


@pytest.mark.case(33)
def test_another_zone_s_name_is_never_doubled(
    cf: Cloudflared, live: Edge, zones: dict[str, str], name: str, tmp_path: Path
) -> None:
    """A certificate that may edit that zone routes there; ours, of one zone, is refused with the zones' names."""
    tunnel = cf.create(name)
    refused = cf.fails("route", "dns", tunnel, f"app.{B}")
    assert f"in the zone {B}" in refused
    assert f"it may edit {A}" in refused
    wide = Cloudflared(tmp_path / "wide", live, pem(zones[A], live.api.account, api_token(live)))
    assert f"Added CNAME app.{B} which will route" in wide.succeeds("route", "dns", tunnel, f"app.{B}")
    assert targets(live, zones[B]) == {f"app.{B}": target(tunnel)}
    assert f"app.{B}.{A}" not in targets(live, zones[A])
    assert f"app.{B} is already configured" in wide.succeeds("route", "dns", tunnel, f"app.{B}")


def target(tunnel: str) -> str:
    return f"{tunnel}.cfargotunnel.com"


def targets(live: Edge, zone: str) -> dict[str, str]:
    records = live.api.call("GET", f"/zones/{zone}/dns_records", type="CNAME")
    return {record["name"]: record["content"] for record in records}


@pytest.mark.trap(19)
def test_route_dns_after_the_tunnel_was_deleted(cf: Cloudflared, name: str) -> None:
    """The CNAME of a deleted tunnel is in nobody's way."""
    host = f"deleted.{A}"
    cf.create(name)
    cf.succeeds("route", "dns", name, host)
    cf.succeeds("delete", name)
    cf.create(name)
    assert f"{host} updated to route to your tunnel" in cf.succeeds("route", "dns", name, host)


def test_route_lb_is_refused_with_a_reason(cf: Cloudflared, name: str) -> None:
    cf.create(name)
    assert "load balancer" in cf.fails("route", "lb", name, f"lb.{A}", "pool")


# -------------------------------------------------------------------------------------------------- run
def test_run_by_name_by_file_and_by_token(cf: Cloudflared, live: Edge, name: str, tmp_path: Path) -> None:
    tunnel = cf.create(name)
    token = cf.run("token", name).out.strip()
    file = str(cf.folder / f"{tunnel}.json")
    for how in (("run", name), ("run", tunnel), ("run", "--cred-file", file, name), ("run", "--token", token)):
        with running(cf, *how):
            wait_until(lambda: live.api.connectors(tunnel), f"{how} in the API")
        wait_until(lambda: not live.api.connectors(tunnel), f"{how} to be gone")
    assert live.api.tunnel(tunnel)["status"] in ("down", "inactive")


def test_route_and_run_in_one_command(cf: Cloudflared, live: Edge, name: str) -> None:
    # made before: this release's own making of it stumbles over its `--output` flag, before it asks the API
    cf.create(name)
    origin = Origin()
    try:
        with running(cf, "--name", name, "--hostname", f"onestep.{A}", "--url", origin.service):
            wait_until(lambda: status(live, f"onestep.{A}") == 200, "an answer through the tunnel")
    finally:
        origin.close()


def test_remote_configuration_while_running(cf: Cloudflared, live: Edge, name: str, zones: dict[str, str]) -> None:
    """A new version is taken without a new connection."""
    tunnel = live.api.create_tunnel(name)
    live.api.publish(zones[A], f"remote.{A}", tunnel.id)
    live.api.put_configuration(tunnel.id, [{"service": "http_status:418"}])
    with running(cf, "run", "--token", tunnel.token) as connector:
        wait_until(lambda: status(live, f"remote.{A}") == 418, "the first version")
        mark = connector.mark()
        live.api.put_configuration(tunnel.id, [{"service": "http_status:204"}])
        wait_until(lambda: status(live, f"remote.{A}") == 204, "the second version")
        assert not [line for line in connector.since(mark) if "Registered" in line]


def status(live: Edge, hostname: str) -> int:
    with live.h1(hostname) as client:
        return client.get().status


# -------------------------------------------------------------------------------------------------- private networks
def test_route_ip_and_vnet(cf: Cloudflared, name: str) -> None:
    tunnel = cf.create(name)
    assert "Successfully added virtual 'network' office" in cf.succeeds("vnet", "add", "office", "second floor")
    assert "office" in cf.succeeds("vnet", "list")
    cf.succeeds("vnet", "update", "--comment", "third floor", "office")
    (vnet,) = cf.json("vnet list", "--name", "office")
    assert vnet["comment"] == "third floor"
    said = cf.succeeds("route", "ip", "add", "10.9.0.0/16", name, "a comment")
    assert f"Successfully added route for 10.9.0.0/16 over tunnel {tunnel}" in said
    cf.succeeds("route", "ip", "add", "--vnet", "office", "10.9.0.0/16", name)
    assert len(cf.json("route ip list", "--filter-tunnel-id", tunnel)) == 2
    assert "10.9.0.0/16" in cf.succeeds("route", "ip", "get", "10.9.1.2")
    assert "No route matches" in cf.succeeds("route", "ip", "get", "192.0.2.1")
    assert "Successfully deleted route" in cf.succeeds("route", "ip", "delete", "--vnet", "office", "10.9.0.0/16")
    (row,) = cf.json("route ip list", "--filter-tunnel-id", tunnel)
    assert "Successfully deleted route" in cf.succeeds("route", "ip", "delete", row["id"])
    assert "Successfully deleted virtual network" in cf.succeeds("vnet", "delete", "office")


# -------------------------------------------------------------------------------------------------- quick tunnels
def test_quick_tunnel(cf: Cloudflared, live: Edge) -> None:
    """It serves while its connector is there, and is gone afterwards with its name."""
    zone = live.api.create_zone("quick.example")
    origin = Origin()
    try:
        with running(cf, "--quick-service", live.ready["api"], "--url", origin.service) as connector:
            hostname = connector.wait_for(r"https://([a-z0-9-]+\.quick\.example)").group(1)
            wait_until(lambda: status(live, hostname) == 200, "an answer through the tunnel")
            assert list(targets(live, zone)) == [hostname]
        wait_until(lambda: status(live, hostname) != 200, "no answer any more")
        wait_until(lambda: not targets(live, zone), "the name to be gone")
    finally:
        origin.close()


def test_quick_tunnels_are_off_unless_switched_on(control: Control, tmp_path: Path) -> None:
    """Stock shows no reason: only that the answer names no tunnel."""
    assert STOCK
    done = subprocess.run(
        [STOCK, "tunnel", "--no-autoupdate", "--quick-service", control.url, "--hello-world"],
        env={**clean_environment(), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30.0,
        check=False,
    )
    assert done.returncode != 0
    assert "failed to parse quick Tunnel ID: invalid UUID length: 0" in done.stderr


# -------------------------------------------------------------------------------------------------- who asks
def test_bad_token_is_unauthorized(live: Edge, zones: dict[str, str], tmp_path: Path) -> None:
    cf = Cloudflared(tmp_path / "user", live, pem(zones[A], live.api.account, "x" * 40))
    for command in (("list",), ("create", "may not"), ("route", "dns", "x", "y")):
        refused = cf.fails(*command)
        # some commands tell the status, some what the API said
        assert "unauthorized" in refused or "9109" in refused


def test_certificate_is_bound_to_its_zone(cf: Cloudflared, live: Edge, certificate: str, name: str) -> None:
    """What the certificate's token may not: other accounts, and tokens."""
    body = "".join(line for line in certificate.splitlines() if not line.startswith("-----"))
    token = json.loads(base64.b64decode(body))["apiToken"]
    answer = live.api._client.get("/user/tokens", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 403


def pem(zone: str, account: str, token: str) -> str:
    """A cert.pem by hand."""
    body = base64.b64encode(json.dumps({"zoneID": zone, "accountID": account, "apiToken": token}).encode()).decode()
    return f"-----BEGIN ARGO TUNNEL TOKEN-----\n{body}\n-----END ARGO TUNNEL TOKEN-----\n"


def api_token(live: Edge) -> str:
    return (live.data_dir / "first-token").read_text().strip()
