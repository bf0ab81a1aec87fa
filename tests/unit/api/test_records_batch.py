"""Batches: all or nothing, in their order, with the answers in the request's."""

from typing import Any

import pytest

from qanat.control.record_batches import MAX_BATCH
from qanat.store import NoticeKind
from tests.unit.api.conftest import ZoneDesk


def batch(desk: ZoneDesk, **lists: Any) -> Any:
    return desk.control.call("POST", f"{desk.path}/batch", lists)


def txt(name: str, content: str = "x", **more: object) -> dict[str, object]:
    return {"type": "TXT", "name": name, "content": content, **more}


def test_all_four_lists(desk: ZoneDesk) -> None:
    old, patched, put = (desk.post(**txt(name, comment="c")) for name in ("old", "patched", "put"))
    done = batch(
        desk,
        deletes=[{"id": old["id"]}],
        patches=[{"id": patched["id"], "ttl": 300.0}],
        puts=[{"id": put["id"], **txt("put", "y")}],
        posts=[
            txt("old"),
            txt("new"),
            {"type": "CAA", "name": "new", "data": {"flags": 0, "tag": "issue", "value": "x"}},
        ],
    )
    assert done["deletes"] == [old]
    assert [(row["ttl"], row["comment"]) for row in done["patches"]] == [(300, "c")]
    assert [(row["content"], row["comment"]) for row in done["puts"]] == [("y", None)]
    assert [row["name"].split(".")[0] for row in done["posts"]] == ["old", "new", "new"]
    assert done["posts"][2]["data"] == {"flags": 0, "tag": "issue", "value": "x"}
    listed = {row["id"]: row for row in desk.listed()}
    assert listed == {row["id"]: row for kind in ("patches", "puts", "posts") for row in done[kind]}


def test_empty_lists_and_none(desk: ZoneDesk) -> None:
    nothing: dict[str, list[Any]] = {"deletes": [], "patches": [], "puts": [], "posts": []}
    assert batch(desk) == nothing
    assert batch(desk, deletes=None, posts=[]) == nothing


def test_any_error_undoes_all_and_tells_its_place(desk: ZoneDesk) -> None:
    kept = desk.post(**txt("kept"))
    before = desk.control.audit_count()
    posts = [txt("a"), txt("b"), {"type": "A", "name": "c", "content": "no"}]
    cases: list[tuple[dict[str, Any], tuple[int, int], str]] = [
        ({"deletes": [{"id": kept["id"]}], "posts": posts}, (400, 9005), "posts[2].content"),
        ({"posts": [txt("a"), txt("a", '"x"')]}, (400, 81058), ""),
        ({"posts": [txt("kept", ttl=60)]}, (400, 81057), ""),
        ({"deletes": [{"id": kept["id"]}, {"id": kept["id"]}]}, (404, 81044), ""),
        ({"deletes": [{"id": kept["id"]}], "patches": [{"id": kept["id"], "ttl": 60}]}, (404, 81044), ""),
        ({"puts": [{"id": "0" * 32, **txt("a")}]}, (404, 81044), ""),
        ({"patches": [{"id": "\u0001", "ttl": 60}]}, (404, 81044), ""),
        ({"puts": [{"id": kept["id"], "type": "TXT", "name": "x"}]}, (400, 6007), "puts[0].content"),
        ({"patches": [{"ttl": 60}]}, (400, 6007), "patches"),
        ({"posts": txt("a")}, (400, 6007), "posts"),
    ]
    for body, refusal, place in cases:
        status, code, message = desk.control.refused("POST", f"{desk.path}/batch", body)
        assert ((status, code), place in message) == (refusal, True), (body, message)
    assert desk.listed() == [kept]
    assert desk.control.audit_count() == before


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [({"content": "no"}, 9005, "content"), ({"proxied": "yes"}, 9003, "proxied"), ({"ttl": "60"}, 6007, "ttl")],
)
def test_a_pointer_shows_the_place(desk: ZoneDesk, change: dict[str, Any], code: int, field: str) -> None:
    posts = [txt("a"), {"type": "A", "name": "c", "content": "192.0.2.1", **change}]
    [error] = desk.control.http.post(f"{desk.path}/batch", json={"posts": posts}).json()["errors"]
    assert (error["code"], error["source"]["pointer"]) == (code, f"/posts/1/{field}")
    assert error["message"].startswith(f"posts[1].{field}: ")


def test_swaps_within_a_batch(desk: ZoneDesk) -> None:
    one, two = desk.post(**txt("one", "1")), desk.post(type="A", name="two", content="192.0.2.1")
    done = batch(
        desk,
        deletes=[{"id": two["id"]}],
        patches=[{"id": one["id"], "name": "two"}, {"id": one["id"], "ttl": 60}],
        posts=[{"type": "CNAME", "name": "two", "content": "x.org"}, txt("one", "1")],
    )
    assert [row["ttl"] for row in done["patches"]] == [60, 60]
    assert sorted((row["name"].split(".")[0], row["type"]) for row in desk.listed()) == [
        ("one", "TXT"),
        ("two", "CNAME"),
        ("two", "TXT"),
    ]


def test_too_many(desk: ZoneDesk) -> None:
    posts = [{"id": f"{number:032x}"} for number in range(MAX_BATCH + 1)]
    assert desk.control.refused("POST", f"{desk.path}/batch", {"deletes": posts})[:2] == (400, 1004)


def test_one_notice_with_the_hostnames_and_every_change_in_the_audit(desk: ZoneDesk) -> None:
    tunnel = desk.control.create_tunnel(f"of {desk.name}")
    target = f"{tunnel['id']}.cfargotunnel.com"
    desk.control.notices.clear()
    routes = [{"type": "CNAME", "name": f"h{n}", "content": target, "proxied": True} for n in range(450)]
    done = batch(desk, posts=[*routes, txt("t")])
    kinds = [notice.kind for notice in desk.control.notices]
    assert kinds == [NoticeKind.ROUTES]
    assert desk.control.notices[0].hostnames == tuple(sorted(row["name"] for row in done["posts"][:450]))
    told = desk.control.audit_details("record.batch", done["posts"][0]["zone_id"])
    assert [len(detail["changes"]) for detail in told] == [200, 200, 51]
    assert {change["id"] for detail in told for change in detail["changes"]} == {row["id"] for row in done["posts"]}
    desk.control.notices.clear()
    batch(desk, patches=[{"id": done["posts"][0]["id"], "name": "moved"}], deletes=[{"id": done["posts"][1]["id"]}])
    assert desk.control.notices[0].hostnames == tuple(sorted(f"{name}.{desk.name}" for name in ("h0", "h1", "moved")))
    desk.control.notices.clear()
    batch(desk, posts=[{**routes[0], "name": f"many{n}"} for n in range(1001)])
    assert desk.control.notices[0].hostnames is None


def test_a_single_write_names_its_hostname(desk: ZoneDesk) -> None:
    tunnel = desk.control.create_tunnel(f"of {desk.name}")
    made = desk.post(type="CNAME", name="a", content=f"{tunnel['id']}.cfargotunnel.com", proxied=True)
    desk.control.notices.clear()
    desk.patch(made, name="b")
    desk.delete(made)
    routes = [notice.hostnames for notice in desk.control.notices if notice.kind is NoticeKind.ROUTES]
    assert routes == [(f"a.{desk.name}", f"b.{desk.name}"), (f"b.{desk.name}",)]
