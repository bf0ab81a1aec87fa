"""An issuer of certificates over a store with a clock that is moved by hand, and a CA that does what it is told."""

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from sqlalchemy import select

from qanat.control import records
from qanat.dns.forms import RecordDraft
from qanat.edge.issuer import Issuer
from qanat.settings import AcmeSettings
from qanat.store import Store
from qanat.store.models import Certificate, CertificateOrder
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from qanat.store.skipped import SkippedRows
from tests.support.clock import MovedClock
from tests.support.fake_ca import FakeCa
from tests.support.waiting import wait_until
from tests.support.writes import written


@dataclass
class Shown:
    """What CAs would see."""

    http: dict[tuple[str, str], str] = field(default_factory=dict)
    tls: dict[str, bytes] = field(default_factory=dict)
    ever: list[str] = field(default_factory=list)

    def put_http(self, hostname: str, token: str, key_authorization: str) -> None:
        self.http[hostname, token] = key_authorization
        self.ever.append(f"http {hostname}")

    def drop_http(self, hostname: str, token: str) -> None:
        del self.http[hostname, token]

    def put_tls(self, hostname: str, chain: bytes, key: bytes) -> None:
        self.tls[hostname] = chain
        self.ever.append(f"tls {hostname}")

    def drop_tls(self, hostname: str) -> None:
        del self.tls[hostname]


@dataclass
class Lab:
    """A store with a zone and a tunnel, a clock, a CA, and issuers over them."""

    store: Store
    sealer: Sealer
    clock: MovedClock
    ca: FakeCa
    zone_id: str
    tunnel_id: str
    shown: Shown = field(default_factory=Shown)
    skipped: SkippedRows = field(default_factory=SkippedRows)
    issuers: list[Issuer] = field(default_factory=list)

    def publish(self, *hostnames: str) -> None:
        for hostname in hostnames:
            draft = RecordDraft(type="CNAME", name=hostname, content=f"{self.tunnel_id}.cfargotunnel.com", proxied=True)
            written(self.store, records.create, self.zone_id, draft, reach=EVERYTHING)

    def issuer(self, **settings: Any) -> Issuer:
        """As a process that has just started would have it."""
        given = {"email": "you@example.com", "directory": (self.ca.directory,), **settings}
        made = Issuer(
            self.store,
            self.sealer,
            self.shown,
            AcmeSettings(**given),
            skipped=self.skipped,
            chance=Random(1),
        )
        self.issuers.append(made)
        return made

    def run(self, issuer: Issuer | None = None, **settings: Any) -> Issuer:
        """One look, and what came of it."""
        issuer = issuer or self.issuer(**settings)
        issuer._is_stale = True
        issuer.look()
        wait_until(lambda: not issuer._running, "the orders to be over")
        return issuer

    def order(self, name: str) -> CertificateOrder:
        with self.store.reading() as session:
            return session.scalars(select(CertificateOrder).where(CertificateOrder.name == name)).one()

    def certificates(self) -> list[Certificate]:
        with self.store.reading() as session:
            return list(session.scalars(select(Certificate)))

    def move(self, **time: float) -> None:
        self.clock.move(seconds=timedelta(**time).total_seconds())
