"""Which records may stand beside each other, with the stock codes and texts (api.md 3.4)."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.unit.api.conftest import ZoneDesk

HOST = (400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
CNAME = (400, 81054, "A CNAME record with that host already exists.")
NS = (400, 81056, "NS records with that host already exist.")
EXISTS = (400, 81057, "The record already exists.")
IDENTICAL = (400, 81058, "An identical record already exists.")
SELF = (400, 9039, "CNAME content cannot reference itself.")
A = {"type": "A", "content": "192.0.2.1"}
AAAA = {"type": "AAAA", "content": "2001:db8::1"}
ALIAS = {"type": "CNAME", "content": "x.org"}
DELEGATION = {"type": "NS", "content": "ns.x.org"}
TXT = {"type": "TXT", "content": "x"}
MX = {"type": "MX", "content": "m.x.org", "priority": 1}


@pytest.mark.parametrize(
    ("first", "second", "refusal"),
    [
        (A, ALIAS, HOST),
        (AAAA, ALIAS, HOST),
        (ALIAS, {**ALIAS, "content": "y.org"}, HOST),
        (ALIAS, A, CNAME),
        (ALIAS, AAAA, CNAME),
        (DELEGATION, A, NS),
        (DELEGATION, ALIAS, NS),
        (A, DELEGATION, HOST),
        (ALIAS, DELEGATION, HOST),
        (A, A, IDENTICAL),
        (A, {**A, "ttl": 300}, EXISTS),
        (A, {**A, "comment": "x"}, EXISTS),
        (AAAA, {**AAAA, "content": "2001:DB8:0::1"}, IDENTICAL),
        (ALIAS, {**ALIAS, "content": "X.org."}, IDENTICAL),
        (TXT, {**TXT, "content": '"x"'}, IDENTICAL),
        (TXT, {**TXT, "content": '"x"', "ttl": 60}, EXISTS),
        (MX, {**MX, "content": "M.X.org."}, IDENTICAL),
        (
            {"type": "SRV", "content": "1 2 3 x.org"},
            {"type": "SRV", "data": {"priority": 1, "weight": 2, "port": 3, "target": "X.org."}},
            IDENTICAL,
        ),
    ],
)
def test_refused_beside(desk: ZoneDesk, first: dict[str, Any], second: dict[str, Any], refusal: Any) -> None:
    for name in ("host", "*"):
        made = desk.post(name=name, **first)
        assert desk.refused(name=name.upper(), **second) == refusal
        other = desk.post(name="other", **second)
        assert desk.refused("PATCH", f"/{other['id']}", name=name) == refusal
        assert desk.refused("PUT", f"/{other['id']}", **{**second, "name": name}) == refusal
        desk.delete(other)
        desk.delete(made)
        desk.delete(desk.post(name=name, **second))


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("x", A, {**A, "content": "192.0.2.2"}),
        ("x", A, AAAA),
        ("x", TXT, {**TXT, "content": "y"}),
        ("x", MX, {**MX, "priority": 2}),
        ("x", MX, {**MX, "content": "n.x.org"}),
        ("x", ALIAS, TXT),
        ("x", TXT, ALIAS),
        ("x", ALIAS, MX),
        ("x", DELEGATION, {**DELEGATION, "content": "ns2.x.org"}),
        ("x", DELEGATION, {"type": "DS", "content": f"1 13 2 {'ab' * 32}"}),
        ("@", A, DELEGATION),
        ("@", ALIAS, DELEGATION),
        ("@", DELEGATION, A),
        ("@", ALIAS, MX),
    ],
)
def test_fine_beside(desk: ZoneDesk, name: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    desk.post(name=name, **first)
    desk.post(name=name, **second)
    assert len(desk.listed()) == 2


def test_the_apex_may_be_a_cname_alone_among_hosts(desk: ZoneDesk) -> None:
    desk.post(name="@", **ALIAS)
    assert desk.refused(name=desk.name, **A) == CNAME
    assert desk.refused(name="@", **{**ALIAS, "content": desk.name}) == SELF


@pytest.mark.case(68)
def test_creating_before_deleting(desk: ZoneDesk) -> None:
    tunnel = desk.control.create_tunnel(f"of {desk.name}")
    target = f"{tunnel['id']}.cfargotunnel.com"
    old = desk.post(name="app", **A)
    new: dict[str, Any] = {"type": "CNAME", "name": "app", "content": target, "proxied": True}
    assert desk.refused(**new) == HOST
    assert desk.refused(**{**A, "name": "app"}) == IDENTICAL
    assert desk.refused(name="me", type="CNAME", content=f"me.{desk.name}") == SELF
    done = desk.control.call("POST", f"{desk.path}/batch", {"deletes": [{"id": old["id"]}], "posts": [new]})
    assert [row["content"] for row in desk.listed()] == [target]
    assert done["deletes"] == [old]
    status, code, message = desk.refused(type="CNAME", name="dark", content=target)
    assert (status, code) == (400, 9007)
    assert "proxied" in message
    assert desk.refused("PATCH", f"/{done['posts'][0]['id']}", proxied=False)[:2] == (400, 9007)
    desk.post(type="CNAME", name="chained", content=f"app.{desk.name}")


@pytest.mark.trap(15)
def test_conflict_texts_say_already_exist(desk: ZoneDesk) -> None:
    desk.post(name="a", **A)
    desk.post(name="c", **ALIAS)
    cases: tuple[dict[str, Any], ...] = (
        {"name": "a", **A},
        {"name": "a", **A, "ttl": 60},
        {"name": "a", **ALIAS},
        {"name": "c", **A},
    )
    for fields in cases:
        assert "already exist" in desk.refused(**fields)[2]


@pytest.mark.trap(20)
def test_apex_and_wildcard_challenges_stand_side_by_side(desk: ZoneDesk) -> None:
    for value in ("one", "two"):
        desk.post(type="TXT", name="_acme-challenge", content=value)
    assert desk.refused(type="TXT", name="_acme-challenge", content='"one"') == IDENTICAL
    found = desk.listed(**{"content.exact": "two", "name.exact": f"_acme-challenge.{desk.name}", "type": "TXT"})
    assert [row["content"] for row in found] == ["two"]


def test_concurrent_identical_creates_give_one_record(desk: ZoneDesk) -> None:
    def create(number: int) -> int:
        return desk.control.http.post(desk.path, json={"name": "same", "type": "TXT", "content": "x"}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(create, range(16)))
    assert statuses.count(200) == 1
    assert statuses.count(400) == 15
    assert len(desk.listed()) == 1


def test_a_record_names_only_tunnels_of_its_account(desk: ZoneDesk) -> None:
    target = "c1744f8b-faa1-48a4-9e5c-02ac921467fa.cfargotunnel.com"
    assert desk.refused(type="CNAME", name="x", content=target, proxied=True)[:2] == (400, 9007)
    tunnel = desk.control.create_tunnel(f"gone {desk.name}")
    made = desk.post(type="CNAME", name="x", content=f"{tunnel['id']}.tunnel.qanat.internal", proxied=True)
    again: dict[str, Any] = {
        "type": "CNAME",
        "name": "x",
        "content": f"{tunnel['id']}.cfargotunnel.com",
        "proxied": True,
    }
    assert desk.refused(**again) == IDENTICAL
    desk.control.call("DELETE", f"{desk.control.tunnels()}/{tunnel['id']}")
    assert desk.patch(made, comment="its tunnel is gone")["comment"]
    assert desk.refused(**{**again, "name": "y"})[:2] == (400, 9007)
