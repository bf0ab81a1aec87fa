import asyncio
import socket
import threading
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from starlette.datastructures import Headers

from qanat.api.http.body import check_json, read_body
from qanat.api.qanat.accounts import MAX_ACCOUNT_BYTES, most_account_values
from qanat.auth import issue
from qanat.control import record_batches
from qanat.control.policies import Policy
from qanat.errors import QanatError
from qanat.transfer.document import RecordPart
from tests.support.control import Control
from tests.support.writes import written
from tests.unit.control.test_policies import EVERYTHING, policy

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


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


def test_a_body_of_more_values_than_there_should_be_is_refused_before_anything_is_built() -> None:
    check_json(b"[[],[],[],[],[]]", most_values=10)
    for large in (b"[[],[],[],[],[],[],[],[],[],[]]", b'{"a":1,"b":2,"c":3,"d":4,"e":5}', b"[1,2,3,4,5,6,7,8,9,10]"):
        with pytest.raises(QanatError, match="more than 10 values"):
            check_json(large, most_values=10)
    started = time.thread_time()
    for bomb in (b"[" + b"[]," * 1_900_000 + b"[]]", b"[" * 1_000_000, b'{"a":' * 1_000_000):
        with pytest.raises(QanatError):
            check_json(bomb)
    assert time.thread_time() - started < 1.0


def test_an_accounts_document_may_be_as_full_as_exports_are() -> None:
    record = RecordPart(
        id="0" * 32,
        name="a.test",
        type="A",
        content="192.0.2.1",
        ttl=1,
        created_at=MOMENT,
        modified_at=MOMENT,
        proxied=True,
    )
    full = msgspec.json.encode(
        {"records": [record] * 10_000, "config": {"ingress": [{"service": "http://a"}] * 10_000}}
    )
    check_json(full, most_values=most_account_values(len(full)))
    empty = b"[" + b"[]," * 1_900_000 + b"[]]"
    with pytest.raises(QanatError, match="more than"):
        check_json(empty, most_values=most_account_values(len(empty)))


def test_every_json_body_is_bounded_alike(control: Control) -> None:
    tunnel = control.create_tunnel()
    zone = control.create_zone()
    many = b'{"config":[' + b"[]," * 300_000 + b"[]]}"
    deep = b'{"config":' + b"[" * 200 + b"]" * 200 + b"}"
    for method, path in (
        ("PUT", f"{control.tunnels()}/{tunnel['id']}/configurations"),
        ("POST", f"/zones/{zone['id']}/dns_records/batch"),
        ("POST", f"/qanat/accounts/{control.account}/import"),
        ("PATCH", f"{control.tunnels()}/{tunnel['id']}"),
    ):
        for body in (many, deep):
            answer = control.http.request(method, path, content=body)
            assert answer.status_code == 400, (path, answer.text)


def test_a_large_body_is_worked_on_where_no_other_call_waits(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    real = record_batches.apply_batch

    def apply(*arguments: Any, **more: Any) -> Any:
        threads.append(len([each for each in threading.enumerate() if each.name.startswith("AnyIO worker")]))
        return real(*arguments, **more)

    monkeypatch.setattr(record_batches, "apply_batch", apply)
    zone = control.create_zone()
    posts = [{"type": "TXT", "name": f"t{n}", "content": '"' + "x" * 200 + '"', "ttl": 300} for n in range(100)]
    done = control.call("POST", f"/zones/{zone['id']}/dns_records/batch", {"posts": posts})
    assert len(done["posts"]) == 100
    assert threads[0] >= 2, "the loop apart is in one thread, the endpoint in another"


def test_a_large_body_is_not_waited_for_from_who_may_not_import(control: Control) -> None:
    policies: list[Policy] = [policy(EVERYTHING, "Account Settings Write")]
    text, _ = written(control.store, issue, name="weak", policies=[dict(each) for each in policies])
    where = urlsplit(control.url)
    head = (
        f"POST {where.path}/qanat/accounts/{control.account}/import HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {text}\r\ncontent-length: {MAX_ACCOUNT_BYTES}\r\n\r\n"
    )
    with socket.create_connection((str(where.hostname), where.port or 0), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 403"
