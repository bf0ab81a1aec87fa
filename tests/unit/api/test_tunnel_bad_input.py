"""Bad input on everything of tunnels: wrong types, strings of headers and SQL, NULs, and many writers at once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.control import Control, check_failure

NASTY = ["\x00", "'; DROP TABLE tunnels; --", "\r\nx-injected: 1", "%", "_", "\\", "ÿ" * 10, "𝔘", "a" * 5000]
_TUNNELS = (
    "name uuid status include_prefix name_prefix exclude_prefix existed_at was_active_at was_inactive_at is_deleted"
)
FILTERS = {
    "cfd_tunnel": _TUNNELS,
    "tunnels": _TUNNELS,
    "teamnet/routes": "comment existed_at is_deleted network_subset network_superset route_id tunnel_id virtual_network_id",
    "teamnet/virtual_networks": "id name is_default is_deleted comment",
}


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_no_filter_breaks_on_any_text(control: Control, nasty: str) -> None:
    control.create_tunnel("kept")
    for path, names in FILTERS.items():
        for name in names.split():
            answer = control.http.get(f"/accounts/{control.account}/{path}", params={name: nasty})
            assert answer.status_code < 500, (path, name, answer.text)
            if answer.status_code >= 400:
                check_failure(answer)
    assert [row["name"] for row in control.call("GET", control.tunnels())] == ["kept"]


def test_like_characters_are_no_wildcards(control: Control) -> None:
    control.create_tunnel("a%b")
    control.create_tunnel("axb")
    assert [row["name"] for row in control.call("GET", control.tunnels(), name_prefix="a%")] == ["a%b"]
    assert [row["name"] for row in control.call("GET", control.tunnels(), exclude_prefix="a%")] == ["axb"]


WRONG: list[Any] = [None, 7, 1.5, True, [], {}, "", "x" * 100_000, "\x00", "\ud800", "a\nb"]


def test_no_body_breaks_on_any_value(control: Control) -> None:
    tunnel, zone = control.create_tunnel("kept"), control.create_zone()
    one = f"{control.tunnels()}/{tunnel['id']}"
    own = f"/qanat/tunnels/{tunnel['id']}"
    teamnet = f"/accounts/{control.account}/teamnet"
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", control.tunnels(), {"name": "n", "tunnel_secret": None, "config_src": None}),
        ("PUT", f"{one}/configurations", {"config": {}, "source": "cloudflare"}),
        ("POST", f"{one}/management", {"resources": ["logs"]}),
        ("POST", f"{own}/configurations/rollback", {"version": 1}),
        ("POST", f"{own}/connector-tokens", {"name": "n", "expires_at": None}),
        ("PUT", f"/zones/{zone['id']}/tunnels/{tunnel['id']}/routes", {"type": "dns", "user_hostname": "app"}),
        ("POST", f"{teamnet}/routes", {"network": "10.0.0.0/8", "tunnel_id": tunnel["id"], "comment": ""}),
        ("POST", f"{teamnet}/virtual_networks", {"name": "n", "comment": "", "is_default_network": False}),
    ]
    for method, path, good in bodies:
        for field in good:
            for wrong in WRONG:
                body = {**good, field: wrong}
                try:
                    answer = control.http.request(method, path, json=body)
                except UnicodeEncodeError:
                    continue
                assert answer.status_code < 500, (path, field, wrong, answer.text)
                assert answer.headers["content-type"] == "application/json"


def test_many_writers_of_one_name_make_one(control: Control) -> None:
    tunnel, zone = control.create_tunnel("t"), control.create_zone()
    own = f"/qanat/tunnels/{tunnel['id']}"
    teamnet = f"/accounts/{control.account}/teamnet"
    route = {"type": "dns", "user_hostname": "app", "overwrite_existing": False}
    writes: list[tuple[str, str, dict[str, Any], set[int]]] = [
        ("POST", control.tunnels(), {"name": "one"}, {200, 409}),
        ("POST", f"{own}/connector-tokens", {"name": "one"}, {200, 409}),
        ("POST", f"{teamnet}/routes", {"network": "10.0.0.0/8", "tunnel_id": tunnel["id"]}, {200, 409}),
        ("POST", f"{teamnet}/virtual_networks", {"name": "one"}, {200, 409}),
        ("PUT", f"/zones/{zone['id']}/tunnels/{tunnel['id']}/routes", route, {200}),
    ]

    def send(write: tuple[str, str, dict[str, Any], set[int]]) -> httpx.Response:
        return control.http.request(write[0], write[1], json=write[2])

    for write in writes:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(send, [write] * 6))
        assert {answer.status_code for answer in answers} <= write[3], [answer.text for answer in answers]
        made = [answer for answer in answers if answer.status_code == 200]
        if write[3] == {200}:
            assert sorted(answer.json()["result"]["cname"] for answer in made) == ["new", *["unchanged"] * 5]
        else:
            assert len(made) == 1
    networks = control.call("GET", f"{teamnet}/virtual_networks", is_default="true")
    assert [each["name"] for each in networks] == ["default"]


@pytest.mark.requirement("S34")
def test_another_accounts_tunnel_is_as_unknown_as_any(control: Control) -> None:
    """security.md S34: nothing differs but the id."""
    zone = control.create_zone()
    other = control.call("POST", "/accounts", {"name": "other"})["id"]
    foreign = control.call("POST", f"/accounts/{other}/cfd_tunnel", {"name": "theirs"})["id"]
    answers = []
    for tunnel_id in (foreign, str(uuid4())):
        told = [
            control.refused("GET", f"{control.tunnels()}/{tunnel_id}"),
            control.refused("PUT", f"{control.tunnels()}/{tunnel_id}/configurations", {"config": {}}),
            control.refused("POST", f"{control.tunnels()}/{tunnel_id}/management/logs"),
            control.refused(
                "PUT", f"/zones/{zone['id']}/tunnels/{tunnel_id}/routes", {"type": "dns", "user_hostname": "app"}
            ),
            control.refused(
                "POST",
                f"/accounts/{control.account}/teamnet/routes",
                {"network": "10.0.0.0/8", "tunnel_id": tunnel_id},
            ),
        ]
        answers.append(told)
    assert answers[0] == answers[1]
    assert {status for status, _, _ in answers[0]} == {404}
