"""What endpoints declare, and that the gate finds it as the router would."""

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.types import Scope

from qanat.api.app import RESOURCES, create_app
from qanat.api.http.body import MAX_BODY_BYTES
from qanat.api.http.endpoint import USUAL, Takes, taken
from qanat.api.http.routes import PREFIX, Handover, Routes, handed_over
from qanat.api.http.shares import Share, Shares
from tests.support.control import Control
from tests.support.matrix import routes

# Whoever makes an endpoint heavy, or lets it take more than others, has it reviewed here.
UNUSUAL: dict[tuple[str, str], str] = {
    ("GET", "/accounts/{account_id}/tokens/verify"): "light, a refused token is told otherwise",
    ("GET", "/user/tokens/verify"): "light, a refused token is told otherwise",
    ("GET", "/qanat/accounts/{account_id}/export"): "heavy",
    ("POST", "/qanat/accounts/{account_id}/import"): "account, 64 MiB, asks first",
    ("GET", "/qanat/audit/export"): "light, streamed",
    ("GET", "/qanat/audit/verify"): "heavy",
    ("GET", "/qanat/backup"): "light, streamed",
    ("GET", "/qanat/explain"): "heavy",
    ("GET", "/qanat/tunnels/{tunnel_id}/configurations/diff"): "heavy",
    ("POST", "/qanat/tunnels/{tunnel_id}/configurations/rollback"): "heavy",
    ("GET", "/qanat/tunnels/{tunnel_id}/configurations/versions"): "heavy",
    ("POST", "/accounts/{account_id}/qanat/cutovers/plan"): "heavy",
    ("POST", "/qanat/node/drain"): "light, 4 KiB",
    ("POST", "/qanat/node/fence"): "light, 4 KiB",
    ("POST", "/qanat/node/promote"): "light, 4 KiB",
    ("POST", "/qanat/node/promotions/{promotion_id}/advance"): "light, 4 KiB",
    ("POST", "/qanat/node/promotions/{promotion_id}/undo"): "light, 4 KiB",
    ("POST", "/qanat/node/unfence"): "light, 4 KiB",
    ("POST", "/zones/{zone_id}/dns_records/batch"): "heavy",
    ("GET", "/zones/{zone_id}/dns_records/export"): "heavy",
    ("POST", "/zones/{zone_id}/dns_records/import"): "heavy, multipart",
}


def told(takes: Takes) -> str:
    words: list[str] = [takes.weight]
    if takes.form != "json":
        words.append(takes.form)
    if takes.max_bytes != MAX_BODY_BYTES:
        mib, rest = divmod(takes.max_bytes, 1024**2)
        words.append(f"{takes.max_bytes // 1024} KiB" if rest else f"{mib} MiB")
    if takes.is_streamed:
        words.append("streamed")
    if takes.asks_first:
        words.append("asks first")
    if takes.refused_token is not None:
        words.append("a refused token is told otherwise")
    return ", ".join(words)


def scope_of(method: str, path: str, query: bytes = b"", **more: Any) -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": query,
        "headers": [],
        **more,
    }


def test_what_is_not_as_usual_is_written_down() -> None:
    declared = {(method, path): taken(endpoint) for method, path, endpoint in routes()}
    assert {key: told(takes) for key, takes in declared.items() if takes != USUAL} == UNUSUAL


def test_who_may_not_send_a_large_body_is_refused_before_it_is_read() -> None:
    for method, path, endpoint in routes():
        takes = taken(endpoint)
        assert takes.asks_first or takes.max_bytes <= MAX_BODY_BYTES, (method, path)


def test_a_form_is_described_where_one_is_taken() -> None:
    for resource in RESOURCES:
        for route in resource.router.routes:
            assert isinstance(route, APIRoute)
            described = (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
            assert ("multipart/form-data" in described) == (taken(route.endpoint).form == "multipart"), route.path


@pytest.fixture
def found(control: Control) -> Routes:
    return Routes(create_app(control.context).router.routes)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_every_endpoint_is_found_by_its_path_or_an_earlier_one_is(found: Routes) -> None:
    """A word that stands before a parameter (`verify`) wins, as in the router."""
    for method, path, endpoint in routes():
        filled = PREFIX + re.sub(r"\{\w+(:path)?\}", "x", path)
        hit = found.find(scope_of(method, filled))
        assert hit is not None, path
        assert hit.noted["endpoint"] is endpoint, path
        assert (hit.needs, hit.takes) == (endpoint.qanat_needs, taken(endpoint))
        # the application's router takes what was found, and looks at nothing else
        assert Handover().matches(handed_over(scope_of("GET", "/nowhere"), hit))[1] == hit.noted
    assert found.find(scope_of("POST", "/tunnel")) is not None
    for method, path in (("GET", "/nowhere"), ("GET", f"{PREFIX}/tunnel"), ("DELETE", f"{PREFIX}/user")):
        assert found.find(scope_of(method, path)) is None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("path", "query", "is_long"),
    [
        ("/zones", b"per_page=999", False),
        ("/zones", b"name=x&per_page=1000", True),
        ("/zones", b"per_page=5000000", True),
        ("/zones", b"per_page=1e3", True),
        ("/zones", b"per%5Fpage=1000", True),
        ("/zones", b"per_page=-5000", False),
        ("/zones", b"", False),
        ("/user", b"per_page=5000", False),
    ],
)
def test_a_page_is_long_as_it_is_served(found: Routes, path: str, query: bytes, is_long: bool) -> None:
    scope = scope_of("GET", PREFIX + path, query)
    hit = found.find(scope)
    assert hit is not None
    assert hit.is_long_page(scope) is is_long


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_gate_takes_turns_as_declared(control: Control) -> None:
    """Nobody gets a heavy turn here: what is heavy is told to come again, and everything else is answered."""
    control.context.shares = Shares(heavy=Share(most=0, each=1, wait_s=0))

    def passes(path: str) -> bool:
        answer = control.http.get(path)
        assert answer.status_code in (200, 429, 503), answer.text
        return answer.status_code == 200

    assert [passes(path) for path in ("/qanat/explain?url=x.test", "/qanat/audit/verify", "/zones?per_page=1000")] == [
        False
    ] * 3
    light = ("/user", "/user/tokens/verify", "/zones?per_page=999", "/user?per_page=1000", "/qanat/audit/export")
    assert [passes(path) for path in light] == [True] * len(light)
