"""What is in a zone that somebody may not read is on no page, and in no answer of the API: lists, counts and searches as well."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from qanat.auth import Guesses, issue
from qanat.control.permissions import GROUPS
from qanat.control.policies import account_policy
from tests.support.control import Control
from tests.support.dashboard import Visitor, limited, shown, visitor
from tests.support.matrix import ROWS, World, names_of
from tests.support.writes import written
from tests.support.zones import put_certificates
from tests.unit.dashboard.test_matrix import PAGES, path_of
from tests.unit.dashboard.test_overview import answered, connected

ACCOUNT, ZONE = "com.cloudflare.api.account", "com.cloudflare.api.account.zone"
NEEDLE = "hidden-needle"

TOLD = {
    "/accounts/{account_id}/audit_logs": "the account's whole log is audit.read's",
    "/user/audit_logs": "the same",
    "/qanat/audit": "the same",
    "/qanat/audit/export": "the same",
    "/audit": "the same",
    "/audit/export": "the same",
    "/accounts/{account_id}/qanat/health": "who sees a tunnel sees which hostnames lead to it",
    "/": "the same: the map",
    "/tunnels": "the same: why it is so",
    "/tunnels/{tunnel_id}": "the same",
}
"""Where a name of a zone is told to who may not read the zone, and why."""


class Place:
    """An account with a zone that is read and one that isn't; a tunnel that serves both."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.tunnel = connected(control, "open", hostname="app.open.test")
        self.seen = str(control.call("GET", "/zones", name="open.test")[0]["id"])
        hidden = control.create_zone(f"{NEEDLE}.test")
        self.hidden = str(hidden["id"])
        content = f"{self.tunnel}.cfargotunnel.com"
        record = control.create_record(self.hidden, name="app", type="CNAME", content=content, proxied=True)
        self.record = str(record["id"])
        answered(control, f"app.{NEEDLE}.test", self.tunnel, good=False, why="refused")
        self.certificate = put_certificates(control, self.hidden)
        control.call("PUT", f"/qanat/zones/{self.hidden}/error-pages/500_errors", {"content": NEEDLE})

    def token(self, policies: Sequence[dict[str, Any]]) -> str:
        return written(self.control.store, issue, name="partial", policies=list(policies))[0]


@pytest.fixture(scope="module")
def place(control: Control) -> Place:
    control.context.guesses = Guesses(limit=10**9)
    return Place(control)


@pytest.fixture(params=["single zones", "one denied"])
def token(request: pytest.FixtureRequest, place: Place) -> str:
    """Everything on the account, and of its zones not that one."""
    groups = [{"id": group.id, "name": group.name} for group in GROUPS]
    if request.param == "one denied":
        denied = [each for each in groups if each["name"] in ("DNS Read", "Zone Read")]
        deny = {"effect": "deny", "resources": {f"{ZONE}.{place.hidden}": "*"}, "permission_groups": denied}
        return place.token([account_policy(place.control.account), deny])
    whole = [group for group in GROUPS if ZONE not in group.scopes and ACCOUNT in group.scopes]
    of_account = [{"id": group.id, "name": group.name} for group in whole]
    of_zones = [{"id": group.id, "name": group.name} for group in GROUPS if group.scopes == (ZONE,)]
    return place.token(
        [
            {
                "effect": "allow",
                "resources": {f"{ACCOUNT}.{place.control.account}": "*"},
                "permission_groups": of_account,
            },
            {"effect": "allow", "resources": {f"{ZONE}.{place.seen}": "*"}, "permission_groups": of_zones},
        ]
    )


@pytest.fixture
def somebody(control: Control, token: str) -> Iterator[Visitor]:
    made = visitor(control)
    with made.http:
        assert made.sign_in(token).status_code == 303
        yield made


@pytest.fixture(scope="module")
def world(place: Place) -> Iterator[World]:
    made = World(place.control)
    with made.http:
        yield made


@pytest.mark.requirement("S34")
def test_no_answer_of_the_api_tells_of_a_zone_that_may_not_be_read(world: World, place: Place, token: str) -> None:
    headers = {"authorization": f"Bearer {token}"}
    told = set()
    for (method, path), row in ROWS.items():
        if method != "GET" or row.needs is None:
            continue
        own = {"zone_id": place.hidden, "record_id": place.record, "tunnel_id": place.tunnel}
        own["certificate_id"] = place.certificate
        asked = {name: own[name] for name in names_of(path) if name in own}
        for call in (world.standing(method, path), world.standing(method, path).at(**asked)):
            query = {**call.row.query, "per_page": "100"}
            answer = world.http.get(call.url, params=query, headers=headers)
            if NEEDLE in answer.text:
                told.add(path)
    assert told <= set(TOLD), sorted(told - set(TOLD))


@pytest.mark.requirement("S34")
def test_no_page_tells_of_a_zone_that_may_not_be_read(place: Place, somebody: Visitor) -> None:
    told = set()
    places = {"zone_id": place.hidden, "record_id": place.record, "tunnel_id": place.tunnel}
    for page in PAGES:
        if page.method != "GET":
            continue
        known = page.path.format_map(
            {name: places.get(name, "x") for name in names_of(page.path)} | {"certificate_id": place.certificate}
        )
        for path in (path_of(page), known):
            answer = somebody.get(path)
            if NEEDLE in answer.text:
                told.add(page.path)
    assert told <= set(TOLD), sorted(told - set(TOLD))


def test_hostnames_of_a_zone_that_may_not_be_read_are_neither_listed_nor_counted_nor_found(somebody: Visitor) -> None:
    html = somebody.page("/hostnames")
    assert "app.open.test" in html
    assert 'href="/hostnames"' in html, "it is offered to who sees some"
    assert NEEDLE not in shown(html)
    assert "Hostnames 0 " in shown(somebody.page("/hostnames", search=NEEDLE))
    assert NEEDLE not in shown(somebody.page("/hostnames", search="app"))


def test_a_hostname_of_a_zone_that_may_not_be_read_is_asked_for_nobody(place: Place, somebody: Visitor) -> None:
    before = len(place.control.edge.asked)
    answer = somebody.post(f"/hostnames/app.{NEEDLE}.test/test", path="/")
    assert answer.status_code in (400, 404)
    assert len(place.control.edge.asked) == before
    assert somebody.post("/hostnames/app.open.test/test", path="/").status_code == 200


def test_a_rule_is_bounded_to_no_zone_that_may_not_be_read(somebody: Visitor) -> None:
    html = somebody.page("/alerts/rules/new", kind="certificate_expiring")
    assert "open.test" in html
    assert NEEDLE not in html


def test_who_may_not_see_the_overview_begins_at_what_they_may(control: Control, place: Place) -> None:
    with limited(control, [place.seen], "Zone Read", "DNS Read") as one:
        assert one.get("/").headers["location"] == "/zones"
        assert 'href="/zones"' in one.page("/zones")
        assert 'href="/hostnames"' not in one.page("/zones")
    with limited(control, [], account=("API Tokens Read", "Account API Tokens Read")) as other:
        assert other.get("/").headers["location"] == "/tokens"


def test_what_a_zones_end_stops_is_counted_for_who_may_not_read_its_records(control: Control, place: Place) -> None:
    with limited(control, [place.hidden], "Zone Read", "Zone Write") as one:
        told = shown(one.post(f"/zones/{place.hidden}/delete").text)
        assert "Public hostnames in it: 1" in told
        assert f"app.{NEEDLE}" not in told
