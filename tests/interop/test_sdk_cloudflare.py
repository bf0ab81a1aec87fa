"""The `cloudflare` SDK from PyPI does its real job: `base_url` is the only thing that is changed."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import cloudflare
import pytest
from cloudflare import Cloudflare

from tests.support.control import Control
from tests.support.links import register

MANY = 1_045
"""Case 64: more than two pages of any size that a client asks for by itself."""


@pytest.fixture(scope="module")
def sdk(control: Control) -> Iterator[Any]:
    with Cloudflare(api_token=control.token, base_url=control.url) as client:
        yield client


@pytest.fixture
def zone(sdk: Any, control: Control, request: pytest.FixtureRequest) -> Any:
    """A zone of this test's own."""
    name = request.node.originalname.replace("_", "-")
    return sdk.zones.create(name=f"{name}.test", account={"id": control.account}, type="full")


@pytest.fixture
def tunnel(sdk: Any, control: Control, request: pytest.FixtureRequest) -> Any:
    """A tunnel of this test's own."""
    return sdk.zero_trust.tunnels.cloudflared.create(
        account_id=control.account, name=request.node.originalname, config_src="cloudflare"
    )


# -------------------------------------------------------------------------------------------------- zones
def test_zones(sdk: Any, control: Control) -> None:
    zone = sdk.zones.create(name="zones.test", account={"id": control.account}, type="full")
    assert (zone.name, zone.type, zone.paused, zone.account.id) == ("zones.test", "full", False, control.account)
    assert sdk.zones.get(zone_id=zone.id) == zone
    assert [found.id for found in sdk.zones.list(name="ZONES.test")] == [zone.id]
    assert list(sdk.zones.list(name="nowhere.test")) == []
    assert list(sdk.zones.list(name="test")) == []
    assert sdk.zones.edit(zone_id=zone.id, paused=True).paused is True
    assert sdk.zones.edit(zone_id=zone.id, paused=False).paused is False
    with pytest.raises(cloudflare.BadRequestError) as error:
        sdk.zones.create(name="zones.test", account={"id": control.account})
    assert codes(error.value) == [1061]
    assert sdk.zones.delete(zone_id=zone.id).id == zone.id
    with pytest.raises(cloudflare.NotFoundError):
        sdk.zones.get(zone_id=zone.id)


@pytest.mark.case(64)
def test_zones_over_more_than_two_pages(sdk: Any, control: Control) -> None:
    made = {sdk.zones.create(name=f"z{number}.paged.test", account={"id": control.account}).id for number in range(12)}
    found = [zone.id for zone in sdk.zones.list(per_page=5)]
    assert len(found) == len(set(found))
    assert made <= set(found)


# -------------------------------------------------------------------------------------------------- records
def test_records(sdk: Any, zone: Any) -> None:
    records = sdk.dns.records
    made = records.create(
        zone_id=zone.id, type="A", name="a", content="192.0.2.1", ttl=300, comment="first", tags=["owner:me"]
    )
    assert (made.name, made.content, made.ttl, made.proxied) == (f"a.{zone.name}", "192.0.2.1", 300, False)
    assert (made.comment, made.tags, made.proxiable) == ("first", ["owner:me"], True)
    assert records.get(made.id, zone_id=zone.id) == made
    edited = records.edit(made.id, zone_id=zone.id, type="A", name="a", content="192.0.2.2", ttl=300)
    assert (edited.id, edited.content, edited.comment, edited.ttl) == (made.id, "192.0.2.2", "first", 300)
    put = records.update(made.id, zone_id=zone.id, type="A", name="a", content="192.0.2.3", ttl=1)
    assert (put.id, put.content, put.comment, put.tags, put.ttl) == (made.id, "192.0.2.3", None, [], 1)
    assert records.delete(made.id, zone_id=zone.id).id == made.id
    with pytest.raises(cloudflare.NotFoundError) as error:
        records.get(made.id, zone_id=zone.id)
    assert codes(error.value) == [81044]


STRUCTURED = [
    ("SRV", "_sip._tcp", {"priority": 10, "weight": 5, "port": 5060, "target": "s.example.com"}),
    ("CAA", "@", {"flags": 0, "tag": "issue", "value": "ca.example"}),
    ("HTTPS", "web", {"priority": 1, "target": ".", "value": 'alpn="h2,h3"'}),
    ("SSHFP", "host", {"algorithm": 4, "type": 2, "fingerprint": "ab" * 32}),
    ("TLSA", "_443._tcp", {"usage": 3, "selector": 1, "matching_type": 1, "certificate": "cd" * 32}),
    (
        "NAPTR",
        "n",
        {"order": 1, "preference": 2, "flags": "s", "service": "SIP+D2U", "regex": "", "replacement": "r.test."},
    ),
]


@pytest.mark.case(10)
@pytest.mark.parametrize(("kind", "name", "data"), STRUCTURED, ids=[kind for kind, *_ in STRUCTURED])
def test_data_is_answered_as_it_was_sent(
    sdk: Any, control: Control, kind: str, name: str, data: dict[str, Any]
) -> None:
    zone = sdk.zones.create(name=f"{kind.lower()}.data.test", account={"id": control.account})
    made = sdk.dns.records.create(zone_id=zone.id, type=kind, name=name, data=data, ttl=1)
    assert made.data.to_dict(exclude_unset=True) == data
    assert sdk.dns.records.get(made.id, zone_id=zone.id) == made
    assert made.content


def test_batch_is_all_or_nothing(sdk: Any, zone: Any) -> None:
    records = sdk.dns.records
    first, second, third = (
        records.create(zone_id=zone.id, type="A", name=f"r{number}", content=f"192.0.2.{number}", ttl=60)
        for number in range(3)
    )
    done = records.batch(
        zone_id=zone.id,
        deletes=[{"id": first.id}],
        patches=[{"id": second.id, "type": "A", "name": "r1", "content": "192.0.2.10"}],
        puts=[{"id": third.id, "type": "A", "name": "r2", "content": "192.0.2.20", "ttl": 120}],
        posts=[{"type": "CNAME", "name": "r0", "content": "r1." + zone.name, "ttl": 60}],
    )
    assert [record.id for record in done.deletes] == [first.id]
    assert [record.content for record in done.patches] == ["192.0.2.10"]
    assert [(record.content, record.ttl) for record in done.puts] == [("192.0.2.20", 120)]
    assert [record.name for record in done.posts] == [f"r0.{zone.name}"]
    before = contents(sdk, zone)
    with pytest.raises(cloudflare.BadRequestError):
        records.batch(
            zone_id=zone.id,
            deletes=[{"id": second.id}],
            posts=[{"type": "A", "name": "bad", "content": "not an address", "ttl": 60}],
        )
    assert contents(sdk, zone) == before


def test_export_and_import(sdk: Any, control: Control, zone: Any) -> None:
    records = sdk.dns.records
    records.create(zone_id=zone.id, type="A", name="www", content="192.0.2.1", ttl=300)
    records.create(zone_id=zone.id, type="MX", name="@", content="mail." + zone.name, priority=10, ttl=300)
    records.create(zone_id=zone.id, type="TXT", name="t", content='"a; b" "c"', ttl=300)
    text = records.export(zone_id=zone.id)
    other = sdk.zones.create(name="imported.test", account={"id": control.account})
    answer = records.import_(zone_id=other.id, file=text.replace(zone.name, other.name))
    assert answer.recs_added == 3
    assert answer.total_records_parsed >= 3
    assert contents(sdk, other) == [
        (kind, name.replace(zone.name, other.name), content.replace(zone.name, other.name))
        for kind, name, content in contents(sdk, zone)
    ]


@pytest.mark.case(64)
def test_many_records_are_all_listed(sdk: Any, zone: Any) -> None:
    posts = [
        {"type": "A", "name": f"n{number}", "content": f"10.0.{number // 250}.{number % 250}", "ttl": 60}
        for number in range(MANY)
    ]
    sdk.dns.records.batch(zone_id=zone.id, posts=posts)
    found = [record.id for record in sdk.dns.records.list(zone_id=zone.id)]
    assert (len(found), len(set(found))) == (MANY, MANY)
    page = sdk.dns.records.list(zone_id=zone.id, page=11, per_page=100)
    assert (len(page.result), page.result_info.page, page.result_info.total_count) == (45, 11, MANY)
    assert sdk.dns.records.list(zone_id=zone.id, page=12, per_page=100).result == []


def test_record_filters(sdk: Any, zone: Any) -> None:
    for number in range(3):
        sdk.dns.records.create(
            zone_id=zone.id,
            type="TXT",
            name="_acme-challenge",
            content=f"value-{number}",
            ttl=120,
            comment=f"c{number}",
        )
    name = f"_acme-challenge.{zone.name}"

    def found(**query: Any) -> list[str]:
        return sorted(record.content for record in sdk.dns.records.list(zone_id=zone.id, **query))

    assert found(type="TXT", name={"exact": name}, content={"exact": "value-1"}, per_page=1) == ["value-1"]
    assert found(content={"endswith": "-2"}) == ["value-2"]
    assert found(comment={"startswith": "c0"}) == ["value-0"]
    assert found(comment={"exact": "c0"}, content={"exact": "value-2"}, match="any") == ["value-0", "value-2"]
    assert found(name={"contains": "nothing-of-the-kind"}) == []


def test_record_conflicts_are_bad_requests(sdk: Any, zone: Any) -> None:
    def make(**fields: Any) -> list[int]:
        with pytest.raises(cloudflare.BadRequestError) as error:
            sdk.dns.records.create(zone_id=zone.id, **fields)
        return codes(error.value)

    sdk.dns.records.create(zone_id=zone.id, type="A", name="a", content="192.0.2.1", ttl=60)
    assert make(type="A", name="a", content="192.0.2.1", ttl=60) == [81058]
    assert make(type="A", name="a", content="192.0.2.1", ttl=120) == [81057]
    assert make(type="CNAME", name="a", content="b.test", ttl=60) == [81053]
    sdk.dns.records.create(zone_id=zone.id, type="CNAME", name="c", content="b.test", ttl=60)
    assert make(type="A", name="c", content="192.0.2.1", ttl=60) == [81054]
    assert make(type="TXT", name="t", content="x", ttl=60, proxied=True) == [9004]
    assert make(type="A", name="x", content="192.0.2.300", ttl=60) == [9005]
    assert make(type="A", name="x", content="192.0.2.1", ttl=86_401) == [9021]


# -------------------------------------------------------------------------------------------------- tunnels
def test_tunnels(sdk: Any, control: Control) -> None:
    tunnels = sdk.zero_trust.tunnels.cloudflared
    made = tunnels.create(account_id=control.account, name="tunnels", config_src="cloudflare")
    assert (made.name, made.account_tag, made.config_src, made.remote_config) == (
        "tunnels",
        control.account,
        "cloudflare",
        True,
    )
    assert (made.status, made.connections, made.deleted_at, made.tun_type) == ("inactive", [], None, "cfd_tunnel")
    assert tunnels.get(made.id, account_id=control.account).id == made.id
    assert tunnels.edit(made.id, account_id=control.account, name="renamed").name == "renamed"
    assert [found.id for found in tunnels.list(account_id=control.account, name="renamed", is_deleted=False)] == [
        made.id
    ]
    assert [found.id for found in tunnels.list(account_id=control.account, include_prefix="ren")] == [made.id]
    assert [found.id for found in sdk.zero_trust.tunnels.list(account_id=control.account, name="renamed")] == [made.id]
    assert tunnels.delete(made.id, account_id=control.account).deleted_at is not None
    assert tunnels.get(made.id, account_id=control.account).deleted_at is not None
    with pytest.raises(cloudflare.NotFoundError):
        tunnels.edit(made.id, account_id=control.account, name="gone")
    assert [found.id for found in tunnels.list(account_id=control.account, uuid=made.id)] == [made.id]


@pytest.mark.trap(16)
def test_a_taken_name_is_a_conflict_and_not_retried(sdk: Any, control: Control, tunnel: Any) -> None:
    sent: list[Any] = []
    sdk._client.event_hooks = {"request": [sent.append]}
    with pytest.raises(cloudflare.ConflictError) as error:
        sdk.zero_trust.tunnels.cloudflared.create(account_id=control.account, name=tunnel.name)
    assert len(sent) == 1
    assert codes(error.value) == [1013]


def test_tunnel_secret_and_token(sdk: Any, control: Control, tunnel: Any) -> None:
    tunnels = sdk.zero_trust.tunnels.cloudflared
    token = tunnels.token.get(tunnel.id, account_id=control.account)
    assert token == tunnels.token.get(tunnel.id, account_id=control.account)
    tunnels.edit(tunnel.id, account_id=control.account, tunnel_secret="AQIDBAUGBwgBAgMEBQYHCAECAwQFBgcIAQIDBAUGBwg=")
    assert tunnels.token.get(tunnel.id, account_id=control.account) != token
    with pytest.raises(cloudflare.BadRequestError):
        tunnels.edit(tunnel.id, account_id=control.account, tunnel_secret="c2hvcnQ=")


def test_configurations(sdk: Any, control: Control, tunnel: Any) -> None:
    configurations = sdk.zero_trust.tunnels.cloudflared.configurations
    assert configurations.get(tunnel.id, account_id=control.account).version == 0
    ingress = [
        {"hostname": "a.example.com", "service": "https://127.0.0.1:8443", "originRequest": {"noTLSVerify": True}},
        {"service": "http_status:404"},
    ]
    put = configurations.update(tunnel.id, account_id=control.account, config={"ingress": ingress})
    assert (put.tunnel_id, put.account_id, put.version, put.source) == (tunnel.id, control.account, 1, "cloudflare")
    got = configurations.get(tunnel.id, account_id=control.account)
    # the SDK's type requires hostname, which a catch-all has not: only what was sent is there
    assert [rule.to_dict(exclude_unset=True) for rule in got.config.ingress] == [
        {"hostname": "a.example.com", "service": "https://127.0.0.1:8443", "originRequest": {"noTLSVerify": True}},
        {"service": "http_status:404"},
    ]
    with pytest.raises(cloudflare.BadRequestError) as error:
        configurations.update(tunnel.id, account_id=control.account, config={"ingress": ingress[:1]})
    assert codes(error.value) == [1056]
    assert configurations.get(tunnel.id, account_id=control.account).version == 1


def test_connections_and_management(sdk: Any, control: Control, tunnel: Any) -> None:
    tunnels = sdk.zero_trust.tunnels.cloudflared
    assert list(tunnels.connections.get(tunnel.id, account_id=control.account)) == []
    connector = str(uuid4())
    connections = [register(control.store, tunnel.id, connector, index) for index in range(2)]
    [found] = tunnels.connections.get(tunnel.id, account_id=control.account)
    assert (found.id, found.version, found.arch) == (connector, "2026.8.0", "linux_amd64")
    assert [(each.id, each.colo_name, each.is_pending_reconnect) for each in found.conns] == [
        (each, "lab01", False) for each in connections
    ]
    assert found.run_at == found.conns[0].opened_at
    assert tunnels.connectors.get(connector, account_id=control.account, tunnel_id=tunnel.id) == found
    assert len(tunnels.get(tunnel.id, account_id=control.account).connections) == 2
    tunnels.connections.delete(tunnel.id, account_id=control.account)
    assert list(tunnels.connections.get(tunnel.id, account_id=control.account)) == []
    with pytest.raises(cloudflare.NotFoundError):
        tunnels.connectors.get("00000000-0000-4000-8000-000000000000", account_id=control.account, tunnel_id=tunnel.id)
    jwt = tunnels.management.create(tunnel.id, account_id=control.account, resources=["logs"])
    assert jwt.count(".") == 2


@pytest.mark.case(64)
def test_tunnels_over_more_than_two_pages(sdk: Any, control: Control) -> None:
    tunnels = sdk.zero_trust.tunnels.cloudflared
    made = {tunnels.create(account_id=control.account, name=f"paged-{number}").id for number in range(12)}
    found = [found.id for found in tunnels.list(account_id=control.account, per_page=5, is_deleted=False)]
    assert len(found) == len(set(found))
    assert made <= set(found)


# -------------------------------------------------------------------------------------------------- private networks
def test_virtual_networks_and_routes(sdk: Any, control: Control, tunnel: Any) -> None:
    networks = sdk.zero_trust.networks
    account = control.account
    usual = next(found for found in networks.virtual_networks.list(account_id=account) if found.is_default_network)
    made = networks.virtual_networks.create(account_id=account, name="office", comment="second floor")
    assert (made.name, made.comment, made.is_default_network) == ("office", "second floor", False)
    assert networks.virtual_networks.edit(made.id, account_id=account, comment="").comment == ""
    assert networks.virtual_networks.get(made.id, account_id=account).name == "office"
    route = networks.routes.create(account_id=account, network="10.1.0.0/16", tunnel_id=tunnel.id)
    assert (route.network, route.tunnel_id, route.virtual_network_id, route.comment) == (
        "10.1.0.0/16",
        tunnel.id,
        usual.id,
        "",
    )
    assert networks.routes.get(route.id, account_id=account).id == route.id
    assert networks.routes.ips.get("10.1.2.3", account_id=account).network == "10.1.0.0/16"
    with pytest.raises((cloudflare.ConflictError, cloudflare.BadRequestError)) as error:
        networks.routes.create(account_id=account, network="10.1.0.0/16", tunnel_id=tunnel.id)
    assert codes(error.value) == [1014]
    beside = networks.routes.create(
        account_id=account, network="10.1.0.0/16", tunnel_id=tunnel.id, virtual_network_id=made.id
    )
    found = networks.routes.list(
        account_id=account, network_subset="10.1.0.0/16", network_superset="10.1.0.0/16", is_deleted=False
    )
    assert {each.id for each in found} == {route.id, beside.id}
    assert networks.routes.edit(beside.id, account_id=account, comment="new").comment == "new"
    for each in (route, beside):
        assert networks.routes.delete(each.id, account_id=account).deleted_at is not None
    networks.virtual_networks.delete(made.id, account_id=account)
    assert made.id not in {found.id for found in networks.virtual_networks.list(account_id=account, is_deleted=False)}


# -------------------------------------------------------------------------------------------------- accounts, tokens
def test_accounts_and_user(sdk: Any, control: Control) -> None:
    assert control.account in {account.id for account in sdk.accounts.list()}
    assert sdk.accounts.get(account_id=control.account).name == "first"
    assert [account.id for account in sdk.accounts.list(name="first")] == [control.account]
    assert sdk.user.get().id
    with pytest.raises(cloudflare.NotFoundError):
        sdk.accounts.get(account_id="0" * 32)


@pytest.mark.case(64)
def test_accounts_over_more_than_two_pages(sdk: Any, control: Control) -> None:
    made = {control.call("POST", "/accounts", {"name": f"paged {number}"})["id"] for number in range(12)}
    try:
        found = [account.id for account in sdk.accounts.list(per_page=5)]
        assert len(found) == len(set(found))
        assert found[0] == control.account
        assert set(found) == {control.account, *made}
        assert [account.id for account in sdk.accounts.list(per_page=5, direction="desc")] == found[::-1]
    finally:
        for each in made:
            control.call("DELETE", f"/accounts/{each}")


def test_tokens(sdk: Any, control: Control) -> None:
    verified = sdk.user.tokens.verify()
    assert verified.status == "active"
    groups = {group.name: group.id for group in sdk.user.tokens.permission_groups.list()}
    made = sdk.user.tokens.create(name="records only", policies=[policy(control, groups["DNS Write"])])
    assert (made.name, made.status) == ("records only", "active")
    assert made.id in {token.id for token in sdk.user.tokens.list()}
    narrow = sdk.with_options(api_token=made.value)
    assert narrow.user.tokens.verify().id == made.id
    with pytest.raises(cloudflare.PermissionDeniedError):
        narrow.zero_trust.tunnels.cloudflared.create(account_id=control.account, name="may not")
    renamed = sdk.user.tokens.update(
        made.id, name="renamed", policies=[policy(control, groups["DNS Write"])], status="active"
    )
    assert renamed.name == "renamed"
    value = sdk.user.tokens.value.update(made.id)
    assert value != made.value
    rolled = sdk.with_options(api_token=value)
    with pytest.raises(cloudflare.AuthenticationError):
        narrow.user.tokens.verify()
    assert rolled.user.tokens.verify().id == made.id
    assert sdk.user.tokens.delete(made.id).id == made.id
    with pytest.raises(cloudflare.AuthenticationError):
        rolled.user.tokens.verify()
    with pytest.raises(cloudflare.NotFoundError):
        sdk.user.tokens.get(made.id)


def test_account_tokens(sdk: Any, control: Control) -> None:
    tokens = sdk.accounts.tokens
    groups = {group.name: group.id for group in tokens.permission_groups.list(account_id=control.account)}
    made = tokens.create(
        account_id=control.account, name="owned", policies=[policy(control, groups["Cloudflare Tunnel Write"])]
    )
    assert made.id in {token.id for token in tokens.list(account_id=control.account)}
    owned = sdk.with_options(api_token=made.value)
    assert owned.accounts.tokens.verify(account_id=control.account).id == made.id
    assert tokens.delete(made.id, account_id=control.account).id == made.id


def test_bad_credentials(sdk: Any, control: Control) -> None:
    wrong = sdk.with_options(api_token="x" * 40)
    with pytest.raises(cloudflare.AuthenticationError) as verify:
        wrong.user.tokens.verify()
    assert codes(verify.value) == [1000]
    with pytest.raises(cloudflare.PermissionDeniedError) as listing:
        list(wrong.zones.list())
    assert codes(listing.value) == [9109]
    with pytest.raises(cloudflare.BadRequestError) as malformed:
        list(sdk.zones.list(extra_headers={"Authorization": "nonsense"}))
    assert codes(malformed.value) == [6003]


def test_what_qanat_does_not_have_is_not_found(sdk: Any, zone: Any) -> None:
    with pytest.raises(cloudflare.NotFoundError) as error:
        sdk.zones.settings.get("aegis", zone_id=zone.id)
    assert codes(error.value) == [7000]


def test_small_endpoints(sdk: Any, control: Control, zone: Any) -> None:
    assert sdk.ips.list().ipv4_cidrs == []
    assert sdk.zones.settings.get("rocket_loader", zone_id=zone.id).value == "off"
    assert sdk.zones.subscriptions.get(zone_id=zone.id).rate_plan.id == "free"
    assert sdk.zones.activation_check.trigger(zone_id=zone.id).id == zone.id
    assert sdk.dns.records.scan_list(zone_id=zone.id) is not None
    [member] = sdk.accounts.members.list(account_id=control.account)
    assert sdk.memberships.get(member.id).account.id == control.account
    assert next(iter(sdk.audit_logs.list(account_id=control.account))).action.type
    assert list(sdk.zero_trust.networks.hostname_routes.list(account_id=control.account)) == []


def policy(control: Control, group: str) -> dict[str, Any]:
    return {
        "effect": "allow",
        "resources": {f"com.cloudflare.api.account.{control.account}": "*"},
        "permission_groups": [{"id": group}],
    }


def codes(error: cloudflare.APIStatusError) -> list[int]:
    return [each.code for each in error.errors]


def contents(sdk: Any, zone: Any) -> list[tuple[str, str, str]]:
    return sorted((record.type, record.name, record.content) for record in sdk.dns.records.list(zone_id=zone.id))
