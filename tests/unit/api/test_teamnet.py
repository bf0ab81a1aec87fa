from typing import Any
from uuid import uuid4

import pytest

from tests.support.control import Control


class Desk:
    """An account with a tunnel and its private routes."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.tunnel = control.create_tunnel("t1")
        self.routes = f"/accounts/{control.account}/teamnet/routes"
        self.networks = f"/accounts/{control.account}/teamnet/virtual_networks"

    def add(self, network: str, **more: Any) -> Any:
        body = {"network": network, "tunnel_id": self.tunnel["id"], **more}
        return self.control.call("POST", self.routes, body)

    def found(self, **query: str) -> list[str]:
        return [row["network"] for row in self.control.call("GET", self.routes, **query)]

    def default(self) -> Any:
        (found,) = self.control.call("GET", self.networks, is_default="true", is_deleted="false")
        return found

    def network(self, name: str, **more: Any) -> Any:
        return self.control.call("POST", self.networks, {"name": name, **more})


@pytest.fixture
def desk(control: Control) -> Desk:
    return Desk(control)


def test_a_route_as_stock_clients_read_it(desk: Desk) -> None:
    made = desk.add("10.20.0.0/16", comment="office")
    assert made == {
        "id": made["id"],
        "network": "10.20.0.0/16",
        "tunnel_id": desk.tunnel["id"],
        "tunnel_name": "t1",
        "tun_type": "cfd_tunnel",
        "virtual_network_id": desk.default()["id"],
        "virtual_network_name": "default",
        "comment": "office",
        "created_at": made["created_at"],
        "deleted_at": None,
    }
    assert desk.control.call("GET", f"{desk.routes}/{made['id']}") == made
    assert desk.control.call("GET", desk.routes) == [made]
    assert desk.add("10.21.0.0/16")["comment"] == ""


@pytest.mark.parametrize(
    ("network", "hint"),
    [
        ("10.20.0.1/16", "write 10.20.0.0/16"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("nonsense", ""),
        ("10.0.0.0/33", ""),
        ("fe80::%eth0/64", ""),
        ("", ""),
    ],
)
def test_what_is_no_network_is_refused(desk: Desk, network: str, hint: str) -> None:
    body = {"network": network, "tunnel_id": desk.tunnel["id"]}
    status, code, message = desk.control.refused("POST", desk.routes, body)
    assert (status, code) == (400, 1001)
    assert hint in message
    assert desk.found() == []


def test_networks_have_one_form(desk: Desk) -> None:
    assert desk.add("2001:DB8:0::/32")["network"] == "2001:db8::/32"
    assert desk.add("10.9.8.7")["network"] == "10.9.8.7/32"


def test_a_network_is_once_in_a_virtual_network(desk: Desk) -> None:
    desk.add("10.0.0.0/8")
    body = {"network": "10.0.0.0/8", "tunnel_id": desk.control.create_tunnel("t2")["id"]}
    answer = desk.control.http.post(desk.routes, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, 1014)
    assert answer.headers["x-should-retry"] == "false"
    desk.add("10.1.0.0/16")
    desk.add("10.0.0.0/8", virtual_network_id=desk.network("staging")["id"])


def test_exactly_one_route_by_subset_and_superset(desk: Desk) -> None:
    for network in ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.168.0.0/16", "2001:db8::/32"):
        desk.add(network)
    assert desk.found(network_subset="10.1.0.0/16", network_superset="10.1.0.0/16") == ["10.1.0.0/16"]
    assert desk.found(network_subset="10.1.0.0/16") == ["10.1.0.0/16", "10.1.2.0/24"]
    assert desk.found(network_superset="10.1.0.0/16") == ["10.0.0.0/8", "10.1.0.0/16"]
    assert desk.found(network_superset="10.1.2.3") == ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24"]
    assert desk.found(network_subset="::/0") == ["2001:db8::/32"]
    assert desk.found(network_superset="10.0.0.0/7") == []
    assert desk.control.refused("GET", desk.routes, network_subset="x")[0] == 400


def test_filters(desk: Desk) -> None:
    first, second = desk.add("10.0.0.0/8", comment="one"), desk.add("11.0.0.0/8", comment="two")
    other = desk.network("staging")
    desk.add("12.0.0.0/8", virtual_network_id=other["id"])
    desk.control.call("DELETE", f"{desk.routes}/{second['id']}")
    assert desk.found(is_deleted="false", tun_types="cfd_tunnel") == ["10.0.0.0/8", "12.0.0.0/8"]
    assert desk.found(is_deleted="true") == ["11.0.0.0/8"]
    assert desk.found() == ["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"]
    assert desk.found(comment="one") == ["10.0.0.0/8"]
    assert desk.found(route_id=first["id"]) == ["10.0.0.0/8"]
    assert desk.found(virtual_network_id=other["id"]) == ["12.0.0.0/8"]
    assert desk.found(tunnel_id=str(uuid4())) == []
    assert desk.found(tun_types="warp_connector") == []
    assert desk.found(existed_at=first["created_at"]) == ["10.0.0.0/8"]
    assert desk.found(page="2", per_page="2") == ["12.0.0.0/8"]
    assert desk.found(page="3", per_page="2") == []


def test_the_longest_route_of_an_address(desk: Desk) -> None:
    for network in ("10.0.0.0/8", "10.1.0.0/16"):
        desk.add(network)
    other = desk.network("staging")
    assert desk.control.call("GET", f"{desk.routes}/ip/10.1.2.3")["network"] == "10.1.0.0/16"
    assert desk.control.call("GET", f"{desk.routes}/ip/10.2.2.3")["network"] == "10.0.0.0/8"
    assert desk.control.call("GET", f"{desk.routes}/ip/192.0.2.1") == {}
    assert desk.control.call("GET", f"{desk.routes}/ip/2001:db8::1") == {}
    assert desk.control.call("GET", f"{desk.routes}/ip/10.1.2.3", virtual_network_id=other["id"]) == {}
    assert desk.control.refused("GET", f"{desk.routes}/ip/nonsense")[0] == 400


def test_a_route_is_changed(desk: Desk) -> None:
    made, taken = desk.add("10.0.0.0/8"), desk.add("11.0.0.0/8")
    one = f"{desk.routes}/{made['id']}"
    second = desk.control.create_tunnel("t2")
    changed = desk.control.call("PATCH", one, {"comment": "x", "tunnel_id": second["id"], "network": None})
    assert (changed["comment"], changed["tunnel_name"], changed["network"]) == ("x", "t2", "10.0.0.0/8")
    assert desk.control.call("PATCH", one, {}) == changed
    assert desk.control.refused("PATCH", one, {"network": taken["network"]})[:2] == (409, 1014)
    assert desk.control.refused("PATCH", one, {"tunnel_id": str(uuid4())})[0] == 404
    assert desk.control.refused("PATCH", one, {"tunnel_id": "x"})[0] == 400
    assert desk.control.call("GET", one) == changed


@pytest.mark.case(81)
@pytest.mark.trap(9)
def test_a_route_that_went_with_its_tunnel_can_be_deleted_again(desk: Desk) -> None:
    made = desk.add("10.0.0.0/8")
    desk.control.call("DELETE", f"{desk.control.tunnels()}/{desk.tunnel['id']}", cascade="true")
    one = f"{desk.routes}/{made['id']}"
    gone = desk.control.call("GET", one)
    assert gone["deleted_at"]
    assert desk.control.http.get(one, headers={"x-stainless-lang": "Terraform"}).status_code == 404
    for _ in range(2):
        assert desk.control.call("DELETE", one) == gone
    assert desk.control.refused("PATCH", one, {"comment": "x"})[:2] == (404, 1015)
    assert desk.control.refused("DELETE", f"{desk.routes}/{uuid4()}")[:2] == (404, 1015)
    assert desk.control.refused("DELETE", f"{desk.routes}/nonsense")[0] == 404


def test_the_old_form_with_the_network_in_the_path(desk: Desk) -> None:
    path = f"{desk.routes}/network/10.0.0.0%2F8"
    made = desk.control.call("POST", path, {"tunnel_id": desk.tunnel["id"], "comment": "old"})
    assert made["network"] == "10.0.0.0/8"
    changed = desk.control.call("PATCH", path, {"comment": "new"})
    assert changed["comment"] == "new"
    assert desk.control.call("PATCH", path) == changed  # as SDKs send it: without a body
    assert desk.control.refused("POST", path, {"tunnel_id": desk.tunnel["id"]})[:2] == (409, 1014)
    assert desk.control.call("DELETE", path)["deleted_at"]
    assert desk.control.call("DELETE", path)["deleted_at"]
    assert desk.control.refused("PATCH", path, {"comment": "x"})[:2] == (404, 1015)
    other = desk.network("staging")
    in_other = desk.control.call("POST", path, {"tunnel_id": desk.tunnel["id"], "virtual_network_id": other["id"]})
    assert in_other["virtual_network_name"] == "staging"
    answer = desk.control.http.delete(path, params={"virtual_network_id": other["id"]})
    assert answer.json()["result"]["id"] == in_other["id"]


def test_the_default_virtual_network_is_made_when_it_is_asked_for(desk: Desk) -> None:
    (network,) = desk.control.call("GET", desk.networks)
    assert network == {
        "id": network["id"],
        "name": "default",
        "comment": "",
        "is_default_network": True,
        "created_at": network["created_at"],
        "deleted_at": None,
    }
    assert desk.control.call("GET", desk.networks) == [network]
    assert desk.control.call("GET", f"{desk.networks}/{network['id']}") == network
    assert "result_info" not in desk.control.http.get(desk.networks).json()


def test_virtual_networks_are_changed_and_deleted(desk: Desk) -> None:
    default = desk.default()
    made = desk.network("staging", comment="lab")
    assert (made["is_default_network"], made["comment"]) == (False, "lab")
    assert desk.control.refused("POST", desk.networks, {"name": "staging"})[:2] == (409, 1014)
    one = f"{desk.networks}/{made['id']}"
    assert desk.control.call("PATCH", one, {"name": "stage", "comment": None})["comment"] == "lab"
    assert desk.control.call("PATCH", one, {"is_default_network": False})["is_default_network"] is False
    assert desk.control.refused("PATCH", f"{desk.networks}/{default['id']}", {"is_default_network": False})[0] == 400
    assert desk.control.refused("DELETE", f"{desk.networks}/{default['id']}")[0] == 400
    assert desk.control.call("PATCH", one, {"is_default_network": True})["is_default_network"] is True
    assert desk.default()["id"] == made["id"]
    assert desk.control.call("DELETE", f"{desk.networks}/{default['id']}")["deleted_at"]
    assert desk.control.call("DELETE", f"{desk.networks}/{default['id']}")["deleted_at"]
    assert [each["name"] for each in desk.control.call("GET", desk.networks, is_deleted="false")] == ["stage"]
    assert [each["name"] for each in desk.control.call("GET", desk.networks, name="default")] == ["default"]
    assert desk.control.call("GET", desk.networks, id=made["id"])[0]["name"] == "stage"


def test_cloudflared_says_is_default(desk: Desk) -> None:
    assert desk.network("main", is_default=True)["is_default_network"] is True
    assert desk.default()["name"] == "main"


def test_a_virtual_network_with_routes_goes_only_by_force(desk: Desk) -> None:
    network = desk.network("staging")
    route = desk.add("10.0.0.0/8", virtual_network_id=network["id"])
    one = f"{desk.networks}/{network['id']}"
    assert desk.control.refused("DELETE", one)[:2] == (400, 1023)
    assert desk.control.call("DELETE", one, force="true")["deleted_at"]
    assert desk.control.call("GET", f"{desk.routes}/{route['id']}")["deleted_at"]
    assert desk.control.call("GET", one)["deleted_at"]
    assert desk.control.http.get(one, headers={"x-stainless-lang": "Terraform"}).status_code == 404
    body = {"network": "10.0.0.0/8", "tunnel_id": desk.tunnel["id"], "virtual_network_id": network["id"]}
    assert desk.control.refused("POST", desk.routes, body)[:2] == (404, 1015)


def test_every_list_says_nothing_in_messages(desk: Desk) -> None:
    """api.md 0.1: a message would break cloudflared, so that traffic comes later is told by docs and CLI."""
    assert desk.control.http.get(desk.routes).json()["messages"] == []
    assert desk.control.http.get(desk.networks).json()["messages"] == []
