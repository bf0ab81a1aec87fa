import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.datastructures import Headers

from qanat.api import body
from qanat.api.body import check_json, read_body
from qanat.api.gate import MAX_ACCOUNT_BYTES
from qanat.auth import issue
from qanat.auth.policies import Policy
from qanat.errors import QanatError
from qanat.store import SYSTEM
from tests.support.control import Control
from tests.unit.auth.test_policies import EVERYTHING, policy


def read(*messages: dict[str, Any]) -> bytes:
    arriving = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(arriving)

    return asyncio.run(read_body(Headers({}), receive, most=100))


def test_a_body_comes_in_parts() -> None:
    part = {"type": "http.request", "body": b"ab", "more_body": True}
    assert read(part, part, {"type": "http.request", "body": b"c"}) == b"ababc"


def test_half_a_body_is_none() -> None:
    """What came of a zone file before its client was gone must not be imported."""
    with pytest.raises(QanatError) as refused:
        read({"type": "http.request", "body": b"{}", "more_body": True}, {"type": "http.disconnect"})
    assert refused.value.code == "body_malformed"


def test_a_body_of_more_values_than_memory_is_there_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_VALUES", 10)
    check_json(b"[[],[],[],[],[]]")
    for large in (b"[[],[],[],[],[],[]]", b'[{},{},{},{},{},{"a":1}]', b"[1,2,3,4,5,6,7,8,9,10,11]"):
        with pytest.raises(QanatError, match="more than 10 values"):
            check_json(large)


def test_a_large_body_is_not_waited_for_from_who_may_not_import(control: Control) -> None:
    policies: list[Policy] = [policy(EVERYTHING, "Account Settings Write")]
    text, _ = issue(control.store, SYSTEM, name="weak", policies=[dict(each) for each in policies])
    where = urlsplit(control.url)
    head = (
        f"POST {where.path}/qanat/accounts/{control.account}/import HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {text}\r\ncontent-length: {MAX_ACCOUNT_BYTES}\r\n\r\n"
    )
    with socket.create_connection((str(where.hostname), where.port or 0), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 403"
