import json
from typing import Any

import pytest

from qanat.errors import QanatError
from qanat.ingress.rules import parse_configuration
from qanat.store import NoticeKind
from qanat.store.models import Audit
from tests.support.control import Control

CATCH_ALL = {"service": "http_status:404"}


@pytest.fixture
def tunnel(control: Control) -> Any:
    return control.create_tunnel()


def _path(control: Control, tunnel: Any) -> str:
    return f"{control.tunnels()}/{tunnel['id']}/configurations"


def _own(tunnel: Any) -> str:
    return f"/qanat/tunnels/{tunnel['id']}/configurations"


def _put(control: Control, tunnel: Any, *rules: dict[str, Any], **more: Any) -> Any:
    return control.call("PUT", _path(control, tunnel), {"config": {"ingress": [*rules, CATCH_ALL], **more}})


def _rule(name: str, **more: Any) -> dict[str, Any]:
    return {"hostname": f"{name}.test", "service": f"http://{name}:80", **more}


def test_versions_with_author_and_time(control: Control, tunnel: Any) -> None:
    first, second = _put(control, tunnel, _rule("a")), _put(control, tunnel, _rule("b"))
    token_id = control.call("GET", "/user/tokens/verify")["id"]
    found = control.call("GET", f"{_own(tunnel)}/versions")
    assert found == [{**second, "author": token_id}, {**first, "author": token_id}]
    assert control.call("GET", f"{_own(tunnel)}/versions/1") == found[1]
    for unknown in ("3", "0", "-1", "x", "9" * 30):
        assert control.refused("GET", f"{_own(tunnel)}/versions/{unknown}")[0] == 404


def test_a_diff_names_rule_and_field(control: Control, tunnel: Any) -> None:
    _put(control, tunnel, _rule("a"), _rule("b", originRequest={"connectTimeout": 5}))
    _put(control, tunnel, _rule("new"), _rule("a"), _rule("b", originRequest={"connectTimeout": 6}), originRequest={})
    assert control.call("GET", f"{_own(tunnel)}/diff") == {
        "from": 1,
        "to": 2,
        "changes": [
            {"path": "ingress[0]", "before": None, "after": _rule("new")},
            {"path": "ingress[2].originRequest.connectTimeout", "before": 5, "after": 6},
            {"path": "originRequest", "before": None, "after": {}},
        ],
    }
    back = control.call("GET", f"{_own(tunnel)}/diff", **{"from": "2", "to": "1"})
    assert [each["path"] for each in back["changes"]] == [
        "ingress[0]",
        "ingress[1].originRequest.connectTimeout",
        "originRequest",
    ]
    assert control.call("GET", f"{_own(tunnel)}/diff", **{"from": "2", "to": "2"})["changes"] == []
    whole = control.call("GET", f"{_own(tunnel)}/diff", **{"from": "0", "to": "1"})
    assert [each["path"] for each in whole["changes"]] == ["ingress"]
    assert control.refused("GET", f"{_own(tunnel)}/diff", **{"from": "1", "to": "9"})[0] == 404


def test_a_tunnel_without_versions_has_no_differences(control: Control, tunnel: Any) -> None:
    assert control.call("GET", f"{_own(tunnel)}/diff") == {"from": 0, "to": 0, "changes": []}


def test_a_roll_back_is_a_new_version_and_the_audit_says_so(control: Control, tunnel: Any) -> None:
    first = _put(control, tunnel, _rule("a"))
    _put(control, tunnel, _rule("b"))
    control.notices.clear()
    back = control.call("POST", f"{_own(tunnel)}/rollback", {"version": 1})
    assert back["version"] == 3
    assert back["config"] == first["config"]
    assert control.call("GET", _path(control, tunnel)) == {key: back[key] for key in first}
    assert [notice.kind for notice in control.notices] == [NoticeKind.CONFIGURATION]
    assert control.call("POST", f"{_own(tunnel)}/rollback", {"version": 1})["version"] == 3
    with control.store.reading() as session:
        rows = list(session.query(Audit).order_by(Audit.seq.desc()).limit(2))
    assert [row.action for row in rows] == ["configuration.rollback_same", "configuration.rollback"]
    assert json.loads(rows[1].detail) == {"version": 3, "rolled_back_to": 1}


def test_a_roll_back_to_nowhere_leaves_no_trace(control: Control, tunnel: Any) -> None:
    _put(control, tunnel, _rule("a"))
    for bad in ({"version": 2}, {"version": 0}, {"version": -1}, {"version": 2**40}):
        assert control.refused("POST", f"{_own(tunnel)}/rollback", bad)[:2] == (404, 1002)
    for malformed in ({}, {"version": "1"}, {"version": 1.5}, {"version": None}):
        assert control.refused("POST", f"{_own(tunnel)}/rollback", malformed)[0] == 400
    assert len(control.call("GET", f"{_own(tunnel)}/versions")) == 1


def test_the_history_of_a_deleted_tunnel_can_be_read_but_not_changed(control: Control, tunnel: Any) -> None:
    _put(control, tunnel, _rule("a"))
    control.call("DELETE", f"{control.tunnels()}/{tunnel['id']}")
    assert len(control.call("GET", f"{_own(tunnel)}/versions")) == 1
    assert control.refused("POST", f"{_own(tunnel)}/rollback", {"version": 1})[0] == 404


@pytest.mark.case(8)
def test_only_the_keys_that_were_set_come_back(control: Control, tunnel: Any) -> None:
    config = {
        "ingress": [
            {
                "hostname": "a.example.com",
                "service": "https://127.0.0.1:8443",
                "originRequest": {"noTLSVerify": True},
            },
            CATCH_ALL,
        ],
        "originRequest": {"connectTimeout": 30},
    }
    for _ in range(3):
        control.call("PUT", _path(control, tunnel), {"config": config})
        read = control.call("GET", _path(control, tunnel))
        assert read["config"] == {**config, "warp-routing": {"enabled": False}}
        assert read["version"] == 1
    assert type(read["config"]["originRequest"]["connectTimeout"]) is int


@pytest.mark.trap(1)
@pytest.mark.case(61)
def test_warp_routing_is_answered_as_sent_and_never_missing(control: Control, tunnel: Any) -> None:
    """api.md 2.5 wins over the case's wording: without the key, provider v4 panics."""
    path = _path(control, tunnel)
    sent: list[Any] = [None, {}, {"enabled": False}, {"enabled": True}, {"enabled": True, "connectTimeout": 5}]
    for routing in sent:
        control.call("PUT", path, {"config": {"ingress": [CATCH_ALL], "warp-routing": routing}})
        for _ in range(3):
            answered = control.call("GET", path)["config"]["warp-routing"]
            assert answered == {"enabled": False, **(routing or {})}


@pytest.mark.trap(6)
def test_a_put_answers_everything_that_a_get_does(control: Control, tunnel: Any) -> None:
    assert _put(control, tunnel, _rule("a")) == control.call("GET", _path(control, tunnel))
    one = f"{control.tunnels()}/{tunnel['id']}"
    assert control.call("PATCH", one, {"name": "renamed"}) == control.call("GET", one)


@pytest.mark.trap(7)
def test_nothing_is_added_to_what_was_sent(control: Control, tunnel: Any) -> None:
    """Neither an empty `originRequest`, nor a hostname, a path or a default; and what was sent empty stays."""
    bare, full = (
        {"hostname": "a.test", "service": "http://a"},
        {"service": "http_status:404", "originRequest": {}, "path": ""},
    )
    control.call("PUT", _path(control, tunnel), {"config": {"ingress": [bare, full]}})
    read = control.call("GET", _path(control, tunnel))["config"]
    assert read == {"ingress": [bare, full], "warp-routing": {"enabled": False}}


@pytest.mark.trap(8)
def test_two_writers_overwrite_each_other_and_the_audit_shows_it(control: Control, tunnel: Any) -> None:
    for name in ("a", "b", "a"):
        _put(control, tunnel, _rule(name))
    with control.store.reading() as session:
        actions = [
            row.detail for row in session.query(Audit).filter(Audit.action == "configuration.put").order_by(Audit.seq)
        ]
    assert [json.loads(detail)["version"] for detail in actions] == [1, 2, 3]


CASE_50: list[tuple[str, list[dict[str, Any]], str | None, str | None]] = [
    ("no catch-all", [_rule("a")], "ingress[0]", "append"),
    ("catch-all in the middle", [CATCH_ALL, _rule("a"), CATCH_ALL], "ingress[0]", "move it to the end"),
    ("last rule with a path only", [_rule("a"), {"path": "^/x", "service": "http://x"}], "ingress[1]", "append"),
    (
        "hostname is a URL",
        [_rule("a", hostname="https://a.example.com"), CATCH_ALL],
        "ingress[0].hostname",
        "write a.example.com",
    ),
    (
        "hostname with a port",
        [_rule("a", hostname="a.example.com:8443"), CATCH_ALL],
        "ingress[0].hostname",
        "write a.example.com",
    ),
    ("inner wildcard", [_rule("a", hostname="a.*.example.com"), CATCH_ALL], "ingress[0].hostname", "*.example.com"),
    ("`*` as the last hostname", [_rule("a"), {"hostname": "*", "service": "http_status:404"}], None, None),
    ("empty hostname", [_rule("a"), {"hostname": "", "service": "http_status:404"}], None, None),
    ("no scheme", [_rule("a", service="localhost:80"), CATCH_ALL], "ingress[0].service", "write http://localhost:80"),
    (
        "service with a path",
        [_rule("a"), _rule("b", service="http://127.0.0.1:80/base"), CATCH_ALL],
        "ingress[1].service",
        "remove /base",
    ),
    ("status too small", [_rule("a", service="http_status:99"), CATCH_ALL], "ingress[0].service", "100 to 999"),
    ("status is a word", [_rule("a", service="http_status:abc"), CATCH_ALL], "ingress[0].service", "100 to 999"),
    ("hello-world", [_rule("a", service="hello-world"), CATCH_ALL], None, None),
    ("bad path", [_rule("a", path="(["), CATCH_ALL], "ingress[0].path", None),
]


@pytest.mark.case(50)
@pytest.mark.parametrize(("name", "ingress", "where", "fix"), CASE_50, ids=[each[0] for each in CASE_50])
def test_put_gives_the_connectors_verdict_and_names_the_rule(
    control: Control, name: str, ingress: list[dict[str, Any]], where: str | None, fix: str | None
) -> None:
    tunnel = control.create_tunnel()
    document = {"ingress": ingress}
    if where is None:
        parse_configuration(json.dumps(document).encode())
        assert control.call("PUT", _path(control, tunnel), {"config": document})["version"] == 1
        return
    with pytest.raises(QanatError) as refused:  # what `ingress validate` and the connector do with the same bytes
        parse_configuration(json.dumps(document).encode())
    answer = control.http.put(_path(control, tunnel), json={"config": document})
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["code"] == 1056
    assert error["qanat_code"] == refused.value.code
    assert refused.value.where == where
    assert error["source"]["pointer"] == "/config/" + where.replace("[", "/").replace("].", "/").replace("]", "")
    assert where in error["message"]
    if fix is not None:
        assert fix in error["message"]
    assert control.call("GET", _path(control, tunnel))["version"] == 0


def test_a_bad_source_is_told_at_its_place(control: Control, tunnel: Any) -> None:
    answer = control.http.put(_path(control, tunnel), json={"config": {}, "source": "elsewhere"})
    assert answer.json()["errors"][0]["source"] == {"pointer": "/source"}
    assert control.call("GET", _path(control, tunnel))["version"] == 0
