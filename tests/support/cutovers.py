"""An edge that answers as a test says, for cutovers without an engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import select

from qanat.control import configurations, records, tunnels, zones
from qanat.control.record_changes import FORMED
from qanat.cutover import cutovers
from qanat.cutover.answers import Answer
from qanat.cutover.gates import CertificateSeen
from qanat.cutover.plan import Check, Plan, checked
from qanat.cutover.rule import Counts
from qanat.dns.forms import RecordDraft
from qanat.store import Store
from qanat.store.models import Cutover, Record
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from tests.support.clock import MovedClock
from tests.support.links import register
from tests.support.writes import first_account, written

GOOD = Answer(status=200, headers={"content-type": "text/html"}, body=b"hello", duration_s=0.01)
REFUSED = Answer(status=0, cause="origin_refused", detail="connection refused")


@dataclass
class FakeCutoverEdge:
    """`answers`: by tunnel, GOOD for others. `traffic`: by tunnel. `held`: by the hold's name. `up`: whether tunnels have usable
    connections, by tunnel."""

    answers: dict[str, Answer] = field(default_factory=dict)
    answering: Callable[[str, str, Check], Answer] | None = None
    illnesses: dict[str, str] = field(default_factory=dict)
    up: dict[str, int] = field(default_factory=dict)
    traffic: dict[str, Counts] = field(default_factory=dict)
    held: dict[str, tuple[str, ...]] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    asked: list[tuple[str, str | None, str, str]] = field(default_factory=list)
    certified: CertificateSeen | None = None

    def ask(self, *, tunnel_id: str, token_id: str | None, hostname: str, check: Check, timeout_s: float) -> Answer:
        self.asked.append((tunnel_id, token_id, hostname, check.path))
        if self.answering is not None:
            return self.answering(tunnel_id, hostname, check)
        return self.answers.get(tunnel_id, GOOD)

    def illness(self, *, tunnel_id: str, token_id: str | None, hostname: str) -> str:
        return self.illnesses.get(tunnel_id, "")

    def usable(self, tunnel_id: str) -> int:
        return self.up.get(tunnel_id, 4)

    def counts(self, *, hostname: str, tunnel_id: str, since: datetime, long_s: float) -> Counts:
        return self.traffic.get(tunnel_id, Counts())

    def note_counts(self) -> None:
        pass

    def hold(self, *, name: str, hostnames: Sequence[str], timeout_s: float) -> None:
        self.held[name] = tuple(hostnames)

    def release(self, *, name: str) -> int:
        return len(self.held.pop(name, ()))

    def open_requests(self, tunnel_id: str) -> int:
        return self.open.get(tunnel_id, 0)

    def cut_websockets(self, tunnel_id: str) -> int:
        self.cut.append(tunnel_id)
        return 1

    def certificate(self, hostname: str) -> CertificateSeen | None:
        return self.certified

    def resolve(self, hostname: str) -> Sequence[str] | None:
        return None


RULES = {
    "ingress": [{"hostname": "*.example.test", "service": "http://127.0.0.1:8000"}, {"service": "http_status:404"}]
}


class Scene:
    """Two tunnels with a connection each, and a zone whose hostnames lead to the first one."""

    def __init__(self, store: Store, sealer: Sealer, *hostnames: str) -> None:
        self.store = store
        self.account = first_account(store).id
        self.sealer = sealer
        self.zone = written(store, zones.create, account_id=self.account, name="example.test")
        self.source = self.tunnel("one")
        self.target = self.tunnel("two")
        self.hostnames = tuple(f"{name}.example.test" for name in hostnames or ("app",))
        for hostname in self.hostnames:
            self.route(hostname, self.source)

    def tunnel(self, name: str, rules: Mapping[str, Any] = RULES, *, connected: bool = True) -> str:
        made = written(
            self.store,
            tunnels.create,
            self.sealer,
            account_id=self.account,
            name=name,
            secret=bytes(32),
            config_src="cloudflare",
        )
        written(
            self.store,
            configurations.put,
            account_id=self.account,
            tunnel_id=made.id,
            document=dict(rules),
            source="cloudflare",
        )
        if connected:
            register(self.store, made.id, str(uuid4()))
        return made.id

    def route(self, hostname: str, tunnel_id: str) -> Record:
        draft = RecordDraft(
            name=f"{hostname}.",
            type="CNAME",
            content=f"{tunnel_id}.cfargotunnel.com",
            proxied=True,
            comment="ours",
            tags=("team:web",),
        )
        return written(self.store, records.create, self.zone.id, draft, reach=EVERYTHING)

    def plan(self, **more: Any) -> Plan:
        return checked(Plan(from_tunnel=self.source, to_tunnel=self.target, hostnames=self.hostnames, **more))

    def begin(self, **more: Any) -> str:
        base_version = more.pop("base_version", None)
        row = written(
            self.store,
            cutovers.begin,
            account_id=self.account,
            plan=self.plan(**more),
            reach=EVERYTHING,
            asked_by="test",
            base_version=base_version,
        )
        return row.id

    def row(self, cutover_id: str) -> Cutover:
        with self.store.reading() as session:
            return session.get_one(Cutover, cutover_id)

    def leads_to(self) -> set[str | None]:
        """The tunnels of the hostnames' records."""
        return {record.tunnel_id for record in self.records()}

    def records(self) -> list[Record]:
        with self.store.reading() as session:
            return list(session.scalars(select(Record).where(Record.zone_id == self.zone.id).order_by(Record.name)))

    def contents(self) -> list[dict[str, Any]]:
        """All of the records that a person wrote."""
        return [{name: getattr(record, name) for name in FORMED} for record in self.records()]


@dataclass
class Steady:
    """A clock in seconds, moved by hand, that moves the store's along."""

    store: Store
    at: float = 0.0

    def __post_init__(self) -> None:
        self.clock = MovedClock(self.store)

    def __call__(self) -> float:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += seconds
        self.clock.move(seconds=seconds)
