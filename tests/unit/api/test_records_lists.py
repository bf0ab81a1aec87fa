"""Lists of records: filters (api.md 3.3), order and pages (0.5)."""

from typing import Any

import pytest

from tests.unit.api.conftest import ZoneDesk


@pytest.fixture
def filled(desk: ZoneDesk) -> ZoneDesk:
    posts: list[dict[str, Any]] = [
        {"type": "A", "name": "a", "content": "192.0.2.1", "comment": "First 100%", "tags": ["env:prod", "team:Web"]},
        {"type": "A", "name": "b", "content": "192.0.2.2", "proxied": True, "tags": ["env:test"]},
        {"type": "AAAA", "name": "a", "content": "2001:db8:0::1", "ttl": 300, "comment": ""},
        {"type": "CNAME", "name": "c", "content": "Host.Example.org", "tags": ["plain"]},
        {"type": "TXT", "name": "_t", "content": '"Val\\"ue_1" "more"'},
        {"type": "MX", "name": "@", "content": "mx.example.org", "priority": 5, "tags": ["team:db"]},
    ]
    desk.control.call("POST", f"{desk.path}/batch", {"posts": posts})
    return desk


def found(desk: ZoneDesk, query: str) -> str:
    answer = desk.control.http.get(f"{desk.path}?{query.replace('ZONE', desk.name)}")
    assert answer.status_code == 200, answer.text
    rows = answer.json()["result"]
    return " ".join(f"{row['type']}:{row['name'].removesuffix(desk.name).removesuffix('.') or '@'}" for row in rows)


ALL = "A:a A:b AAAA:a CNAME:c MX:@ TXT:_t"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ALL),
        ("name=a.ZONE", "A:a AAAA:a"),
        ("name=A.ZONE.", "A:a AAAA:a"),
        ("name.exact=a.ZONE&type=a", "A:a"),
        ("name=a.ZONE&name=b.ZONE", "A:a A:b AAAA:a"),
        ("name=a.other.test", ""),
        ("name=ZONE", "MX:@"),
        ("name.contains=B.zone", "A:b"),
        ("name.startswith=_", "TXT:_t"),
        ("name.endswith=ZONE&type=MX", "MX:@"),
        ("type=A&type=MX", "A:a A:b MX:@"),
        ("type=NAPTR", ""),
        ("content=192.0.2.1", "A:a"),
        ("content=2001:DB8::1", "AAAA:a"),
        ("content.exact=host.example.ORG.", "CNAME:c"),
        ("content=MX.example.org", "MX:@"),
        ("content.exact=Val%22ue_1more", "TXT:_t"),
        ("content.exact=%22Val%5C%22ue_1more%22", "TXT:_t"),
        ("content.contains=ue_1m", "TXT:_t"),
        ("content.contains=_", "TXT:_t"),
        ("content.startswith=val", "TXT:_t"),
        ("content.endswith=MORE", "TXT:_t"),
        ("content=%00", ""),
        ("comment=First+100%25", "A:a"),
        ("comment.contains=100%25", "A:a"),
        ("comment.startswith=first", "A:a"),
        ("comment.endswith=%25", "A:a"),
        ("comment.present=", "A:a AAAA:a"),
        ("comment.absent=true", "A:b CNAME:c MX:@ TXT:_t"),
        ("proxied=true", "A:b"),
        ("proxied=false&type=A", "A:a"),
        # an empty one matches nothing, whatever stands beside it
        *((f"type=A&{name}=", "") for name in ("name", "name.exact", "content", "tag", "tag.absent", "search")),
        *((f"{name}.{how}=", "") for name in ("name", "content", "comment") for how in ("contains", "startswith")),
        ("type=", ""),
        ("comment=", "AAAA:a"),
        ("match=any&name=&type=MX", "MX:@"),
        ("name=&name=a.ZONE", "A:a AAAA:a"),
        ("name=.", ""),
        ("type=A,TXT", ""),
        ("tag=env:prod", "A:a"),
        ("tag.exact=TEAM:web", "A:a"),
        ("tag=plain", "CNAME:c"),
        ("tag=env", ""),
        ("tag.present=env", "A:a A:b"),
        ("tag.absent=env", "AAAA:a CNAME:c MX:@ TXT:_t"),
        ("tag.contains=env:ro", "A:a"),
        ("tag.startswith=team:d", "MX:@"),
        ("tag.endswith=env:st", "A:b"),
        ("tag.present=env&tag.present=team", "A:a"),
        ("tag.present=env&tag.present=team&tag_match=any", "A:a A:b MX:@"),
        ("tag.present=plain&tag.endswith=team:b&tag-match=any", "A:a CNAME:c MX:@"),
        ("tag=%22,+%22", ""),
        ("match=any&type=MX&name=b.ZONE", "A:b MX:@"),
        ("match=any&type=MX&tag.present=env", "A:a A:b MX:@"),
        ("match=all&type=MX&name=b.ZONE", ""),
        ("match=any&type=A&type=MX&search=example", "MX:@"),
        ("search=100%25", "A:a"),
        ("search=plain", "CNAME:c"),
        ("unheard_of=1&order=nonsense&direction=sideways&match=some", ALL),
        ("order=name", "TXT:_t A:a AAAA:a A:b CNAME:c MX:@"),
        ("order=name&direction=desc", "MX:@ CNAME:c A:b AAAA:a A:a TXT:_t"),
        ("order=type&direction=desc", "TXT:_t MX:@ CNAME:c AAAA:a A:b A:a"),
        ("order=ttl&direction=desc&type=AAAA&type=MX", "AAAA:a MX:@"),
        ("order=proxied&type=A", "A:a A:b"),
        ("order=content&type=A&direction=desc", "A:b A:a"),
    ],
)
def test_filters(filled: ZoneDesk, query: str, expected: str) -> None:
    assert found(filled, query) == expected


def pages(desk: ZoneDesk, **query: str) -> list[Any]:
    """As the SDKs do: the next page until one is empty."""
    rows: list[Any] = []
    for page in range(1, 10**6):
        body = desk.control.http.get(desk.path, params={**query, "page": str(page)}).json()
        info = body["result_info"]
        assert (info["page"], info["count"]) == (page if info["total_count"] else 1, len(body["result"]))
        assert info["total_pages"] == -(-info["total_count"] // info["per_page"])
        if not body["result"]:
            return rows
        rows.extend(body["result"])
    raise AssertionError("endless")


def fill(desk: ZoneDesk, count: int) -> None:
    for start in range(0, count, 1000):
        posts = [{"type": "TXT", "name": f"n{n}", "content": "x"} for n in range(start, min(start + 1000, count))]
        desk.control.call("POST", f"{desk.path}/batch", {"posts": posts})


@pytest.mark.case(64)
@pytest.mark.parametrize("count", [0, 1, 100, 101, 1045])
def test_every_page_is_right(desk: ZoneDesk, count: int) -> None:
    fill(desk, count)
    for per_page in ("", "100", "5000000", "0" if count < 200 else "1000", "-1" if count < 200 else "999.0", "abc"):
        query = {"per_page": per_page} if per_page else {}
        one_row_pages = per_page in ("0", "-1")
        for extra in ({}, {"order": "name", "direction": "desc"}, {"match": "any", "type": "TXT"})[
            : 1 if one_row_pages else 3
        ]:
            rows = pages(desk, **query, **extra)
            assert len({row["id"] for row in rows}) == len(rows) == count
    info = desk.control.http.get(desk.path, params={"page": "0", "per_page": "5"}).json()["result_info"]
    assert info == {
        "page": 1,
        "per_page": 5,
        "count": min(count, 5),
        "total_count": count,
        "total_pages": -(-count // 5),
    }


@pytest.mark.case(64)
def test_rows_that_come_while_paging_move_none_that_stay(desk: ZoneDesk) -> None:
    fill(desk, 50)
    seen: list[str] = []
    for page in range(1, 8):
        seen += [row["id"] for row in desk.listed(page=str(page), per_page="10")]
        desk.post(type="TXT", name=f"zz{page}", content="x")  # behind all others in the order
    assert len(set(seen)) == len(seen)
    assert len(seen) >= 50


def test_certbot_pages_of_one(desk: ZoneDesk) -> None:
    desk.post(type="TXT", name="_acme-challenge", content="v")
    query = {"content.exact": "v", "name.exact": f"_acme-challenge.{desk.name}", "type": "TXT", "per_page": "1"}
    assert len(desk.listed(**query)) == 1
    assert desk.listed(**query, page="2") == []


def test_a_name_that_only_ends_as_the_zone_does_is_not_relative_to_it(desk: ZoneDesk) -> None:
    desk.post(type="A", name=f"my{desk.name}", content="192.0.2.1")
    assert found(desk, "name=myZONE.ZONE") == "A:my" + desk.name
    assert found(desk, "name=myZONE") == ""
