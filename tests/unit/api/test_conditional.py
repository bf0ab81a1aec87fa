"""`ETag` and `If-Match`: a change made for another version than the one in force is refused."""

import pytest

from qanat.api.http.conditional import parse_if_match
from qanat.errors import QanatError
from tests.support.control import Control, check_failure

INGRESS = {"ingress": [{"service": "http_status:404"}]}
OTHER = {"ingress": [{"service": "http_status:503"}]}


def _path(control: Control) -> str:
    tunnel = control.create_tunnel()
    return f"{control.tunnels()}/{tunnel['id']}/configurations"


def test_a_configuration_that_was_changed_meanwhile_is_not_overwritten(control: Control) -> None:
    path = _path(control)
    assert control.http.get(path).headers["etag"] == '"0"'
    put = control.http.put(path, json={"config": INGRESS}, headers={"if-match": '"0"'})
    assert put.status_code == 200, put.text
    assert put.headers["etag"] == '"1"'
    assert control.http.get(path).headers["etag"] == '"1"'
    stale = control.http.put(path, json={"config": OTHER}, headers={"if-match": '"0"'})
    check_failure(stale)
    assert stale.status_code == 412
    assert stale.json()["errors"][0]["qanat_code"] == "version_stale"
    assert control.call("GET", path)["version"] == 1
    for header in ('"0", "1"', "*", '"7","1"'):
        assert control.http.put(path, json={"config": INGRESS}, headers={"if-match": header}).status_code == 200


def test_without_the_header_the_last_one_wins_as_stock(control: Control) -> None:
    path = _path(control)
    for version, config in enumerate((INGRESS, OTHER, INGRESS), start=1):
        assert control.call("PUT", path, {"config": config})["version"] == version


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_record_that_was_changed_meanwhile_is_left_alone(control: Control, method: str) -> None:
    zone = control.create_zone()
    fields = {"type": "A", "name": "app.example.test", "content": "192.0.2.1"}
    made = control.http.post(f"/zones/{zone['id']}/dns_records", json=fields)
    path = f"/zones/{zone['id']}/dns_records/{made.json()['result']['id']}"
    first = control.http.get(path).headers["etag"]
    assert made.headers["etag"] == first
    changed = control.http.patch(path, json={"content": "192.0.2.2"}, headers={"if-match": first})
    assert changed.status_code == 200, changed.text
    assert changed.headers["etag"] not in ("", first)
    body = {**fields, "content": "192.0.2.3"} if method != "DELETE" else None
    stale = control.http.request(method, path, json=body, headers={"if-match": first})
    check_failure(stale)
    assert stale.status_code == 412
    assert control.call("GET", path)["content"] == "192.0.2.2"
    current = control.http.request(method, path, json=body, headers={"if-match": changed.headers["etag"]})
    assert current.status_code == 200, current.text


def test_a_tunnel_that_was_renamed_meanwhile_is_left_alone(control: Control) -> None:
    path = f"{control.tunnels()}/{control.create_tunnel()['id']}"
    first = control.http.get(path).headers["etag"]
    renamed = control.http.patch(path, json={"name": "second"}, headers={"if-match": first})
    assert renamed.status_code == 200, renamed.text
    stale = control.http.patch(path, json={"name": "third"}, headers={"if-match": first})
    assert stale.status_code == 412
    assert control.call("GET", path)["name"] == "second"
    assert control.http.get(path).headers["etag"] == renamed.headers["etag"]
    assert control.http.patch(path, json={"name": "third"}).status_code == 200


@pytest.mark.parametrize("header", ["3", '"3', "", '"a" "b"', "**", '"\x00"'])
def test_a_header_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(QanatError) as refused:
        parse_if_match(header)
    assert refused.value.code == "version_malformed"


@pytest.mark.parametrize(
    ("header", "versions"),
    [('"3"', {"3"}), ('"3", "4"', {"3", "4"}), ('W/"3"', set()), (' "a,b" ', {"a,b"}), ('W/"3", "4"', {"4"})],
)
def test_what_a_header_names(header: str, versions: set[str]) -> None:
    expected = parse_if_match(header)
    assert expected is not None
    assert expected.versions == versions


def test_no_header_and_a_star_ask_for_nothing() -> None:
    assert parse_if_match(None) is None
    assert parse_if_match(" * ") is None
