"""cases.md 62: a token that is not quite one is refused before any network use, and never printed."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanat.connector.token import (
    parse_credentials,
    parse_token,
    read_credentials_file,
    read_token_file,
    world_readable,
)
from qanat.errors import QanatError, render

pytestmark = pytest.mark.case(62)

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "0c9e8b5a-7d3f-4f6e-9b1a-2f4d6c8e0a13"
SECRET = bytes(range(32))


def document(**changes: object) -> bytes:
    return json.dumps({"a": ACCOUNT, "t": TUNNEL, "s": base64.b64encode(SECRET).decode(), **changes}).encode()


TOKEN = base64.b64encode(document()).decode()
CREDENTIALS = json.dumps({"AccountTag": ACCOUNT, "TunnelSecret": base64.b64encode(SECRET).decode(), "TunnelID": TUNNEL})


@pytest.mark.parametrize(
    "written",
    [
        TOKEN,
        f"{TOKEN}\n",
        f"{TOKEN}\r\n",
        f"\t {TOKEN} ",
        TOKEN.rstrip("="),
        TOKEN.rstrip("=") + "==",
        base64.b64encode(document() + b" ").decode(),
        base64.b64encode(document(e="")).decode(),
    ],
)
def test_white_space_and_padding_do_not_matter(written: str) -> None:
    credentials = parse_token(written)
    assert (credentials.account_tag, credentials.tunnel_id, credentials.secret) == (ACCOUNT, TUNNEL, SECRET)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (f'"{TOKEN}"', "quotes"),
        (f"'{TOKEN}'", "quotes"),
        (f"token={TOKEN}", "begins with `token=`"),
        (f"TUNNEL_TOKEN={TOKEN}", "begins with `TUNNEL_TOKEN=`"),
        (f"--token {TOKEN}", "begins with `--token`"),
        (f"Bearer {TOKEN}", "begins with `Bearer`"),
        (TOKEN.rstrip("=")[:-1], "part may be missing"),
        (TOKEN[1:], "part may be missing"),
        (TOKEN[:40] + "\n" + TOKEN[40:], "inside"),
        (json.dumps({"success": True, "errors": [], "result": TOKEN}), "the token is its `result` field"),
        (json.dumps({"result": TOKEN}), "the token is its `result` field"),
        (CREDENTIALS, "--credentials-file"),
        (document().decode(), "base64 of"),
        ("hello", "no"),
        ("%%%%", "not valid base64"),
        (base64.b64encode(b"{}").decode(), "not of a token's content"),
        (base64.b64encode(document(a="xyz")).decode(), "account"),
        (base64.b64encode(document(t="xyz")).decode(), "tunnel id"),
        (base64.b64encode(document(s="*")).decode(), "secret"),
        (base64.b64encode(document(s="")).decode(), "secret"),
        ("A" * 70_000, "longer"),
    ],
)
def test_anything_else_is_refused_with_what_it_looks_like(written: str, said: str) -> None:
    with pytest.raises(QanatError) as caught:
        parse_token(written)
    assert caught.value.code == "token_invalid"
    assert said in str(caught.value)
    for part in (TOKEN[8:40], base64.b64encode(SECRET).decode()):
        assert part not in render(caught.value)


@pytest.mark.parametrize("written", ["", " \n"])
def test_an_empty_token_is_a_missing_one(written: str) -> None:
    with pytest.raises(QanatError) as caught:
        parse_token(written, where="$TUNNEL_TOKEN")
    assert (caught.value.code, caught.value.where) == ("token_missing", "$TUNNEL_TOKEN")


def test_credentials_hide_their_secret() -> None:
    assert "*****" in repr(parse_token(TOKEN))
    assert repr(SECRET) not in repr(parse_token(TOKEN))


def test_a_token_file_is_read_trimmed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"\n{TOKEN}\n", encoding="utf-8-sig")
    assert read_token_file(str(file)).tunnel_id == TUNNEL
    file.chmod(0o644)
    assert world_readable(str(file))
    file.chmod(0o600)
    assert not world_readable(str(file))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not text"),
        (lambda path: path.write_bytes(b"A" * 70_000), "64 KiB"),
        (lambda path: path.write_bytes(b""), "empty"),
    ],
)
def test_a_bad_token_file_is_named(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    file = tmp_path / "token"
    make(file)
    with pytest.raises(QanatError) as caught:
        read_token_file(str(file))
    assert str(file) in (caught.value.where or "")
    assert said in caught.value.message


def test_credentials_are_read_as_text_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    file.write_text(CREDENTIALS)
    assert read_credentials_file(str(file)) == parse_credentials(CREDENTIALS) == parse_token(TOKEN)


@pytest.mark.parametrize("text", ["", "{}", TOKEN, "[]", '{"AccountTag":1}'])
def test_what_is_no_credentials_file_is_refused(text: str) -> None:
    with pytest.raises(QanatError) as caught:
        parse_credentials(text)
    assert caught.value.code == "credentials_file_invalid"
    assert TOKEN[:20] not in str(caught.value)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode()))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    with pytest.raises(QanatError) as caught:
        parse_token(text)
    assert caught.value.code in ("token_invalid", "token_missing")
