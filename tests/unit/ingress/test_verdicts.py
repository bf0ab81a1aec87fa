import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanat.errors import QanatError
from qanat.ingress.rules import parse_configuration
from qanat.ingress.table import compile_table, explain
from qanat.ingress.verdicts import parse_url, verdicts

hosts = st.sampled_from(["a.test", "b.test", "x.a.test", "*.a.test", "*.test", ""])
paths = st.sampled_from(["", "^/x", "y$", "/"])
rules = st.lists(st.tuples(hosts, paths).filter(any), max_size=6)


@given(
    rules, st.sampled_from(["a.test", "x.a.test", "b.test:8080", "q.test"]), st.sampled_from(["/", "/x", "/y", "/%78"])
)
def test_verdicts_agree_with_live_matching(given_rules: list[tuple[str, str]], host: str, path: str) -> None:
    ingress = [{"hostname": hostname, "path": pattern, "service": "http://o"} for hostname, pattern in given_rules]
    document = {"ingress": [*ingress, {"service": "http_status:404"}]}
    configuration = parse_configuration(json.dumps(document).encode())
    found = verdicts(configuration, parse_url(f"http://{host}{path}"))
    taken = compile_table(configuration).match(hostname=host, path=path)
    assert [verdict.index for verdict in found] == list(range(taken + 1))
    assert [verdict.missed is None for verdict in found] == [False] * taken + [True]
    assert explain(configuration, f"http://{host}{path}").index == taken


def test_no_rules_give_no_verdicts() -> None:
    assert verdicts(parse_configuration(b"{}"), parse_url("a.test")) == []


@pytest.mark.parametrize("text", ["", "/x", "https://", "https://user@", "http://[::1", "http://a:99999/"])
def test_a_text_without_a_hostname(text: str) -> None:
    with pytest.raises(QanatError) as refused:
        parse_url(text)
    assert refused.value.code == "explain_bad_url"


def test_what_a_url_is_split_into() -> None:
    asked = parse_url("https://user:secret@a.test:8443/x?q#f")
    assert (asked.authority, asked.path) == ("a.test:8443", "/x")
