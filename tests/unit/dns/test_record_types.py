from base64 import b64decode
from typing import Any

import pytest

from qanat.dns.forms import OWN_SUFFIX, TUNNEL_SUFFIX, RecordDraft, RecordForm, check_record, record_name
from qanat.dns.record_types import RECORD_TYPES
from qanat.dns.record_types.text import carried, strings, txt_value
from qanat.errors import QanatError

ZONE = "example.test"
TUNNEL = "c1744f8b-faa1-48a4-9e5c-02ac921467fa"
SHA256 = "ab" * 32
KEY = "mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ=="
LOCATION = {
    "lat_degrees": 52,
    "lat_minutes": 22,
    "lat_seconds": 23.5,
    "lat_direction": "N",
    "long_degrees": 4,
    "long_minutes": 53,
    "long_seconds": 32,
    "long_direction": "E",
    "altitude": -2,
    "size": 0,
    "precision_horz": 10000,
    "precision_vert": 10,
}
DATA: list[tuple[str, dict[str, Any], str]] = [
    ("SRV", {"priority": 10, "weight": 5, "port": 5060, "target": "S.example.com"}, "10 5 5060 S.example.com"),
    ("SRV", {"priority": 0, "weight": 0, "port": 0, "target": "."}, "0 0 0 ."),
    ("CAA", {"flags": 0, "tag": "issue", "value": "ca.example"}, '0 issue "ca.example"'),
    ("CAA", {"flags": "128", "tag": "issuewild", "value": ";"}, '128 issuewild ";"'),
    ("CAA", {"flags": 0, "tag": "iodef", "value": 'mailto:"a"@x'}, '0 iodef "mailto:\\"a\\"@x"'),
    ("DS", {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": SHA256}, f"1 13 2 {SHA256}"),
    ("DNSKEY", {"flags": 257, "protocol": 3, "algorithm": 13, "public_key": KEY}, f"257 3 13 {KEY}"),
    ("TLSA", {"usage": 3, "selector": 1, "matching_type": 1, "certificate": SHA256}, f"3 1 1 {SHA256}"),
    ("SMIMEA", {"usage": 3, "selector": 0, "matching_type": 0, "certificate": "0a"}, "3 0 0 0a"),
    ("SSHFP", {"algorithm": 4, "type": 2, "fingerprint": SHA256}, f"4 2 {SHA256}"),
    ("LOC", LOCATION, "52 22 23.500 N 4 53 32.000 E -2.00 0.00 10000.00 10.00"),
    (
        "NAPTR",
        {
            "order": 100,
            "preference": 10,
            "flags": "U",
            "service": "SIP+D2U",
            "regex": "!^.*$!sip:\\1@x!",
            "replacement": ".",
        },
        '100 10 "U" "SIP+D2U" "!^.*$!sip:\\\\1@x!" .',
    ),
    ("CERT", {"type": 9, "key_tag": 0, "algorithm": 0, "certificate": "AAAA"}, "9 0 0 AAAA"),
    ("HTTPS", {"priority": 1, "target": ".", "value": ' alpn="h3,h2"'}, '1 . alpn="h3,h2"'),
    ("SVCB", {"priority": 0, "target": "svc.example.com.", "value": ""}, "0 svc.example.com."),
]
CONTENT: list[tuple[str, str, int | None, dict[str, Any]]] = [
    ("SRV", "10 5 5060 s.example.com", None, {"priority": 10, "weight": 5, "port": 5060, "target": "s.example.com"}),
    ("SRV", "5\t5060\ts.example.com", 7, {"priority": 7, "weight": 5, "port": 5060, "target": "s.example.com"}),
    ("CAA", "0 issue ca.example", None, {"flags": 0, "tag": "issue", "value": "ca.example"}),
    ("URI", '1 "https://x/ä"', 10, {"weight": 1, "target": "https://x/ä"}),
    ("URI", '10 1 "https://x/"', None, {"weight": 1, "target": "https://x/"}),
    ("DS", f"1 13 2 {SHA256}", None, {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": SHA256.lower()}),
    ("LOC", "52 22 23.500 N 4 53 32.000 E -2.00m 0.00m 10000m 10m", None, LOCATION),
    ("SSHFP", f"4 2 {SHA256}", None, {"algorithm": 4, "type": 2, "fingerprint": SHA256.lower()}),
    ("HTTPS", "1 . alpn=h2 port=443", None, {"priority": 1, "target": ".", "value": 'alpn="h2" port="443"'}),
    ("CERT", "PKIX 1 8 AAAA", None, {"type": 1, "key_tag": 1, "algorithm": 8, "certificate": "AAAA"}),
]


def checked(kind: str, content: str | None = None, name: str = "x", **more: Any) -> RecordForm:
    return check_record(RecordDraft(name=name, type=kind, content=content, **more), ZONE)


def why(kind: str, content: str | None = None, **more: Any) -> tuple[str, str | None]:
    with pytest.raises(QanatError) as refused:
        checked(kind, content, **more)
    return refused.value.code, refused.value.where


def served(form: RecordForm) -> str:
    return RECORD_TYPES[form.type].rdata(form.content, form.priority).to_text()


def test_all_types_of_the_reference_are_there() -> None:
    wanted = "A AAAA CNAME TXT MX NS PTR SRV CAA DS DNSKEY TLSA SMIMEA SSHFP LOC NAPTR URI CERT HTTPS SVCB"
    assert set(RECORD_TYPES) == set(wanted.split())


@pytest.mark.case(10)
@pytest.mark.parametrize(("kind", "data", "content"), DATA)
def test_data_round_trips_and_content_is_derived(kind: str, data: dict[str, Any], content: str) -> None:
    form = checked(kind, data=data)
    assert (form.data, form.content, form.written_as, form.priority) == (data, content, "data", None)
    again = checked(kind, form.content)
    assert (again.content_key, again.content, again.data) == (form.content_key, form.content, None)


@pytest.mark.parametrize(("kind", "content", "priority", "data"), CONTENT)
def test_content_and_data_are_two_ways_to_write_the_same(
    kind: str, content: str, priority: int | None, data: dict[str, Any]
) -> None:
    form = checked(kind, content, priority=priority)
    assert (form.data, form.written_as) == (None, "content")
    assert RECORD_TYPES[kind].parts(form.content, form.priority) == data
    other = checked(kind, data=data, priority=form.priority or priority)
    assert other.content_key == form.content_key
    if kind != "HTTPS":  # whose parameters stay as written
        assert other.content == form.content


@pytest.mark.parametrize(
    ("kind", "written", "answered"),
    [
        (
            "SRV",
            {"data": {"priority": 10, "weight": 5, "port": 5060, "target": "S.example.com."}},
            "5 5060 S.example.com",
        ),
        (
            "SRV",
            {"data": {"weight": 5, "port": 5060, "target": "s.example.com"}, "priority": 3},
            "5 5060 s.example.com",
        ),
        ("SRV", {"content": "10 5\t5060 s.example.com."}, "5 5060 s.example.com"),
        ("SRV", {"content": "5 5060 s.example.com", "priority": 7}, "5 5060 s.example.com"),
        ("SRV", {"data": {"priority": 0, "weight": 0, "port": 0, "target": "."}}, "0 0 ."),
        ("URI", {"data": {"weight": 1, "target": "https://x/"}, "priority": 10}, '1 "https://x/"'),
        ("URI", {"content": '10 1 "https://x/"'}, '1 "https://x/"'),
        ("URI", {"content": '1 "https://x/"', "priority": 10}, '1 "https://x/"'),
        ("HTTPS", {"content": "1  svc.example.com alpn=h2"}, "1 svc.example.com. alpn=h2"),
        (
            "HTTPS",
            {"data": {"priority": 1, "target": "svc.example.com", "value": "alpn=h2"}},
            "1 svc.example.com. alpn=h2",
        ),
        ("SVCB", {"content": "0 Svc.example.com"}, "0 Svc.example.com."),
        ("NAPTR", {"content": '1 2 S SIP+D2U "" x.org'}, '1 2 "S" "SIP+D2U" "" x.org.'),
        ("DS", {"content": f"1 ECDSAP256SHA256 2 {SHA256.upper()}"}, f"1 13 2 {SHA256}"),
        ("TLSA", {"content": f"3 1 1 {SHA256[:32].upper()} {SHA256[32:]}"}, f"3 1 1 {SHA256}"),
        ("SSHFP", {"data": {"algorithm": 4, "type": 2, "fingerprint": SHA256.upper()}}, f"4 2 {SHA256}"),
        ("CERT", {"data": {"type": "PKIX", "key_tag": 1, "algorithm": 8, "certificate": "AAAA"}}, "1 1 8 AAAA"),
        (
            "LOC",
            {"content": "52 22 23.5 N 4 53 32 E -2m 0m 10000m 10m"},
            "52 22 23.500 N 4 53 32.000 E -2.00 0.00 10000.00 10.00",
        ),
        ("AAAA", {"content": "2001:DB8:0::0001"}, "2001:db8::1"),
        ("AAAA", {"content": "::FFFF:1.2.3.4"}, "::ffff:1.2.3.4"),
    ],
)
def test_one_form_is_answered_whichever_way_it_was_written(kind: str, written: dict[str, Any], answered: str) -> None:
    form = checked(kind, **written)
    assert RECORD_TYPES[kind].answered(form.content) == answered
    name = (form.data or {}).get("target")
    if kind == "SRV" and name != "." and name is not None:
        assert not str(name).endswith(".")
    if kind in ("HTTPS", "SVCB") and name is not None:
        assert str(name).endswith(".")


@pytest.mark.parametrize("kind", ["HTTPS", "SVCB"])
@pytest.mark.parametrize("ech", ["AEX+DQBBpQAgACB/UKL0HiW=", "YQ==", "AEX+DQBB"])
def test_ech_is_any_base64(kind: str, ech: str) -> None:
    """Stock takes what is no list of ECH configurations too; it is served byte by byte."""
    form = checked(kind, data={"priority": 1, "target": ".", "value": f'ech="{ech}" alpn="h2"'})
    assert form.content == f'1 . ech="{ech}" alpn="h2"'
    rdata: Any = RECORD_TYPES[kind].rdata(form.content, None)
    assert rdata.params[5].ech == b64decode(ech)
    assert why(kind, data={"priority": 1, "target": ".", "value": 'ech="no base64"'}) == ("record_bad_content", "data")


@pytest.mark.trap(11)
def test_srv_keeps_its_keys_and_answers_a_priority_only_where_it_was_sent() -> None:
    data = {"service": "_sip", "proto": "_tcp", "name": "x", "weight": 5, "port": 5060, "target": "s.example.com"}
    old = checked("SRV", name="", data={**data, "priority": 1.0, "unknown": 1, "port": None} | {"port": 5060.0})
    assert old.data == {**data, "priority": 1, "port": 5060}
    assert list(map(type, (old.data or {}).values())).count(float) == 0
    assert old.name == "_sip._tcp.x.example.test"
    assert old.priority is None
    top = checked("SRV", name="_sip._tcp", data=data, priority=3)
    assert (top.content, top.priority, "priority" in (top.data or {})) == ("3 5 5060 s.example.com", 3, False)


@pytest.mark.trap(24)
def test_whole_floats_become_integers() -> None:
    data = checked("CAA", data={"flags": 0.0, "tag": "issue", "value": "x"}).data or {}
    assert repr(data["flags"]) == "0"


def test_mx() -> None:
    form = checked("MX", "Mail.Example.com.", priority=10)
    assert (form.content, form.content_key, form.priority) == ("Mail.Example.com", "10 mail.example.com", 10)
    assert checked("MX", ".", priority=0).content == "."
    assert why("MX", "mail.example.com") == ("record_bad_priority", "priority")
    assert why("MX", "mail.example.com", priority=65536) == ("record_bad_priority", "priority")
    assert why("MX", "10 mail.example.com", priority=1) == ("record_bad_content", "content")
    assert served(form) == "10 mail.example.com."


def test_uri_needs_a_priority_beside_its_data() -> None:
    form = checked("URI", data={"weight": 1, "target": "https://x/"}, priority=10)
    assert (form.content, form.priority) == ('10 1 "https://x/"', 10)
    assert why("URI", data={"weight": 1, "target": "https://x/"}) == ("record_bad_priority", "priority")
    assert why("URI", '10 1 "https://x/"', priority=11) == ("record_bad_priority", "priority")


@pytest.mark.parametrize("kind", ["A", "AAAA", "TXT", "CNAME"])
def test_priority_zero_of_external_dns_is_taken_and_not_answered(kind: str) -> None:
    content = {"A": "192.0.2.1", "AAAA": "::1", "TXT": "x", "CNAME": "y.example.com"}[kind]
    assert checked(kind, content, priority=0).priority is None


def test_addresses_have_one_form() -> None:
    form = checked("AAAA", "2001:DB8:0::1")
    assert (form.content, form.content_key, served(form)) == ("2001:db8::1", "2001:db8::1", "2001:db8::1")
    for bad in ("fe80::1%eth0", "192.0.2.1", "::1 ", "[::1]"):
        assert why("AAAA", bad) == ("record_bad_address", "content")
    assert why("AAAA", "") == ("record_bad_content", "content")
    for bad in ("192.0.2", "192.0.2.01", "1.2.3.4\n", "::1"):
        assert why("A", bad) == ("record_bad_address", "content")


@pytest.mark.trap(13)
def test_a_targets_case_stays_and_its_dot_goes() -> None:
    for kind in ("CNAME", "NS", "PTR"):
        form = checked(kind, "Host.Example.COM.")
        assert (form.content, form.content_key) == ("Host.Example.COM", "host.example.com")
        assert served(form) == "host.example.com."
    assert checked("CNAME", "bücher.example").content_key == "xn--bcher-kva.example"
    for bad in ("", ".", "a b", "a..b", "*.example.com", "https://x", "-a.com", "x" * 64 + ".com"):
        assert why("CNAME", bad) == ("record_bad_content", "content")


@pytest.mark.case(11)
@pytest.mark.parametrize(
    ("content", "value", "wire"),
    [
        ("hello", "hello", [b"hello"]),
        ('"hello"', "hello", [b"hello"]),
        ("x" * 300, "x" * 300, [b"x" * 255, b"x" * 45]),
        (f'"{"x" * 300}"', "x" * 300, [b"x" * 255, b"x" * 45]),
        ('"a" "b"', "ab", [b"a", b"b"]),
        ('"a\\"b;c"', 'a"b;c', [b'a"b;c']),
        ('a\\"b;c', 'a\\"b;c', [b'a\\"b;c']),
        ('"\\195\\164"', "ä", ["ä".encode()]),
        ("ä", "ä", ["ä".encode()]),
        ('""', "", [b""]),
        ('"\\000"', "\\# 1 00", [b"\x00"]),
        ('"\\255"', "\\# 1 ff", [b"\xff"]),
        ('say "hi"', 'say "hi"', [b'say "hi"']),
    ],
)
def test_txt_is_kept_as_written_and_compared_as_decoded(content: str, value: str, wire: list[bytes]) -> None:
    form = checked("TXT", content)
    assert (form.content, form.content_key, strings(content)) == (content, value, wire)
    assert b"".join(wire) == carried(content)
    assert txt_value(content) == value
    rdata: Any = RECORD_TYPES["TXT"].rdata(content, None)
    assert list(rdata.strings) == wire


def test_bad_txt() -> None:
    for bad in ("", "x" * 4097, '"\\256"', "a\x00b"):
        assert why("TXT", bad) == ("record_bad_content", "content")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("SRV", "1 2 3"),
        ("SRV", "1 2 3 a b"),
        ("SRV", "1 2 70000 a"),
        ("SRV", "1 2 3 a\n4 5 6 b"),
        ("SRV", "\\# 1 00"),
        ("CAA", "0 issue ca.example;x"),
        ("CAA", '256 issue "x"'),
        ("DS", "1 13 2 abcd"),
        ("DNSKEY", "257 3 13 ???"),
        ("TLSA", "3 1 1 xyz"),
        ("SSHFP", "4 2 0"),
        ("LOC", "91 0 0 N 4 53 32 E 0m"),
        ("NAPTR", '100 10 "S" "x" ""'),
        ("URI", "10 x y"),
        ("CERT", "PKIX 0 8"),
        ("HTTPS", "1 . alpn"),
        ("SVCB", "x . "),
        ("HTTPS", "1 . " + "key65400=a " * 2000),
    ],
)
def test_bad_contents(kind: str, content: str) -> None:
    assert why(kind, content) == ("record_bad_content", "content")


@pytest.mark.parametrize(
    ("kind", "data", "where"),
    [
        ("SRV", {"priority": 1, "weight": 1, "target": "x"}, "data.port"),
        ("SRV", {"priority": True, "weight": 1, "port": 1, "target": "x"}, "data.priority"),
        ("SRV", {"priority": 1.5, "weight": 1, "port": 1, "target": "x"}, "data.priority"),
        ("SRV", {"priority": -1, "weight": 1, "port": 1, "target": "x"}, "data.priority"),
        ("SRV", {"priority": 10**400, "weight": 1, "port": 1, "target": "x"}, "data.priority"),
        ("SRV", {"priority": 1, "weight": 1, "port": 1, "target": "a b"}, "data.target"),
        ("SRV", {"priority": 1, "weight": 1, "port": 1, "target": ["x"]}, "data.target"),
        ("CAA", {"flags": 256, "tag": "issue", "value": "x"}, "data.flags"),
        ("CAA", {"flags": 0, "tag": "is sue", "value": "x"}, "data.tag"),
        ("DS", {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": "xy"}, "data.digest"),
        ("DNSKEY", {"flags": 257, "protocol": 3, "algorithm": 13, "public_key": "?"}, "data.public_key"),
        ("LOC", {**LOCATION, "lat_degrees": 91}, "data.lat_degrees"),
        ("LOC", {**LOCATION, "altitude": float("nan")}, "data.altitude"),
        ("LOC", {**LOCATION, "altitude": 10**400}, "data.altitude"),
        ("LOC", {**LOCATION, "lat_direction": "E"}, "data.lat_direction"),
        ("LOC", {"altitude": 1}, "data.lat_degrees"),
        ("HTTPS", {"priority": 1, "target": ".", "value": "alpn=h2 ; x"}, "data"),
        ("HTTPS", {"priority": 1, "target": ".", "value": "a\nb"}, "data"),
        ("CAA", {"flags": 0, "tag": "issue", "value": "x" * 20000}, "data.value"),
    ],
)
def test_bad_data_names_its_key(kind: str, data: dict[str, Any], where: str) -> None:
    assert why(kind, data=data) == ("record_bad_content", where)


def test_data_wins_over_content_and_an_empty_one_does_not() -> None:
    data = {"flags": 0, "tag": "issue", "value": "new.example"}
    assert checked("CAA", '0 issue "old.example"', data=data).content == '0 issue "new.example"'
    assert checked("CAA", '0 issue "old.example"', data={}).content == '0 issue "old.example"'
    assert checked("A", "192.0.2.1", data=data).data is None


def test_equal_values_have_one_key() -> None:
    keys = {
        checked("HTTPS", content).content_key
        for content in ('1 Svc.Example.com. alpn="h2"', "1 svc.example.com alpn=h2", "1  svc.example.com.  alpn=h2")
    }
    assert len(keys) == 1
    assert (
        checked("DS", f"1 13 2 {SHA256}").content_key
        == checked("DS", f"1 ECDSAP256SHA256 2 {SHA256.lower()}").content_key
    )


@pytest.mark.parametrize(
    ("name", "zone", "expected"),
    [
        ("4", "2.0.192.in-addr.arpa", "4.2.0.192.in-addr.arpa"),
        ("4", ZONE, "4.example.test"),
        ("1.2.3.4", ZONE, "1.2.3.4.example.test"),
        ("*", ZONE, "*.example.test"),
        ("@.", ZONE, ZONE),
        ("EXAMPLE.test.", ZONE, ZONE),
    ],
)
def test_names(name: str, zone: str, expected: str) -> None:
    assert record_name(name, zone) == expected


@pytest.mark.parametrize(
    "name", ["", " ", ".", "a..", "a..b", "x.other.org.", "a.*", "*a", "a b", "x" * 64, "a/b", "a.\u0000"]
)
def test_bad_names(name: str) -> None:
    with pytest.raises(QanatError) as refused:
        record_name(name, ZONE)
    assert (refused.value.code, refused.value.where) == ("record_bad_name", "name")


def test_tunnel_targets() -> None:
    for suffix in (TUNNEL_SUFFIX, OWN_SUFFIX):
        form = checked("CNAME", f"{TUNNEL.upper()}{suffix}.", proxied=True)
        assert (form.tunnel_id, form.content_key, form.content) == (
            TUNNEL,
            TUNNEL + TUNNEL_SUFFIX,
            f"{TUNNEL.upper()}{suffix}",
        )
        assert why("CNAME", f"nonsense{suffix}", proxied=True) == ("record_bad_content", "content")
    assert checked("CNAME", "cfargotunnel.com", proxied=True).tunnel_id is None
    assert checked("TXT", f"{TUNNEL}{TUNNEL_SUFFIX}").tunnel_id is None


@pytest.mark.case(68)
def test_a_tunnel_behind_an_unproxied_cname_is_refused() -> None:
    assert why("CNAME", f"{TUNNEL}{TUNNEL_SUFFIX}") == ("record_tunnel_unproxied", "proxied")


@pytest.mark.case(68)
def test_a_cname_to_itself_is_refused() -> None:
    assert why("CNAME", "X.Example.test.") == ("record_cname_self", "content")


def test_tags_comments_and_settings() -> None:
    form = checked("A", "192.0.2.1", tags=("tf-applied", "env:prod", "note:a b, c"), comment="", settings={"x": 1})
    assert (form.tags, form.comment, form.settings) == (["tf-applied", "env:prod", "note:a b, c"], "", {})
    assert checked("A", "192.0.2.1", settings={"ipv4_only": True, "ipv6_only": None}).settings == {"ipv4_only": True}
    assert checked("CNAME", "y.org", settings={"ipv4_only": True}).settings == {
        "flatten_cname": False,
        "ipv4_only": True,
        "ipv6_only": False,
    }
    for bad in ("", ":x", "a b:c", "x" * 33, "a:" + "x" * 101, "a:\n"):
        assert why("A", "192.0.2.1", tags=("ok", bad)) == ("record_bad_tag", "tags[1]")
    assert why("A", "192.0.2.1", tags=("a",) * 21) == ("record_bad_tag", "tags")
    assert why("A", "192.0.2.1", comment="x" * 501) == ("record_bad_comment", "comment")


@pytest.mark.case(67)
def test_ttl() -> None:
    assert checked("A", "192.0.2.1", ttl=300, proxied=True).ttl == 1
    for good in (1, 30, 59, 86400):
        assert checked("A", "192.0.2.1", ttl=good).ttl == good
    for bad in (0, 2, 29, 86401, -1):
        assert why("A", "192.0.2.1", ttl=bad) == ("record_bad_ttl", "ttl")


@pytest.mark.parametrize("kind", sorted(set(RECORD_TYPES) - {"A", "AAAA", "CNAME"}))
def test_only_hosts_are_proxied(kind: str) -> None:
    assert why(kind, "x", proxied=True) == ("record_not_proxiable", "proxied")
    assert why("SPF", "x") == ("record_bad_type", "type")
