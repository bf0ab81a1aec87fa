"""Export and import of a zone as BIND text."""

import threading
import time
from contextlib import suppress
from typing import Any

import httpx
import pytest

from qanat.api.http import forms
from qanat.api.http.forms import parse_form
from qanat.dns import zone_file
from qanat.errors import QanatError
from tests.unit.api.conftest import ZoneDesk
from tests.unit.api.test_records_values import EVERY_TYPE

FILE = """\
$ORIGIN {zone}.
$TTL 3600
@\tIN SOA ns.example.org. host.example.org. ( 1 2 3 ; serial
    4 5 )
@ 86400 IN NS ada.ns.cloudflare.com.
@ IN NS ns.example.org.
www 1 IN A 192.0.2.1 ; the site cf_tags=cf-proxied:true,env:prod
 10 IN AAAA 2001:db8::1
_x 604800 IN TXT ( "a"
   "b" )
mail MX 10 mx
"""


def result(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def why(answer: httpx.Response) -> tuple[int, int, str]:
    error = answer.json()["errors"][0]
    return answer.status_code, error["code"], error["message"]


def test_an_import(desk: ZoneDesk) -> None:
    assert result(desk.upload(FILE.format(zone=desk.name))) == {"recs_added": 5, "total_records_parsed": 5}
    rows = {row["type"]: row for row in desk.listed()}
    assert rows["A"]["name"] == rows["AAAA"]["name"] == f"www.{desk.name}"
    assert (rows["A"]["proxied"], rows["A"]["comment"], rows["A"]["tags"]) == (True, "the site", ["env:prod"])
    assert (rows["AAAA"]["proxied"], rows["AAAA"]["ttl"], rows["TXT"]["ttl"]) == (False, 30, 86400)
    assert (rows["MX"]["content"], rows["MX"]["priority"], rows["MX"]["ttl"]) == (f"mx.{desk.name}", 10, 3600)
    assert rows["TXT"]["content"] == '"a" "b"'
    assert rows["NS"]["content"] == "ns.example.org"
    again = result(desk.upload(FILE.format(zone=desk.name).replace("\n", "\r\n"), proxied="true"))
    assert again == {"recs_added": 0, "total_records_parsed": 5}


def test_proxied_is_for_what_can_be(desk: ZoneDesk) -> None:
    tunnel = desk.control.create_tunnel(f"of {desk.name}")
    text = f"a A 192.0.2.1\nb CNAME x.org.\nt TXT x\nc CNAME {tunnel['id']}.cfargotunnel.com.\n"
    assert result(desk.upload(text, proxied="true"))["recs_added"] == 4
    assert {row["name"].split(".")[0]: row["proxied"] for row in desk.listed()} == {
        "a": True,
        "b": True,
        "t": False,
        "c": True,
    }


def test_a_tunnel_is_proxied_in_any_import(desk: ZoneDesk) -> None:
    tunnel = desk.control.create_tunnel(f"of {desk.name}")
    assert result(desk.upload(f"c CNAME {tunnel['id']}.cfargotunnel.com.\nd A 192.0.2.1\n"))["recs_added"] == 2
    assert {row["type"]: row["proxied"] for row in desk.listed()} == {"CNAME": True, "A": False}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a A 192.0.2.1\nb A 192.0.2\n", 2, ""),
        ("a A 192.0.2.1\n\n; x\na CNAME x.org.\n", 4, "already exist"),
        ("a A 192.0.2.1\nb HINFO x y\n", 2, "HINFO"),
        ('a TXT "x\n', 1, "quote"),
        ("a.other.org. A 192.0.2.1\n", 1, "not in"),
        ("$GENERATE 1-65535 h$ A 192.0.2.1\n", 1, "GENERATE"),
        ("\n$INCLUDE /etc/passwd\n", 2, "INCLUDE"),
        ("a CH A 192.0.2.1\n", 1, "class"),
        ("a A 192.0.2.1 ; " + "x" * 501, 1, "comment"),
        ("a A 192.0.2.1 ; cf_tags=a b:c", 1, "tags"),
        ("a CNAME c1744f8b-faa1-48a4-9e5c-02ac921467fa.cfargotunnel.com.\n", 1, "tunnel"),
        ("((((", 1, "parenthes"),
        ("<html>\n", 1, ""),
        ("a..b A 192.0.2.1\n", 1, "empty"),
    ],
)
def test_a_bad_file_names_the_line_and_leaves_nothing(desk: ZoneDesk, text: str, line: int, reason: str) -> None:
    before = desk.control.audit_count()
    status, code, message = why(desk.upload(text))
    assert (status, code) == (400, 1004)
    assert message.startswith(f"line {line}: ")
    assert reason in message
    assert desk.listed() == []
    assert desk.control.audit_count() == before


def test_bad_uploads(desk: ZoneDesk) -> None:
    path = f"{desk.path}/import"
    http = desk.control.http
    assert why(desk.upload(b"\xff\xfe"))[:2] == (400, 1004)
    assert why(desk.upload("a TXT \x00\n"))[:2] == (400, 1004)
    assert why(http.post(path, json={"file": "x"}))[:2] == (400, 6007)
    assert why(http.post(path))[:2] == (400, 6007)
    assert why(http.post(path, files={"other": "x"}))[:2] == (400, 6007)
    assert why(http.post(path, content=b"x", headers={"content-type": "multipart/form-data"}))[:2] == (400, 6007)
    assert why(desk.upload("a TXT x\n" * 200_000))[:2] == (400, 10413)
    assert result(desk.upload(""))["total_records_parsed"] == 0


def test_the_field_may_come_without_a_file_name(desk: ZoneDesk) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\na A 192.0.2.1\r\nb A 192.0.2.2\r\n--b--\r\n'
    answer = desk.control.http.post(
        f"{desk.path}/import", content=body, headers={"content-type": 'Multipart/Form-Data; boundary="b"'}
    )
    assert result(answer)["recs_added"] == 2


def test_a_form_is_taken_apart_where_no_other_request_waits(desk: ZoneDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def parse(kind: str, body: bytes) -> dict[str, bytes]:
        threads.append(threading.current_thread().name)
        return parse_form(kind, body)

    monkeypatch.setattr(forms, "parse_form", parse)
    assert result(desk.upload("a A 192.0.2.1\n"))["recs_added"] == 1
    assert [name.startswith("AnyIO worker") for name in threads] == [True]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n" * 1000,
        b"".join(
            b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (depth, depth + 1)
            for depth in range(3000)
        ),
    ],
)
def test_bodies_that_are_not_forms(body: bytes) -> None:
    try:
        assert "file" not in parse_form("multipart/form-data; boundary=b", body)
    except QanatError as error:
        assert error.code == "body_malformed"


CUT = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\na A 192.0.2.1\r\nb A 192.0.2.2\r\n'


@pytest.mark.parametrize("end", [b"", b"-", b"--", b"--b", b"--b\r\n", b"--b-"])
def test_a_form_that_was_cut_is_not_a_form(end: bytes) -> None:
    """Half a zone file has good lines too."""
    assert parse_form("multipart/form-data; boundary=b", CUT + b"--b--") == {"file": b"a A 192.0.2.1\r\nb A 192.0.2.2"}
    with pytest.raises(QanatError) as refused:
        parse_form("multipart/form-data; boundary=b", CUT + end)
    assert refused.value.code == "body_malformed"


def test_a_form_has_few_fields() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n'
    twenty = b"".join(part % number for number in range(20))
    assert len(parse_form("multipart/form-data; boundary=b", twenty + b"--b--")) == 20
    with pytest.raises(QanatError):
        parse_form("multipart/form-data; boundary=b", twenty + part % 20 + b"--b--")


def test_a_field_that_is_not_utf8_stays_bytes() -> None:
    body = CUT.replace(b"192.0.2.1", b"\xff\xfe") + b"--b--"
    assert parse_form("multipart/form-data; boundary=b", body)["file"].startswith(b"a A \xff\xfe")


def test_export_and_import_round_trip(desk: ZoneDesk) -> None:
    control = desk.control
    tunnel = control.create_tunnel(f"of {desk.name}")
    for kind, value in EVERY_TYPE.items():
        desk.post(type=kind, name=f"_x.{kind.lower()}", ttl=300, comment=f"{kind} = cf_tags=x\\ \n", **value)
    desk.post(type="CNAME", name="*", content=f"{tunnel['id']}.cfargotunnel.com", proxied=True, tags=["a:b,c", "d"])
    desk.post(type="CNAME", name="@", content="flat.org", settings={"flatten_cname": True, "ipv6_only": True})
    desk.post(type="A", name="a", content="192.0.2.1", comment=" ; x", settings={"ipv4_only": True}, proxied=True)
    for number, content in enumerate(("bare", '"q"', "x" * 600, 'a "b" \\', '"\\000\\255;"', "ä; (")):
        desk.post(type="TXT", name=f"t{number}", content=content)
    desk.post(type="MX", name="null", content=".", priority=0)
    desk.post(type="SRV", name="_s._tcp", content="5\t443\tx.org", priority=7)
    text = desk.export()
    assert f"*.{desk.name}.\t1\tIN\tCNAME\t{tunnel['id']}.cfargotunnel.com. ; cf_tags=cf-proxied:true" in text
    before = desk.listed()
    control.call("DELETE", f"/zones/{desk.id}")
    again = ZoneDesk(control, control.create_zone(desk.name)["id"], desk.name)
    done = result(again.upload(text))
    assert done == {"recs_added": len(before), "total_records_parsed": len(before)}
    assert meanings(again) == meanings(desk_rows=before)
    assert result(again.upload(text))["recs_added"] == 0
    assert again.export() == text
    assert control.http.get(f"{again.path}/export").headers["content-type"] == "text/plain; charset=utf-8"


def meanings(desk: ZoneDesk | None = None, *, desk_rows: list[Any] | None = None) -> list[Any]:
    rows = desk_rows if desk_rows is not None else (desk.listed() if desk else [])
    kept = ("name", "type", "ttl", "proxied", "comment", "tags", "settings")
    return sorted(repr([row[key] for key in kept]) for row in rows)


def nested(depth: int, size: int) -> bytes:
    head = b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(depth))
    return head + b"x\r\n" * ((size - len(head)) // 3) + b"--b0--\r\n"


def test_a_form_takes_time_linear_in_its_size_whatever_is_in_it() -> None:
    """A form of forms: 1 MB took 21 s."""
    bodies = [
        nested(17_000, 1_000_000),
        b"--b0\r\n" * 120_000,
        b"--b0\r\n" + b"a: b\r\n" * 160_000,
        b"--b0\r\n\r\n" + b"\r\n--b" * 160_000,
        b'--b0\r\ncontent-disposition: form-data; name="' + b'"; name="' * 110_000,
        b"--b0\r\ncontent-disposition: " + b"form-data; " * 350 + b"\r\n\r\nx\r\n--b0--",
    ]
    started = time.thread_time()
    for body in bodies:
        with suppress(QanatError):
            assert "file" not in parse_form("multipart/form-data; boundary=b0", body)
    for kind in ("multipart/form-data; boundary=" + "b" * 10_000, "multipart/form-data;" + "boundary*0=b;" * 5_000):
        with suppress(QanatError):
            parse_form(kind, b"--b\r\n\r\n--b--")
    assert time.thread_time() - started < 2.0


def test_a_form_in_a_form_is_bytes() -> None:
    inner = b"--i\r\n\r\nx\r\n--i--"
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n'
        + inner
        + b"\r\n--b--\r\n"
    )
    assert parse_form("multipart/form-data; boundary=b", body) == {"file": inner}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a A 192.0.2.1\n" * 20_001, "more than 20000 records"),
        ("\n" * 200_001, "more than 200000 lines"),
        ('a TXT "' + "x" * 100_000 + '"\n', "longer than 70000 characters"),
        ("$GENERATE 1-100000 a$ A 192.0.2.1\n", "line 1"),
        ("$INCLUDE /etc/passwd\n", "line 1"),
    ],
)
def test_a_zone_file_is_bounded(text: str, reason: str) -> None:
    with pytest.raises(QanatError, match=reason) as refused:
        zone_file.parsed(text, "example.test", proxied=False)
    assert refused.value.code == "zone_file_malformed"


@pytest.mark.parametrize(
    "text",
    [
        "(\n" * 190_000,
        "a TXT (" + "x\n" * 190_000 + ")\n",
        "a TXT (" + '"x" ; c\n' * 120_000 + ")\n",
        "\\" * 65_000 + "\n",
        ("a" + ".a" * 30_000 + " A 192.0.2.1\n") * 10,
        "$ORIGIN a\n" * 100_000,
        "; " + "c" * 60_000 + "\n",
        ("a TXT x ; " + "cf_tags=a," * 6_000 + "\n") * 16,
    ],
)
def test_a_zone_file_made_to_take_long_does_not(text: str) -> None:
    started = time.thread_time()
    with suppress(QanatError):
        zone_file.parsed(text, "example.test", proxied=False)
    assert time.thread_time() - started < 5.0
