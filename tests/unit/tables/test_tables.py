from datetime import timedelta
from hashlib import sha256
from typing import Any

from qanat.control import configurations, connector_tokens, records, tunnels, zones
from qanat.dns.forms import RecordDraft
from qanat.ids import Hostname, TunnelId
from qanat.store import Store
from qanat.store.models import ConnectorToken
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from qanat.store.skipped import LeftOut
from qanat.tables import LeafNames, compile_leaves, compile_routes
from qanat.tables.reading import read_routes, read_tunnel, read_tunnels, read_zone_hostnames
from qanat.tables.routes import Target
from tests.support.writes import written


def test_of_a_hostname_with_two_tunnels_one_counts_whatever_the_order_and_the_others_are_not_touched() -> None:
    targets = [
        Target(Hostname("a.test"), TunnelId("1"), "account"),
        Target(Hostname("b.test"), TunnelId("3")),
        Target(Hostname("a.test"), TunnelId("2"), "account"),
    ]
    for given in (targets, targets[::-1]):
        left_out = LeftOut()
        assert compile_routes(given, left_out) == {"a.test": "1", "b.test": "3"}
        failure = left_out.found.pop(("hostname", "a.test"))
        assert (failure.code, failure.account_id) == ("route_conflict", "account")
        assert not left_out.found


def test_only_proxied_names_of_tunnels_are_routes(store: Store, sealer: Sealer, account: str) -> None:
    tunnel = written(store, tunnels.create, sealer, account_id=account, name="t", secret=bytes(32), config_src="local")
    zone = written(store, zones.create, account_id=account, name="example.test")
    target = f"{tunnel.id}.cfargotunnel.com"
    for draft in (
        RecordDraft(name="app", type="CNAME", content=target, proxied=True),
        RecordDraft(name="*.deep", type="CNAME", content=target.upper(), proxied=True),
        RecordDraft(name="elsewhere", type="CNAME", content="example.org", proxied=True),
        RecordDraft(name="address", type="A", content="192.0.2.1", proxied=True),
    ):
        written(store, records.create, zone.id, draft, reach=EVERYTHING)
    expected = {"*.deep.example.test": tunnel.id, "app.example.test": tunnel.id}
    with store.reading() as session:
        assert compile_routes(read_routes(session)) == expected
    written(store, tunnels.delete, account_id=account, tunnel_id=tunnel.id, cascade=False)
    with store.reading() as session:
        assert compile_routes(read_routes(session)) == expected
    written(store, zones.change, zone.id, reach=EVERYTHING, paused=True)
    with store.reading() as session:
        assert read_routes(session) == []


def test_a_tunnel_as_the_edge_knows_it(store: Store, sealer: Sealer, account: str) -> None:
    secret = b"s" * 40
    tunnel = written(store, tunnels.create, sealer, account_id=account, name="t", secret=secret, config_src="local")
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel.id}
    with store.reading() as session:
        (entry,) = read_tunnels(session, sealer, store.clock())
    assert entry.secrets == (("", sha256(secret).digest()),)
    assert (entry.remotely_managed, entry.configuration_version, entry.configuration) == (False, 0, None)
    assert not entry.deleted

    written(store, configurations.put, **scope, document={"ingress": []}, source="cloudflare")
    written(store, configurations.put, **scope, document={"é": 1}, source="cloudflare")
    with store.reading() as session:
        (entry,) = read_tunnels(session, sealer, store.clock())
        assert read_tunnel(session, sealer, tunnel.id, store.clock()) == entry
    assert (entry.remotely_managed, entry.configuration_version) == (True, 2)
    assert entry.configuration == '{"é":1}'.encode()

    written(store, tunnels.delete, **scope, cascade=False)
    with store.reading() as session:
        found = read_tunnel(session, sealer, tunnel.id, store.clock())
        assert found is not None
        assert found.deleted
        assert read_tunnel(session, sealer, "none", store.clock()) is None


def test_each_good_connector_token_lets_in(store: Store, sealer: Sealer, account: str) -> None:
    tunnel = written(store, tunnels.create, sealer, account_id=account, name="t", secret=bytes(32), config_src="local")
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel.id}
    soon = store.clock() + timedelta(hours=1)
    made = {
        name: written(store, connector_tokens.create, sealer, **scope, name=name, expires_at=expires_at)[0]
        for name, expires_at in (("stays", None), ("expires", soon), ("revoked", None))
    }
    written(store, connector_tokens.revoke, **scope, token_id=made["revoked"].id)

    def digest(token: ConnectorToken) -> bytes:
        return sha256(connector_tokens.open_secret(sealer, token)).digest()

    with store.reading() as session:
        (entry,) = read_tunnels(session, sealer, store.clock())
        assert read_tunnel(session, sealer, tunnel.id, store.clock()) == entry
        later = read_tunnel(session, sealer, tunnel.id, soon)
    own = {"": sha256(bytes(32)).digest()}
    stays = {made["stays"].id: digest(made["stays"])}
    assert dict(entry.secrets) == own | stays | {made["expires"].id: digest(made["expires"])}
    assert later is not None
    assert dict(later.secrets) == own | stays


def test_routes_of_some_hostnames_are_those_among_all(store: Store, sealer: Sealer, account: str) -> None:
    first, second = (
        written(store, tunnels.create, sealer, account_id=account, name=name, secret=bytes(32), config_src="local").id
        for name in ("one", "two")
    )
    outer = written(store, zones.create, account_id=account, name="example.test")
    inner = written(store, zones.create, account_id=account, name="sub.example.test")
    for zone, name, tunnel in (
        (outer, "a.example.test", first),
        (outer, "*.example.test", first),
        (outer, "both.sub.example.test", first),
        (inner, "both.sub.example.test", second),
        (inner, "sub.example.test", second),
    ):
        draft = RecordDraft(name=name, type="CNAME", content=f"{tunnel}.cfargotunnel.com", proxied=True)
        written(store, records.create, zone.id, draft, reach=EVERYTHING)
    with store.reading() as session:
        every = compile_routes(read_routes(session))
        assert every == {
            "a.example.test": first,
            "*.example.test": first,
            "both.sub.example.test": second,
            "sub.example.test": second,
        }
        for names in ({"a.example.test"}, {"both.sub.example.test", "none.example.test"}, set(every), set[str]()):
            found = compile_routes(read_routes(session, names))
            assert found == {name: tunnel for name, tunnel in every.items() if name in names}
        assert read_zone_hostnames(session, inner.id) == {"both.sub.example.test", "sub.example.test"}


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


def test_the_edges_own_names_get_one_where_no_other_covers_them() -> None:
    def leaves(*given: str, zones: tuple[str, ...] = ()) -> list[LeafNames]:
        return compile_leaves(zones, [], given, own=["m.example.test"])

    own = LeafNames("m.example.test", ("m.example.test",))
    assert leaves() == [own]
    assert leaves("m.example.test") == leaves("*.example.test") == []
    assert leaves("*.test", "example.test") == [own]
    assert leaves(zones=("m.example.test",)) == [LeafNames("m.example.test", ("m.example.test", "*.m.example.test"))]
