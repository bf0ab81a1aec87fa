"""Whatever is thrown at the API: a refusal in the envelope, nothing stored, and the next request is served."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from qanat.api.http import body as api_body
from qanat.store.models import Audit
from tests.support.control import Control, check_failure, running_control

MIB = 1 << 20
HOSTILE = {
    "sql": "'; DROP TABLE tunnels; --",
    "sql like": "%_\\%' OR 1=1",
    "header": "x\r\nSet-Cookie: a=b\r\n\r\n<html>",
    "markup": "<script>alert(1)</script>",
    "format": "{0.__class__} %s %n ${jndi:ldap://x}",
    "path": "../../etc/passwd",
    "bidi": "a\u202eb\u2066c",
    "zero width": "a\u200bb\ufeff",
    "combining": "e" + "\u0301" * 200,
    "astral": "\U0001f600" * 10,
    "long": "x" * 100_000,
    "blank": " \t ",
    "empty": "",
}


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with running_control(tmp_path_factory.mktemp("bad-input")) as running:
        yield running


@pytest.fixture(scope="module")
def zone(control: Control) -> str:
    return str(control.create_zone("bad-input.test")["id"])


@pytest.fixture(scope="module")
def tunnel(control: Control) -> str:
    return str(control.create_tunnel("bad input")["id"])


def writes(control: Control, zone: str, tunnel: str) -> list[tuple[str, str, dict[str, Any], str]]:
    """Each kind of write, with a body that would be taken but for what a test puts into it, and its other fields."""
    one = f"{control.tunnels()}/{tunnel}"
    record = {"name": "a", "type": "TXT", "content": "b"}
    route = {"type": "dns", "user_hostname": "a"}
    network = {"network": "10.0.0.0/8", "tunnel_id": tunnel}
    return [
        ("POST", "/zones", {"name": "another.test"}, "account type unknown"),
        ("PATCH", f"/zones/{zone}", {"paused": False}, "type"),
        ("POST", control.tunnels(), {"name": "another"}, "tunnel_secret config_src"),
        ("PATCH", one, {"name": "bad input"}, "tunnel_secret"),
        ("PUT", f"{one}/configurations", {"config": {"ingress": [{"service": "http_status:404"}]}}, "source"),
        ("POST", f"/zones/{zone}/dns_records", record, "comment tags ttl proxied settings data priority"),
        ("POST", f"/zones/{zone}/dns_records/batch", {"posts": [record]}, "deletes patches puts"),
        ("PUT", f"/zones/{zone}/tunnels/{tunnel}/routes", route, "overwrite_existing"),
        ("POST", f"/accounts/{control.account}/teamnet/routes", network, "comment virtual_network_id"),
        ("POST", f"/accounts/{control.account}/teamnet/virtual_networks", {"name": "another"}, "comment is_default"),
        ("POST", "/user/tokens", {"name": "another", "policies": []}, "condition expires_on not_before"),
    ]


def raw(control: Control, content: bytes, path: str = "/zones", method: str = "POST") -> httpx.Response:
    return control.http.request(method, path, content=content)


BODIES = {
    "a bare NaN": b'{"name":"a.test","x":NaN}',
    "infinity": b'{"name":"a.test","x":-Infinity}',
    "a number beyond floats": b'{"name":"a.test","x":1e999}',
    "a whole number beyond floats, with a point": b'{"name":"a.test","x":' + b"9" * 400 + b".0}",
    "a number of ten thousand digits": b'{"name":"a.test","x":' + b"9" * 10_000 + b"}",
    "an escaped NUL": b'{"name":"a.test","x":"\\u0000"}',
    "a NUL in a key": b'{"name":"a.test","\\u0000":1}',
    "a raw NUL": b'{"name":"a.test","x":"\x00"}',
    "half a surrogate pair": b'{"name":"a.test","x":"\\ud800"}',
    "half a surrogate pair in bytes": b'{"name":"a.test","x":"\xed\xa0\x80"}',
    "an overlong form": b'{"name":"a.test","x":"\xc0\x80"}',
    "UTF-16": '{"name":"a.test"}'.encode("utf-16"),
    "UTF-32 without its mark": '{"name":"a.test"}'.encode("utf-32-le"),
    "NaN behind a byte order mark": b'\xef\xbb\xbf{"name":"a.test","x":NaN}',
    "lists in lists": b'{"name":"a.test","x":' + b"[" * 500 + b"]" * 500 + b"}",
    "objects in objects": b'{"name":"a.test","x":' + b'{"x":' * 900 + b"1" + b"}" * 900 + b"}",
    "a depth bomb": b"[" * 1_000_000,
    "two documents": b'{"name":"a.test"}{"name":"b.test"}',
    "a trailing comma": b'{"name":"a.test",}',
    "a comment": b'{"name":"a.test"/**/}',
    "single quotes": b"{'name':'a.test'}",
    "a form": b"name=a.test",
    "XML": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY x "x">]><name>&x;</name>',
    "ten MB": b'{"name":"' + b"a" * (10 * MIB) + b'"}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_sound_json_is_refused_and_nothing_is_stored(control: Control, name: str) -> None:
    before = state(control)
    answer = raw(control, BODIES[name])
    check_failure(answer)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] in (6007, 10413)
    assert state(control) == before


def test_of_a_key_that_is_there_twice_the_last_counts(control: Control) -> None:
    made = raw(control, b'{"name":"first.test","name":"last.test"}')
    assert made.json()["result"]["name"] == "last.test"
    control.call("DELETE", f"/zones/{made.json()['result']['id']}")


def test_unknown_fields_are_ignored_however_large(control: Control) -> None:
    made = control.call("POST", "/zones", {"name": "fields.test", "unknown": "x" * 900_000, "deep": [[[[{"a": [1]}]]]]})
    control.call("DELETE", f"/zones/{made['id']}")


@pytest.mark.parametrize("value", [None, True, 5, 1.5, "x", [], {}, [None], {"a": 1}, 10**40, -1, [[]], "1"], ids=repr)
def test_no_type_of_value_makes_a_server_error(control: Control, zone: str, tunnel: str, value: object) -> None:
    for method, path, sound, more in writes(control, zone, tunnel):
        for field in (*sound, *more.split()):
            answer = control.http.request(method, path, json={**sound, field: value})
            assert answer.status_code < 500, (method, path, field, answer.text)
            if answer.status_code != 200:
                check_failure(answer)
        answer = control.http.request(method, path, json=value)
        assert answer.status_code < 500, (method, path, answer.text)
    clean(control)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_refused_or_come_back_as_they_were(
    control: Control, zone: str, tunnel: str, name: str
) -> None:
    text = HOSTILE[name]
    for method, path, sound, more in writes(control, zone, tunnel):
        for field in (*sound, *more.split()):
            answer = control.http.request(method, path, json={**sound, field: text})
            assert answer.status_code < 500, (method, path, field, answer.text)
            assert "set-cookie" not in answer.headers
            if answer.status_code != 200:
                check_failure(answer)
    made = control.http.post(f"/zones/{zone}/dns_records", json={"name": "h", "type": "TXT", "content": text})
    if made.status_code == 200:
        found = control.call("GET", f"/zones/{zone}/dns_records/{made.json()['result']['id']}")
        assert found["content"] == text
    clean(control)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_in_queries_find_nothing_and_break_nothing(
    control: Control, zone: str, tunnel: str, name: str
) -> None:
    text = HOSTILE[name][:4000]
    filters = {
        control.tunnels(): ("name", "uuid", "status", "existed_at", "include_prefix", "is_deleted", "per_page", "page"),
        "/zones": ("name", "status", "account.id", "account.name", "order", "direction", "match", "type"),
        f"/zones/{zone}/dns_records": (
            "name",
            "content",
            "comment",
            "search",
            "type",
            "order",
            "tag",
            "proxied",
            "page",
        ),
        "/accounts": ("name", "direction"),
    }
    for path, names in filters.items():
        for each in names:
            answer = control.http.get(path, params={each: text})
            assert answer.status_code < 500, (path, each, answer.text)


@pytest.mark.parametrize(
    "part", ["%00", "%ff", "%ed%a0%80", "%2e%2e", "%0d%0a", "a" * 8000, "%E2%80%AE", "'", "{}", "*"]
)
def test_hostile_ids_in_paths_are_unknown(control: Control, zone: str, part: str) -> None:
    for path in (
        f"/zones/{part}",
        f"/zones/{zone}/dns_records/{part}",
        f"/accounts/{part}",
        f"/accounts/{part}/cfd_tunnel",
        f"{control.tunnels()}/{part}",
        f"{control.tunnels()}/{part}/configurations",
        f"/qanat/tunnels/{part}",
        f"/qanat/requests/{part}",
        f"/{part}",
    ):
        answer = control.http.get(path)
        check_failure(answer)
        assert answer.status_code in (400, 404), path


def test_headers_with_anything_in_them_are_no_credentials(control: Control) -> None:
    for value in (
        b"Bearer \xff\xfe",
        b"Bearer " + b"a" * 60_000,
        b"bearer",
        b"Bearer a b",
        b"\xe2\x80\xae",
        b"Bearer ' OR 1",
    ):
        answer = httpx.get(f"{control.url}/zones", headers={b"authorization": value}, verify=False)
        assert answer.status_code in (400, 403, 429, 431), answer.text
    control.call("GET", "/zones")


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(control: Control) -> None:
    with connected(control) as peer:
        head = f"POST /client/v4/zones HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {control.token}\r\n"
        peer.sendall(f"{head}Content-Length: {10 * MIB}\r\n\r\n".encode())
        answer = received(peer, until=b"}")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"code":10413' in answer


def received(peer: socket.socket, *, until: bytes) -> bytes:
    """What comes until these bytes or the end: head and body may come apart."""
    answer = b""
    while until not in answer and (more := peer.recv(65536)):
        answer += more
    return answer


def test_a_body_that_never_comes_ends_in_a_refusal_and_holds_nobody_up(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_body, "BODY_TIMEOUT_S", 1.0)
    monkeypatch.setattr(api_body, "SLOWEST_BYTES_PER_S", MIB * 1000)
    slow = [connected(control) for _ in range(50)]
    try:
        head = f"POST /client/v4/zones HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {control.token}\r\n"
        for peer in slow:
            peer.sendall(f'{head}Content-Length: 100\r\n\r\n{{"name":'.encode())
        control.call("GET", "/zones")
        for peer in slow:
            peer.settimeout(30.0)
            assert b'"code":10408' in received(peer, until=b"}")
    finally:
        for peer in slow:
            peer.close()


def test_a_client_that_leaves_in_the_middle_is_nobodys_trouble(control: Control) -> None:
    for _ in range(20):
        with connected(control) as peer:
            head = f"POST /client/v4/zones HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {control.token}\r\n"
            peer.sendall(f'{head}Content-Length: 100\r\n\r\n{{"name":"left.test'.encode())
    control.call("GET", "/zones")
    assert control.call("GET", "/zones", name="left.test") == []


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PURGE", "PUT", "PATCH", "DELETE", "POST"])
def test_a_method_that_a_route_does_not_have(control: Control, tunnel: str, method: str) -> None:
    for path in ("/qanat/status", f"{control.tunnels()}/{tunnel}/token"):
        answer = control.http.request(method, path, headers={"origin": "https://evil.test"})
        assert answer.status_code == 405
        assert answer.headers["content-type"] == "application/json"
        assert not [name for name in answer.headers if name.startswith("access-control")]
        if method != "HEAD":
            check_failure(answer)


def test_one_slash_at_the_end_is_no_redirect_and_others_are_no_endpoint(control: Control) -> None:
    for path in ("/zones/", f"{control.tunnels()}/", "/user/"):
        assert control.http.get(path, follow_redirects=False).status_code == 200
    for path in ("//zones", "/zones//", "/user//"):
        answer = control.http.get(path, follow_redirects=False)
        check_failure(answer)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, 7000)


def test_what_qanat_does_not_have_says_so_and_is_counted(control: Control) -> None:
    path = f"/accounts/{control.account}/workers/scripts"
    answer = control.http.get(path)
    check_failure(answer)
    error = answer.json()["errors"][0]
    assert (answer.status_code, error["code"], error["qanat_code"]) == (404, 7000, "endpoint_unknown")
    assert "qanat does not have" in error["message"]
    counted = control.call("GET", "/qanat/status")["unknown_endpoints"]
    assert counted["GET /client/v4/accounts/{id}/workers/scripts"] == 1


def test_a_repeated_create_is_a_conflict_and_makes_no_second_one(control: Control) -> None:
    zone = control.create_zone("replay.test")
    record = {"name": "r", "type": "A", "content": "192.0.2.1"}
    control.create_record(zone["id"], **record)
    control.create_tunnel("replay")
    again: list[tuple[str, Any, tuple[int, int]]] = [
        ("/zones", {"name": "replay.test"}, (400, 1061)),
        (f"/zones/{zone['id']}/dns_records", record, (400, 81058)),
        (f"/zones/{zone['id']}/dns_records", {**record, "ttl": 600}, (400, 81057)),
        (control.tunnels(), {"name": "replay"}, (409, 1013)),
    ]
    before = state(control)
    for path, body, expected in again:
        assert control.refused("POST", path, body)[:2] == expected
    assert state(control) == before


def test_of_many_creates_of_one_name_at_once_one_wins(control: Control) -> None:
    zone = control.create_zone("race.test")
    barrier = threading.Barrier(8)

    def create(path: str, body: object) -> int:
        with httpx.Client(
            base_url=control.url, headers=control.http.headers, trust_env=False, timeout=60, verify=False
        ) as client:
            client.get("/user/tokens/verify")
            barrier.wait()
            answer = client.post(path, json=body)
            if answer.status_code != 200:
                check_failure(answer)
            return answer.status_code

    for path, body, refused in (
        (control.tunnels(), {"name": "race"}, 409),
        ("/zones", {"name": "race-zone.test"}, 400),
        (f"/zones/{zone['id']}/dns_records", {"name": "x", "type": "CNAME", "content": "a.test"}, 400),
        (f"/zones/{zone['id']}/dns_records", {"name": "y", "type": "A", "content": "192.0.2.1"}, 400),
    ):
        with ThreadPoolExecutor(8) as pool:
            codes = sorted(pool.map(lambda _, path=path, body=body: create(path, body), range(8)))
        assert codes == [200] + [refused] * 7, path


def connected(control: Control) -> socket.socket:
    host, _, port = control.url.removeprefix("http://").partition("/")[0].partition(":")
    return socket.create_connection((host, int(port)), 10.0)


def state(control: Control) -> str:
    """All that a refused write may not change: objects, audit rows and notices."""
    listed = [control.call("GET", path) for path in ("/zones", control.tunnels())]
    return json.dumps([listed, len(control.notices), audit_rows(control)])


def audit_rows(control: Control) -> int:
    with control.store.reading() as session:
        return session.scalar(select(func.count()).select_from(Audit)) or 0


def clean(control: Control) -> None:
    """Names that an odd body may have taken are free again."""
    for each in control.call("GET", "/zones"):
        if each["name"] == "another.test":
            control.call("DELETE", f"/zones/{each['id']}")
    for each in control.call("GET", control.tunnels(), is_deleted="false"):
        if each["name"] != "bad input":
            control.call("DELETE", f"{control.tunnels()}/{each['id']}")
