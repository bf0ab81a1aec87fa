from typing import Any

import pytest

from qanat.store import NoticeKind
from tests.support.control import Control


def test_a_zone_as_stock_clients_read_it(control: Control) -> None:
    zone = control.create_zone("Büro.test")
    assert zone["name"] == "büro.test"
    assert zone == control.call("GET", f"/zones/{zone['id']}")
    assert zone["account"] == {"id": control.account, "name": "first"}
    assert (zone["status"], zone["paused"], zone["type"]) == ("active", False, "full")
    assert zone["plan"]["is_subscribed"] is True
    assert control.call("GET", f"/zones/{zone['id']}/pagerules", status="active") == []


def test_zones_are_found_by_exact_name_only(control: Control) -> None:
    control.create_zone("example.test")
    control.create_zone("sub.example.test")
    for name in ("example.test", "EXAMPLE.test", "example.test."):
        assert [zone["name"] for zone in control.call("GET", "/zones", name=name)] == ["example.test"]
    assert control.call("GET", "/zones", name="test") == []
    assert len(control.call("GET", "/zones", status="active", type="full")) == 2
    assert control.call("GET", "/zones", status="pending") == []
    assert [zone["name"] for zone in control.call("GET", "/zones", order="name", direction="desc")] == [
        "sub.example.test",
        "example.test",
    ]


@pytest.mark.parametrize("name", ["test", "", "*.example.test", "https://example.test", "a..test", "-a.test"])
def test_bad_zone_names(control: Control, name: str) -> None:
    assert control.refused("POST", "/zones", {"name": name})[:2] == (400, 1004)


def test_a_zone_once(control: Control) -> None:
    control.create_zone("example.test")
    assert control.refused("POST", "/zones", {"name": "example.test"})[:2] == (400, 1061)


def test_deleting_a_zone_deletes_its_records(control: Control) -> None:
    zone = control.create_zone()
    record = control.create_record(zone["id"], name="app", type="A", content="192.0.2.1")
    control.notices.clear()
    assert control.call("DELETE", f"/zones/{zone['id']}") == {"id": zone["id"]}
    assert [notice.kind for notice in control.notices] == [NoticeKind.ZONE]
    assert control.refused("GET", f"/zones/{zone['id']}/dns_records/{record['id']}")[0] == 404
    again = control.create_zone()
    assert control.call("GET", f"/zones/{again['id']}/dns_records") == []


@pytest.fixture
def zone(control: Control) -> Any:
    return control.create_zone()


@pytest.fixture
def records(zone: Any) -> str:
    return f"/zones/{zone['id']}/dns_records"


def test_a_route(control: Control, zone: Any) -> None:
    tunnel = control.create_tunnel()
    target = f"{tunnel['id']}.cfargotunnel.com"
    control.notices.clear()
    record = control.create_record(zone["id"], name="app", type="CNAME", content=target, proxied=True, ttl=1.0)
    assert record == {
        "id": record["id"],
        "zone_id": zone["id"],
        "zone_name": "example.test",
        "name": "app.example.test",
        "type": "CNAME",
        "content": target,
        "proxiable": True,
        "proxied": True,
        "ttl": 1,
        "settings": {"flatten_cname": False, "ipv4_only": False, "ipv6_only": False},
        "meta": {},
        "comment": None,
        "tags": [],
        "created_on": record["created_on"],
        "modified_on": record["created_on"],
    }
    assert NoticeKind.ROUTES in [notice.kind for notice in control.notices]
    assert control.call("GET", f"/zones/{zone['id']}/dns_records/{record['id']}") == record


def test_ttl_is_an_integer_on_the_wire(control: Control, records: str) -> None:
    answer = control.http.post(records, json={"name": "a", "type": "A", "content": "192.0.2.1", "ttl": 120.0})
    assert '"ttl":120,' in answer.text


def test_a_record_that_is_no_route_wakes_nobody(control: Control, zone: Any) -> None:
    control.notices.clear()
    control.create_record(zone["id"], name="app", type="TXT", content="x")
    assert control.notices == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("@", "example.test"),
        ("example.test", "example.test"),
        ("App", "app.example.test"),
        ("app.example.test.", "app.example.test"),
        ("*", "*.example.test"),
        ("*.deep", "*.deep.example.test"),
        ("a.b", "a.b.example.test"),
        ("bücher", "xn--bcher-kva.example.test"),
        ("notexample.test", "notexample.test.example.test"),
    ],
)
def test_names_become_whole(control: Control, zone: Any, name: str, expected: str) -> None:
    assert control.create_record(zone["id"], name=name, type="A", content="192.0.2.1")["name"] == expected


def test_underscores_are_fine_for_txt(control: Control, zone: Any) -> None:
    record = control.create_record(zone["id"], name="_acme-challenge.app", type="TXT", content='"v"', ttl=120)
    assert (record["name"], record["content"]) == ("_acme-challenge.app.example.test", '"v"')
    assert record["settings"] == {}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"type": "A", "content": "999.0.2.1"}, 9005),
        ({"type": "AAAA", "content": "192.0.2.1"}, 9005),
        ({"type": "CNAME", "content": "not a host"}, 9007),
        ({"type": "CNAME", "content": "x.example.test"}, 9039),
        ({"type": "CNAME", "content": "nonsense.cfargotunnel.com", "proxied": True}, 9007),
        ({"type": "CNAME", "content": "c1744f8b-faa1-48a4-9e5c-02ac921467fa.cfargotunnel.com", "proxied": True}, 9007),
        ({"type": "MX", "content": "mail.example.test"}, 1004),
        ({"type": "TXT", "content": "x", "proxied": True}, 9004),
        ({"type": "TXT", "content": ""}, 9007),
        ({"type": "A", "content": "192.0.2.1", "ttl": 5}, 9021),
        ({"type": "A", "content": "192.0.2.1", "comment": "x" * 501}, 1004),
        ({"type": "A", "content": "192.0.2.1", "name": "a b"}, 9000),
        ({"type": "A", "content": "192.0.2.1", "name": ""}, 9000),
        ({"type": "A"}, 6007),
        ({"type": "A", "content": "192.0.2.1", "ttl": "120"}, 6007),
        ({"type": "A", "content": "192.0.2.1", "ttl": 1.5}, 6007),
    ],
)
def test_bad_records(control: Control, records: str, fields: dict[str, Any], code: int) -> None:
    assert control.refused("POST", records, {"name": "x", **fields})[:2] == (400, code)
    assert control.call("GET", records) == []


def test_conflicts(control: Control, zone: Any, records: str) -> None:
    control.create_record(zone["id"], name="app", type="A", content="192.0.2.1")

    def conflict(**fields: object) -> tuple[int, int, str]:
        return control.refused("POST", records, {"name": "app", **fields})

    assert conflict(type="A", content="192.0.2.1")[:2] == (400, 81058)
    assert conflict(type="A", content="192.0.2.1", ttl=300)[:2] == (400, 81057)
    status, code, message = conflict(type="CNAME", content="example.org")
    assert (status, code) == (400, 81053)
    assert "already exist" in message
    control.create_record(zone["id"], name="app", type="A", content="192.0.2.2")
    control.create_record(zone["id"], name="app", type="TXT", content="beside")
    control.create_record(zone["id"], name="cname", type="CNAME", content="example.org")
    assert control.refused("POST", records, {"name": "cname", "type": "A", "content": "192.0.2.1"})[:2] == (400, 81054)
    assert control.refused("POST", records, {"name": "cname", "type": "CNAME", "content": "x.org"})[:2] == (400, 81053)
    same = {"name": "CNAME", "type": "CNAME", "content": "EXAMPLE.org."}
    assert control.refused("POST", records, same)[:2] == (400, 81058)


@pytest.mark.case(35)
def test_a_wildcard_and_its_apex_have_their_challenges_beside_each_other(
    control: Control, zone: Any, records: str
) -> None:
    name = "_acme-challenge.example.test"
    one, _ = (control.create_record(zone["id"], name=name, type="TXT", content=text) for text in ("v1", "v2"))
    assert control.refused("POST", records, {"name": name, "type": "TXT", "content": "v1"})[:2] == (400, 81058)
    control.call("DELETE", f"{records}/{one['id']}")
    left = control.call("GET", records, **{"name.exact": name})
    assert [each["content"] for each in left] == ["v2"]


def test_txt_is_the_same_with_and_without_quotes(control: Control, zone: Any, records: str) -> None:
    control.create_record(zone["id"], name="x", type="TXT", content='"value"')
    assert control.refused("POST", records, {"name": "x", "type": "TXT", "content": "value"})[:2] == (400, 81058)
    control.create_record(zone["id"], name="x", type="TXT", content="other")
    assert len(control.call("GET", records, **{"content.exact": "value", "name.exact": "x.example.test"})) == 1


def test_patch_changes_only_what_is_given(control: Control, zone: Any, records: str) -> None:
    record = control.create_record(
        zone["id"], name="x", type="A", content="192.0.2.1", ttl=300, comment="why", tags=["a:b"]
    )
    one = f"{records}/{record['id']}"
    assert control.call("PATCH", one, {}) == record
    changed = control.call("PATCH", one, {"content": "192.0.2.2"})
    assert changed == {**record, "content": "192.0.2.2", "modified_on": changed["modified_on"]}
    assert changed["modified_on"] > record["modified_on"]
    cleared = control.call("PATCH", one, {"comment": None, "tags": None})
    assert (cleared["comment"], cleared["tags"]) == (None, [])
    assert "comment_modified_on" not in cleared
    assert "tags_modified_on" not in cleared


def test_put_is_whole_and_an_equal_one_moves_nothing(control: Control, zone: Any, records: str) -> None:
    fields = {"name": "x", "type": "A", "content": "192.0.2.1", "comment": "", "ttl": 300}
    record = control.create_record(zone["id"], **fields)
    assert record["comment"] == ""
    one = f"{records}/{record['id']}"
    assert control.call("PUT", one, fields) == record
    reset = control.call("PUT", one, {"name": "x", "type": "A", "content": "192.0.2.1", "comment": None})
    assert (reset["ttl"], reset["comment"], reset["id"]) == (1, None, record["id"])


def test_a_refused_change_leaves_the_record_as_it_was(control: Control, zone: Any, records: str) -> None:
    record = control.create_record(zone["id"], name="x", type="A", content="192.0.2.1")
    control.create_record(zone["id"], name="y", type="CNAME", content="example.org")
    one = f"{records}/{record['id']}"
    assert control.refused("PATCH", one, {"name": "y"})[:2] == (400, 81054)
    assert control.refused("PUT", one, {"name": "x", "type": "A", "content": "no"})[:2] == (400, 9005)
    assert control.call("GET", one) == record


def test_deletion(control: Control, zone: Any, records: str) -> None:
    record = control.create_record(zone["id"], name="x", type="A", content="192.0.2.1")
    assert control.call("DELETE", f"{records}/{record['id']}") == {"id": record["id"]}
    for method in ("GET", "DELETE"):
        assert control.refused(method, f"{records}/{record['id']}")[:2] == (404, 81044)


def test_a_record_outlives_its_tunnel_but_none_is_made_to_a_deleted_one(
    control: Control, zone: Any, records: str
) -> None:
    tunnel = control.create_tunnel()
    target = f"{tunnel['id']}.cfargotunnel.com"
    record = control.create_record(zone["id"], name="x", type="CNAME", content=target, proxied=True)
    control.call("DELETE", f"{control.tunnels()}/{tunnel['id']}")
    control.call("PATCH", f"{records}/{record['id']}", {"comment": "orphan"})
    fields = {"name": "y", "type": "CNAME", "content": target, "proxied": True}
    assert control.refused("POST", records, fields)[:2] == (400, 9007)


def test_filters(control: Control, zone: Any, records: str) -> None:
    for name, content in (("a", "192.0.2.1"), ("b", "192.0.2.2"), ("a", "192.0.2.3")):
        control.create_record(zone["id"], name=name, type="A", content=content, comment=f"for {name}")
    control.create_record(zone["id"], name="a", type="TXT", content="Text_100%")

    def found(**query: str) -> list[str]:
        return [row["content"] for row in control.call("GET", records, **query)]

    assert found(name="A.example.test.", type="a") == ["192.0.2.1", "192.0.2.3"] or sorted(
        found(name="A.example.test.", type="a")
    ) == ["192.0.2.1", "192.0.2.3"]
    assert found(**{"name.contains": "b.exam"}) == ["192.0.2.2"]
    assert found(**{"content.startswith": "text_"}) == ["Text_100%"]
    assert found(**{"content.endswith": "0%"}) == ["Text_100%"]
    assert found(**{"content.contains": "_1"}) == ["Text_100%"]
    assert found(**{"comment.exact": "for b"}) == ["192.0.2.2"]
    assert found(**{"comment.absent": ""}) == ["Text_100%"]
    assert found(match="any", type="TXT", name="b.example.test") == ["192.0.2.2", "Text_100%"]
    assert found(search="100%") == ["Text_100%"]
    assert found(proxied="true") == []
    assert found(order="content", direction="desc", type="A") == ["192.0.2.3", "192.0.2.2", "192.0.2.1"]
    assert found(name="a.other.test") == []
