"""A control plane without an engine: a store in a folder, the API on a real socket, and an edge that only remembers."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any, cast

import httpx
from sqlalchemy import func, select
from starlette.types import ASGIApp, Receive, Scope, Send

from qanat.api import RequestFailed
from qanat.api.app import create_app
from qanat.api.http.context import Context
from qanat.auth import issue
from qanat.edge.dashboard import Beside
from qanat.edge.engine import Route
from qanat.edge.server import ApiServer
from qanat.health.health import Health
from qanat.health.lines import Line
from qanat.health.probing import Probes
from qanat.health.rates import Meter
from qanat.health.request_lists import RequestLists
from qanat.nodes.readiness import Facts
from qanat.store import Notice, Store, open_store
from qanat.store.keys import KeyRing
from qanat.store.models import Audit, Connection
from qanat.store.sealing import Sealer, replace_keys
from tests.support.cutovers import FakeCutoverEdge
from tests.support.databases import new_file
from tests.support.routing import routed
from tests.support.waiting import PATIENCE_S
from tests.support.writes import first_account, written

KEY = bytes(range(32))


@dataclass
class ProbeAnswer:
    """What an origin that is well answers."""

    probe_id: int
    token_id: str | None
    connection_id: str = "c"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "text/plain"),)
    body: bytes = b"well"
    duration_s: float = 0.01
    cause: str = ""
    detail: str = ""


@dataclass
class StillEdge:
    """An edge that nothing passes through."""

    store: Store
    failed: dict[str, RequestFailed] = field(default_factory=dict)
    facts: dict[tuple[str, str], Facts] = field(default_factory=dict)
    cuts: list[tuple[str, str]] = field(default_factory=list)
    passed: list[Any] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    listed: list[bytes] = field(default_factory=list)
    """What requests of watched hostnames a test lets pass."""
    watched: list[str] = field(default_factory=list)
    links: dict[str, Line] = field(default_factory=dict)
    viewers: Callable[[], socket] | None = None
    """Connects to whoever is connectors' management."""
    health: Health = field(init=False)
    probes: Probes = field(init=False)
    request_lists: RequestLists = field(init=False)

    def __post_init__(self) -> None:
        self.health = Health(Meter(cast(Any, self)))
        self.probes = Probes(cast(Any, self))
        self.request_lists = RequestLists(self, self.store)

    def list_requests(self, *, hostnames: Sequence[str]) -> None:
        self.watched = list(hostnames)

    def listed_requests(self) -> list[bytes]:
        taken, self.listed = self.listed, []
        return taken

    def lines(self) -> dict[str, Line]:
        return self.links

    def management(self) -> socket:
        """To whoever a test put at the other end."""
        assert self.viewers is not None
        return self.viewers()

    def traffic(self) -> list[Any]:
        return self.passed

    def probe(self, **given: Any) -> None:
        """Answered at once, as by an origin that is well."""
        self.asked.append(given)
        self.probes.answered(cast(Any, ProbeAnswer(given["probe_id"], given["token_id"])))

    def counters(self) -> dict[str, int]:
        return {"requests": 7}

    def failures(self) -> dict[str, int]:
        return {"no_connection": 2}

    def addresses(self) -> dict[str, str | None]:
        return {"https": "127.0.0.1:443", "http": None, "tunnel": "127.0.0.1:7844"}

    def route(self, hostname: str) -> Route | None:
        """By the engine's own matching, in the table that an edge would have now."""
        with self.store.reading() as session:
            return routed(session, hostname)

    def failed_request(self, request_id: str) -> RequestFailed | None:
        return self.failed.get(request_id)

    def recent_failures(
        self, *, hostname: str | None = None, tunnel_id: str | None = None, most: int
    ) -> list[RequestFailed]:
        """Those that tests put in, the last first."""
        found = [
            each
            for each in reversed(self.failed.values())
            if hostname in (None, each.hostname) and tunnel_id in (None, each.tunnel_id)
        ]
        return found[:most]

    def node(self, tunnel_id: str, token_id: str) -> Facts:
        """What a test says of it, else as many connections as the store knows."""
        query = select(func.count()).where(
            Connection.tunnel_id == tunnel_id, Connection.token_id == token_id, Connection.lost_at.is_(None)
        )
        with self.store.reading() as session:
            count = session.scalar(query.select_from(Connection)) or 0
        return self.facts.get((tunnel_id, token_id), Facts(connections=count))

    def cut(self, tunnel_id: str, token_id: str) -> int:
        self.cuts.append((tunnel_id, token_id))
        return 0


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
    beside: Beside

    @property
    def hub(self) -> Any:
        """What feeds open pages, once one was asked for."""
        return self.beside._hub

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

    def audit_count(self) -> int:
        """How many rows the audit has."""
        with self.store.reading() as session:
            return session.scalar(select(func.count()).select_from(Audit)) or 0

    def audit_details(self, action: str, object_id: str) -> list[Any]:
        """The details of such rows, in order."""
        query = select(Audit.detail).where(Audit.action == action, Audit.object_id == object_id).order_by(Audit.seq)
        with self.store.reading() as session:
            return [json.loads(detail) for detail in session.scalars(query)]


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


class Stage:
    """A server on loopback with whatever application is on it. It runs on for the next test: uvicorn looks ten times a second
    whether it should end, and to wait for that takes longer than most tests."""

    def __init__(self) -> None:
        self.app: ASGIApp
        self.server = ApiServer(self, "127.0.0.1:0")
        self.server.start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    @property
    def is_deserted(self) -> bool:
        """Whether nobody is connected and nothing is being answered, which is so a moment after the last client has gone."""
        state = self.server._server.server_state
        for _ in range(100):
            if not state.connections and not state.tasks:
                return True
            time.sleep(0.001)
        return False


_idle: list[Stage] = []


@contextmanager
def running_control(
    folder: Path, database: Path | str | None = None, *, own_endpoints: bool = True, dashboard: bool = False
) -> Iterator[Control]:
    """A control plane in an empty folder, or on a database that is there; or one that has only the stock API's endpoints, or
    the dashboard beside them."""
    store = open_store(database if database is not None else new_file(folder / "qanat.db"))
    notices: list[Notice] = []
    store.notices.subscribe(notices.append)
    account = first_account(store)
    token, _ = written(store, issue, name="test")
    edge = StillEdge(store)
    replace_keys(folder / "secret.key", [KEY])
    keys = KeyRing(Sealer(KEY), file=folder / "secret.key")
    context = Context(
        store=store,
        keys=keys,
        live=edge,
        location="lab01",
        version="0.0.1",
        own_endpoints=own_endpoints,
        cutover_edge=FakeCutoverEdge(),
    )
    stage = _idle.pop() if _idle else Stage()
    api = create_app(context)
    beside = Beside(api, context, edge, probing=True)
    stage.app = beside if dashboard else api
    try:
        with httpx.Client(
            base_url=stage.server.url,
            headers={"authorization": f"Bearer {token}"},
            timeout=PATIENCE_S,
            trust_env=False,
            verify=False,  # it is plain HTTP, and reading the system's certificates takes time
        ) as http:
            yield Control(
                store=store,
                sealer=context.sealer,
                edge=edge,
                context=context,
                account=account.id,
                token=token,
                url=stage.server.url,
                http=http,
                notices=notices,
                beside=beside,
            )
    finally:
        beside.close()
        if stage.is_deserted:
            _idle.append(stage)
        else:
            stage.server.stop()
        store.close()
