"""Secrets are taken out of what leaves the host, and the rest stays readable (security.md S7, S39)."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanat.connector.redaction import HIDDEN, redacted, redacted_value

pytestmark = pytest.mark.requirement("S39")

TOKEN = base64.b64encode(json.dumps({"a": "0" * 32, "t": "1" * 36, "s": "c2VjcmV0"}).encode()).decode()
JWT = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0dW4iOiJ4In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"token is {TOKEN}", f"token is {HIDDEN}"),
        (f"/logs?access_token={JWT}&x=1 next", f"/logs?{HIDDEN} next"),
        (f"a {JWT} b", f"a {HIDDEN} b"),
        ("Authorization: Bearer abc.def", f"Authorization: {HIDDEN} {HIDDEN}"),
        ("dial https://user:pw@origin.test:1/x", f"dial https://{HIDDEN}@origin.test:1/x"),
        ("GET https://a.test/p?q=1&r=2 HTTP/1.1", f"GET https://a.test/p?{HIDDEN} HTTP/1.1"),
        ('{"Cookie":["a=b","c"],"Host":["x"]}', f'{{"Cookie":["{HIDDEN}"],"Host":["x"]}}'),
        ('{"X-Api-Key": "k\\"ey", "n": 1}', f'{{"X-Api-Key": "{HIDDEN}", "n": 1}}'),
        ("map[Cookie:[a b] Host:[x]]", f"map[Cookie:[{HIDDEN}] Host:[x]]"),
        ("TUNNEL_TOKEN=abc next=1", f"TUNNEL_TOKEN={HIDDEN} next=1"),
        ("client_secret: abc, next: 1", f"client_secret: {HIDDEN}, next: 1"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nrest",
         f"-----BEGIN PRIVATE KEY-----{HIDDEN}-----END PRIVATE KEY-----\nrest"),
        ("-----BEGIN ARGO TUNNEL TOKEN-----\nabc", f"-----BEGIN ARGO TUNNEL TOKEN-----{HIDDEN}"),
    ],
)  # fmt: skip
def test_secrets_are_hidden(text: str, shown: str) -> None:
    assert redacted(text).replace("Bearer ", f"{HIDDEN} ") == shown


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T15:04:05Z INF Registered tunnel connection connIndex=0 connection=11111111-2222-3333-4444-555555555555",
        "Settings: map[token-file:/etc/cloudflared/token ha-connections:4]",
        "did you mean --token-file?",
        r'{"path":"\\.(jpg|png)?$","service":"http://localhost:8080"}',
        "register_success 4",
        "unauthorized: invalid tunnel secret",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_value_keeps_its_form() -> None:
    value = {
        "level": "debug",
        "n": 1,
        "token": "abc",
        "token_id": "abc",
        "headers": {"Cookie": ["a]b", "c"], "Referer": ["https://a.test/?q=1"], "X": ["y"]},
        "none": None,
    }
    assert redacted_value(value) == {
        "level": "debug",
        "n": 1,
        "token": HIDDEN,
        "token_id": "abc",
        "headers": {"Cookie": [HIDDEN], "Referer": [f"https://a.test/?{HIDDEN}"], "X": ["y"]},
        "none": None,
    }


@given(st.text(alphabet='abt?=&:/"\\[]{} ,;@.-_eyJoken', max_size=200))
def test_any_text_is_survived(text: str) -> None:
    redacted(text)


@pytest.mark.parametrize(
    "piece",
    ["a-", "?", "?=", "=/", "token", "token=", 'token="', "token:[", '"token":"\\', "eyJ", "://", "://a@", "x-token-",
     "Bearer ", "-----BEGIN ", "-----BEGIN KEY-----", "session ", "api-", "?a"],
)  # fmt: skip
def test_no_text_makes_it_slow(piece: str) -> None:
    """Work is counted and not time: four times the text costs about four times the work."""
    import time

    def cost(size: int) -> float:
        text = piece * (size // len(piece))
        start = time.thread_time()
        redacted(text)
        return time.thread_time() - start

    small = max(cost(20_000), 1e-4)
    assert min(cost(80_000) for _ in range(2)) < 40 * small
