"""What one account may have, so that the others have room: an attacker runs into its limits, a victim doesn't notice."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from qanat.control.connections import configuration_applied
from qanat.edge.engine_settings import account_limits
from qanat.edge.sweeps import forget_deleted
from qanat.settings import AccountLimitSettings
from qanat.store.limits import AccountLimits
from qanat.store.models import (
    Configuration,
    Connection,
    ConnectorToken,
    ReleasedName,
    TeamnetRoute,
    Tunnel,
    VirtualNetwork,
)
from tests.support.audits import first_broken
from tests.support.control import Control
from tests.support.links import register

FEW = AccountLimits(
    zones=2,
    records=4,
    tunnels=3,
    api_tokens=2,
    connector_tokens=2,
    private_routes=2,
    virtual_networks=3,
    configurations=3,
    deleted=2,
)


@dataclass
class Tenant:
    control: Control
    account: str
    name: str

    @property
    def one(self) -> str:
        return f"/accounts/{self.account}"

    def tunnel(self, name: str) -> Any:
        return self.control.call("POST", f"{self.one}/cfd_tunnel", {"name": name, "config_src": "cloudflare"})

    def zone(self, name: str) -> Any:
        return self.control.call("POST", "/zones", {"name": f"{name}.{self.name}", "account": {"id": self.account}})

    def limits(self) -> dict[str, tuple[int, int | None]]:
        rows = self.control.call("GET", f"/qanat/accounts/{self.account}/limits")
        return {row["name"]: (row["limit"], row["used"]) for row in rows}


@pytest.fixture
def tenants(control: Control) -> tuple[Tenant, Tenant]:
    control.store.limits = FEW
    ids = [control.call("POST", "/accounts", {"name": name})["id"] for name in ("attacker", "victim")]
    return Tenant(control, ids[0], "attacker.test"), Tenant(control, ids[1], "victim.test")


def _fills(control: Control, path: str, limit: int, **body: object) -> tuple[int, str]:
    """Makes so many, of which the last are refused: the refusal's codes. `%d` in a value is its number."""

    def numbered(number: int) -> dict[str, object]:
        return {key: each.replace("%d", str(number)) if isinstance(each, str) else each for key, each in body.items()}

    for number in range(limit):
        control.call("POST", path, numbered(number))
    for number in (limit, limit + 1):
        answer = control.http.post(path, json=numbered(number))
        assert answer.status_code == 400, answer.text
        error = answer.json()["errors"][0]
        assert f"at most {limit} " in error["message"]
        assert "account_limits." in error["message"]
    return error["code"], error["qanat_code"]


def test_each_kind_has_its_limit_and_another_account_its_own(tenants: tuple[Tenant, Tenant]) -> None:
    attacker, victim = tenants
    control = attacker.control
    group = next(
        each["id"]
        for each in control.call("GET", "/user/tokens/permission_groups")
        if "com.cloudflare.api.account" in each["scopes"]
    )
    for tenant in tenants:
        own = {"id": tenant.account}
        assert _fills(control, "/zones", 2, name=f"z%d.{tenant.name}", account=own) == (1118, "zone_too_many")
        zone_id = control.call("GET", "/zones", name=f"z0.{tenant.name}")[0]["id"]
        made = _fills(control, f"/zones/{zone_id}/dns_records", 4, type="TXT", name="t%d", content="x")
        assert made == (81045, "record_too_many")
        tunnels = f"{tenant.one}/cfd_tunnel"
        assert _fills(control, tunnels, 3, name="t%d", config_src="cloudflare") == (1001, "tunnel_too_many")
        tunnel_id = control.call("GET", tunnels)[0]["id"]
        routes = f"{tenant.one}/teamnet/routes"
        made = _fills(control, routes, 2, network="10.%d.0.0/16", tunnel_id=tunnel_id)
        assert made == (1001, "teamnet_route_too_many")
        networks = f"{tenant.one}/teamnet/virtual_networks"
        for n in range(3 - len(control.call("GET", networks))):
            control.call("POST", networks, {"name": f"n{n}"})
        assert "virtual_network_too_many" in control.http.post(networks, json={"name": "more"}).text
        tokens = f"/qanat/tunnels/{tunnel_id}/connector-tokens"
        assert _fills(control, tokens, 2, name="h%d") == (1001, "connector_token_too_many")
        policy = {
            "effect": "allow",
            "resources": {f"com.cloudflare.api.account.{tenant.account}": "*"},
            "permission_groups": [{"id": group}],
        }
        assert _fills(control, f"{tenant.one}/tokens", 2, name="k%d", policies=[policy]) == (1001, "token_too_many")
        limits = tenant.limits()
        assert limits["records"] == (4, 4)
        assert limits["connector_tokens"] == (2, 2)
        assert limits["tunnels"] == (3, 3)
        assert limits["configurations"] == (3, None)
    assert victim.limits() == attacker.limits()


def test_what_is_deleted_makes_room_and_a_full_one_can_be_changed(tenants: tuple[Tenant, Tenant]) -> None:
    attacker, _ = tenants
    control = attacker.control
    zone = attacker.zone("z")
    records = f"/zones/{zone['id']}/dns_records"
    made = [control.call("POST", records, {"type": "TXT", "name": f"t{n}", "content": "x"}) for n in range(4)]
    control.call("DELETE", f"{records}/{made[0]['id']}")
    made[0] = control.call("POST", records, {"type": "TXT", "name": "again", "content": "x"})
    batch = {
        "deletes": [{"id": made[0]["id"]}, {"id": made[1]["id"]}],
        "posts": [{"type": "TXT", "name": f"n{n}", "content": "x"} for n in range(2)],
    }
    control.call("POST", f"{records}/batch", batch)
    control.store.limits = AccountLimits(records=1)  # lowered below what is there
    listed = control.call("GET", records)
    swap = {"deletes": [{"id": listed[0]["id"]}], "posts": [{"type": "TXT", "name": "swap", "content": "x"}]}
    control.call("POST", f"{records}/batch", swap)
    more = {"posts": [{"type": "TXT", "name": f"m{n}", "content": "x"} for n in range(2)]}
    assert control.refused("POST", f"{records}/batch", more)[:2] == (400, 81045)
    assert len(control.call("GET", records)) == 4, "a batch is taken whole or not at all"


def test_an_import_stays_within_them_and_its_dry_run_says_so(tenants: tuple[Tenant, Tenant]) -> None:
    attacker, victim = tenants
    control = attacker.control
    for n in range(3):
        attacker.tunnel(f"t{n}")
    document = control.call("GET", f"/qanat/accounts/{attacker.account}/export")
    path = f"/qanat/accounts/{victim.account}/import"
    for tunnel in document["tunnels"]:
        tunnel["id"] = str(uuid4())
    victim.tunnel("own")
    for dry_run in ("true", "false"):
        answer = control.http.post(path, json=document, params={"dry_run": dry_run})
        assert answer.json()["errors"][0]["qanat_code"] == "tunnel_too_many"
    assert [each["name"] for each in control.call("GET", f"{victim.one}/cfd_tunnel")] == ["own"]
    control.store.limits = AccountLimits()
    assert control.call("POST", f"{path}?dry_run=false", document)["applied"]


def test_old_versions_go_and_those_that_a_connector_runs_stay(tenants: tuple[Tenant, Tenant]) -> None:
    attacker, victim = tenants
    control, store = attacker.control, attacker.control.store
    tunnels = [attacker.tunnel("a")["id"], victim.tunnel("v")["id"]]
    for n in range(2):
        for tenant, tunnel_id in zip(tenants, tunnels, strict=True):
            _put(tenant, tunnel_id, n)
    connector = str(uuid4())
    register(store, tunnels[0], connector)
    with store.recording() as write:
        connection = write.session.execute(select(Connection.id)).scalar_one()
        configuration_applied(write, connection_id=connection, pushed=2, applied=2, error="")
    for n in range(2, 20):
        _put(attacker, tunnels[0], n)
    versions = select(Configuration.version).order_by(Configuration.version)
    with store.reading() as session:
        assert list(session.scalars(versions.where(Configuration.tunnel_id == tunnels[0]))) == [2, 18, 19, 20]
        assert list(session.scalars(versions.where(Configuration.tunnel_id == tunnels[1]))) == [1, 2]
    assert control.call("GET", f"{attacker.one}/cfd_tunnel/{tunnels[0]}/configurations")["version"] == 20


def _put(tenant: Tenant, tunnel_id: str, n: int) -> None:
    path = f"{tenant.one}/cfd_tunnel/{tunnel_id}/configurations"
    tenant.control.call("PUT", path, {"config": {"ingress": [{"service": f"http_status:{200 + n}"}]}})


def test_what_was_deleted_is_forgotten_but_for_the_newest(tenants: tuple[Tenant, Tenant]) -> None:
    attacker, victim = tenants
    control, store = attacker.control, attacker.control.store
    for number in range(6):
        tunnel = attacker.tunnel("t")
        path = f"{attacker.one}/cfd_tunnel/{tunnel['id']}"
        token = control.call("POST", f"/qanat/tunnels/{tunnel['id']}/connector-tokens", {"name": "h"})
        control.call("DELETE", f"/qanat/tunnels/{tunnel['id']}/connector-tokens/{token['id']}")
        network = control.call("POST", f"{attacker.one}/teamnet/virtual_networks", {"name": "n"})
        route = {"network": "10.0.0.0/8", "tunnel_id": tunnel["id"], "virtual_network_id": network["id"]}
        made = control.call("POST", f"{attacker.one}/teamnet/routes", route)
        control.call("DELETE", f"{attacker.one}/teamnet/routes/{made['id']}")
        control.call("DELETE", f"{attacker.one}/teamnet/virtual_networks/{network['id']}")
        zone = attacker.zone(f"z{number}")
        if number == 0:
            kept = tunnel["id"]
            outer = zone
            record = {"type": "CNAME", "name": "www", "content": f"{kept}.cfargotunnel.com", "proxied": True}
            control.call("POST", f"/zones/{zone['id']}/dns_records", record)
        else:
            control.call("DELETE", f"/zones/{zone['id']}")
        control.call("DELETE", path)
    gone = victim.tunnel("gone")
    control.call("DELETE", f"{victim.one}/cfd_tunnel/{gone['id']}")
    assert forget_deleted(store) > 0
    assert forget_deleted(store) == 0
    with store.reading() as session:
        deleted = set(session.scalars(select(Tunnel.id).where(Tunnel.deleted_at.is_not(None))))
        assert kept in deleted, "a hostname still says that it was deleted"
        assert gone["id"] in deleted
        assert len(deleted) == 4
        for model in (TeamnetRoute, ReleasedName):
            assert session.scalar(select(func.count()).select_from(model)) == 2
        assert session.scalar(select(func.count()).where(VirtualNetwork.deleted_at.is_not(None))) == 2
        assert session.scalar(select(func.count()).select_from(ConnectorToken)) == 3
        assert first_broken(session) is None
    later = store.clock() + timedelta(days=31)
    store.clock = lambda: later
    forget_deleted(store)
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(ReleasedName)) == 0
    control.call("DELETE", f"/zones/{outer['id']}")


def test_the_settings_are_the_stores_limits() -> None:
    assert account_limits(AccountLimitSettings()) == AccountLimits()
