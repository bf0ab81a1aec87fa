"""Records of any kind: what is accepted round-trips and compiles, what is refused leaves no trace."""

from base64 import b64encode
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from qanat.control import records, zones
from qanat.control.record_batches import Batch
from qanat.dns import zone_file
from qanat.dns.forms import RecordDraft, RecordForm, check_record
from qanat.dns.record_types import PROXIABLE, RECORD_TYPES
from qanat.dns.record_types.text import carried, strings
from qanat.errors import QanatError
from qanat.ids import parse_hostname
from qanat.store import Store, open_store
from qanat.store.models import Audit, Record
from qanat.store.reach import EVERYTHING
from qanat.tables import compile_routes
from qanat.tables.reading import read_routes
from tests.support.writes import apply, first_account, import_zone, written

ZONE = "example.test"


def encoded(raw: bytes) -> str:
    """In base64."""
    return b64encode(raw).decode("ascii")


words = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
hosts = st.builds(".".join, st.lists(words, min_size=1, max_size=4)) | st.sampled_from(
    ["@", ".", "*", "bücher.de", ZONE]
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
scalars = (
    st.integers(-1, 70000)
    | st.floats()
    | st.integers(0, 300).map(str)
    | hosts
    | texts
    | st.sampled_from(["ab" * 32, "AAAA", "issue", "N", "S", "E", "W", "PKIX", 'alpn="h2"', " port=443"])
)
KEYS = sorted(
    {part.key for kind in RECORD_TYPES.values() for part in getattr(kind, "_parts", ())} | {"service", "proto", "name"}
)
CONTENTS = [
    "192.0.2.1",
    "2001:DB8::1",
    '"quoted" "\\255"',
    "10 5 5060 s.example.com",
    "5 5060 s.example.com",
    '0 issue "ca"',
    f"1 13 2 {'ab' * 32}",
    "257 3 13 AAAA",
    f"3 1 1 {'ab' * 32}",
    "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
    '100 10 "S" "SIP+D2U" "" _sip._udp.example.com',
    '10 1 "https://x/"',
    '1 "https://x/"',
    "PKIX 1 8 AAAA",
    "1 . alpn=h2",
    "c1744f8b-faa1-48a4-9e5c-02ac921467fa.cfargotunnel.com",
]
drafts = st.builds(
    RecordDraft,
    name=hosts | texts,
    type=st.sampled_from(sorted(RECORD_TYPES)),
    content=st.none() | st.sampled_from(CONTENTS) | hosts | texts,
    data=st.none() | st.dictionaries(st.sampled_from(KEYS), st.none() | scalars | st.lists(scalars, max_size=1)),
    priority=st.none() | st.integers(-1, 65536),
    ttl=st.sampled_from([1, 29, 30, 300, 86400, 86401]),
    proxied=st.booleans(),
    comment=st.none() | texts,
    tags=st.lists(words | texts, max_size=2).map(tuple),
    settings=st.dictionaries(st.sampled_from(["ipv4_only", "flatten_cname", "x"]), st.booleans() | st.none()),
    private_routing=st.none() | st.booleans(),
)


bytes_, shorts, octets = st.binary(min_size=1, max_size=60), st.integers(0, 65535), st.integers(0, 255)
targets = st.builds(".".join, st.lists(st.from_regex(r"[A-Za-z][a-z0-9]{0,9}", fullmatch=True), min_size=1, max_size=4))
dotted = targets | targets.map(lambda name: f"{name}.")
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
hashed = st.fixed_dictionaries(
    {"usage": octets, "selector": octets, "matching_type": st.just(1), "certificate": digests | digests.map(str.upper)}
)
metres = st.decimals(0, 9000, places=2).map(float)
GOOD_DATA: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "SRV": st.fixed_dictionaries(
        {"priority": shorts | shorts.map(str), "weight": shorts, "port": shorts.map(float), "target": dotted}
    ),
    "CAA": st.fixed_dictionaries(
        {"flags": octets | octets.map(str), "tag": st.sampled_from(["issue", "iodef"]), "value": texts}
    ),
    "DS": st.fixed_dictionaries({"key_tag": shorts, "algorithm": octets, "digest_type": st.just(2), "digest": digests}),
    "DNSKEY": st.fixed_dictionaries(
        {"flags": shorts, "protocol": st.just(3), "algorithm": octets, "public_key": bytes_.map(encoded)}
    ),
    "TLSA": hashed,
    "SMIMEA": hashed,
    "SSHFP": st.fixed_dictionaries({"algorithm": octets, "type": st.just(2), "fingerprint": digests}),
    "LOC": st.fixed_dictionaries(
        {
            "lat_degrees": st.integers(0, 89),
            "lat_minutes": st.integers(0, 59),
            "lat_seconds": st.decimals(0, 59, places=3).map(float),
            "lat_direction": st.sampled_from("NS"),
            "long_degrees": st.integers(0, 179),
            "long_direction": st.sampled_from("EW"),
        },
        optional={"altitude": st.integers(-1000, 9000), "size": metres, "precision_horz": metres},
    ),
    "NAPTR": st.fixed_dictionaries(
        {"order": shorts, "preference": shorts, "regex": texts, "replacement": dotted | st.just(".")},
        optional={"flags": st.sampled_from(["S", "U", ""]), "service": texts},
    ),
    "URI": st.fixed_dictionaries({"weight": shorts, "target": texts.filter(bool)}),
    "CERT": st.fixed_dictionaries(
        {"type": shorts | st.just("PKIX"), "key_tag": shorts, "algorithm": octets, "certificate": bytes_.map(encoded)}
    ),
    "HTTPS": st.fixed_dictionaries(
        {"priority": st.integers(1, 65535), "target": dotted | st.just(".")},
        optional={"value": st.sampled_from(['alpn="h2,h3"', " port=443 alpn=h2", 'key65400="a b"', ""])},
    ),
}
GOOD_DATA["SVCB"] = GOOD_DATA["HTTPS"]
GOOD_CONTENT: dict[str, st.SearchStrategy[str]] = {
    "A": st.ip_addresses(v=4).map(str),
    "AAAA": st.ip_addresses(v=6).map(str) | st.ip_addresses(v=6).map(lambda address: address.exploded.upper()),
    **dict.fromkeys(["CNAME", "NS", "PTR", "MX"], dotted),
    "TXT": texts.filter(bool) | texts.map(lambda text: f'"{text}"'),
}


def good(kind: str) -> st.SearchStrategy[RecordDraft]:
    """Records that are right, nearly all of them."""
    return st.builds(
        RecordDraft,
        name=targets | st.sampled_from(["@", "*", "*.a", "_x._tcp"]),
        type=st.just(kind),
        content=GOOD_CONTENT.get(kind, st.none()),
        data=GOOD_DATA.get(kind, st.none()),
        priority=shorts if kind in ("MX", "URI") else st.none() | shorts,
        ttl=st.sampled_from([1, 30, 86400]),
        comment=st.none() | texts,
        tags=st.lists(st.sampled_from(["a", "env:prod", "x:a, b", "x:cf_tags=y", "x: ", "x:ä\\"]), max_size=2).map(
            tuple
        ),
        settings=st.dictionaries(st.sampled_from(["ipv4_only", "flatten_cname"]), st.booleans() | st.none()),
        proxied=st.booleans() if kind in PROXIABLE else st.just(False),
    )


good_drafts = st.sampled_from(sorted(RECORD_TYPES)).flatmap(good)


@settings(max_examples=400)
@given(drafts | good_drafts)
def test_an_accepted_record_round_trips(draft: RecordDraft) -> None:
    try:
        form = check_record(draft, ZONE)
    except QanatError as error:
        assert error.code.startswith("record_")
        assert error.where
        return
    check(draft, form)


def check(draft: RecordDraft, form: RecordForm) -> None:
    kind = RECORD_TYPES[form.type]
    assert form.name == ZONE or form.name.endswith(f".{ZONE}")
    if form.written_as == "data":
        assert form.data
        assert draft.data is not None
        for key, value in form.data.items():
            # names with their last dot or without it, hexadecimal in lower case; anything else as it was sent
            assert plain(value) == plain(draft.data[key])
        assert None not in form.data.values()
    else:
        assert form.data is None
        assert draft.content is not None
        if not kind.has_data and form.type != "AAAA":
            assert form.content in (draft.content, draft.content.removesuffix("."))
    rdata = kind.rdata(form.content, form.priority)
    assert len(rdata.to_wire() or b"") <= 65535
    # the same again from its own content: equal in DNS, and the form is a fixed point
    again = check_record(
        RecordDraft(name=form.name, type=form.type, content=form.content, priority=form.priority, proxied=form.proxied),
        ZONE,
    )
    assert (again.content, again.content_key, again.name) == (form.content, form.content_key, form.name)
    parts = kind.parts(form.content, form.priority)
    assert (parts is not None) == kind.has_data
    if parts is not None:
        # however it was written, it is answered in one form
        answered = kind.answered(form.content), kind.answered_priority(form.content, form.priority)
        derived = RecordDraft(name=form.name, type=form.type, data=parts, priority=getattr(rdata, "priority", None))
        if not any("\\x" in str(value) or "\x00" in str(value) for value in parts.values()):
            other = check_record(derived, ZONE)
            assert other.content_key == form.content_key
            if form.type not in ("HTTPS", "SVCB"):  # whose parameters stay as written
                found = kind.answered(other.content), kind.answered_priority(other.content, other.priority)
                assert found == answered


def plain(value: object) -> str:
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    try:
        return str(parse_hostname(text, wildcard=False))
    except QanatError:
        return "".join(text.split()).lower().removesuffix(".")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=1000))
def test_a_txt_is_served_with_the_bytes_it_carries(content: str) -> None:
    try:
        form = check_record(RecordDraft(name="x", type="TXT", content=content), ZONE)
    except QanatError:
        return
    parts = strings(content)
    assert b"".join(parts) == carried(content)
    assert all(len(part) <= 255 for part in parts)
    assert form.content == content
    rdata: Any = RECORD_TYPES["TXT"].rdata(content, None)
    assert list(rdata.strings) == parts


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(tmp_path_factory.mktemp("records") / "qanat.db")
    first_account(opened)
    yield opened
    opened.close()


_ZONES = count()


def counts(store: Store) -> tuple[int, int]:
    with store.reading() as session:
        return tuple(session.scalar(select(func.count()).select_from(table)) or 0 for table in (Record, Audit))  # type: ignore[return-value]


@settings(max_examples=60)
@given(st.lists(drafts | good_drafts, min_size=1, max_size=8))
@example([RecordDraft(name="A", type="A", content="192.0.2.1", comment="\xa0")])
def test_what_is_refused_leaves_no_trace_and_what_is_accepted_compiles(store: Store, some: list[RecordDraft]) -> None:
    account = first_account(store).id
    zone = written(store, zones.create, account_id=account, name=f"z{next(_ZONES)}.test")
    for draft in some:
        rows, audited = counts(store)
        try:
            written(store, records.create, zone.id, draft, reach=EVERYTHING)
        except QanatError:
            assert counts(store) == (rows, audited)
        else:
            assert counts(store) == (rows + 1, audited + 1)
    rows, audited = counts(store)
    try:
        apply(store, zone.id, Batch(posts=some), reach=EVERYTHING)
    except QanatError:
        assert counts(store) == (rows, audited)
    with store.reading() as session:
        compile_routes(read_routes(session))
        before, _ = records.page(session, zone.id)
    text = "".join(zone_file.written(zone.name, before))
    written(store, zones.delete, zone.id, reach=EVERYTHING)
    again = written(store, zones.create, account_id=account, name=zone.name)
    lines = zone_file.parsed(text, zone.name, proxied=False)
    done = import_zone(store, again.id, lines, reach=EVERYTHING)
    assert (done.added, done.parsed) == (len(before), len(before))
    with store.reading() as session:
        after, _ = records.page(session, again.id)
    assert sorted(map(_meaning, after)) == sorted(map(_meaning, before))


def _meaning(record: Record) -> str:
    shown = (
        record.name,
        record.type,
        record.content_key,
        record.ttl,
        record.proxied,
        record.comment or None,
        record.tags,
    )
    return repr((*shown, {key: value for key, value in record.settings.items() if value}))


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=200))
def test_any_zone_file_is_refused_by_line_or_parsed(text: str) -> None:
    try:
        for number, draft in zone_file.parsed(text, ZONE, proxied=True):
            assert number >= 1
            check_record(draft, ZONE)
    except QanatError as error:
        assert error.code.startswith(("record_", "zone_file_"))


@given(
    st.lists(
        st.sampled_from(["a", "A", "192.0.2.1", "TXT", '"', "(", ")", ";", "\n", " ", "$TTL", "$ORIGIN", "\\", "."])
    )
)
def test_any_pieces_of_a_zone_file_are_refused_by_line_or_parsed(pieces: list[str]) -> None:
    test_any_zone_file_is_refused_by_line_or_parsed.hypothesis.inner_test(" ".join(pieces))  # type: ignore[attr-defined]
