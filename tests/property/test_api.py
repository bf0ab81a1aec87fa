"""Through the API: what is accepted compiles in the engine and comes back as it was sent; what is refused leaves no trace."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from qanat.ingress.rules import parse_configuration
from qanat.ingress.table import compile_table
from qanat.store.models import Audit, Configuration
from tests.property.test_ingress import anything, documents, hostnames, origins, services
from tests.support.control import Control, running_control

CALM = settings(max_examples=60)
rule_like = st.fixed_dictionaries(
    {},
    optional={
        "service": services | st.text(max_size=20) | st.none() | st.integers(),
        "hostname": hostnames | st.text(max_size=20) | st.just("*.*.a") | st.none(),
        "path": st.sampled_from(["", "^/a", "(", "[z-a]", "(?=x)", "a{1000}{1000}", "\\p{L}"]) | st.text(max_size=10),
        "originRequest": origins | anything,
        "x-unknown": anything,
    },
)
near = st.fixed_dictionaries(
    {},
    optional={
        "ingress": st.lists(rule_like, max_size=4),
        "originRequest": origins | anything,
        "warp-routing": anything,
    },
)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with running_control(tmp_path_factory.mktemp("property")) as running:
        yield running


@pytest.fixture(scope="module")
def configurations(control: Control) -> str:
    """The endpoint of one tunnel's configuration."""
    return f"{control.tunnels()}/{control.create_tunnel('property')['id']}/configurations"


def traces(control: Control) -> tuple[int, int, int]:
    """Versions, audit rows, notices."""
    with control.store.reading() as session:
        versions = session.scalar(select(func.count()).select_from(Configuration)) or 0
        rows = session.scalar(select(func.count()).select_from(Audit)) or 0
    return versions, rows, len(control.notices)


@CALM
@given(documents | near | anything)
def test_a_configuration_compiles_and_comes_back_or_leaves_no_trace(
    control: Control, configurations: str, document: Any
) -> None:
    before, was = traces(control), control.call("GET", configurations)
    answer = control.http.put(configurations, json={"config": document})
    found = control.call("GET", configurations)
    if answer.status_code != 200:
        assert answer.status_code == 400, answer.text
        error = answer.json()["errors"][0]
        assert error["code"] in (1056, 6007)
        assert (traces(control), found) == (before, was)
        return
    assert answer.json()["result"] == found
    compile_table(parse_configuration(found["config"]))
    sent = without_nulls(document) or {}
    routing = found["config"].pop("warp-routing")
    sent_routing = sent.pop("warp-routing", {})
    assert json.dumps(found["config"]) == json.dumps(sent)
    assert routing == {"enabled": False, **(sent_routing if isinstance(sent_routing, dict) else {})}
    versions, rows, _ = traces(control)
    assert found["version"] - was["version"] == versions - before[0] in (0, 1)
    assert rows == before[1] + 1


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


record_like = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["A", "AAAA", "CNAME", "TXT", "MX", "SRV", "CAA", "NS", "HTTPS", "a", "ZZ", ""]),
        "name": st.sampled_from(["@", "a", "*.a", "a.property.test.", "A.B", "-", "a..b", "xn--", "ü"])
        | st.text(max_size=9),
        "content": st.sampled_from(
            ["192.0.2.1", "::1", "a.test.", "10 a.test", "0 issue ca.test", '"x" "y"', "1 . alpn=h2"]
        )
        | st.text(max_size=20),
    },
    optional={
        "ttl": st.sampled_from([1, 30, 120.0, 86400, 0, 29, 86401, 60.5, None, "60", True]),
        "proxied": st.sampled_from([True, False, None, "true", 1]),
        "priority": st.none() | st.integers(-1, 70_000) | st.just(10.0),
        "comment": st.none() | st.text(max_size=20) | st.just("x" * 501),
        "tags": st.none() | st.lists(st.sampled_from(["a:b", "a", ":", "owner:dns team", "x" * 300]), max_size=3),
        "settings": st.none()
        | st.dictionaries(st.sampled_from(["flatten_cname", "ipv4_only", "x"]), st.booleans() | st.none()),
        "data": st.none() | anything,
    },
)


@CALM
@given(record_like)
def test_a_record_reads_the_same_twice_or_leaves_no_trace(
    control: Control, record_zone: str, record: dict[str, Any]
) -> None:
    path = f"/zones/{record_zone}/dns_records"
    before = traces(control)
    answer = control.http.post(path, json=record)
    if answer.status_code != 200:
        assert answer.status_code == 400, answer.text
        assert traces(control) == before
        return
    made = answer.json()["result"]
    assert type(made["ttl"]) is int
    assert made["content"].removesuffix(".") == made["content"] or made["type"] in ("TXT", "HTTPS")
    assert made["name"] == "property.test" or made["name"].endswith(".property.test")
    assert control.call("GET", f"{path}/{made['id']}") == made
    put = control.http.put(f"{path}/{made['id']}", json=record)
    assert put.status_code == 200, put.text
    assert put.json()["result"] == made, "the same once more changes nothing, `modified_on` included"
    control.call("DELETE", f"{path}/{made['id']}")
    assert control.refused("GET", f"{path}/{made['id']}")[0] == 404


@pytest.fixture(scope="module")
def record_zone(control: Control) -> str:
    return str(control.create_zone("property.test")["id"])


@settings(CALM, max_examples=25)
@given(st.integers(1, 12), st.integers(0, 9), st.booleans())
def test_pages_hold_every_row_once_and_end(
    control: Control, page_zone: str, per_page: int, order: int, desc: bool
) -> None:
    """api.md 0.5: all four stop rules of the clients end, with every row."""
    path = f"/zones/{page_zone}/dns_records"
    query = {
        "per_page": str(float(per_page)) if order % 2 else str(per_page),
        "order": ["type", "name", "content", "ttl", "proxied", "nonsense"][order % 6],
        "direction": "desc" if desc else "asc",
    }
    seen: list[str] = []
    for number in range(1, 40):
        body = control.http.get(path, params={**query, "page": str(number)}).json()
        info, rows = body["result_info"], body["result"]
        assert info["page"] == number
        assert info["per_page"] == per_page
        assert info["count"] == len(rows) <= per_page
        assert info["total_count"] == 23
        assert info["total_pages"] == -(-23 // per_page)
        assert (len(rows) < per_page) == (number * per_page > 23)
        seen += [row["id"] for row in rows]
        if not rows:
            break
    assert number == info["total_pages"] + 1
    assert len(seen) == len(set(seen)) == 23


@pytest.fixture(scope="module")
def page_zone(control: Control) -> str:
    zone = str(control.create_zone("pages.test")["id"])
    for number in range(23):
        control.create_record(zone, name=f"r{number % 5}", type="TXT", content=f"{number}")
    return zone
