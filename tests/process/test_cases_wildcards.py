"""Case 60 at the edge: a hostname is routed exactly as its zone's DNS would answer (RFC 4592), and `explain` says the same."""

from typing import Any

import pytest

from tests.support.edge import Edge
from tests.support.waiting import wait_until

pytestmark = pytest.mark.case(60)

# on the plain listener: the way to HTTPS, or the edge's own page
ROUTED, UNROUTED = "redirect", "unknown_hostname"


def cause(edge: Edge, hostname: str) -> str | None:
    with edge.plain(hostname) as client:
        answer = client.get()
    return ROUTED if answer.value("location") else answer.value("x-qanat-error")


def check(edge: Edge, expected: dict[str, str]) -> None:
    for hostname, wanted in expected.items():
        assert cause(edge, hostname) == wanted, hostname
        outcome = edge.api.call("GET", "/qanat/explain", url=hostname)["outcome"]
        routed = outcome not in ("unknown_hostname", "not_proxied", "not_a_tunnel", "zone_paused")
        assert routed == (wanted == ROUTED), (hostname, outcome)


@pytest.fixture
def post(edge: Edge) -> Any:
    zones: dict[str, str] = {}

    def post(zone: str, **fields: object) -> str:
        if zone not in zones:
            zones[zone] = edge.api.create_zone(zone)
        made: str = edge.api.call("POST", f"/zones/{zones[zone]}/dns_records", fields)["id"]
        return f"/zones/{zones[zone]}/dns_records/{made}"

    post.zones = zones  # type: ignore[attr-defined]
    yield post
    for zone_id in zones.values():
        edge.api.call("DELETE", f"/zones/{zone_id}")


def test_what_exists_is_not_the_wildcards(edge: Edge, post: Any) -> None:
    tunnel = edge.api.create_tunnel("case 60")
    route = {"type": "CNAME", "content": f"{tunnel.id}.cfargotunnel.com", "proxied": True}
    post("wild.test", name="*", **route)
    check(edge, {"games.wild.test": ROUTED, "x.y.wild.test": ROUTED, "wild.test": UNROUTED})
    post("wild.test", name="static", **route)
    post("wild.test", name="plain", type="A", content="192.0.2.2")
    below = post("wild.test", name="ssh.git", type="A", content="192.0.2.3")
    check(
        edge,
        {
            "games.wild.test": ROUTED,
            "x.y.wild.test": ROUTED,
            "static.wild.test": ROUTED,
            "x.static.wild.test": UNROUTED,
            "plain.wild.test": UNROUTED,
            "x.plain.wild.test": UNROUTED,
            "git.wild.test": UNROUTED,
            "x.git.wild.test": UNROUTED,
            "ssh.git.wild.test": UNROUTED,
        },
    )
    edge.api.call("DELETE", below)
    check(edge, {"git.wild.test": ROUTED, "x.git.wild.test": ROUTED, "x.static.wild.test": UNROUTED})
    challenge = post("wild.test", name="_acme-challenge.app", type="TXT", content="v")
    check(edge, {"app.wild.test": UNROUTED})
    post("wild.test", name="app", **route)
    check(edge, {"app.wild.test": ROUTED})
    edge.api.call("DELETE", challenge)
    check(edge, {"app.wild.test": ROUTED, "_acme-challenge.app.wild.test": UNROUTED})


def test_a_wildcard_ends_at_zone_cuts(edge: Edge, post: Any) -> None:
    tunnel = edge.api.create_tunnel("zone cuts")
    route = {"type": "CNAME", "content": f"{tunnel.id}.cfargotunnel.com", "proxied": True}
    post("cut.test", name="*", **route)
    post("cut.test", name="deep.b", **route)
    check(edge, {"a.c.cut.test": ROUTED, "deep.b.cut.test": ROUTED})
    # another zone begins: what it lacks is not the outer one's to answer
    text = post("b.cut.test", name="@", type="TXT", content="x")
    inner = post.zones["b.cut.test"]
    unrouted = {"b.cut.test": UNROUTED, "a.b.cut.test": UNROUTED, "deep.b.cut.test": UNROUTED}
    check(edge, unrouted)
    edge.api.call("PATCH", f"/zones/{inner}", {"paused": True})
    check(edge, unrouted)
    edge.api.call("PATCH", f"/zones/{inner}", {"paused": False})
    post("b.cut.test", name="*", **route)
    check(edge, {"a.b.cut.test": ROUTED, "b.cut.test": UNROUTED})
    edge.api.call("DELETE", text)
    # a delegation to somebody else's servers
    ns = post("cut.test", name="c", type="NS", content="ns.example.net")
    check(edge, {"c.cut.test": UNROUTED, "a.c.cut.test": UNROUTED, "a.d.cut.test": ROUTED})
    edge.api.call("DELETE", ns)
    check(edge, {"c.cut.test": ROUTED, "a.c.cut.test": ROUTED})
    edge.api.call("DELETE", f"/zones/{post.zones.pop('b.cut.test')}")
    wait_until(lambda: cause(edge, "deep.b.cut.test") == ROUTED, "the outer zone's record to be seen again")
    check(edge, {"deep.b.cut.test": ROUTED, "a.b.cut.test": UNROUTED, "b.cut.test": UNROUTED})
