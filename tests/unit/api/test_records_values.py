"""Records in and out of the API: what is sent is read back, byte by byte (api.md 3.2)."""

from typing import Any

import pytest

from tests.unit.api.conftest import ZoneDesk

SRV = {"priority": 10, "weight": 5, "port": 5060, "target": "s.example.com"}
CAA = {"flags": 0, "tag": "issue", "value": "ca.example"}
EVERY_TYPE: dict[str, dict[str, Any]] = {
    "A": {"content": "192.0.2.1"},
    "AAAA": {"content": "2001:db8::1"},
    "CNAME": {"content": "Host.Example.org"},
    "TXT": {"content": '"v=DMARC1; p=reject"'},
    "MX": {"content": "mail.example.org", "priority": 10},
    "NS": {"content": "ns.example.org"},
    "PTR": {"content": "host.example.org"},
    "SRV": {"data": SRV},
    "CAA": {"data": CAA},
    "DS": {"data": {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": "ab" * 32}},
    "DNSKEY": {"data": {"flags": 257, "protocol": 3, "algorithm": 13, "public_key": "AAAA" * 22}},
    "TLSA": {"data": {"usage": 3, "selector": 1, "matching_type": 1, "certificate": "ab" * 32}},
    "SMIMEA": {"data": {"usage": 3, "selector": 1, "matching_type": 0, "certificate": "ab"}},
    "SSHFP": {"data": {"algorithm": 4, "type": 2, "fingerprint": "ab" * 32}},
    "LOC": {
        "data": {
            "lat_degrees": 52,
            "lat_minutes": 22,
            "lat_seconds": 23.5,
            "lat_direction": "N",
            "long_degrees": 4,
            "long_minutes": 53,
            "long_seconds": 32,
            "long_direction": "E",
            "altitude": -2,
            "size": 1,
            "precision_horz": 10000,
            "precision_vert": 10,
        }
    },
    "NAPTR": {
        "data": {"order": 1, "preference": 2, "flags": "S", "service": "SIP+D2U", "regex": "", "replacement": "x.org."}
    },
    "URI": {"data": {"weight": 1, "target": "https://example.org/ä"}, "priority": 10},
    "CERT": {"data": {"type": 9, "key_tag": 0, "algorithm": 0, "certificate": "AAAA"}},
    "HTTPS": {"data": {"priority": 1, "target": ".", "value": 'alpn="h3,h2"'}},
    "SVCB": {"data": {"priority": 1, "target": "svc.example.org.", "value": 'port="443"'}},
}


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_every_type_reads_back_as_it_was_written(desk: ZoneDesk, kind: str) -> None:
    fields = {"name": f"_x.{kind.lower()}", "type": kind, "ttl": 300, **EVERY_TYPE[kind]}
    made = desk.post(**fields)
    for key, value in EVERY_TYPE[kind].items():
        assert made[key] == value
    assert made["name"] == f"_x.{kind.lower()}.{desk.name}"
    assert ("data" in made, "priority" in made) == ("data" in fields, "priority" in fields)
    assert (made["meta"], made["tags"], made["comment"], made["proxied"]) == ({}, [], None, False)
    assert desk.get(made) == made
    assert desk.put(made, **fields) == made
    assert desk.patch(made) == made
    [listed] = desk.listed()
    assert listed == ({**made, "priority": SRV["priority"]} if kind == "SRV" else made)
    assert desk.delete(made) == {"id": made["id"]}


@pytest.mark.parametrize("kind", [kind for kind, value in EVERY_TYPE.items() if "data" in value])
def test_data_of_a_written_content_is_answered_to_lists_only(desk: ZoneDesk, kind: str) -> None:
    first = desk.post(name="a", type=kind, **EVERY_TYPE[kind])
    desk.delete(first)
    priority = {"SRV": SRV["priority"], "URI": 10}.get(kind)
    made = desk.post(name="a", type=kind, content=first["content"], priority=priority)
    assert made["content"] == first["content"]
    assert made.get("priority") == priority
    assert desk.put(made, name="a", type=kind, content=made["content"], priority=priority) == made
    assert [each["id"] for each in desk.listed(content=made["content"])] == [made["id"]]
    assert "data" not in made
    assert "data" not in desk.get(made)
    [listed] = desk.listed()
    assert {**listed, "data": None} == {**made, "data": None}
    assert listed["data"].keys() == EVERY_TYPE[kind]["data"].keys()
    assert None not in listed["data"].values()


@pytest.mark.case(9)
def test_an_equal_write_moves_nothing(desk: ZoneDesk) -> None:
    fields = {"type": "TXT", "name": "_dmarc", "content": '"v=DMARC1; p=reject"', "ttl": 1, "proxied": False}
    made = desk.post(**fields)
    assert made["name"] == f"_dmarc.{desk.name}"
    assert (made["settings"], made["tags"], made["meta"]) == ({}, [], {})
    path = f"{desk.path}/{made['id']}"
    texts = [desk.control.http.get(path).text for _ in range(2)]
    assert desk.put(made, **fields) == made
    assert desk.put(made, **{**fields, "name": made["name"]}) == made
    assert [desk.control.http.get(path).text] * 2 == texts


@pytest.mark.case(10)
def test_data_and_content(desk: ZoneDesk) -> None:
    caa = desk.post(type="CAA", name=desk.name, data=CAA)
    srv = desk.post(type="SRV", name="_sip._tcp", data=SRV)
    assert caa["content"] == '0 issue "ca.example"'
    assert srv["content"] == "5 5060 s.example.com"
    for made, data in ((caa, CAA), (srv, SRV)):
        assert desk.get(made)["data"] == data
        assert desk.patch(made) == made
    assert '"flags":0,' in desk.control.http.get(f"{desk.path}/{caa['id']}").text


@pytest.mark.case(11)
def test_txt_as_written(desk: ZoneDesk) -> None:
    for content in ("hello", '"quoted"', "x" * 300, '"a" "b"', 'esc \\"x\\"; y', '"esc \\"x\\"; z"'):
        made = desk.post(type="TXT", name="t", content=content)
        assert desk.get(made)["content"] == content
    assert desk.refused(type="TXT", name="t", content='"hello"')[:2] == (400, 81058)
    assert desk.refused(type="TXT", name="t", content="ab")[:2] == (400, 81058)


@pytest.mark.case(67)
def test_ttl_and_proxied(desk: ZoneDesk) -> None:
    made = desk.post(type="A", name="a", content="192.0.2.1", ttl=300, proxied=True)
    assert (made["ttl"], made["proxied"]) == (1, True)
    assert desk.get(made) == made
    off = desk.patch(made, proxied=False)
    assert (off["ttl"], off["proxied"]) == (1, False)
    assert desk.patch(made, ttl=30)["ttl"] == 30
    assert desk.patch(made, ttl=59)["ttl"] == 59
    assert desk.refused("PATCH", f"/{made['id']}", ttl=86401)[:2] == (400, 9021)
    assert desk.get(made)["ttl"] == 59
    desk.post(type="CNAME", name="c", content="x.org")
    desk.post(type="TXT", name="c", content="heritage=external-dns")
    desk.post(type="TXT", name="d", content="heritage=external-dns")
    desk.post(type="CNAME", name="d", content="x.org")


@pytest.mark.trap(10)
def test_settings_tags_and_comment(desk: ZoneDesk) -> None:
    cname = desk.post(type="CNAME", name="c", content="x.org", settings={}, tags=None, comment=None)
    assert cname["settings"] == {"flatten_cname": False, "ipv4_only": False, "ipv6_only": False}
    assert not {"comment_modified_on", "tags_modified_on", "data", "priority", "private_routing"} & cname.keys()
    made = desk.post(
        type="A", name="a", content="192.0.2.1", comment="", tags=["b:1", "a"], settings={"ipv4_only": True, "x": 1}
    )
    assert (made["comment"], made["tags"], made["settings"]) == ("", ["b:1", "a"], {"ipv4_only": True})
    assert "comment_modified_on" not in made
    assert made["tags_modified_on"] == made["created_on"]
    again = desk.patch(made, comment="why")
    assert again["comment_modified_on"] == again["modified_on"] > made["modified_on"]
    assert again["tags_modified_on"] == made["tags_modified_on"]
    unset = desk.put(
        made, type="A", name="a", content="192.0.2.1", comment=None, tags=None, settings=None, priority=None
    )
    assert (unset["comment"], unset["tags"], unset["settings"]) == (None, [], {})
    assert not {"comment_modified_on", "tags_modified_on"} & unset.keys()


@pytest.mark.trap(12)
def test_at_and_short_names_are_answered_whole(desk: ZoneDesk) -> None:
    assert desk.post(type="A", name="@", content="192.0.2.1")["name"] == desk.name
    assert desk.post(type="A", name=f"App.{desk.name}.", content="192.0.2.1")["name"] == f"app.{desk.name}"


@pytest.mark.trap(14)
def test_fields_that_only_answers_have_are_ignored(desk: ZoneDesk) -> None:
    made = desk.post(
        type="A",
        name="a",
        content="192.0.2.1",
        created_on="0001-01-01T00:00:00Z",
        modified_on="0001-01-01T00:00:00Z",
        settings={},
        proxiable=False,
        id="x",
        meta={"a": {"b": []}},
        zone_name="other.test",
        unheard_of=[1],
        private_routing=False,
    )
    assert made["proxiable"] is True
    assert made["meta"] == {}
    assert made["zone_name"] == desk.name
    assert made["private_routing"] is False
    assert not made["created_on"].startswith("0001")
    assert "unheard_of" not in made


@pytest.mark.trap(24)
def test_numbers_are_whole_on_the_wire(desk: ZoneDesk) -> None:
    answer = desk.control.http.post(
        desk.path, json={"type": "MX", "name": "m", "content": "m.org", "priority": 10.0, "ttl": 1.0}
    )
    assert '"priority":10,' in answer.text.replace("}", ",")
    assert '"ttl":1,' in answer.text


def test_changing_the_type(desk: ZoneDesk) -> None:
    made = desk.post(type="CAA", name="x", data=CAA, comment="c")
    changed = desk.put(made, type="TXT", name="x", content="now a text")
    assert (changed["id"], changed["type"], changed["content"]) == (made["id"], "TXT", "now a text")
    assert "data" not in changed
    assert (changed["created_on"], changed["comment"]) == (made["created_on"], None)
    assert desk.patch(changed, type="A", content="192.0.2.1")["type"] == "A"
    assert desk.refused("PATCH", f"/{made['id']}", type="AAAA")[:2] == (400, 9005)


def test_patches_of_a_value(desk: ZoneDesk) -> None:
    made = desk.post(type="CAA", name="x", data=CAA)
    assert desk.patch(made, ttl=300)["data"] == CAA
    by_content = desk.patch(made, content='0 issue "b.example"')
    assert (by_content["content"], "data" in by_content) == ('0 issue "b.example"', False)
    assert desk.patch(made, comment="x")["content"] == '0 issue "b.example"'
    by_data = desk.patch(made, data={**CAA, "value": "c.example"})
    assert (by_data["content"], by_data["data"]["value"]) == ('0 issue "c.example"', "c.example")
    srv = desk.post(type="SRV", name="_a._tcp", data=SRV)
    changed = desk.patch(srv, priority=20)
    assert (changed["priority"], changed["data"]["priority"], changed["content"]) == (20, 20, "5 5060 s.example.com")
    by_content = desk.post(type="SRV", name="_b._tcp", content="10 5 5060 s.example.com.")
    assert (by_content["priority"], by_content["content"]) == (10, "5 5060 s.example.com")
    changed = desk.patch(by_content, priority=20)
    assert (changed["priority"], changed["content"]) == (20, "5 5060 s.example.com")
    assert desk.patch(changed, comment="x")["priority"] == 20
    mx = desk.post(type="MX", name="m", content="m.org", priority=1)
    assert desk.patch(mx, priority=2)["content"] == "m.org"
    assert desk.get(mx)["priority"] == 2


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"type": "MX", "content": "m.org"}, 1004),
        ({"type": "SPF", "content": "x"}, 1004),
        ({"type": "SRV", "content": "x"}, 9007),
        ({"type": "CAA", "data": {"flags": 0}}, 9007),
        ({"type": "CAA", "data": []}, 6007),
        ({"type": "CAA"}, 6007),
        ({"type": "A", "content": "192.0.2.1", "proxied": "yes"}, 9003),
        ({"type": "A", "content": "192.0.2.1", "proxied": 1}, 9003),
        ({"type": "TXT", "content": "x", "proxied": True}, 9004),
        ({"type": "A", "content": "x"}, 9005),
        ({"type": "A", "content": "192.0.2.1", "ttl": 29}, 9021),
        ({"type": "A", "content": "192.0.2.1", "ttl": True}, 6007),
        ({"type": "A", "content": "192.0.2.1", "tags": ["a b"]}, 1004),
        ({"type": "A", "content": "192.0.2.1", "tags": "a"}, 6007),
        ({"type": "A", "content": "192.0.2.1", "settings": {"ipv4_only": "x"}}, 6007),
        ({"type": "A", "content": "192.0.2.1", "comment": "x" * 501}, 1004),
        ({"type": "A", "content": "192.0.2.1", "name": "x" * 300}, 9000),
        ({"type": "A", "content": "192.0.2.1", "name": None}, 6007),
        ({"type": "A", "content": "9" * 20000}, 9007),
        ({"type": "MX", "content": "m.org", "priority": 10**30}, 1004),
        ({"type": "CNAME", "content": "x." + "a" * 300}, 9007),
    ],
)
def test_a_refused_record_leaves_no_trace(desk: ZoneDesk, fields: dict[str, Any], code: int) -> None:
    before = desk.control.audit_count()
    assert desk.refused(**{"name": "x", **fields})[:2] == (400, code)
    assert desk.listed() == []
    assert desk.control.audit_count() == before


@pytest.mark.case(78)
@pytest.mark.parametrize("name", ["a..b", "-a", "x" * 64, ".".join(["x" * 60] * 5), "*.*", "a.*", "*a", "a b", "", "."])
def test_a_bad_name_is_told_with_its_field_and_value(desk: ZoneDesk, name: str) -> None:
    before = desk.control.audit_count()
    status, code, message = desk.refused(type="A", name=name, content="192.0.2.1")
    assert (status, code) == (400, 9000)
    assert "name" in message
    assert not name or name[:20] in message
    assert (desk.listed(), desk.control.audit_count()) == ([], before)


@pytest.mark.case(78)
@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        *(({"type": "A", "content": content}, 9005, "content") for content in ("300.1.1.1", "1.2.3", "01.2.3.4")),
        ({"type": "AAAA", "content": "1.2.3.4"}, 9005, "content"),
        ({"type": "TXT", "content": "x", "proxied": True}, 9004, "proxied"),
        ({"type": "MX", "content": "m.org", "priority": 1, "proxied": True}, 9004, "proxied"),
        ({"type": "NS", "content": "n.org", "proxied": True}, 9004, "proxied"),
        ({"type": "SRV", "data": SRV, "proxied": True}, 9004, "proxied"),
    ],
)
def test_a_bad_value_is_told_with_its_field_and_value(
    desk: ZoneDesk, fields: dict[str, Any], code: int, field: str
) -> None:
    before = desk.control.audit_count()
    status, found, message = desk.refused(name="x", **fields)
    assert (status, found) == (400, code)
    assert field in message
    assert (desk.listed(), desk.control.audit_count()) == ([], before)


@pytest.mark.case(78)
def test_good_names_and_values(desk: ZoneDesk) -> None:
    for name, stored in (("a_b", "a_b."), ("ä", "xn--4ca."), ("@", "")):
        assert desk.post(type="A", name=name, content="192.0.2.1")["name"] == f"{stored}{desk.name}"
    assert desk.post(type="A", name="ten", content="10.0.0.1", proxied=True)["proxied"] is True
    assert desk.post(type="AAAA", name="mapped", content="::ffff:1.2.3.4")["content"] == "::ffff:1.2.3.4"
