"""Whatever a document says, the parser gives a sound configuration or a QanatError; what it gives, the engine takes."""

import json
import re
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from qanat.errors import CODES, QanatError
from qanat.ids import parse_hostname
from qanat.ingress.rules import parse_configuration
from qanat.ingress.services import parse_service
from qanat.ingress.table import compile_table

KEYS = [
    "ingress",
    "originRequest",
    "warp-routing",
    "service",
    "hostname",
    "path",
    "connectTimeout",
    "access",
    "required",
    "teamName",
    "audTag",
    "ipRules",
    "prefix",
    "ports",
    "bastionMode",
    "proxyType",
    "maxActiveFlows",
]
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(lambda label: label[2:4] != "--")
hostnames = (
    st.lists(labels, min_size=2, max_size=4)
    .map(".".join)
    .filter(lambda name: not re.fullmatch("[0-9]+|0x[0-9a-f]*", name.rpartition(".")[2]))  # an address to resolvers
)
patterns = hostnames | hostnames.map(lambda name: f"*.{name}")
paths = st.sampled_from(["", "^/a", "/a", "\\.js$", "^/(b|c)/"])
services = st.sampled_from(
    [
        "http://127.0.0.1:1",
        "https://app",
        "unix:/s",
        "http_status:404",
        "hello_world",
        "ssh://h",
        "odd://h",
        "bastion",
        "socks-proxy",
    ]
)
# No text of a configuration has a NUL.
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
origins = st.fixed_dictionaries(
    {},
    optional={
        "connectTimeout": st.integers(0, 3600),
        "noTLSVerify": st.booleans(),
        "httpHostHeader": st.none() | hostnames,
        "keepAliveConnections": st.integers(0, 1000),
        "bastionMode": st.booleans(),
        "proxyType": st.sampled_from(["", "socks"]),
        "ipRules": st.lists(
            st.fixed_dictionaries(
                {"prefix": st.sampled_from(["0.0.0.0/0", "::/0", "10.1.2.3/08", "::ffff:10.0.0.1/128"])},
                optional={"ports": st.lists(st.integers(1, 65535), max_size=3), "allow": st.booleans()},
            ),
            max_size=3,
        ),
        "access": st.fixed_dictionaries(
            {"required": st.booleans(), "teamName": st.sampled_from(["t", "login.example.com", "https://i.example/x"])},
            optional={"audTag": st.lists(words, max_size=2), "environment": st.sampled_from(["", "fed"])},
        ),
    },
)
rules = st.fixed_dictionaries(
    {"service": services, "hostname": patterns}, optional={"path": paths, "originRequest": origins}
)
documents = st.fixed_dictionaries(
    {"ingress": st.lists(rules, max_size=8).map(lambda found: [*found, {"service": "http_status:404"}])},
    optional={"originRequest": origins, "warp-routing": st.just({})},
)
# What JSON can hold: it has neither NaN nor infinity.
numbers = st.integers(-10, 10) | st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(documents)
def test_a_sound_document_is_taken_and_its_catch_all_takes_the_rest(document: dict[str, Any]) -> None:
    configuration = parse_configuration(json.dumps(document).encode())
    table = compile_table(configuration)
    assert len(configuration.rules) == len(document["ingress"])
    assert 0 <= table.match(hostname="unheard.of.invalid", path="/zzz") < len(configuration.rules)


@given(documents, hostnames, st.sampled_from(["/", "/a", "/x/a", "/b/1", "/f.js", "/%61"]))
def test_matching_ignores_case_port_and_trailing_dot(document: dict[str, Any], hostname: str, path: str) -> None:
    table = compile_table(parse_configuration(document))
    found = table.match(hostname=hostname, path=path)
    assert table.match(hostname=f"{hostname.upper()}.:8443", path=path) == found


@given(documents)
def test_what_is_stored_reads_back_as_the_same_rules(document: dict[str, Any]) -> None:
    first = parse_configuration(document)
    again = parse_configuration(json.dumps(first.document).encode())
    assert (again.rules, again.warnings, again.document) == (first.rules, first.warnings, first.document)


@given(anything)
@example(float("inf"))
@example({"originRequest": {"connectTimeout": float("inf")}})
def test_any_document_is_taken_or_refused_with_a_code(document: Any) -> None:
    try:
        configuration = parse_configuration(document)
    except QanatError as error:
        assert error.code in CODES
        assert str(error).isprintable() or "\n" not in str(error)
    else:
        compile_table(configuration)


@given(st.binary(max_size=64))
def test_any_bytes_are_taken_or_refused(document: bytes) -> None:
    for form in ("json", "yaml"):
        try:
            parse_configuration(document, form=form)
        except QanatError as error:
            assert error.code in CODES


@given(st.text(max_size=60) | st.from_regex(r"(https?|wss?|tcp|unix)://?[a-z0-9.:@\[\]/-]{0,20}", fullmatch=True))
def test_any_service_is_taken_or_refused(text: str) -> None:
    try:
        service = parse_service(text)
    except QanatError as error:
        assert error.code in CODES
    else:
        assert service.target.isprintable()
        assert parse_service(text) == service


@given(st.text(max_size=40))
def test_a_hostname_parses_to_a_fixed_point(text: str) -> None:
    try:
        hostname = parse_hostname(text)
    except QanatError as error:
        assert error.code == "bad_hostname"
    else:
        assert parse_hostname(hostname) == hostname
        assert hostname == hostname.lower()
        assert not hostname.endswith(".")
        assert len(hostname) <= 253
