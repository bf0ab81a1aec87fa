from hashlib import sha256
from typing import Any

import pytest

from qanat.errors import QanatError
from qanat.ids import Hostname, TunnelId
from qanat.store import SYSTEM, Store, configurations, records, tunnels, zones
from qanat.store.record_form import RecordDraft
from qanat.store.sealing import Sealer
from qanat.tables import LeafNames, compile_leaves, compile_routes, read_routes, read_tunnel, read_tunnels


def test_one_hostname_to_two_tunnels_is_a_conflict() -> None:
    targets = [(Hostname("a.test"), TunnelId("1")), (Hostname("a.test"), TunnelId("2"))]
    with pytest.raises(QanatError) as refused:
        compile_routes(targets)
    assert (refused.value.code, refused.value.where) == ("route_conflict", "a.test")


def test_only_proxied_names_of_tunnels_are_routes(store: Store, sealer: Sealer, account: str) -> None:
    tunnel = tunnels.create_tunnel(
        store, SYSTEM, sealer, account_id=account, name="t", secret=bytes(32), config_src="local"
    )
    zone = zones.create_zone(store, SYSTEM, account_id=account, name="example.test")
    target = f"{tunnel.id}.cfargotunnel.com"
    for draft in (
        RecordDraft(name="app", type="CNAME", content=target, proxied=True),
        RecordDraft(name="*.deep", type="CNAME", content=target.upper(), proxied=True),
        RecordDraft(name="dns-only", type="CNAME", content=target),
        RecordDraft(name="elsewhere", type="CNAME", content="example.org", proxied=True),
        RecordDraft(name="address", type="A", content="192.0.2.1", proxied=True),
    ):
        records.create_record(store, SYSTEM, zone.id, draft, only=None)
    expected = {"*.deep.example.test": tunnel.id, "app.example.test": tunnel.id}
    with store.reading() as session:
        assert compile_routes(read_routes(session)) == expected
    tunnels.delete_tunnel(store, SYSTEM, account_id=account, tunnel_id=tunnel.id, cascade=False)
    with store.reading() as session:
        assert compile_routes(read_routes(session)) == expected
    zones.change_zone(store, SYSTEM, zone.id, only=None, paused=True)
    with store.reading() as session:
        assert read_routes(session) == []


def test_a_tunnel_as_the_edge_knows_it(store: Store, sealer: Sealer, account: str) -> None:
    secret = b"s" * 40
    tunnel = tunnels.create_tunnel(
        store, SYSTEM, sealer, account_id=account, name="t", secret=secret, config_src="local"
    )
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel.id}
    with store.reading() as session:
        (entry,) = read_tunnels(session, sealer)
    assert entry.secret_sha256 == sha256(secret).digest()
    assert (entry.remotely_managed, entry.configuration_version, entry.configuration) == (False, 0, None)
    assert not entry.deleted

    configurations.put_configuration(store, SYSTEM, **scope, document={"ingress": []}, source="cloudflare")
    configurations.put_configuration(store, SYSTEM, **scope, document={"é": 1}, source="cloudflare")
    with store.reading() as session:
        (entry,) = read_tunnels(session, sealer)
        assert read_tunnel(session, sealer, tunnel.id) == entry
    assert (entry.remotely_managed, entry.configuration_version) == (True, 2)
    assert entry.configuration == '{"é":1}'.encode()

    tunnels.delete_tunnel(store, SYSTEM, **scope, cascade=False)
    with store.reading() as session:
        found = read_tunnel(session, sealer, tunnel.id)
        assert found is not None
        assert found.deleted
        assert read_tunnel(session, sealer, "none") is None


def test_a_hostname_below_the_zones_wildcard_needs_no_certificate_of_its_own() -> None:
    hostnames = [Hostname("app.example.test"), Hostname("example.test"), Hostname("*.example.test")]
    assert compile_leaves(["example.test"], hostnames) == [
        LeafNames("example.test", ("example.test", "*.example.test"))
    ]


def test_a_deeper_hostname_does() -> None:
    leaves = compile_leaves(["example.test"], [Hostname("a.b.example.test"), Hostname("*.c.example.test")])
    assert [leaf.parent for leaf in leaves] == ["b.example.test", "c.example.test", "example.test"]


def test_given_certificates_are_not_made_again() -> None:
    leaves = compile_leaves(["example.test", "other.test"], [], ["example.test", "*.example.test", "other.test"])
    assert leaves == [LeafNames("other.test", ("*.other.test",))]
