"""Every route of the API: what it needs, and a request that its owner may make. The matrix of roles is generated from it.

A new route has no row, and fails the build until somebody has written down here who may call it (security.md S34).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

import httpx
import trustme
from fastapi.routing import APIRoute

from qanat.api.app import RESOURCES
from qanat.api.http.routes import PREFIX
from qanat.api.v4.accounts import membership_id
from qanat.api.v4.role_shapes import ROLE_ID, role_id
from qanat.nodes import promotion
from qanat.store.models import CertificateOrder, Promotion, Zone
from tests.support.control import Control
from tests.support.failed import failed_request
from tests.support.links import register

Params = dict[str, str]
Body = Callable[["World", Params], Any]
ALL_WRITE = {"id": "00ff3da8a00a7c0b5b4e2b2a2f5e8c11"}


@dataclass(frozen=True)
class Row:
    """`needs`: the permissions, None for a route that takes no credentials. `body`: of a good request. `status`: its answer's.
    `audits`: whether it leaves an audit row; None: as a method that changes does."""

    needs: str | None
    body: Body | None = None
    status: int = 200
    audits: bool | None = None
    query: dict[str, str] = field(default_factory=dict)
    fresh_account: bool = False

    @property
    def permissions(self) -> frozenset[str] | None:
        return None if self.needs is None else frozenset(self.needs.split())


@dataclass(frozen=True)
class Call:
    """One request, ready to be sent."""

    method: str
    path: str
    params: Params
    row: Row

    @property
    def url(self) -> str:
        return self.path.replace(":path}", "}").format(**self.params)

    def at(self, **params: str) -> "Call":
        """The same request for other objects."""
        return Call(self.method, self.path, {**self.params, **params}, self.row)


class World:
    """A control plane whose account owns whatever a route asks for: a fresh one of each for each request, or what was made for
    such a request before, where none of them changes it."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.http = httpx.Client(base_url=control.url, trust_env=False, verify=False, timeout=60)
        self._numbers = count(1)
        self.plan: dict[str, object] = {}
        self._standing: dict[tuple[str, str], Call] = {}

    def ask(self, call: Call, headers: dict[str, str]) -> httpx.Response:
        """Sends a request as whoever the headers say."""
        body = call.row.body(self, call.params) if call.row.body is not None else None
        if isinstance(body, str):
            form = {"file": body.encode()}
            return self.http.request(call.method, call.url, files=form, params=call.row.query, headers=headers)
        return self.http.request(call.method, call.url, json=body, params=call.row.query, headers=headers)

    def number(self) -> int:
        return next(self._numbers)

    def call(self, method: str, path: str) -> Call:
        """The owner's request to a route."""
        row = ROWS[method, path]
        account = self.control.account
        if row.fresh_account:
            account = self.made("/accounts", {"name": f"a{self.number()}"})
        params = self.objects(method, path, account)
        if row.body is _plan:
            self.plan = planned(self, account)
        return Call(method, path, params, row)

    def standing(self, method: str, path: str) -> Call:
        """The same as of whoever changes nothing: is refused, or reads."""
        if (method, path) not in self._standing:
            self._standing[method, path] = self.call(method, path)
        return self._standing[method, path]

    def objects(self, method: str, path: str, account: str) -> Params:
        """What the path's parameters name, made now, in their order."""
        asked = Asked(self, method, path, account, {})
        for name in names_of(path):
            asked.params[name] = MAKERS[name](asked)
        return asked.params

    def made(self, path: str, body: object) -> str:
        return str(self.control.call("POST", path, body)["id"])

    def tunnel(self, account: str) -> str:
        """With one version of a configuration."""
        path = f"/accounts/{account}/cfd_tunnel"
        tunnel_id = self.made(path, {"name": f"t{self.number()}", "config_src": "cloudflare"})
        self.control.call("PUT", f"{path}/{tunnel_id}/configurations", CONFIGURATION)
        return tunnel_id

    def zone(self, account: str) -> str:
        return self.made("/zones", {"name": f"z{self.number()}.test", "account": {"id": account}})

    def network(self) -> str:
        number = self.number()
        return f"10.{number >> 8}.{number & 255}.0/24"

    def route(self, account: str, network: str) -> str:
        body = {"network": network, "tunnel_id": self.tunnel(account)}
        return self.made(f"/accounts/{account}/teamnet/routes", body)

    def token_policies(self, account: str) -> list[dict[str, Any]]:
        resources = {f"com.cloudflare.api.account.{account}": "*"}
        return [{"effect": "allow", "resources": resources, "permission_groups": [ALL_WRITE]}]


@dataclass(frozen=True)
class Asked:
    """For whom an object is made: the route, the account, and the objects before it in the path."""

    world: World
    method: str
    path: str
    account: str
    params: Params

    def below(self, name: str) -> str:
        """The path above this parameter, filled in."""
        return self.path.partition(f"/{{{name}}}")[0].format(**self.params)


def names_of(path: str) -> list[str]:
    """The path's parameters."""
    return re.findall(r"{(\w+)(?::path)?}", path)


def unknown(params: Params) -> Params:
    """Ids of the same form that nothing has; what is no id stays."""
    return {
        name: {36: str(uuid4()), 32: uuid4().hex}.get(len(value), "0" * 16) if name.endswith("_id") else value
        for name, value in params.items()
    }


def routes() -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Method, path and endpoint of all that the API has."""
    for resource in RESOURCES:
        for route in resource.router.routes:
            assert isinstance(route, APIRoute), route
            for method in sorted(route.methods or ()):
                yield method, route.path.removeprefix(PREFIX), route.endpoint


def _token(asked: Asked) -> str:
    body = {"name": "t", "policies": asked.world.token_policies(asked.account)}
    return asked.world.made(asked.below("token_id"), body)


def _record_id(asked: Asked) -> str:
    return asked.world.made(f"/zones/{asked.params['zone_id']}/dns_records", _record(asked.world, {}))


def _user_body(world: "World", account: str) -> dict[str, str]:
    return {"email": f"u{world.number()}@example.com", "role": "viewer", "account": account}


def _hostname(asked: Asked) -> str:
    """Its name says to which tunnel its record points."""
    if "request-lists" in asked.path:
        return _listed(asked)
    zone_id, tunnel_id = asked.world.zone(asked.account), asked.world.tunnel(asked.account)
    body = {"type": "CNAME", "name": f"on-{tunnel_id}", "content": f"{tunnel_id}.cfargotunnel.com", "proxied": True}
    return str(asked.world.control.call("POST", f"/zones/{zone_id}/dns_records", body)["name"])


def _network(asked: Asked) -> str:
    network = asked.world.network()
    if asked.method != "POST":
        asked.world.route(asked.account, network)
    return network


def _connector(asked: Asked) -> str:
    connector_id = str(uuid4())
    register(asked.world.control.store, asked.params["tunnel_id"], connector_id)
    return connector_id


def _failed_request(asked: Asked) -> str:
    request_id = f"{asked.world.number():016x}-lab01"
    tunnel_id = asked.world.tunnel(asked.account)
    asked.world.control.edge.failed[request_id] = failed_request(request_id=request_id, tunnel_id=tunnel_id)
    return request_id


def planned(world: World, account: str) -> dict[str, object]:
    """A cutover of a hostname that leads to a tunnel, to another one."""
    zone, source = world.zone(account), world.tunnel(account)
    name = world.control.call("GET", f"/zones/{zone}")["name"]
    record = {"type": "CNAME", "name": "app", "content": f"{source}.cfargotunnel.com", "proxied": True}
    world.made(f"/zones/{zone}/dns_records", record)
    return {"from_tunnel": source, "to_tunnel": world.tunnel(account), "hostnames": [f"app.{name}"]}


def _cutover(asked: Asked) -> str:
    return asked.world.made(asked.below("cutover_id"), planned(asked.world, asked.account))


def _probed(world: World, account: str, method: str) -> str:
    """A tunnel; one whose probe is set, unless it is to be."""
    tunnel_id = world.tunnel(account)
    if method == "DELETE":
        world.control.call("PUT", f"/accounts/{account}/qanat/probes/{tunnel_id}", {"path": "/up"})
    return tunnel_id


def _certificate_id(asked: Asked) -> str:
    """One that is being ordered, so that it can be renewed as well."""
    order_id = str(uuid4())
    hostname = f"c{asked.world.number()}.test"
    zone_id = asked.world.zone(asked.account)
    with asked.world.control.store.recording() as write:
        sealed = asked.world.control.sealer.seal(b"key", order_id)
        write.session.add(
            CertificateOrder(
                id=order_id, name=hostname, zone_id=zone_id, state="waiting", sealed_secret=sealed, failures=0
            )
        )
    return order_id


def _named_below(name: str) -> Callable[[Asked], str]:
    return lambda asked: asked.world.made(asked.below(name), {"name": f"n{asked.world.number()}"})


def _node(asked: Asked) -> str:
    """A standby of the tunnel, which is in mode active-standby; both nodes are connected."""
    control, tunnel_id = asked.world.control, asked.params["tunnel_id"]
    tokens = f"/qanat/tunnels/{tunnel_id}/connector-tokens"
    active, standby = (asked.world.made(tokens, {"name": name}) for name in ("web-1", "web-2"))
    for token_id in (active, standby):
        register(control.store, tunnel_id, str(uuid4()), token_id=token_id)
    path = f"/accounts/{asked.account}/qanat/tunnels/{tunnel_id}/mode"
    control.call("PUT", path, {"mode": "active-standby", "active": "web-1"})
    return standby


def _promotion(asked: Asked) -> str:
    """One that waits for its `before`, as whoever runs promotions would leave it."""
    if "tunnel_id" not in asked.params:
        return str(uuid4())
    control, tunnel_id = asked.world.control, asked.params["tunnel_id"]
    path = f"/accounts/{asked.account}/qanat/tunnels/{tunnel_id}/nodes/{_node(asked)}/promote"
    made = asked.world.made(path, {"before": True})
    states: tuple[promotion.State, ...] = ("held", "draining", "before")
    for state in states:
        with control.store.recording() as write:
            promotion.step(write, write.session.get_one(Promotion, made), state)
    return made


_RULE = {"name": "down", "kind": "tunnel_down", "settings": {"for_s": 30}}
_HOOK = {"name": "hook", "kind": "webhook", "url": "https://127.0.0.1:1/"}


def _listed(asked: Asked) -> str:
    """A hostname whose requests are listed; of an edge that keeps few such lists at once."""
    control = asked.world.control
    control.edge.request_lists._lists.clear()
    hostname = f"app.{control.call('GET', f'/zones/{asked.world.zone(asked.account)}')['name']}"
    control.call("PUT", f"/accounts/{asked.account}/qanat/request-lists/{hostname}", {})
    return hostname


MAKERS: dict[str, Callable[[Asked], str]] = {
    "account_id": lambda asked: asked.account,
    "zone_id": lambda asked: asked.world.zone(asked.account),
    "record_id": _record_id,
    "tunnel_id": lambda asked: asked.world.tunnel(asked.account),
    "connector_id": _connector,
    "certificate_id": _certificate_id,
    "connector_token_id": _named_below("connector_token_id"),
    "token_id": _token,
    "user_id": lambda asked: asked.world.made("/qanat/users", _user_body(asked.world, asked.account)),
    "route_id": lambda asked: asked.world.route(asked.account, asked.world.network()),
    "virtual_network_id": _named_below("virtual_network_id"),
    "hostname": _hostname,
    "network": _network,
    "ip": lambda _asked: "10.0.0.1",
    "setting": lambda _asked: "min_tls_version",
    "kind": lambda _asked: "1000_errors",
    "role": lambda _asked: ROLE_ID,
    "member_id": lambda asked: membership_id(
        asked.world.made("/qanat/users", _user_body(asked.world, asked.account)), asked.account
    ),
    "membership_id": lambda asked: str(asked.world.control.call("GET", asked.below("membership_id"))[0]["id"]),
    "target": lambda asked: _probed(asked.world, asked.account, asked.method),
    "resource": lambda _asked: "logs",
    "version": lambda _asked: "1",
    "request_id": _failed_request,
    "cutover_id": _cutover,
    "alert_rule_id": lambda asked: asked.world.made(asked.below("alert_rule_id"), _RULE),
    "alert_channel_id": lambda asked: asked.world.made(asked.below("alert_channel_id"), _HOOK),
    "node": _node,
    "promotion_id": _promotion,
}

CONFIGURATION = {"config": {"ingress": [{"service": "http_status:404"}]}}


def _fixed(value: object) -> Body:
    return lambda _world, _params: value


def _named(prefix: str, **more: object) -> Body:
    return lambda world, _params: {"name": f"{prefix}{world.number()}", **more}


def _record(world: World, _params: Params) -> dict[str, object]:
    return {"type": "A", "name": f"r{world.number()}", "content": "192.0.2.1", "ttl": 60}


def _plan(world: World, _params: Params) -> dict[str, object]:
    """Of what was made for the owner's request: making it here would leave audit rows of its own."""
    return world.plan


def _certificate(world: World, params: Params) -> dict[str, str]:
    with world.control.store.reading() as session:
        zone = session.get(Zone, params["zone_id"])
    issued = trustme.CA().issue_cert(zone.name if zone is not None else "gone.test")
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    return {"certificate": chain.decode(), "private_key": issued.private_key_pem.bytes().decode()}


def _token_body(world: World, _params: Params) -> dict[str, object]:
    return {"name": "t", "policies": world.token_policies(world.control.account)}


def _run_body(world: World, params: Params) -> dict[str, str]:
    """A hostname of the account, through a tunnel that is connected."""
    account = world.control.account
    zone, tunnel_id = world.control.call("GET", f"/zones/{world.zone(account)}")["name"], world.tunnel(account)
    world.control.edge.health.registered(f"c{world.number()}", tunnel_id, "")
    return {"hostname": f"app.{zone}", "tunnel_id": tunnel_id}


NOTHING = _fixed({})
TUNNELS = "/accounts/{account_id}/cfd_tunnel"
TUNNEL = TUNNELS + "/{tunnel_id}"
OWN_TUNNEL = "/qanat/tunnels/{tunnel_id}"
RECORDS = "/zones/{zone_id}/dns_records"
ACCOUNT_TOKENS = "/accounts/{account_id}/tokens"

OWN_ACCOUNT = "/qanat/accounts/{account_id}"
DOCUMENT = {
    "format": "qanat-account",
    "version": 1,
    "exported_at": "2026-01-02T03:04:05Z",
    "account": {"id": "f" * 32, "name": "old", "settings": {}, "created_at": "2026-01-02T03:04:05Z"},
}
PROBES = "/accounts/{account_id}/qanat/probes"
REQUEST_LISTS = "/accounts/{account_id}/qanat/request-lists"
PROBE_RUNS = "/accounts/{account_id}/qanat/probe-runs"
ROUTES = "/accounts/{account_id}/teamnet/routes"
NETWORKS = "/accounts/{account_id}/teamnet/virtual_networks"
TARGETS = "/accounts/{account_id}/qanat/hostnames/{hostname}/targets"
OWN_NODE = "/qanat/node"
NODES = "/accounts/{account_id}/qanat/tunnels/{tunnel_id}"
CONNECTOR_TOKENS = OWN_TUNNEL + "/connector-tokens"
CUTOVERS = "/accounts/{account_id}/qanat/cutovers"
ALERTS = "/accounts/{account_id}/qanat/alerts"


def _targets_body(_world: World, params: Params) -> dict[str, object]:
    tunnel_id = params["hostname"].partition(".")[0].removeprefix("on-")
    return {"targets": [{"tunnel_id": tunnel_id, "weight": 2}], "sticky": "address"}


def _route(world: World, _params: Params) -> dict[str, str]:
    return {"network": world.network(), "tunnel_id": world.tunnel(world.control.account)}


ROWS: dict[tuple[str, str], Row] = {
    ("GET", "/qanat/users"): Row("account.read"),
    ("POST", "/qanat/users"): Row("account.edit", lambda world, _: _user_body(world, world.control.account)),
    ("GET", "/qanat/users/{user_id}"): Row("account.read"),
    ("PATCH", "/qanat/users/{user_id}"): Row("account.edit", _fixed({"disabled": True})),
    ("PUT", "/qanat/users/{user_id}/role"): Row(
        "account.edit", lambda world, _: {"account": world.control.account, "role": "admin"}
    ),
    ("POST", "/qanat/users/{user_id}/reset"): Row("account.edit", NOTHING),
    ("DELETE", "/qanat/users/{user_id}"): Row("account.edit"),
    ("GET", "/user"): Row(""),
    ("PATCH", "/user"): Row("user.edit", _fixed({"first_name": "Mir"})),
    ("POST", "/qanat/user/key"): Row("edge.edit user.edit", NOTHING),
    ("DELETE", "/qanat/user/key"): Row("edge.edit user.edit"),
    # tokens
    ("GET", "/user/tokens/verify"): Row(""),
    ("GET", "/user/tokens/permission_groups"): Row("token.read"),
    ("GET", "/user/tokens"): Row("token.read"),
    ("POST", "/user/tokens"): Row("token.edit", _token_body),
    ("GET", "/user/tokens/{token_id}"): Row("token.read"),
    ("PUT", "/user/tokens/{token_id}"): Row("token.edit", _token_body),
    ("DELETE", "/user/tokens/{token_id}"): Row("token.edit"),
    ("PUT", "/user/tokens/{token_id}/value"): Row("token.edit", NOTHING),
    ("GET", ACCOUNT_TOKENS + "/verify"): Row(""),
    ("GET", ACCOUNT_TOKENS + "/permission_groups"): Row("token.read"),
    ("GET", ACCOUNT_TOKENS): Row("token.read"),
    ("POST", ACCOUNT_TOKENS): Row("token.edit", _token_body),
    ("GET", ACCOUNT_TOKENS + "/{token_id}"): Row("token.read"),
    ("PUT", ACCOUNT_TOKENS + "/{token_id}"): Row("token.edit", _token_body),
    ("DELETE", ACCOUNT_TOKENS + "/{token_id}"): Row("token.edit"),
    ("PUT", ACCOUNT_TOKENS + "/{token_id}/value"): Row("token.edit", NOTHING),
    ("POST", "/qanat/zones/{zone_id}/origin-certificate"): Row("token.edit zone.read"),
    # accounts
    ("GET", "/accounts"): Row("account.read"),
    ("POST", "/accounts"): Row("account.edit", _named("a")),
    ("GET", "/accounts/{account_id}"): Row("account.read"),
    ("PUT", "/accounts/{account_id}"): Row("account.edit", _named("a")),
    ("DELETE", "/accounts/{account_id}"): Row("account.edit", fresh_account=True),
    ("GET", "/memberships"): Row("account.read"),
    ("GET", "/memberships/{membership_id}"): Row("account.read"),
    ("GET", "/accounts/{account_id}/members"): Row("account.read"),
    ("POST", "/accounts/{account_id}/members"): Row(
        "account.edit", lambda world, _: {"email": f"m{world.number()}@example.com", "roles": [role_id("viewer")]}
    ),
    ("GET", "/accounts/{account_id}/members/{member_id}"): Row("account.read"),
    ("PUT", "/accounts/{account_id}/members/{member_id}"): Row(
        "account.edit", _fixed({"roles": [{"id": role_id("operator")}]})
    ),
    ("DELETE", "/accounts/{account_id}/members/{member_id}"): Row("account.edit"),
    ("GET", "/accounts/{account_id}/roles"): Row("account.read"),
    ("GET", "/accounts/{account_id}/roles/{role}"): Row("account.read"),
    ("GET", "/accounts/{account_id}/custom_ns"): Row("account.read"),
    ("GET", "/accounts/{account_id}/audit_logs"): Row("audit.read"),
    ("GET", "/user/audit_logs"): Row("audit.read"),
    ("GET", "/ips"): Row(""),
    # zones and records
    ("GET", "/zones"): Row("zone.read"),
    ("POST", "/zones"): Row(
        "zone.edit", lambda world, _: {"name": f"z{world.number()}.test", "account": {"id": world.control.account}}
    ),
    ("GET", "/zones/{zone_id}"): Row("zone.read"),
    ("PATCH", "/zones/{zone_id}"): Row("zone.edit", _fixed({"paused": True})),
    ("DELETE", "/zones/{zone_id}"): Row("zone.edit"),
    ("GET", "/zones/{zone_id}/pagerules"): Row("zone.read"),
    ("GET", "/zones/{zone_id}/available_plans"): Row("zone.read"),
    ("GET", "/zones/{zone_id}/addressing/regional_hostnames"): Row("zone.read"),
    ("GET", "/zones/{zone_id}/subscription"): Row("zone.read"),
    ("GET", "/zones/{zone_id}/custom_ns"): Row("zone.read"),
    ("PUT", "/zones/{zone_id}/activation_check"): Row("zone.edit", audits=False),
    ("GET", "/zones/{zone_id}/settings"): Row("zone.read"),
    ("GET", "/zones/{zone_id}/settings/{setting}"): Row("zone.read"),
    ("PATCH", "/zones/{zone_id}/settings/{setting}"): Row("zone.edit", _fixed({"value": "1.2"}), audits=False),
    ("GET", "/qanat/zones/{zone_id}/error-pages"): Row("zone.read"),
    ("PUT", "/qanat/zones/{zone_id}/error-pages/{kind}"): Row("zone.edit", _fixed({"content": "<p>away</p>"})),
    ("DELETE", "/qanat/zones/{zone_id}/error-pages/{kind}"): Row("zone.edit"),
    ("GET", RECORDS): Row("dns.read"),
    ("POST", RECORDS): Row("dns.edit", _record),
    ("POST", RECORDS + "/batch"): Row("dns.edit", lambda world, params: {"posts": [_record(world, params)]}),
    ("POST", RECORDS + "/scan"): Row("dns.edit", audits=False),
    ("POST", RECORDS + "/scan/trigger"): Row("dns.edit", audits=False),
    ("GET", RECORDS + "/scan/review"): Row("dns.read"),
    ("GET", RECORDS + "/export"): Row("dns.read"),
    ("POST", RECORDS + "/import"): Row("dns.edit", _fixed("imported 300 IN A 192.0.2.1\n")),
    ("GET", RECORDS + "/{record_id}"): Row("dns.read"),
    ("PUT", RECORDS + "/{record_id}"): Row("dns.edit", _record),
    ("PATCH", RECORDS + "/{record_id}"): Row("dns.edit", _fixed({"ttl": 120})),
    ("DELETE", RECORDS + "/{record_id}"): Row("dns.edit"),
    # tunnels
    ("POST", TUNNELS): Row("tunnel.edit", _named("t")),
    ("GET", TUNNELS): Row("tunnel.read"),
    ("GET", TUNNEL): Row("tunnel.read"),
    ("PATCH", TUNNEL): Row("tunnel.edit", _named("t")),
    ("DELETE", TUNNEL): Row("tunnel.edit"),
    ("GET", TUNNEL + "/token"): Row("tunnel.edit"),
    ("GET", TUNNEL + "/connections"): Row("tunnel.read"),
    ("DELETE", TUNNEL + "/connections"): Row("tunnel.edit"),
    ("GET", TUNNEL + "/connectors/{connector_id}"): Row("tunnel.read"),
    ("GET", "/accounts/{account_id}/tunnels"): Row("tunnel.read"),
    ("GET", TUNNEL + "/configurations"): Row("tunnel.read"),
    ("PUT", TUNNEL + "/configurations"): Row("tunnel.edit", _fixed(CONFIGURATION)),
    ("GET", OWN_TUNNEL): Row("tunnel.read"),
    ("GET", OWN_TUNNEL + "/events"): Row("tunnel.read"),
    ("GET", OWN_TUNNEL + "/configurations/versions"): Row("tunnel.read"),
    ("GET", OWN_TUNNEL + "/configurations/versions/{version}"): Row("tunnel.read"),
    ("GET", OWN_TUNNEL + "/configurations/diff"): Row("tunnel.read", query={"from": "0", "to": "1"}),
    ("POST", OWN_TUNNEL + "/configurations/rollback"): Row("tunnel.edit", _fixed({"version": 1})),
    ("GET", OWN_TUNNEL + "/connectors"): Row("tunnel.read"),
    ("GET", CONNECTOR_TOKENS): Row("tunnel.read"),
    ("POST", CONNECTOR_TOKENS): Row("tunnel.edit", _named("host")),
    ("GET", CONNECTOR_TOKENS + "/{connector_token_id}"): Row("tunnel.read"),
    ("GET", CONNECTOR_TOKENS + "/{connector_token_id}/token"): Row("tunnel.edit"),
    ("POST", CONNECTOR_TOKENS + "/{connector_token_id}/rotate"): Row("tunnel.edit"),
    ("DELETE", CONNECTOR_TOKENS + "/{connector_token_id}"): Row("tunnel.edit"),
    ("GET", NODES + "/mode"): Row("tunnel.read"),
    ("PUT", NODES + "/mode"): Row("tunnel.edit", _fixed({"mode": "replicas", "automatic": True})),
    ("GET", NODES + "/nodes"): Row("tunnel.read"),
    ("GET", NODES + "/nodes/{node}"): Row("tunnel.read"),
    ("POST", NODES + "/nodes/{node}/promote"): Row("tunnel.edit", NOTHING),
    ("POST", NODES + "/nodes/{node}/drain"): Row("tunnel.edit", NOTHING),
    ("POST", NODES + "/nodes/{node}/fence"): Row("tunnel.edit", NOTHING),
    ("POST", NODES + "/nodes/{node}/unfence"): Row("tunnel.edit"),
    ("GET", NODES + "/promotions"): Row("tunnel.read"),
    ("GET", NODES + "/promotions/{promotion_id}"): Row("tunnel.read"),
    ("POST", NODES + "/promotions/{promotion_id}/advance"): Row("tunnel.edit", _fixed({"state": "before"})),
    ("POST", NODES + "/promotions/{promotion_id}/undo"): Row("tunnel.edit", NOTHING),
    # by a connector token, which the endpoints ask for themselves
    ("GET", OWN_NODE): Row(None, status=400),
    ("GET", OWN_NODE + "/nodes"): Row(None, status=400),
    ("POST", OWN_NODE + "/promote"): Row(None, NOTHING, status=400, audits=False),
    ("POST", OWN_NODE + "/drain"): Row(None, NOTHING, status=400, audits=False),
    ("POST", OWN_NODE + "/fence"): Row(None, NOTHING, status=400, audits=False),
    ("POST", OWN_NODE + "/unfence"): Row(None, status=400, audits=False),
    ("GET", OWN_NODE + "/promotions/{promotion_id}"): Row(None, status=400),
    ("POST", OWN_NODE + "/promotions/{promotion_id}/advance"): Row(None, NOTHING, status=400, audits=False),
    ("POST", OWN_NODE + "/promotions/{promotion_id}/undo"): Row(None, NOTHING, status=400, audits=False),
    ("POST", TUNNEL + "/management"): Row("tunnel.edit", _fixed({"resources": ["logs"]})),
    ("POST", TUNNEL + "/management/{resource}"): Row("tunnel.edit"),
    ("POST", "/tunnel"): Row(None, status=404, audits=False),
    # routes
    ("PUT", "/zones/{zone_id}/tunnels/{tunnel_id}/routes"): Row(
        "dns.edit tunnel.read", lambda world, _: {"type": "dns", "user_hostname": f"h{world.number()}"}
    ),
    ("GET", ROUTES): Row("tunnel.read"),
    ("POST", ROUTES): Row("tunnel.edit", _route),
    ("GET", ROUTES + "/ip/{ip}"): Row("tunnel.read"),
    ("POST", ROUTES + "/network/{network:path}"): Row(
        "tunnel.edit", lambda world, _: {"tunnel_id": world.tunnel(world.control.account)}
    ),
    ("PATCH", ROUTES + "/network/{network:path}"): Row("tunnel.edit", _fixed({"comment": "x"})),
    ("DELETE", ROUTES + "/network/{network:path}"): Row("tunnel.edit"),
    ("GET", ROUTES + "/{route_id}"): Row("tunnel.read"),
    ("PATCH", ROUTES + "/{route_id}"): Row("tunnel.edit", _fixed({"comment": "x"})),
    ("DELETE", ROUTES + "/{route_id}"): Row("tunnel.edit"),
    ("GET", NETWORKS): Row("tunnel.read"),
    ("POST", NETWORKS): Row("tunnel.edit", _named("n")),
    ("GET", NETWORKS + "/{virtual_network_id}"): Row("tunnel.read"),
    ("PATCH", NETWORKS + "/{virtual_network_id}"): Row("tunnel.edit", _fixed({"comment": "x"})),
    ("DELETE", NETWORKS + "/{virtual_network_id}"): Row("tunnel.edit"),
    ("GET", "/accounts/{account_id}/zerotrust/routes/hostname"): Row("tunnel.read"),
    ("GET", TARGETS): Row("dns.read tunnel.read"),
    ("PUT", TARGETS): Row("dns.edit tunnel.read", _targets_body),
    ("DELETE", TARGETS): Row("dns.edit tunnel.read", audits=False),
    ("GET", "/qanat/explain"): Row("dns.read tunnel.read", query={"url": "https://app.example.test/"}),
    ("GET", OWN_ACCOUNT + "/limits"): Row("account.read"),
    # alerts
    ("GET", ALERTS + "/kinds"): Row("account.read"),
    ("GET", ALERTS + "/rules"): Row("account.read"),
    ("POST", ALERTS + "/rules"): Row("account.edit", _fixed(_RULE)),
    ("POST", ALERTS + "/rules/defaults"): Row("account.edit", NOTHING, fresh_account=True),
    ("GET", ALERTS + "/rules/{alert_rule_id}"): Row("account.read", fresh_account=True),
    ("PUT", ALERTS + "/rules/{alert_rule_id}"): Row(
        "account.edit", _fixed({**_RULE, "enabled": False}), fresh_account=True
    ),
    ("POST", ALERTS + "/rules/{alert_rule_id}/silence"): Row("tunnel.edit", _fixed({"for_s": 60}), fresh_account=True),
    ("DELETE", ALERTS + "/rules/{alert_rule_id}"): Row("account.edit", fresh_account=True),
    ("GET", ALERTS + "/firings"): Row("account.read"),
    ("GET", ALERTS + "/channels"): Row("account.read"),
    ("POST", ALERTS + "/channels"): Row("account.edit", _fixed(_HOOK), fresh_account=True),
    ("GET", ALERTS + "/channels/{alert_channel_id}"): Row("account.read", fresh_account=True),
    ("PUT", ALERTS + "/channels/{alert_channel_id}"): Row("account.edit", _fixed(_HOOK), fresh_account=True),
    ("POST", ALERTS + "/channels/{alert_channel_id}/key"): Row("account.edit", fresh_account=True),
    ("POST", ALERTS + "/channels/{alert_channel_id}/test"): Row("account.edit", fresh_account=True),
    ("DELETE", ALERTS + "/channels/{alert_channel_id}"): Row("account.edit", fresh_account=True),
    ("GET", ALERTS + "/deliveries"): Row("account.read"),
    # cutovers
    ("POST", CUTOVERS + "/plan"): Row("dns.read tunnel.read", _plan, audits=False),
    ("POST", CUTOVERS): Row("dns.edit tunnel.read", _plan),
    ("GET", CUTOVERS): Row("dns.read tunnel.read"),
    ("GET", CUTOVERS + "/{cutover_id}"): Row("dns.read tunnel.read"),
    ("POST", CUTOVERS + "/{cutover_id}/pause"): Row("dns.edit tunnel.read"),
    ("POST", CUTOVERS + "/{cutover_id}/resume"): Row("dns.edit tunnel.read"),
    ("POST", CUTOVERS + "/{cutover_id}/rollback"): Row("dns.edit tunnel.read"),
    ("GET", "/accounts/{account_id}/qanat/quarantined-records"): Row("dns.read tunnel.read"),
    ("GET", "/qanat/zones/{zone_id}/cutover-policy"): Row("dns.read"),
    ("PUT", "/qanat/zones/{zone_id}/cutover-policy"): Row("dns.edit", _fixed({"policy": "warn"})),
    # the edge
    ("GET", f"{PROBES}"): Row("tunnel.read"),
    ("PUT", f"{PROBES}/{{target}}"): Row("tunnel.edit", _fixed({"path": "/up"})),
    ("DELETE", f"{PROBES}/{{target}}"): Row("tunnel.edit"),
    ("POST", PROBE_RUNS): Row("tunnel.edit", _run_body),
    ("GET", "/accounts/{account_id}/qanat/health"): Row("tunnel.read"),
    ("GET", "/accounts/{account_id}/qanat/traffic"): Row("tunnel.read"),
    ("GET", f"{REQUEST_LISTS}"): Row("request.read"),
    ("PUT", f"{REQUEST_LISTS}/{{hostname}}"): Row("request.edit", NOTHING),
    ("DELETE", f"{REQUEST_LISTS}/{{hostname}}"): Row("request.edit"),
    ("GET", f"{REQUEST_LISTS}/{{hostname}}/requests"): Row("request.read"),
    ("GET", "/qanat/metrics"): Row("edge.read"),
    ("GET", "/qanat/status"): Row("edge.read"),
    ("GET", "/qanat/skipped"): Row("edge.read"),
    ("GET", "/qanat/certificates"): Row("zone.read"),
    ("GET", "/qanat/certificates/{certificate_id}"): Row("zone.read"),
    ("POST", "/qanat/zones/{zone_id}/certificates"): Row("zone.edit", _certificate),
    ("POST", "/qanat/certificates/{certificate_id}/renew"): Row("zone.edit"),
    ("DELETE", "/qanat/certificates/{certificate_id}"): Row("zone.edit"),
    ("GET", "/qanat/requests/{request_id}"): Row("tunnel.read"),
    ("GET", "/qanat/audit"): Row("audit.read"),
    ("GET", "/qanat/audit/export"): Row("audit.read"),
    ("GET", "/qanat/audit/verify"): Row("audit.read"),
    ("GET", "/qanat/backup"): Row("edge.edit", audits=True),
    ("POST", "/qanat/keys/rotate"): Row("edge.edit"),
    ("GET", OWN_ACCOUNT + "/export"): Row("account.read tunnel.read zone.read dns.read token.read", audits=True),
    ("POST", OWN_ACCOUNT + "/import"): Row(
        "account.edit tunnel.edit zone.edit dns.edit token.edit", _fixed(DOCUMENT), query={"dry_run": "false"}
    ),
}
