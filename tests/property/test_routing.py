"""A hostname is routed as its zone's DNS would answer (RFC 4592), whatever the zone: compared with dnspython's zones."""

from collections.abc import Mapping
from uuid import NAMESPACE_DNS, uuid5

import dns.btreezone
import dns.name
import dns.rdata
import dns.rdataset
from hypothesis import example, given
from hypothesis import strategies as st

from qanat.tables import owner
from qanat.tables.closest import up_to, zone_table
from tests.support.routing import ask

ZONE = "z.test"
labels = st.sampled_from(["a", "b", "c"])
plain = st.lists(labels, min_size=0, max_size=4).map(lambda parts: ".".join([*parts, ZONE]))
wild = st.lists(labels, min_size=0, max_size=3).map(lambda parts: ".".join(["*", *parts, ZONE]))
# what stands at a name: a route, another record, or a delegation
records = st.dictionaries(plain | wild, st.sampled_from(["route", "other", "NS"]), max_size=10)
hosts = st.lists(labels, min_size=0, max_size=5).map(lambda parts: ".".join([*parts, ZONE]))


def kept(found: Mapping[str, str]) -> dict[str, str]:
    """The apex has NS records anyway, and a delegated wildcard is nobody's."""
    return {name: kind for name, kind in found.items() if kind != "NS" or (name != ZONE and not name.startswith("*."))}


def answering(found: Mapping[str, str], host: str) -> str | None:
    """By dnspython: the name that answers, None at or below a delegation."""
    origin = dns.name.from_text(ZONE)
    zone = dns.btreezone.Zone(origin, relativize=False)
    texts = {"route": ("CNAME", "t.test."), "other": ("TXT", "x"), "NS": ("NS", "ns.test.")}
    with zone.writer() as writer:
        writer.add(origin, 60, dns.rdata.from_text("IN", "SOA", "ns.test. x.test. 1 1 1 1 1"))
        writer.add(origin, 60, dns.rdata.from_text("IN", "NS", "ns.test."))
        for name, kind in found.items():
            if name == ZONE and kind == "route":
                continue  # flattened: DNS has no CNAME there
            writer.add(dns.name.from_text(name), 60, dns.rdata.from_text("IN", *texts[kind]))
    with zone.reader() as reader:
        bounds = reader.version.bounds(dns.name.from_text(host))
    if bounds.is_delegation:
        return None
    encloser = bounds.closest_encloser.to_text(omit_final_dot=True)
    return host if encloser == host else f"*.{encloser}"


@given(records, hosts)
@example({"*.z.test": "route", "b.z.test": "NS"}, "a.b.z.test")
@example({"*.z.test": "route", "c.b.z.test": "other"}, "b.z.test")
@example({"*.z.test": "route", "c.b.z.test": "other"}, "a.b.z.test")
@example({"*.z.test": "route", "*.b.z.test": "other"}, "a.b.z.test")
@example({"*.z.test": "route", "b.z.test": "NS", "a.b.z.test": "route"}, "a.b.z.test")
def test_a_hostname_is_routed_as_dns_answers(given_records: dict[str, str], host: str) -> None:
    found = kept(given_records)
    cuts = {name for name, kind in found.items() if kind == "NS"}
    expected = answering(found, host)

    def exists(name: str) -> bool:
        return any(each == name or each.endswith(f".{name}") for each in found)

    assert owner(host, ZONE, exists=exists, is_cut=cuts.__contains__) == expected
    routes = {name: str(uuid5(NAMESPACE_DNS, name)) for name, kind in found.items() if kind == "route"}
    table = zone_table(ZONE, found, cuts, routes)
    route = ask(table, host)
    tunnel = route.targets[0][0] if route is not None and route.targets else None
    assert tunnel == (routes.get(expected) if expected is not None else None)
    if tunnel is not None:
        assert route is not None
        assert route.hostname == expected
    for name, tunnel in table.items():
        assert tunnel is not None or any(f"*.{above}" in routes for above in [*up_to(name, ZONE), ZONE])
