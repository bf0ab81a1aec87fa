"""What all patterns of a configuration may take together, wherever it comes in (security.md S30, S31)."""

import json
import time
from typing import Any

import pytest

from qanat.errors import QanatError
from qanat.ingress.rules import parse_configuration
from qanat.ingress.table import compile_table
from qanat.ingress.verdicts import parse_url, verdicts

CATCH_ALL = {"service": "http_status:404"}


def document(paths: list[str], hostname: str = "a.test") -> dict[str, Any]:
    return {"ingress": [*({"hostname": hostname, "path": path, "service": "http://o"} for path in paths), CATCH_ALL]}


def hostile(count: int = 400) -> dict[str, Any]:
    """37 KB that compiled to 840 MiB."""
    return document([f"(?:\\pL{{40}}|\\pN{{40}}){number}" for number in range(count)])


@pytest.mark.requirement("S30")
@pytest.mark.parametrize("form", ["object", "json", "yaml"])
def test_a_configuration_that_compiles_to_too_much_is_refused_by_the_rule(form: str) -> None:
    text = json.dumps(hostile())
    with pytest.raises(QanatError) as refused:
        if form == "yaml":
            parse_configuration(text.encode(), form="yaml")
        else:
            parse_configuration(hostile() if form == "object" else text)
    assert refused.value.code == "ingress_patterns_too_large"
    where = refused.value.where or ""
    number = int(where.removeprefix("ingress[").removesuffix("].path"))
    assert 20 < number < 60, where
    assert f"`(?:\\pL{{40}}|\\pN{{40}}){number}`" in refused.value.message
    assert "33554432 bytes" in refused.value.message


def test_hundreds_of_usual_patterns_are_taken() -> None:
    paths = [f"^/api/v{number}/[a-z]+/.*$" for number in range(1000)]
    paths += [f"(?i)\\.(jpg|png|gif|css|js){number}$" for number in range(300)]
    paths += [f"^/{number}/\\pL+/[^/]+$" for number in range(300)]
    paths += [f"^/{number}/.{{1,200}}$" for number in range(50)]
    assert compile_table(parse_configuration(document(paths))).match(hostname="a.test", path="/api/v7/users/1") == 7


def test_the_same_pattern_counts_once() -> None:
    rules = [{"hostname": f"h{n}.test", "path": "\\pL{40}", "service": "http://o"} for n in range(500)]
    compile_table(parse_configuration({"ingress": [*rules, CATCH_ALL]}))


def test_explaining_compiles_only_what_the_hostname_matches() -> None:
    configuration = parse_configuration(hostile(), patterns=False)
    assert [each.missed for each in verdicts(configuration, parse_url("b.test/x"))] == ["hostname"] * 400 + [None]
    with pytest.raises(QanatError) as refused:
        verdicts(configuration, parse_url("a.test/x"))
    assert refused.value.code == "ingress_patterns_too_large"


def test_explaining_ends_in_time_whatever_the_pattern() -> None:
    paths = [f"(a|b)*a(?:a|b){{900}}{number}" for number in range(200)]
    configuration = parse_configuration(document(paths))
    path = "".join("ab"[(number * 2654435761 >> 13) & 1] for number in range(16_000))
    started = time.perf_counter()
    with pytest.raises(QanatError) as refused:
        verdicts(configuration, parse_url(f"a.test/{path}"))
    assert refused.value.code == "explain_too_long"
    assert time.perf_counter() - started < 20.0
    with pytest.raises(QanatError) as refused:
        verdicts(configuration, parse_url(f"a.test/{'a' * 20_000}"))
    assert refused.value.code == "explain_bad_url"


@pytest.mark.requirement("S31")
def test_a_catastrophic_pattern_on_a_path_of_a_mebibyte_takes_linear_time() -> None:
    """S31 says 5 ms; a busy machine and a build that isn't optimised get their time, exponential growth doesn't."""
    for pattern in ("(a+)+$", "(a|a)+$", "(a|aa)+$"):
        table = compile_table(parse_configuration(document([pattern])))

        def took(length: int, table: Any = table) -> float:
            path = "/" + "a" * length + "!"
            best = 60.0
            for _ in range(5):
                started = time.perf_counter()
                assert table.match(hostname="a.test", path=path) == 1
                best = min(best, time.perf_counter() - started)
            return best

        assert took(1 << 20) < 64 * took(1 << 16) + 0.005, pattern


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'{"a":' * 100_000,
        b'{"a":[' + b"[]," * 200_000 + b"1]}",
        b'{"a":"\\u0000"}',
        b'{"a":NaN}',
        b'{"a":"\xff"}',
    ],
)
def test_a_json_document_is_bounded_before_anything_is_built(text: bytes) -> None:
    with pytest.raises(QanatError) as refused:
        parse_configuration(text)
    assert refused.value.code == "configuration_malformed"


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {k0: 1, k1: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize("text", [LAUGHS, MERGES, "[" * 100_000, "- " * 5000, "a: &a [*a]\n", "{a: " * 100])
def test_a_yaml_document_is_bounded_before_anything_is_built(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(QanatError) as refused:
        parse_configuration(text.encode(), form="yaml")
    assert refused.value.code == "configuration_malformed"
    assert time.perf_counter() - started < 10.0


def test_an_alias_that_is_meant_is_taken() -> None:
    text = (
        "ingress:\n- hostname: a.test\n  service: http://o\n  originRequest: &often {noTLSVerify: true}\n"
        "- hostname: b.test\n  service: http://p\n  originRequest: *often\n- service: http_status:404\n"
    )
    rules = parse_configuration(text.encode(), form="yaml").rules
    assert [rule.origin.no_tls_verify for rule in rules] == [True, True, None]


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "100.100.100.200"])
def test_a_metadata_address_as_origin_is_warned_about(host: str) -> None:
    rules = [{"hostname": "a.test", "service": f"http://{host}:80"}, CATCH_ALL]
    warnings = parse_configuration({"ingress": rules}).warnings
    assert [(each.code, each.where) for each in warnings] == [("origin_denied", "ingress[0].service")]
