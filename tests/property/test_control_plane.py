import json
import re
from random import Random

import structlog
from hypothesis import given
from hypothesis import strategies as st

from qanat.api.http.body import check_json
from qanat.api.http.pagination import parse_page
from qanat.api.v4.configurations import echoed
from qanat.auth.tokens import checksum, is_well_formed, make_token
from qanat.dns.forms import RecordDraft, check_record, record_name, txt_value
from qanat.errors import QanatError
from qanat.ids import Hostname, TunnelId
from qanat.ingress.rules import parse_configuration
from qanat.log import escape, redact
from qanat.tables import compile_leaves, compile_routes
from qanat.tables.routes import Target

labels = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
hostnames = st.builds(".".join, st.lists(labels, min_size=2, max_size=5)).map(Hostname)
tunnel_ids = st.uuids().map(str).map(TunnelId)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(hostnames, tunnel_ids), st.randoms())
def test_routes_do_not_depend_on_the_order_of_records(wanted: dict[Hostname, TunnelId], random: Random) -> None:
    records = [Target(hostname, tunnel) for hostname, tunnel in wanted.items()]
    random.shuffle(records)
    assert compile_routes(records) == wanted


@given(st.sets(hostnames), st.lists(hostnames))
def test_every_zone_and_hostname_has_one_certificate(zones: set[Hostname], names: list[Hostname]) -> None:
    leaves = compile_leaves(zones, names)
    covered = [name for leaf in leaves for name in leaf.names]
    assert len(covered) == len(set(covered))
    for name in [*zones, *names]:
        assert name in covered or "*." + name.split(".", 1)[1] in covered


@given(st.text(), st.text())
def test_every_page_is_served(page: str, per_page: str) -> None:
    asked = parse_page(page, per_page)
    assert asked.number >= 1
    assert 1 <= asked.per_page <= 5000
    assert asked.offset >= 0


@given(st.text())
def test_no_text_is_a_token_by_accident(text: str) -> None:
    assert is_well_formed(text) == (
        re.fullmatch(r"qnt_[0-9A-Za-z]{36}", text) is not None and checksum(text[4:34]) == text[34:]
    )
    assert is_well_formed(make_token())


@given(st.text(max_size=60))
def test_a_record_name_is_refused_or_lies_in_its_zone(text: str) -> None:
    try:
        name = record_name(text, "example.test")
    except QanatError as error:
        assert error.code == "record_bad_name"
    else:
        assert name == "example.test" or name.endswith(".example.test")
        assert record_name(name, "example.test") == name


@given(st.sampled_from(["A", "AAAA", "CNAME", "TXT", "MX", ""]), st.text(), st.text(), st.integers(), st.booleans())
def test_a_record_is_refused_by_code_or_sound(kind: str, name: str, content: str, ttl: int, proxied: bool) -> None:
    try:
        form = check_record(
            RecordDraft(name=name, type=kind, content=content, ttl=ttl, proxied=proxied), "example.test"
        )
    except QanatError as error:
        assert error.code.startswith("record_")
        assert error.where in ("name", "type", "content", "priority", "ttl", "proxied")
    else:
        assert form.content in (content, content.removesuffix("."))
        assert form.ttl == 1 or (30 <= form.ttl <= 86400 and not form.proxied)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters='"\\\0')))
def test_quotes_around_a_txt_make_no_difference(text: str) -> None:
    assert txt_value(f'"{text}"') == txt_value(text) == text


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_a_configuration_is_refused_by_place_or_echoed_exactly(document: dict[str, object]) -> None:
    document["ingress"] = [{"service": "http_status:404"}]
    try:
        stored = parse_configuration(json.loads(json.dumps(document))).document
    except QanatError as error:
        assert error.code.startswith(("configuration_", "ingress_"))
        return
    answered = echoed(json.loads(json.dumps(stored)))
    routing = answered.pop("warp-routing")
    assert "enabled" in routing
    expected = _without_nulls(document)
    assert isinstance(expected, dict)
    expected.pop("warp-routing", None)
    assert json.dumps(answered) == json.dumps(expected)


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


@given(json_values | st.binary(), st.booleans())
def test_texts_that_pass_the_gate_can_be_stored(value: object, ascii_only: bool) -> None:
    body = (
        value
        if isinstance(value, bytes)
        else json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    )
    try:
        check_json(body)
        json.loads(body)
    except QanatError as error:
        assert error.code == "body_malformed"
    except ValueError:
        pass  # who parses it says so
    else:
        text = json.dumps(json.loads(body), ensure_ascii=False)
        text.encode()
        assert "\\u0000" not in text.replace("\\\\", "")


@given(st.text(), st.text(), st.binary())
def test_one_event_is_one_line_of_valid_json(message: str, value: str, raw: bytes) -> None:
    event = escape(None, "info", redact(None, "info", {"event": message, "value": value, "raw": raw}))
    line = structlog.processors.JSONRenderer(ensure_ascii=False)(None, "info", event)
    assert isinstance(line, str)
    assert len(line.splitlines()) == 1
    assert set(json.loads(line)) == {"event", "value", "raw"}
