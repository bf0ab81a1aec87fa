import pytest

from qanat.errors import QanatError
from qanat.ids import (
    parse_account_id,
    parse_connector_id,
    parse_hostname,
    parse_record_id,
    parse_tunnel_id,
    parse_zone_id,
)

UUID = "0c9e8b5a-7d3f-4f6e-9b1a-2f4d6c8e0a13"


@pytest.mark.parametrize(
    ("text", "hostname"),
    [
        ("app.example.com", "app.example.com"),
        ("APP.Example.COM.", "app.example.com"),
        ("*.example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("_acme-challenge.example.com", "_acme-challenge.example.com"),
        ("localhost", "localhost"),
        ("a.b--c.example", "a.b--c.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
    ],
)
def test_a_hostname_has_one_form(text: str, hostname: str) -> None:
    assert parse_hostname(text) == hostname


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "*",
        "*.",
        "a..b",
        ".a",
        "a b.example",
        "-a.example",
        "a-.example",
        "a.*.example.com",
        "*a.example.com",
        "**.example.com",
        "https://a.example.com",
        "a.example.com/path",
        "a.example.com:8443",
        "::1",
        "127.0.0.1",
        "0x7f.1",
        "a" * 64 + ".example",
        ".".join(["a" * 60] * 5),
        "a\n.example",
        "a\0.example",
        "\u2488com.example",
    ],
)
def test_what_is_no_hostname_is_refused(text: str) -> None:
    with pytest.raises(QanatError) as caught:
        parse_hostname(text)
    assert caught.value.code == "bad_hostname"
    assert caught.value.message.isprintable()


def test_a_wildcard_is_refused_where_none_may_stand() -> None:
    with pytest.raises(QanatError, match="wildcard"):
        parse_hostname("*.example.com", wildcard=False)


def test_ids_are_written_in_lower_case() -> None:
    for parse_uuid in (parse_tunnel_id, parse_connector_id):
        assert str(parse_uuid(UUID.upper())) == UUID
    for parse_hex in (parse_account_id, parse_zone_id, parse_record_id):
        assert str(parse_hex("AB" * 16)) == "ab" * 16


@pytest.mark.parametrize("text", ["", UUID[:-1], UUID.replace("-", ""), f"{{{UUID}}}", UUID + "\n", "g" * 36])
def test_what_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(QanatError, match="UUID"):
        parse_tunnel_id(text)


@pytest.mark.parametrize("text", ["", "ab" * 15, "xy" * 16, "ab" * 16 + " ", "\u0661" * 32])
def test_what_is_no_account_is_refused(text: str) -> None:
    with pytest.raises(QanatError, match="32 hexadecimal"):
        parse_account_id(text)
