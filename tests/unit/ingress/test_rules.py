"""cases.md 14, 15, 19, 50: one verdict, with rule, field and fix."""

from typing import Any

import pytest

from qanat.errors import QanatError
from qanat.ingress.access import issuer_of
from qanat.ingress.documents import LARGEST
from qanat.ingress.origin import Access
from qanat.ingress.rules import Configuration, parse_configuration
from qanat.ingress.table import compile_table, explain, issuers_of
from qanat.ingress.warnings import WARNINGS

ORIGIN = "http://127.0.0.1:8000"
CATCH_ALL = {"service": "http_status:404"}


def parse(*rules: dict[str, Any], **top: Any) -> Configuration:
    return parse_configuration({"ingress": list(rules), **top})


def refusal(*rules: dict[str, Any], **top: Any) -> QanatError:
    with pytest.raises(QanatError) as caught:
        parse(*rules, **top)
    return caught.value


def warnings_of(configuration: Configuration) -> list[tuple[str, str]]:
    assert all(warning.code in WARNINGS for warning in configuration.warnings)
    return [(warning.code, warning.where) for warning in configuration.warnings]


@pytest.mark.parametrize(
    ("rule", "code", "field"),
    [
        ({"hostname": "https://a.example.com", "service": ORIGIN}, "ingress_hostname_is_url", "hostname"),
        ({"hostname": "a.example.com:8443", "service": ORIGIN}, "ingress_hostname_has_port", "hostname"),
        ({"hostname": "a.*.example.com", "service": ORIGIN}, "ingress_bad_wildcard", "hostname"),
        ({"hostname": "*.*.example.com", "service": ORIGIN}, "ingress_bad_wildcard", "hostname"),
        ({"hostname": "*example.com", "service": ORIGIN}, "ingress_bad_wildcard", "hostname"),
        ({"hostname": "a..example.com", "service": ORIGIN}, "ingress_bad_hostname", "hostname"),
        ({"hostname": "a b", "service": ORIGIN}, "ingress_bad_hostname", "hostname"),
        ({"hostname": "a.example.com"}, "ingress_no_service", "service"),
        ({"hostname": "a.example.com", "service": "localhost:80"}, "ingress_bad_service", "service"),
        ({"hostname": "a.example.com", "service": "http://127.0.0.1:80/base"}, "ingress_service_has_path", "service"),
        ({"hostname": "a.example.com", "service": "http_status:99"}, "ingress_bad_status", "service"),
        ({"hostname": "a.example.com", "service": "http_status:abc"}, "ingress_bad_status", "service"),
        ({"hostname": "a.example.com", "path": "/(a", "service": ORIGIN}, "ingress_bad_path", "path"),
        ({"hostname": "a.example.com", "path": "*.js", "service": ORIGIN}, "ingress_bad_path", "path"),
        ({"hostname": 5, "service": ORIGIN}, "configuration_bad_type", "hostname"),
    ],
)
def test_a_bad_rule_is_refused_with_its_number_its_field_and_the_fix(
    rule: dict[str, Any], code: str, field: str
) -> None:
    error = refusal({"hostname": "fine.example.com", "service": ORIGIN}, rule, CATCH_ALL)
    assert (error.code, error.where) == (code, f"ingress[1].{field}")
    if code not in ("configuration_bad_type", "ingress_bad_path", "ingress_bad_hostname"):
        assert error.hint


def test_the_hint_for_a_url_as_hostname_is_the_hostname() -> None:
    assert (
        refusal({"hostname": "https://a.example.com:1/x", "service": ORIGIN}, CATCH_ALL).hint == "write a.example.com"
    )


@pytest.mark.parametrize("last", [{"hostname": "a.example.com"}, {"path": "/x"}, {"hostname": "*", "path": "^/x"}])
def test_the_last_rule_must_match_everything(last: dict[str, Any]) -> None:
    error = refusal({**last, "service": ORIGIN})
    assert (error.code, error.where) == ("ingress_no_catch_all", "ingress[0]")
    assert "http_status:404" in (error.hint or "")


@pytest.mark.parametrize("rule", [{}, {"hostname": "*"}, {"hostname": ""}, {"hostname": None, "path": None}])
def test_only_the_last_rule_may_match_everything(rule: dict[str, Any]) -> None:
    error = refusal({**rule, "service": ORIGIN}, CATCH_ALL)
    assert (error.code, error.where) == ("ingress_catch_all_not_last", "ingress[0]")
    assert len(parse({**rule, "service": ORIGIN}).rules) == 1


@pytest.mark.parametrize("document", [{}, {"ingress": []}, {"ingress": None}, {"originRequest": None}])
def test_no_rules_is_a_configuration(document: dict[str, Any]) -> None:
    configuration = parse_configuration(document)
    assert configuration.rules == ()
    assert explain(configuration, "https://a.example.com/").index == -1


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b"{}{}"])
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(QanatError) as caught:
        parse_configuration(text)
    assert caught.value.code == "configuration_malformed"


def test_a_document_above_1_mib_is_refused() -> None:
    assert refusal(CATCH_ALL, filler="x" * LARGEST).code == "configuration_too_large"


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(QanatError):
        parse_configuration(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("noTLSverify", "noTLSVerify"),
        ("no_tls_verify", "noTLSVerify"),
        ("acces", "access"),
        ("conectTimeout", "connectTimeout"),
    ],
)
def test_a_misspelt_origin_key_is_refused_with_the_near_match(key: str, near: str) -> None:
    error = refusal({"hostname": "a.example.com", "service": ORIGIN, "originRequest": {key: True}}, CATCH_ALL)
    assert (error.code, error.where, error.hint) == (
        "configuration_misspelt_key",
        f"ingress[0].originRequest.{key}",
        f"write {near}",
    )


def test_misspelt_keys_are_found_at_every_depth() -> None:
    assert refusal(CATCH_ALL, orignRequest={}).where == "orignRequest"
    assert refusal(CATCH_ALL, **{"warp-routing": {"enables": True}}).hint == "write enabled"
    assert refusal({**CATCH_ALL, "originRequest": {"access": {"requird": True}}}).hint == "write required"


def told(document: dict[str, object]) -> list[tuple[str, str]]:
    warnings = parse_configuration(document, misspelt_keys="told").warnings
    return [(warning.where, warning.hint) for warning in warnings if warning.code == "unknown_key"]


def test_where_slips_are_told_the_warning_names_the_key_that_was_meant_at_every_depth() -> None:
    rule = {**CATCH_ALL, "originRequest": {"noTlsVerify": True, "ipRules": [{"prefix": "::/0", "prefx": ""}]}}
    assert told({"ingress": [rule], "warp-routing": {"enables": True}, "ingres": []}) == [
        ("ingress[0].originRequest.noTlsVerify", "write noTLSVerify"),
        ("ingress[0].originRequest.ipRules[0].prefx", "write prefix"),
        ("warp-routing.enables", "write enabled"),
        ("ingres", "write ingress"),
    ]


def test_a_key_that_is_known_elsewhere_is_told_with_its_place() -> None:
    rule = {**CATCH_ALL, "noTLSVerify": True, "no-tls-verify": True, "originRequest": {"hostname": "x"}}
    assert told({"ingress": [CATCH_ALL_BELOW, rule], "connectTimeout": 3, "servce": "x"}) == [
        ("ingress[1].noTLSVerify", "did you mean ingress[1].originRequest.noTLSVerify?"),
        ("ingress[1].no-tls-verify", "did you mean ingress[1].originRequest.noTLSVerify?"),
        ("ingress[1].originRequest.hostname", "did you mean ingress[1].hostname?"),
        ("connectTimeout", "did you mean originRequest.connectTimeout?"),
        ("servce", "did you mean ingress[0].service?"),
    ]


CATCH_ALL_BELOW = {"hostname": "a.example.com", "service": "http_status:404"}


@pytest.mark.parametrize(
    "document",
    [
        {"originRequest": {"acces": {"required": True}}},
        {"orignRequest": {"access": {"required": True}}},
        {"ingress": [{"service": "http_status:404", "access": {"required": True}}]},
        {"originRequest": {"required": True}},
    ],
)
def test_a_slip_that_would_let_anybody_in_is_refused_everywhere(document: dict[str, object]) -> None:
    with pytest.raises(QanatError) as caught:
        parse_configuration(document, misspelt_keys="told")
    assert caught.value.code == "configuration_misspelt_key"


def test_a_key_that_nobody_knows_is_kept_and_told() -> None:
    configuration = parse({**CATCH_ALL, "id": "7"}, zebra=1)
    assert warnings_of(configuration) == [("unknown_key", "ingress[0].id"), ("unknown_key", "zebra")]
    assert configuration.document == {"ingress": [{"service": "http_status:404", "id": "7"}], "zebra": 1}


def test_a_key_to_come_is_not_taken_for_a_misspelt_one() -> None:
    assert warnings_of(parse({**CATCH_ALL, "originRequest": {"http3Origin": True}}))[0][0] == "unknown_key"


def test_the_document_keeps_what_was_sent_less_nulls() -> None:
    sent = {"hostname": "a.example.com", "service": "https://127.0.0.1:8443", "originRequest": {"noTLSVerify": True}}
    configuration = parse({**sent, "path": None}, CATCH_ALL, originRequest={"connectTimeout": 30, "caPool": None})
    assert configuration.document == {"ingress": [sent, CATCH_ALL], "originRequest": {"connectTimeout": 30}}
    assert configuration.rules[0].origin.connect_timeout == 30.0
    assert configuration.rules[0].origin.no_tls_verify is True


@pytest.mark.parametrize("value", ["30s", 30.5, -1, True, 10**12, [30]])
def test_json_durations_are_whole_seconds(value: object) -> None:
    error = refusal({**CATCH_ALL, "originRequest": {"connectTimeout": value}})
    assert (error.code, error.where) == ("ingress_bad_duration", "ingress[0].originRequest.connectTimeout")


def test_yaml_durations_are_texts() -> None:
    text = (
        "ingress:\n- service: http://127.0.0.1:80\n  originRequest:\n    connectTimeout: 1m30s\n    tlsTimeout: 500ms\n"
    )
    configuration = parse_configuration(text.encode(), form="yaml")
    assert (configuration.rules[0].origin.connect_timeout, configuration.rules[0].origin.tls_timeout) == (90.0, 0.5)
    with pytest.raises(QanatError, match="30s"):
        parse_configuration(text.replace("1m30s", "90").encode(), form="yaml")


def test_a_rule_overrides_the_top_level_which_overrides_the_defaults() -> None:
    configuration = parse(
        {"hostname": "a.example.com", "service": ORIGIN, "originRequest": {"tlsTimeout": 3}},
        CATCH_ALL,
        originRequest={"tlsTimeout": 5, "connectTimeout": 7, "noTLSVerify": True},
    )
    first, second = configuration.rules
    assert (first.origin.tls_timeout, first.origin.connect_timeout, first.origin.tcp_keep_alive) == (3.0, 7.0, 30.0)
    assert (second.origin.tls_timeout, second.origin.no_tls_verify, second.origin.keep_alive_connections) == (
        5.0,
        True,
        100,
    )


def test_false_in_a_rule_overrides_true_at_the_top() -> None:
    rule = {**CATCH_ALL, "originRequest": {"noTLSVerify": False}}
    assert parse(rule, originRequest={"noTLSVerify": True}).rules[0].origin.no_tls_verify is False


@pytest.mark.parametrize(
    ("origin", "key"),
    [
        ({"proxyType": "http"}, "proxyType"),
        ({"httpHostHeader": "a\r\nb"}, "httpHostHeader"),
        ({"originServerName": "a b"}, "originServerName"),
        ({"access": {"required": True, "audTag": ["x"]}}, "access.teamName"),
        ({"ipRules": [{"prefix": "10.0.0.0/8"}, {"prefix": "10.0.0.1"}]}, "ipRules[1].prefix"),
        ({"ipRules": [{"allow": True}]}, "ipRules[0].prefix"),
        ({"ipRules": [{"prefix": "fe80::1%eth0/64"}]}, "ipRules[0].prefix"),
        ({"ipRules": [{"prefix": "10.0.0.0/255.0.0.0"}]}, "ipRules[0].prefix"),
        ({"ipRules": [{"prefix": "::/0", "ports": [1, 0]}]}, "ipRules[0].ports[1]"),
        ({"ipRules": [{"prefix": "::/0", "ports": [65536]}]}, "ipRules[0].ports[0]"),
    ],
)
def test_a_bad_origin_request_names_its_key(origin: dict[str, Any], key: str) -> None:
    error = refusal({**CATCH_ALL, "originRequest": origin})
    assert (error.code, error.where) == ("ingress_bad_origin_request", f"ingress[0].originRequest.{key}")
    assert refusal(CATCH_ALL, originRequest=origin).where == f"originRequest.{key}"


@pytest.mark.case(19)
def test_access_at_the_top_level_closes_every_rule_that_inherits_it() -> None:
    access = {"required": True, "teamName": "t", "audTag": ["aud"]}
    configuration = parse(
        {"hostname": "app.example.com", "service": ORIGIN},
        {"hostname": "open.example.com", "service": ORIGIN, "originRequest": {"access": {"required": False}}},
        CATCH_ALL,
        originRequest={"access": access},
    )
    assert [rule.origin.access.required for rule in configuration.rules if rule.origin.access] == [True, False, True]
    assert issuers_of(configuration) == {"https://t.cloudflareaccess.com"}


@pytest.mark.parametrize(
    ("team", "environment", "issuer"),
    [
        ("team", "", "https://team.cloudflareaccess.com"),
        ("team", "fed", "https://team.fed.cloudflareaccess.com"),
        ("login.example.com", "", "https://login.example.com"),
        ("https://login.example.com:8443/realm/", "fed", "https://login.example.com:8443/realm"),
        ("http://127.0.0.1:9", "", "http://127.0.0.1:9"),
        ("", "", ""),
    ],
)
def test_a_team_a_domain_or_a_url_names_the_issuer(team: str, environment: str, issuer: str) -> None:
    assert issuer_of(Access(team_name=team, environment=environment), where="w") == issuer


@pytest.mark.parametrize(
    "team", ["a b", "http://login.example.com", "https://", "https://h/?x", "ftp://h", "-t", "a..b", "https://u@h"]
)
def test_a_team_that_can_be_no_issuer_is_refused(team: str) -> None:
    error = refusal({**CATCH_ALL, "originRequest": {"access": {"required": True, "teamName": team}}})
    assert (error.code, error.where) == ("ingress_bad_origin_request", "ingress[0].originRequest.access.teamName")


def test_an_unanchored_path_is_warned_about_and_matches_anywhere() -> None:
    configuration = parse(
        {"hostname": "h.example.com", "path": "/aaa", "service": "http://127.0.0.1:1"},
        {"hostname": "h.example.com", "path": "/bbb/.*", "service": "http://127.0.0.1:2"},
        CATCH_ALL,
    )
    assert warnings_of(configuration) == [
        ("path_unanchored", "ingress[0].path"),
        ("path_unanchored", "ingress[1].path"),
    ]
    asked = ["/bbb/aaa/ccc", "/aaa", "/aaab", "/AAA", "/x?q=/aaa", "/%61aa", "/bbb/x"]
    assert [explain(configuration, f"https://h.example.com{path}").index for path in asked] == [0, 0, 0, 2, 2, 0, 1]


@pytest.mark.parametrize("path", ["^/aaa", "\\A/aaa", "(?i)^/aaa", "\\.(jpg|png)$", ".*", "(^/a|^/b)"])
def test_an_anchored_path_is_not_warned_about(path: str) -> None:
    assert warnings_of(parse({"path": path, "service": ORIGIN}, CATCH_ALL)) == []


@pytest.mark.case(15)
def test_a_wildcard_before_an_exact_hostname_takes_its_requests_and_is_warned_about() -> None:
    configuration = parse(
        {"hostname": "*.example.com", "service": "http://127.0.0.1:1"},
        {"hostname": "app.example.com", "service": "http://127.0.0.1:2"},
        {"hostname": "*.internal.example.com", "service": "http://127.0.0.1:3"},
        CATCH_ALL,
    )
    assert warnings_of(configuration) == [("rule_unreachable", "ingress[1]"), ("rule_unreachable", "ingress[2]")]
    table = compile_table(configuration)
    hosts = ["app.example.com", "a.internal.example.com", "example.com", "APP.EXAMPLE.COM.", "app.example.com:443"]
    assert [table.match(hostname=host, path="/") for host in hosts] == [0, 0, 3, 0, 0]


def test_a_rule_is_reachable_when_the_earlier_one_has_another_path() -> None:
    configuration = parse(
        {"hostname": "a.example.com", "path": "^/x", "service": ORIGIN},
        {"hostname": "a.example.com", "service": ORIGIN},
        {"path": "^/y", "service": ORIGIN},
        {"hostname": "b.example.com", "path": "^/y", "service": ORIGIN},
        CATCH_ALL,
    )
    assert warnings_of(configuration) == [("rule_unreachable", "ingress[3]")]


STOCK_FOLDS = {
    "App.Example.com": True,
    "XN--BCHER-KVA.example": True,
    "abc--D.example.com": True,
    "*.Wild.example.com": False,
    "My_App.example.com": False,
    "ab--cd.Example.com": False,
    "dot.example.com.": False,
    "DOT.example.com.": False,
}
"""Whether stock's `tunnel ingress rule` matches the lower-case name, by a test in tests/interop."""


@pytest.mark.parametrize("hostname", STOCK_FOLDS)
def test_a_hostname_that_stock_connectors_never_match_is_written_right_and_told(hostname: str) -> None:
    configuration = parse({"hostname": hostname, "service": ORIGIN}, CATCH_ALL)
    assert configuration.rules[0].hostname == hostname.lower().removesuffix(".")
    told = [] if STOCK_FOLDS[hostname] else [("hostname_not_canonical", "ingress[0].hostname")]
    assert warnings_of(configuration) == told


def test_an_international_hostname_matches_in_punycode() -> None:
    configuration = parse({"hostname": "bücher.example", "service": ORIGIN}, CATCH_ALL)
    assert warnings_of(configuration) == []
    assert explain(configuration, "https://xn--bcher-kva.example/").index == 0


@pytest.mark.requirement("S41")
@pytest.mark.parametrize(
    ("service", "kind"),
    [("", "bastion"), (ORIGIN, "bastion"), ("ssh://h", "bastion"), ("socks-proxy", "socks-proxy"), ("unix:/s", "unix")],
)
def test_with_bastion_mode_a_rule_needs_no_service(service: str, kind: str) -> None:
    rule = {"hostname": "a.example.com", "service": service, "originRequest": {"bastionMode": True}}
    assert parse(rule, CATCH_ALL).rules[0].service.kind == kind
    at_the_top = parse({"service": service}, originRequest={"bastionMode": True})
    assert at_the_top.rules[0].service.kind == kind
    assert refusal({"service": ""}).code == "ingress_no_service"


@pytest.mark.parametrize(
    "hostname", ["*example.com", "a b.example.com", "-a.example.com", "a..b", "x" * 300, "*.", "ex_ample..com"]
)
def test_a_hostname_that_no_request_has_is_refused_by_the_api_and_told_elsewhere(hostname: str) -> None:
    document = {"ingress": [{"hostname": hostname, "service": ORIGIN}, CATCH_ALL]}
    with pytest.raises(QanatError) as caught:
        parse_configuration(document)
    assert caught.value.where == "ingress[0].hostname"
    configuration = parse_configuration(document, misspelt_keys="told")
    assert warnings_of(configuration) == [("hostname_never_matches", "ingress[0].hostname")]
    assert explain(configuration, "https://a.example.com/").index == 1


@pytest.mark.parametrize(
    ("rule", "code", "key"),
    [
        ({"service": "socks-proxy"}, "socks_without_rules", "originRequest.ipRules"),
        ({"service": "ftp://h"}, "service_without_port", "service"),
        ({"service": "http://h?x"}, "service_part_ignored", "service"),
        ({"service": "tcp://169.254.169.254:80"}, "origin_denied", "service"),
        (
            {"service": ORIGIN, "originRequest": {"access": {"required": True}}},
            "access_lets_nobody_in",
            "originRequest.access",
        ),
        (
            {"service": ORIGIN, "originRequest": {"access": {"required": True, "teamName": "t"}}},
            "access_lets_nobody_in",
            "originRequest.access",
        ),
    ],
)
def test_what_hardly_is_meant_is_told(rule: dict[str, Any], code: str, key: str) -> None:
    assert warnings_of(parse(rule)) == [(code, f"ingress[0].{key}")]


@pytest.mark.requirement("S20")
@pytest.mark.parametrize(
    ("service", "told"),
    [
        ("https://app.example.com", True),
        ("http://App.Example.com:8080", True),
        ("http://origin.example.com", False),
        ("http_status:200", False),
    ],
)
def test_a_service_with_the_rules_own_hostname_is_told(service: str, told: bool) -> None:
    """security.md S20: it may be another host inside, so it isn't refused."""
    configuration = parse({"hostname": "app.example.com", "service": service}, CATCH_ALL)
    assert (("service_is_own_hostname", "ingress[0].service") in warnings_of(configuration)) is told
