"""Case 77: a filter never widens its list. An empty one matches nothing, one without a meaning is refused."""

import pytest

from tests.support.control import Control

pytestmark = pytest.mark.case(77)

PLACES = {
    "zones": "/zones",
    "records": "/zones/{zone}/dns_records",
    "tunnels": "/accounts/{account}/cfd_tunnel",
    "kinds": "/accounts/{account}/tunnels",
    "routes": "/accounts/{account}/teamnet/routes",
    "networks": "/accounts/{account}/teamnet/virtual_networks",
    "accounts": "/accounts",
    "memberships": "/memberships",
    "groups": "/user/tokens/permission_groups",
    "audit": "/qanat/audit",
}


@pytest.fixture(scope="module")
def places(shared_control: Control) -> dict[str, str]:
    zone = shared_control.create_zone("filters.test")["id"]
    for name in ("@", "a", "b"):
        shared_control.create_record(zone, type="A", name=name, content="192.0.2.1")
    kept, gone = shared_control.create_tunnel("kept"), shared_control.create_tunnel("gone")
    routes = PLACES["routes"].format(account=shared_control.account)
    shared_control.call("POST", routes, {"network": "10.0.0.0/8", "tunnel_id": kept["id"], "comment": "office"})
    shared_control.call("DELETE", f"{shared_control.tunnels()}/{gone['id']}")
    return {name: path.format(zone=zone, account=shared_control.account) for name, path in PLACES.items()}


@pytest.mark.parametrize(
    ("place", "query"),
    [
        ("zones", "name="),
        ("zones", "account.id="),
        ("zones", "account.name="),
        ("zones", "status="),
        ("zones", "type="),
        ("zones", "name=sub.filters.test"),
        ("zones", "name=test"),
        ("zones", "name=%00"),
        ("records", "type=A&name="),
        ("records", "name=filters"),
        ("tunnels", "name="),
        ("tunnels", "name=kep"),
        ("tunnels", "uuid="),
        ("tunnels", "uuid=nonsense"),
        ("tunnels", "include_prefix="),
        ("tunnels", "name_prefix="),
        ("tunnels", "exclude_prefix="),
        ("kinds", "tun_types="),
        ("kinds", "tun_types=banana"),
        ("kinds", "name="),
        ("routes", "comment="),
        ("routes", "tunnel_id="),
        ("routes", "virtual_network_id="),
        ("routes", "route_id="),
        ("routes", "tun_types="),
        ("routes", "tunnel_id=%00"),
        ("networks", "id="),
        ("networks", "name="),
        ("accounts", "name="),
        ("memberships", "name="),
        ("memberships", "account.name="),
        ("memberships", "status="),
        ("groups", "name="),
        ("groups", "scope="),
        ("audit", "action="),
        ("audit", "actor="),
        ("audit", "object_id="),
        ("audit", "account=%00"),
    ],
)
def test_an_empty_or_unmatched_filter_matches_nothing(
    shared_control: Control, places: dict[str, str], place: str, query: str
) -> None:
    answer = shared_control.http.get(f"{places[place]}?{query}")
    assert (answer.status_code, answer.json()["result"]) == (200, [])
    assert shared_control.http.get(places[place]).json()["result"]


@pytest.mark.parametrize(
    ("place", "query"),
    [
        *(("records", f"proxied={value}") for value in ("banana", "", "2")),
        *(("tunnels", f"is_deleted={value}") for value in ("banana", "")),
        ("tunnels", "status=banana"),
        ("tunnels", "existed_at="),
        ("tunnels", "was_active_at=banana"),
        ("kinds", "is_deleted=banana"),
        ("routes", "is_deleted=banana"),
        ("routes", "existed_at=banana"),
        ("routes", "network_subset="),
        ("routes", "network_superset=banana"),
        ("networks", "is_default=banana"),
        ("networks", "is_deleted="),
        ("audit", "since="),
    ],
)
def test_a_filter_without_a_meaning_is_refused(
    shared_control: Control, places: dict[str, str], place: str, query: str
) -> None:
    status, code, message = shared_control.refused("GET", f"{places[place]}?{query}")
    assert status == 400
    assert code in (1001, 10001)
    assert query.partition("=")[0] in message


def test_deleted_tunnels_are_listed_as_asked(shared_control: Control, places: dict[str, str]) -> None:
    def names(**query: str) -> list[str]:
        return [row["name"] for row in shared_control.call("GET", places["tunnels"], **query)]

    assert (names(), names(is_deleted="true"), names(is_deleted="false")) == (["kept", "gone"], ["gone"], ["kept"])


def test_case_and_last_dot_do_not_matter(shared_control: Control, places: dict[str, str]) -> None:
    for name in ("A.FILTERS.test", "a.filters.test."):
        assert [row["name"] for row in shared_control.call("GET", places["records"], name=name)] == ["a.filters.test"]
    for name in ("FILTERS.test", "filters.test."):
        assert [row["name"] for row in shared_control.call("GET", "/zones", name=name)] == ["filters.test"]


def test_an_empty_id_never_stands_for_the_default(shared_control: Control, places: dict[str, str]) -> None:
    """A DELETE of a network whose variable is empty would take the default one's route."""
    assert shared_control.refused("DELETE", f"{places['routes']}/network/10.0.0.0%2F8?virtual_network_id=")[0] == 400
    assert shared_control.refused("GET", f"{places['routes']}/ip/10.0.0.1?virtual_network_id=")[0] == 400
    tunnel = shared_control.create_tunnel("cascade")
    one = f"{shared_control.tunnels()}/{tunnel['id']}"
    assert shared_control.refused("DELETE", f"{one}?cascade=banana")[0] == 400
    assert shared_control.refused("DELETE", f"{one}/connections?client_id=")[0] in (400, 404)
    shared_control.call("DELETE", one)
