"""One account's calls can't hurt another's hostnames or API calls, whatever they bring (its rows: test_neighbours_tenants.py)."""

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.fixtures import quic_only
from tests.support.neighbours import API_S, Tenant, Victim, lab, repeated, unharmed  # noqa: F401
from tests.support.sites import Lab
from tests.support.waiting import wait_until

# nothing here passes through a tunnel but the victim's requests
pytestmark = [pytest.mark.alone, quic_only]
CATCH_ALL = {"service": "http_status:404"}


def attacked(step: Callable[[], object], *, per_second: float, threads: int = 1):  # type: ignore[no-untyped-def]
    return lambda: repeated(step, per_second=per_second, threads=threads)


def long_names(zone: str) -> Iterator[str]:
    """Names of 200 to 253 characters below a zone, each once."""
    for number in count():
        size = 253 - number % 54
        left = size - len(zone) - 1
        labels = [f"n{number}"]
        left -= len(labels[0]) + 1
        while left > 0:
            labels.append("b" * min(60, left))
            left -= len(labels[-1]) + 1
        yield ".".join([*labels, zone])


def test_long_names(lab: Lab, tenant: Tenant, victim: Victim, api_victim: Victim, folder: Path) -> None:  # noqa: F811
    """Names whose certificate's file could not be written; others' new hostnames are routed and their old ones go."""
    tunnel = tenant.api.create_tunnel("long")
    names = long_names(tenant.zone_name)

    def step() -> None:
        record = {"type": "CNAME", "name": next(names), "content": f"{tunnel.id}.cfargotunnel.com", "proxied": True}
        tenant.tried("POST", f"/zones/{tenant.zone}/dns_records", json=record)
        tenant.tried("POST", "/zones", json={"name": next(names), "account": {"id": tenant.account}})

    unharmed(victim, api_victim, attack=attacked(step, per_second=6), seconds=API_S)
    api = lab.edge.api
    other = api.create_tunnel(f"after {tenant.zone_name}")
    hostname = f"after-{tenant.zone_name.partition('.')[0]}.example.test"
    record_id = api.publish(lab.zone, hostname, other.id)
    wait_until(lambda: lab.status(hostname) == 530, "another's new hostname to be routed", timeout_s=5.0)
    api.delete_record(lab.zone, record_id)
    wait_until(lambda: lab.status(hostname) in (404, None), "another's hostname to be gone", timeout_s=5.0)
    api.delete_tunnel(other.id)


def test_costly_patterns(lab: Lab, tenant: Tenant, victim: Victim, api_victim: Victim) -> None:  # noqa: F811
    """400 rules whose patterns take 2 MiB each when they are compiled, stored and explained."""
    tunnel = tenant.api.create_tunnel("patterns")
    hostname = f"patterns.{tenant.zone_name}"
    tenant.api.publish(tenant.zone, hostname, tunnel.id)
    rules = [
        {"hostname": f"h{n}.{tenant.zone_name}", "path": r"(?:\pL{40}|\pN{40})", "service": "http_status:200"}
        for n in range(400)
    ]
    body = json.dumps({"config": {"ingress": [*rules, CATCH_ALL]}}).encode()
    path = f"/accounts/{tenant.account}/cfd_tunnel/{tunnel.id}/configurations"
    before = lab.edge.process.rss_bytes()

    def step() -> None:
        tenant.tried("PUT", path, content=body)
        tenant.tried("GET", "/qanat/explain", params={"url": f"https://{hostname}/x"})

    unharmed(victim, api_victim, attack=attacked(step, per_second=2, threads=2), seconds=API_S)
    grown = lab.edge.process.rss_bytes() - before
    assert grown < 256 << 20, f"the edge grew by {grown >> 20} MiB"


def test_nested_imports(tenant: Tenant, victim: Victim, api_victim: Victim) -> None:
    """5.7 MB of empty lists, and lists within lists."""
    path = f"/qanat/accounts/{tenant.account}/import"
    many = b'{"format":"qanat-account","version":1,"zones":[' + b"[]," * 1_900_000 + b"[]]}"
    deep = b'{"format":"qanat-account","version":1,"zones":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    numbers = count()

    def step() -> None:
        status = tenant.tried("POST", path, content=many if next(numbers) % 2 else deep)
        assert status in (400, 413, 429, 503), status

    unharmed(victim, api_victim, attack=attacked(step, per_second=2, threads=2), seconds=API_S)


def nested_form(depth: int, size: int) -> tuple[str, bytes]:
    """Multiparts within multiparts, filled up to `size` bytes; the content type and the body."""
    head = b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(depth))
    filler = b"x\r\n" * max(0, (size - len(head)) // 3)
    return "multipart/form-data; boundary=b0", head + filler + b"--b0--\r\n"


@pytest.mark.parametrize(("size", "per_second"), [(75_000, 12), (1_000_000, 2)])
def test_nested_forms(tenant: Tenant, victim: Victim, api_victim: Victim, size: int, per_second: float) -> None:
    kind, body = nested_form(size // 60, size)

    def step() -> None:
        status = tenant.tried(
            "POST", f"/zones/{tenant.zone}/dns_records/import", content=body, headers={"content-type": kind}
        )
        assert status in (400, 413, 429, 503), status

    unharmed(victim, api_victim, attack=attacked(step, per_second=per_second, threads=8), seconds=API_S)


def test_many_records(tenant: Tenant, victim: Victim, api_victim: Victim) -> None:
    """Batches of 200, again and again, of which half are published and so get certificates and routes."""
    tunnel = tenant.api.create_tunnel("records")
    numbers = count()

    def step() -> None:
        posts = []
        for _ in range(100):
            number = next(numbers)
            posts.append({"type": "TXT", "name": f"t{number}.{tenant.zone_name}", "content": '"x"', "ttl": 300})
            posts.append(
                {
                    "type": "CNAME",
                    "name": f"c{number}.{tenant.zone_name}",
                    "content": f"{tunnel.id}.cfargotunnel.com",
                    "proxied": True,
                }
            )
        tenant.tried("POST", f"/zones/{tenant.zone}/dns_records/batch", json={"posts": posts})

    unharmed(victim, api_victim, attack=attacked(step, per_second=1), seconds=API_S)


def test_many_large_configurations(tenant: Tenant, victim: Victim, api_victim: Victim) -> None:
    """Close to a mebibyte each, of 500 patterns, for a tunnel without connectors."""
    tunnel = tenant.api.create_tunnel("configurations")
    path = f"/accounts/{tenant.account}/cfd_tunnel/{tunnel.id}/configurations"
    rules = [
        {"hostname": f"h{n}.{tenant.zone_name}", "path": "/" + "a" * 1800, "service": "http_status:200"}
        for n in range(500)
    ]
    body = json.dumps({"config": {"ingress": [*rules, CATCH_ALL]}}).encode()

    unharmed(
        victim,
        api_victim,
        attack=attacked(lambda: tenant.tried("PUT", path, content=body), per_second=3, threads=2),
        seconds=API_S,
    )
