"""A control plane without an engine: a store in a folder, the API on a real socket, and an edge that only remembers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from qanat.api import Context, FailedRequest, create_app
from qanat.auth import issue
from qanat.edge.server import ApiServer
from qanat.store import SYSTEM, Notice, Store, open_store
from qanat.store.accounts import ensure_first_account
from qanat.store.sealing import Sealer

KEY = bytes(range(32))


@dataclass
class StillEdge:
    """An edge that nothing passes through."""

    failed: dict[str, FailedRequest] = field(default_factory=dict)

    def counters(self) -> dict[str, int]:
        return {"requests": 7}

    def addresses(self) -> dict[str, str | None]:
        return {"https": "127.0.0.1:443", "http": None, "tunnel": "127.0.0.1:7844"}

    def failed_request(self, request_id: str) -> FailedRequest | None:
        return self.failed.get(request_id)


@dataclass
class Control:
    """The API as its clients see it, and the store behind it."""

    store: Store
    sealer: Sealer
    edge: StillEdge
    context: Context
    account: str
    token: str
    url: str
    http: httpx.Client
    notices: list[Notice]

    def call(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """The `result` of a call that must succeed."""
        answer = self.http.request(method, path, json=body, params=query or None)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    def refused(self, method: str, path: str, body: object = None, **query: str) -> tuple[int, int, str]:
        """Status, code and message of a call that must be refused."""
        answer = self.http.request(method, path, json=body, params=query or None)
        check_failure(answer)
        error = answer.json()["errors"][0]
        return answer.status_code, error["code"], error["message"]

    def tunnels(self) -> str:
        return f"/accounts/{self.account}/cfd_tunnel"

    def create_tunnel(self, name: str = "t1", **more: object) -> Any:
        return self.call("POST", self.tunnels(), {"name": name, "config_src": "cloudflare", **more})

    def create_zone(self, name: str = "example.test") -> Any:
        return self.call("POST", "/zones", {"name": name})

    def create_record(self, zone_id: str, **fields: object) -> Any:
        return self.call("POST", f"/zones/{zone_id}/dns_records", fields)


def check_failure(answer: httpx.Response) -> None:
    """The envelope of a failure (api.md 0.1), whatever failed."""
    assert answer.status_code >= 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cf-ray"]
    body = answer.json()
    assert body["success"] is False
    assert body["messages"] == []
    assert body["result"] is None
    assert body["errors"]
    for error in body["errors"]:
        assert type(error["code"]) is int
        assert error["message"]
    if answer.status_code == 409 or answer.status_code in (500, 507):
        assert answer.headers["x-should-retry"] == "false"


@contextmanager
def running_control(folder: Path) -> Iterator[Control]:
    """A control plane in an empty folder."""
    store = open_store(folder / "qanat.db")
    notices: list[Notice] = []
    store.notices.subscribe(notices.append)
    account = ensure_first_account(store, SYSTEM, name="first")
    token, _ = issue(store, SYSTEM, name="test")
    edge = StillEdge()
    context = Context(store=store, sealer=Sealer(KEY), live=edge, location="lab01", version="0.0.1")
    server = ApiServer(create_app(context), "127.0.0.1:0")
    server.start()
    try:
        with httpx.Client(
            base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=15.0, trust_env=False
        ) as http:
            yield Control(
                store=store,
                sealer=context.sealer,
                edge=edge,
                context=context,
                account=account.id,
                token=token,
                url=server.url,
                http=http,
                notices=notices,
            )
    finally:
        server.stop()
        store.close()
