"""Zones and their records at the dashboard: what is shown, and what a form may do."""

import re
from html import unescape
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import event

from tests.support.control import Control
from tests.support.dashboard import Visitor, limited, shown
from tests.unit.dashboard.test_overview import connected

NAMES = iter(range(1000))


@pytest.fixture
def zone(control: Control) -> Any:
    """One of the test's own."""
    return control.create_zone(f"z{next(NAMES)}.test")


def record(control: Control, zone: Any, name: str = "a", **fields: Any) -> Any:
    return control.create_record(zone["id"], **{"name": name, "type": "A", "content": "192.0.2.1", **fields})


def routed(control: Control, zone: Any, name: str) -> tuple[Any, Any]:
    """A public hostname, and its tunnel."""
    tunnel = control.create_tunnel(f"t-{uuid4()}")
    made = record(control, zone, name, type="CNAME", content=f"{tunnel['id']}.cfargotunnel.com", proxied=True)
    return made, tunnel


def fields(html: str) -> dict[str, str]:
    """A record's form, as it would be sent."""
    form = html[html.index('class="record"') :]
    found = {
        name: unescape(value)
        for name, value in re.findall(r'<input[^>]* name="(\w+)"[^>]*? value="([^"]*)"', form)
        if name not in ("csrf", "proxied", "flatten_cname", "ipv4_only", "ipv6_only", "all_the_same")
    }
    for name, inner in re.findall(r'<select id="\w+" name="(\w+)".*?>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option(?: value="([^"]*)")? selected>([^<]*)', inner)
        found[name] = "" if chosen is None else unescape(chosen[1] if chosen[1] is not None else chosen[2])
    content = re.search(r'name="content"[^>]*>\n(.*?)</textarea>', form, re.DOTALL)
    assert content is not None
    found["content"] = unescape(content[1])
    if re.search(r'name="proxied" value="yes" checked', form):
        found["proxied"] = "yes"
    return found


def test_zones_are_listed_with_what_is_in_them(control: Control, me: Visitor, zone: Any) -> None:
    record(control, zone)
    routed(control, zone, "app")
    control.call("PATCH", f"/zones/{zone['id']}/settings/always_use_https", {"value": "off"})
    html = me.page("/zones", search=zone["name"])
    row = shown(html[html.index("<tbody>") :])
    assert row.startswith(f"ACTIVE {zone['name']} 2 1 0 and plain off the edge's")


def test_a_zone_is_added_and_what_is_wrong_with_it_stands_beside_its_name(control: Control, me: Visitor) -> None:
    answer = me.post("/zones", name="added.test")
    assert answer.status_code == 303
    assert "Records of added.test" in me.page(answer.headers["location"])
    again = me.post("/zones", name="added.test")
    assert again.status_code == 400
    assert 'aria-describedby="e-name"' in again.text
    assert "added.test already exists" in again.text


@pytest.mark.requirement("S47")
def test_deleting_a_zone_tells_what_stops_asks_for_its_name_and_holds_it(
    control: Control, me: Visitor, zone: Any
) -> None:
    _, tunnel = routed(control, zone, "shop")
    path = f"/zones/{zone['id']}/delete"
    asked = shown(me.post(path).text)
    assert f"shop.{zone['name']} (through {tunnel['name']}): not served any more" in asked
    assert "Records that are deleted with it: 1" in asked
    assert "For 30 days no other account may take the name" in asked
    assert me.post(path, sure="yes", name="something else").status_code == 400
    assert me.post(path, sure="yes", name=zone["name"]).headers["location"] == "/zones"
    assert me.get(f"/zones/{zone['id']}").status_code == 404
    held = me.page("/zones")
    assert zone["name"] in held[held.index("held-head") :]


def test_a_paused_zone_is_told_and_goes_on_again(control: Control, me: Visitor, zone: Any) -> None:
    path = f"/zones/{zone['id']}/paused"
    assert "Pause" in me.post(path, paused="yes").text
    me.post(path, paused="yes", sure="yes", name=zone["name"])
    assert "PAUSED" in shown(me.page(f"/zones/{zone['id']}"))
    me.post(path)
    assert control.call("GET", f"/zones/{zone['id']}")["paused"] is False


def test_records_are_found_by_text_type_and_proxy(control: Control, me: Visitor, zone: Any) -> None:
    record(control, zone, "plain", comment="the printer", tags=["team:web"])
    record(control, zone, "words", type="TXT", content="hello")
    _, tunnel = routed(control, zone, "app")
    path = f"/zones/{zone['id']}"

    def names(**query: str) -> list[str]:
        return re.findall(r'records/[0-9a-f]{32}">([^<.]+)', me.page(path, **query))

    assert names() == ["app", "plain", "words"]
    assert names(search="PRINTER") == ["plain"]
    assert names(search="team:web") == ["plain"]
    assert names(type="txt") == ["words"]
    assert names(proxied="yes") == ["app"]
    assert names(proxied="no", order="type") == ["plain", "words"]
    assert names(search="%") == []
    html = me.page(path)
    assert f'<a href="/tunnels/{tunnel["id"]}">{tunnel["name"]}</a>' in html
    assert f'href="/hostnames/app.{zone["name"]}"' in html


def test_a_page_of_a_large_zone_costs_a_page(control: Control, me: Visitor, zone: Any) -> None:
    lines = "".join(f"n{number:05} 300 IN A 192.0.2.1\n" for number in range(3000))
    files = {"file": ("zone", lines)}
    answer = control.http.post(f"/zones/{zone['id']}/dns_records/import", files=files)
    assert answer.json()["result"]["recs_added"] == 3000
    statements: list[str] = []
    event.listen(control.store._engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    html = me.page(f"/zones/{zone['id']}", page="60", search="192.0")
    assert html.count('scope="row"') == 50
    assert "60 / 60" in shown(html)
    assert len(html) < 60_000
    assert 0 < len(statements) < 25


def test_a_record_is_made_after_what_it_is_was_shown(control: Control, me: Visitor, zone: Any) -> None:
    tunnel = control.create_tunnel(f"t-{uuid4()}")
    path = f"/zones/{zone['id']}/records/new"
    given = {"name": "app", "type": "TXT", "tunnel": tunnel["id"], "tags": "team:web, critical", "ttl": "1"}
    asked = me.post(path, **given)
    said = shown(asked.text)
    assert f"come to this edge, and go through the tunnel {tunnel['name']}" in said
    assert control.call("GET", f"/zones/{zone['id']}/dns_records") == []
    assert me.post(path, action="save", **given).status_code == 303
    (made,) = control.call("GET", f"/zones/{zone['id']}/dns_records")
    assert (made["type"], made["content"], made["proxied"], made["tags"]) == (
        "CNAME",
        f"{tunnel['id']}.cfargotunnel.com",
        True,
        ["team:web", "critical"],
    )


@pytest.mark.parametrize(
    ("given", "field", "code"),
    [
        ({"content": "nonsense"}, "content", "record_bad_address"),
        ({"name": "a..b"}, "name", "record_bad_name"),
        ({"ttl": "7"}, "ttl", "record_bad_ttl"),
        ({"ttl": "soon"}, "ttl", "record_bad_ttl"),
        ({"priority": "-1"}, "priority", "record_bad_priority"),
        ({"tags": "good, not good!"}, "tags", "record_bad_tag"),
        ({"type": "MX", "content": "mail.test", "proxied": "yes"}, "proxied", "record_not_proxiable"),
        ({"name": "taken", "type": "CNAME", "content": "other.test"}, "name", "record_host_taken"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_the_api_refuses_stands_beside_its_field(
    control: Control, me: Visitor, zone: Any, given: dict[str, str], field: str, code: str
) -> None:
    record(control, zone, "taken")
    sent = {"name": "a", "type": "A", "content": "192.0.2.2", "ttl": "1", **given}
    for action in ("check", "save"):
        answer = me.post(f"/zones/{zone['id']}/records/new", action=action, **sent)
        assert answer.status_code == 400
        assert f'id="e-{field}"' in answer.text
        assert code in answer.text
        assert f'aria-describedby="e-{field}"' in answer.text


def test_a_record_is_changed_with_its_difference_shown_first(control: Control, me: Visitor, zone: Any) -> None:
    made = record(control, zone, comment="before", ttl=300)
    path = f"/zones/{zone['id']}/records/{made['id']}"
    form = fields(me.page(path)) | {"comment": "after", "ttl": "60"}
    html = me.post(path, **form).text
    changes = shown(html[html.index('class="diff"') :])
    assert changes.startswith('class="diff"> ttl was 300 becomes 60 comment was before becomes after'), changes
    assert me.post(path, action="save", **form).status_code == 303
    now = control.call("GET", f"/zones/{zone['id']}/dns_records/{made['id']}")
    assert (now["comment"], now["ttl"], now["content"]) == ("after", 60, "192.0.2.1")


@pytest.mark.parametrize(
    "given",
    [
        {"type": "SRV", "data": {"priority": 1, "weight": 2, "port": 443, "target": "a.test"}},
        {"type": "SRV", "content": "5 443 a.test", "priority": 3},
        {"type": "MX", "content": "mail.test", "priority": 10},
        {"type": "CAA", "data": {"flags": 0, "tag": "issue", "value": "ca.test"}},
        {"type": "TXT", "content": '"a" "b\\" c"'},
        {"type": "HTTPS", "content": '1 . alpn="h2,h3"'},
        {"type": "CNAME", "content": "other.test", "settings": {"flatten_cname": True}},
    ],
    ids=lambda given: f"{given['type']}-{'data' if 'data' in given else 'content'}",
)
def test_a_form_that_nobody_touched_changes_nothing(
    control: Control, me: Visitor, zone: Any, given: dict[str, Any]
) -> None:
    name = "_s._tcp" if given["type"] == "SRV" else "a"
    made = control.create_record(zone["id"], name=name, **given)
    path = f"/zones/{zone['id']}/records/{made['id']}"
    form = fields(me.page(path))
    form |= {"flatten_cname": "yes"} if given.get("settings") else {}
    assert "Nothing changes." in me.post(path, **form).text
    me.post(path, action="save", **form)
    after = control.call("GET", f"/zones/{zone['id']}/dns_records/{made['id']}")
    assert {key: value for key, value in after.items() if key in given} == {
        key: value for key, value in made.items() if key in given
    }
    assert after["modified_on"] == made["modified_on"]


def test_a_record_that_was_changed_meanwhile_is_not_overwritten(control: Control, me: Visitor, zone: Any) -> None:
    made = record(control, zone)
    path = f"/zones/{zone['id']}/records/{made['id']}"
    form = fields(me.page(path)) | {"comment": "mine"}
    control.call("PATCH", f"/zones/{zone['id']}/dns_records/{made['id']}", {"content": "192.0.2.9"})
    for action in ("check", "save"):
        stale = me.post(path, action=action, **form)
        assert stale.status_code == 409
        assert "Somebody else changed the record" in stale.text
        assert "was 192.0.2.9 becomes 192.0.2.1" in shown(stale.text)
    assert control.call("GET", f"/zones/{zone['id']}/dns_records/{made['id']}")["content"] == "192.0.2.9"
    # who has seen that, may
    form["version"] = fields(stale.text)["version"]
    assert me.post(path, action="save", **form).status_code == 303
    gone = me.post(f"{path}/delete", sure="yes", name=made["name"], version="0" * 16)
    assert gone.status_code == 409


def test_deleting_a_record_tells_what_stops_and_asks_for_its_name(control: Control, me: Visitor, zone: Any) -> None:
    made, tunnel = routed(control, zone, "app")
    path = f"/zones/{zone['id']}/records/{made['id']}/delete"
    html = me.post(path).text
    assert f"app.{zone['name']} is no longer served through the tunnel {tunnel['name']}" in shown(html)
    version = re.search(r'name="version" value="(\w+)"', html)
    assert version is not None
    assert me.post(path, sure="yes", name="app", version=version[1]).status_code == 400
    assert me.post(path, sure="yes", name=made["name"], version=version[1]).status_code == 303
    assert control.call("GET", f"/zones/{zone['id']}/dns_records") == []


def test_a_hostname_is_repointed_to_a_tunnel_that_does_not_serve_only_by_who_says_so(
    control: Control, me: Visitor, zone: Any
) -> None:
    good = connected(control, f"good-{uuid4()}")
    made = record(control, zone, "app", type="CNAME", content=f"{good}.cfargotunnel.com", proxied=True)
    idle = control.create_tunnel(f"idle-{uuid4()}")
    path = f"/zones/{made['zone_id']}/records/{made['id']}"
    form = fields(me.page(path)) | {"tunnel": idle["id"]}
    assert f"instead of the tunnel {control.call('GET', f'{control.tunnels()}/{good}')['name']}" in shown(
        me.post(path, **form).text
    )
    refused = me.post(path, action="save", **form)
    assert refused.status_code == 400
    assert "record_target_down" in refused.text
    assert f"/cutovers/plan?from={good}&amp;to={idle['id']}&amp;hostname={made['name']}" in refused.text
    assert me.post(path, action="save", all_the_same="yes", **form).status_code == 303


def test_a_zone_file_is_imported_once_what_it_adds_was_shown(control: Control, me: Visitor, zone: Any) -> None:
    record(control, zone, "there")
    path = f"/zones/{zone['id']}/import"
    bad = "there 300 IN A 192.0.2.1\nnew 300 IN A 192.0.2.2\nthere 300 IN CNAME x.test.\nnew 300 IN CNAME y.test.\n"
    told = shown(me.post(path, file=bad).text)
    assert "TO BE ADDED 1 THERE ALREADY 1 CAN'T BE 2" in told
    assert "3 An A, AAAA, or CNAME record with that host already exists." in told
    assert "Add 1 records" not in told
    assert me.post(path, action="import", file=bad).status_code == 400
    good = "there 300 IN A 192.0.2.1\r\nnew 300 IN A 192.0.2.2\r\n"
    told = shown(me.post(path, file=good, proxied="yes").text)
    assert "Add 1 records" in told
    done = me.post(path, action="import", file=good, proxied="yes")
    assert done.headers["location"] == f"/zones/{zone['id']}?imported=1"
    found = {each["name"]: each["proxied"] for each in control.call("GET", f"/zones/{zone['id']}/dns_records")}
    assert found == {f"there.{zone['name']}": False, f"new.{zone['name']}": True}
    assert "line 2" in me.post(path, file="a 300 IN A 192.0.2.1\nb IN A\n").text


def test_an_exported_zone_can_be_imported_again(control: Control, me: Visitor, zone: Any) -> None:
    record(control, zone, comment="a; b", tags=["x:y"])
    routed(control, zone, "app")
    answer = me.get(f"/zones/{zone['id']}/export")
    assert answer.headers["content-disposition"] == f'attachment; filename="{zone["name"]}.zone"'
    assert "THERE ALREADY 2" in shown(me.post(f"/zones/{zone['id']}/import", file=answer.text).text)


def test_settings_hold_at_once_and_are_not_overwritten_unseen(control: Control, me: Visitor, zone: Any) -> None:
    path = f"/zones/{zone['id']}/settings"

    def version() -> str:
        found = re.search(r'name="version" value="(\w+)"', me.page(path))
        assert found is not None
        return found[1]

    before = version()
    sent = {"version": before, "enabled": "yes", "max_age": "31536000", "include_subdomains": "yes"}
    assert me.post(f"{path}/https", **sent).status_code == 303
    header = control.call("GET", f"/zones/{zone['id']}/settings/security_header")["value"]
    assert header["strict_transport_security"]["max_age"] == 31536000
    assert "max-age=31536000; includeSubDomains" in shown(me.page(path))
    assert me.post(f"{path}/https", **sent).status_code == 409
    page = {"version": version(), "kind": "1000_errors", "content": "<h1>away</h1>"}
    assert me.post(f"{path}/error-page", **page).status_code == 303
    pages = control.call("GET", f"/qanat/zones/{zone['id']}/error-pages")
    assert {each["kind"]: each["content"] for each in pages}["1000_errors"] == "<h1>away</h1>"
    empty = me.post(f"{path}/error-page", version=version(), kind="500_errors", content=" ")
    assert "error_page_empty" in empty.text
    assert me.post(f"{path}/policy", policy="off").status_code == 303
    assert control.call("GET", f"/qanat/zones/{zone['id']}/cutover-policy")["policy"] == "off"


def test_a_viewer_sees_records_and_changes_nothing(control: Control, zone: Any) -> None:
    made = record(control, zone)
    with limited(control, [], account=("Zone Read", "DNS Read", "Cloudflare Tunnel Read")) as reader:
        path = f"/zones/{zone['id']}/records/{made['id']}"
        html = reader.page(path)
        assert "<fieldset disabled>" in html
        assert "Save" not in html and "Delete this record" not in html
        assert "Add a zone" not in reader.page("/zones")
        csrf = {"csrf": reader.csrf}
        for each in ("", "/delete"):
            assert reader.http.post(path + each, data=csrf | {"action": "save", "sure": "yes"}).status_code == 403
        assert reader.get(f"/zones/{zone['id']}/import").status_code == 403


def test_a_token_of_one_zone_sees_and_changes_that_one_alone(control: Control, zone: Any) -> None:
    other = control.create_zone(f"z{next(NAMES)}.test")
    mine, theirs = record(control, zone, "mine"), record(control, other, "theirs")
    control.call("DELETE", f"/zones/{control.create_zone('gone.test')['id']}")
    groups = ("Zone Read", "DNS Read", "DNS Write")
    for account in ((), ("Cloudflare Tunnel Read",)):
        with limited(control, [zone["id"]], *groups, account=account) as one:
            html = one.page("/zones")
            assert zone["name"] in html
            assert other["name"] not in html
            assert "gone.test" not in html
            assert 'href="/zones"' in html
            assert mine["name"] in one.page(f"/zones/{zone['id']}")
            for path in ("", "/settings", "/import", "/export", "/records/new", f"/records/{theirs['id']}"):
                answer = one.get(f"/zones/{other['id']}{path}")
                assert answer.status_code == 404, path
                assert "theirs" not in answer.text
            # nor by another zone's id
            assert one.get(f"/zones/{zone['id']}/records/{theirs['id']}").status_code == 404
            assert one.post("/zones", name="another.test").status_code == 403


def test_what_clients_write_into_records_is_escaped(control: Control, me: Visitor, zone: Any) -> None:
    evil = "\"'><script>alert(1)</script>\u202e"
    made = record(control, zone, "e", type="TXT", content=evil, comment=evil)
    control.call("PUT", f"/qanat/zones/{zone['id']}/error-pages/500_errors", {"content": evil})
    answers: list[httpx.Response] = [
        me.get(f"/zones/{zone['id']}"),
        me.get(f"/zones/{zone['id']}", search=evil),
        me.get(f"/zones/{zone['id']}/records/{made['id']}"),
        me.get(f"/zones/{zone['id']}/settings"),
        me.get("/zones", search=evil),
        me.post("/zones", name=evil),
        me.post(f"/zones/{zone['id']}/import", file=f"{evil}\n"),
        me.post(f"/zones/{zone['id']}/import", file=f'x 300 IN TXT "{evil[2:]}"\n'),
        me.post(f"/zones/{zone['id']}/records/new", name=evil, content=evil, tags=evil, comment=evil, type=evil),
    ]
    for answer in answers:
        assert "<script>alert" not in answer.text
