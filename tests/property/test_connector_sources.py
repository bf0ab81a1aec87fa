"""Whatever a connector is told, it starts with something sound or ends with a reason: no traceback, no service that is none."""

import string

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from qanat.connector.configuration import local_document
from qanat.connector.flags import FILE_KEYS, read_command_line
from qanat.connector.options import log_options, read_options
from qanat.connector.single_origin import single_origin
from qanat.connector.sources import configuration_flags, gather, lay_over
from qanat.errors import QanatError
from qanat.ingress.documents import read_yaml
from qanat.ingress.origin import OriginRequest
from qanat.ingress.rules import parse_configuration
from tests.process.test_cases_tokens import TOKEN

WORDS = (
    "http https ws ssh unix : / // :// [ ] ::1 127.0.0.1 localhost h 8080 @ u:p@ ?q #f % %2f ä _ - . * \\ hello_world"
)
PARTS = st.sampled_from([*WORDS.split(), " ", "\n", "\0"])


@given(st.one_of(st.lists(PARTS, max_size=8).map("".join), st.text(max_size=40)))
def test_any_url_is_a_sound_origin_or_refused(text: str) -> None:
    sources = gather(read_command_line(["tunnel", "run", f"--url={text}"]), {})
    try:
        found, _ = single_origin(sources, [])
    except QanatError as error:
        assert error.where == "--url"
        return
    assert found is not None
    service = found.rules[0].service
    assert service.kind in ("http", "unix", "unix+tls", "tcp", "status", "hello_world")
    if service.kind == "http":
        scheme, _, authority = service.target.partition("://")
        host, _, port = authority.rpartition(":")
        assert scheme in ("http", "https")
        assert host
        assert 0 < int(port) < 65536
        assert not set(authority) & set("/?#@ \n\0")


YAML = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "_", "-"}
"""Words that are no texts in YAML."""

KEYS = st.text(string.ascii_letters + "-_", min_size=1, max_size=12)
NAMES = KEYS.filter(lambda text: text.lower() not in YAML and bool(text.strip("-_")))
VALUES = st.recursive(
    st.one_of(
        st.integers(0, 9), st.text(string.ascii_letters, min_size=2).filter(lambda text: text.lower() not in YAML)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_a_document_without_doubles_is_read_as_it_is_and_one_with_a_double_is_refused(
    document: dict[str, object],
) -> None:
    text = yaml.safe_dump({"outer": [document]})
    assert read_yaml(text.encode()) == {"outer": [document]}
    key = next(iter(document))
    doubled = yaml.safe_dump({"outer": [document]}) + f"inner:\n- a: {{b: 1, {key!r}: 1, c: [], {key!r}: 2}}\n"
    with pytest.raises(QanatError, match="stands twice in one mapping") as caught:
        read_yaml(doubled.encode())
    assert caught.value.code == "configuration_double_key"


@given(st.dictionaries(KEYS, st.integers(0, 3), max_size=4))
def test_any_key_anywhere_is_told_or_refused_by_its_place(keys: dict[str, int]) -> None:
    rule = {"service": "http_status:404", "originRequest": dict(keys), **keys}
    try:
        parsed = parse_configuration(
            {**keys, "ingress": [rule]}, form="yaml", also_known=FILE_KEYS, misspelt_keys="told"
        )
    except QanatError as error:
        assert error.where
        return
    told = {warning.where for warning in parsed.warnings if warning.code == "unknown_key"}
    for key in keys:
        for place in (f"ingress[0].{key}", f"ingress[0].originRequest.{key}"):
            assert place in told or key in ("path", "hostname", "service"), place


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.binary(max_size=4),
    st.dates(), st.sampled_from(["1s", "-1s", "http://h:1", "unix:/x", "h:1", "4", "*.a.test", "a=b", "quic", "socks"]),
)  # fmt: skip
RULE_KEYS = st.sampled_from(
    [*["hostname", "path", "service", "originRequest"], *(field.encode_name for field in fields(OriginRequest))]
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(RULE_KEYS, inner, max_size=3)),
    max_leaves=8,
)
FILES = st.one_of(
    st.binary(max_size=80),
    st.dictionaries(
        st.sampled_from(sorted(FILE_KEYS | {"ingress", "originRequest", "warp-routing"})), ANYTHING, max_size=4
    ).map(lambda document: yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "replace")),
)
LINE = read_command_line(["tunnel", "run", "--token", TOKEN, "--edge=h:1"])


@settings(max_examples=200)
@given(FILES)
def test_any_file_is_what_a_connector_starts_with_or_is_refused_by_its_name_in_one_line(text: bytes) -> None:
    try:
        sources = lay_over("config.yml", text, LINE, {"HOME": "/nonexistent"})
        log_options(sources)
        options = read_options(sources)
    except QanatError as error:
        assert (error.where or "").startswith("config.yml"), error.where
        assert "\n" not in str(error).partition("\n  fix: ")[0]
        return
    assert options.ha_connections > 0
    if options.local is not None:
        local_document(options.local, configuration_flags(sources))
