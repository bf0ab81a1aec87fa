"""A control plane for generated requests: whatever they delete is there again before the next, so that they meet real objects."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from qanat.api.app import create_app
from qanat.api.http.context import Context
from qanat.control.permissions import ZONE, ZONE_READ
from tests.support.control import Control

Json = dict[str, Any]
LONG = os.environ.get("QANAT_TEST_LONG") == "1"


@cache
def description() -> Json:
    """The OpenAPI description without a running server. Not to be changed."""
    nothing = cast(Context, SimpleNamespace(version="0.0.1", location="lab01", settings=None, own_endpoints=True))
    return create_app(nothing).openapi()


@dataclass
class World:
    """Objects of the first account, by the names of path parameters."""

    control: Control
    random: Random = field(default_factory=lambda: Random(4))
    ids: dict[str, str] = field(default_factory=dict)
    made: int = 0
    in_doubt: bool = True

    def ensure(self) -> dict[str, str]:
        """The ids, after what is gone was made anew. Something may be gone when `in_doubt`."""
        if self.in_doubt:
            self.in_doubt = False
            for name, (path, make) in RECIPES.items():
                if name not in self.ids or self.control.http.get(path.format(**self.ids)).status_code != 200:
                    self.ids[name] = make(self)
        return self.ids

    def real(self, parameters: Json) -> Json:
        """Path parameters of a generated request, most of them replaced by those of real objects."""
        ids = self.ensure()
        return {
            name: ids[name] if name in ids and self.random.random() < 0.9 else value
            for name, value in parameters.items()
        }

    def make(self, path: str, **body: object) -> str:
        """The id of a new object; `{n}` in a text is a number that no other has."""
        self.made += 1
        filled = {
            key: value.replace("{n}", str(self.made)) if isinstance(value, str) else value
            for key, value in body.items()
        }
        return str(self.control.call("POST", path.format(**self.ids), filled)["id"])


def _zone(world: World) -> str:
    return world.make("/zones", name="zone{n}.test", account={"id": world.ids["account_id"]})


def _route(world: World) -> str:
    world.made += 1
    network = f"10.{world.made // 250}.{world.made % 250}.0/24"
    path = "/accounts/{account_id}/teamnet/routes"
    return world.make(path, network=network, tunnel_id=world.ids["tunnel_id"])


READS_ZONES = [
    {
        "effect": "allow",
        "resources": {f"{ZONE}.*": "*"},
        "permission_groups": [{"id": ZONE_READ.id, "name": ZONE_READ.name}],
    }
]
TUNNELS = "/accounts/{account_id}/cfd_tunnel"
RECIPES: dict[str, tuple[str, Callable[[World], str]]] = {
    "account_id": ("/accounts/{account_id}", lambda world: world.make("/accounts", name="account {n}")),
    "zone_id": ("/zones/{zone_id}", _zone),
    "record_id": (
        "/zones/{zone_id}/dns_records/{record_id}",
        lambda world: world.make("/zones/{zone_id}/dns_records", name="r{n}", type="A", content="192.0.2.1"),
    ),
    "tunnel_id": (TUNNELS + "/{tunnel_id}", lambda world: world.make(TUNNELS, name="tunnel {n}")),
    "token_id": (
        "/user/tokens/{token_id}",
        lambda world: world.make("/user/tokens", name="token {n}", policies=READS_ZONES),
    ),
    "connector_token_id": (
        "/qanat/tunnels/{tunnel_id}/connector-tokens/{connector_token_id}",
        lambda world: world.make("/qanat/tunnels/{tunnel_id}/connector-tokens", name="host {n}"),
    ),
    "virtual_network_id": (
        "/accounts/{account_id}/teamnet/virtual_networks/{virtual_network_id}",
        lambda world: world.make("/accounts/{account_id}/teamnet/virtual_networks", name="network {n}"),
    ),
    "route_id": ("/accounts/{account_id}/teamnet/routes/{route_id}", _route),
}
