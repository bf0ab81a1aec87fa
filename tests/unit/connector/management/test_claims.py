"""What a management token has to say for its request to be served."""

import base64
import json
from typing import Any

import pytest

from qanat.connector.management.claims import NotAllowedError, read_claims

TUNNEL = "11111111-2222-3333-4444-555555555555"
ACCOUNT = "0123456789abcdef0123456789abcdef"
NOW = 1_800_000_000.0

pytestmark = pytest.mark.requirement("S55")


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def token(header: Any = None, **changes: Any) -> str:
    """As our edge issues them (`signed` by nobody: that is for the edge to verify)."""
    claims = {
        "iss": "qanat",
        "iat": NOW - 60,
        "exp": NOW + 3600,
        "tun": {"id": TUNNEL, "account_tag": ACCOUNT},
        "actor": {"id": "someone", "support": False},
        "res": ["logs", "ping"],
    } | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    return f"{part(header or {'alg': 'ES256'})}.{part(kept)}.c2ln"


def refused(text: str, path: str = "/logs") -> int:
    with pytest.raises(NotAllowedError) as failure:
        read_claims(text, tunnel_id=TUNNEL, account_tag=ACCOUNT, path=path, now=NOW)
    assert text == "" or text not in str(failure.value)
    return failure.value.status


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a.b.c",
        "e30.e30.AAAA",
        token({"alg": "none"}),
        token({"alg": "HS256"}),
        token({"typ": "JWT"}),
        token(tun=None),
        token(tun={"id": "", "account_tag": ACCOUNT}),
        token(actor={"id": ""}),
        token(actor=None),
        token(exp="soon"),
        token() + ".x",
        f"é.{token()}",
    ],
)
def test_what_is_no_token_is_refused_as_by_stock(text: str) -> None:
    assert refused(text) == 400


@pytest.mark.parametrize(
    "text",
    [
        token(tun={"id": TUNNEL.replace("1", "9"), "account_tag": ACCOUNT}),
        token(tun={"id": TUNNEL, "account_tag": "f" * 32}),
        token(tun={"id": "web", "account_tag": ACCOUNT}),
        token(exp=NOW - 61),
        token(res=["host_details"]),
        token(res=[]),
    ],
)
def test_a_token_for_something_else_is_refused(text: str) -> None:
    assert refused(text) == 403


def test_each_resource_opens_its_own_path() -> None:
    def may(resource: str, path: str) -> bool:
        try:
            read_claims(token(res=[resource]), tunnel_id=TUNNEL, account_tag=ACCOUNT, path=path, now=NOW)
        except NotAllowedError:
            return False
        return True

    for resource, path in [("logs", "/logs"), ("host_details", "/host_details"), ("admin", "/metrics")]:
        assert may(resource, "/ping")
        for other in ("/logs", "/host_details", "/metrics", "/debug/pprof/heap", "//logs"):
            is_own = other == path or (resource == "admin" and other not in ("/logs", "/host_details"))
            assert may(resource, other) == is_own, (resource, other)


def test_a_hosted_edge_names_no_resources_and_clocks_may_differ() -> None:
    text = token(res=None, iss="tunnelstore", exp=NOW - 30, tun={"id": TUNNEL.upper(), "account_tag": ACCOUNT.upper()})
    assert read_claims(text, tunnel_id=TUNNEL, account_tag=ACCOUNT, path="/metrics", now=NOW).actor.id == "someone"
