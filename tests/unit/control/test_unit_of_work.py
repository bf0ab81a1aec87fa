"""A capability works in the write that its caller opened, so that several happen together or not at all."""

import ast
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select

import qanat.control
from qanat.control import (
    configurations,
    connector_tokens,
    hostname_routes,
    quick_tunnels,
    records,
    tunnels,
    zones,
)
from qanat.dns.forms import RecordDraft
from qanat.errors import QanatError
from qanat.store import SYSTEM, Actor, Notice, NoticeKind, Store, Write
from qanat.store.limits import AccountLimits
from qanat.store.models import Audit, Configuration, Record, Tunnel, Zone
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from tests.support.audits import first_broken
from tests.support.writes import written

OPENS = {"writing", "recording", "reading"}
SOMEBODY = Actor(kind="token", name="a" * 32)


def test_no_capability_opens_a_transaction_or_knows_the_store() -> None:
    for file in Path(qanat.control.__path__[0]).rglob("*.py"):
        tree = ast.parse(file.read_text())
        opened = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in OPENS]
        named = [node.name for node in ast.walk(tree) if isinstance(node, ast.alias) and node.name == "Store"]
        assert not opened and not named, f"{file.name} opens a write of its own: take the caller's"


def _publish(write: Write, sealer: Sealer, account: str, zone_id: str, document: Any) -> str:
    """What "make a tunnel for this hostname" will be: three capabilities in one write."""
    tunnel = tunnels.create(write, sealer, account_id=account, name="web", secret=bytes(32), config_src="cloudflare")
    draft = RecordDraft(name="app", type="CNAME", content=f"{tunnel.id}.cfargotunnel.com", proxied=True)
    records.create(write, zone_id, draft, reach=EVERYTHING)
    configurations.put(write, account_id=account, tunnel_id=tunnel.id, document=document, source="cloudflare")
    return tunnel.id


def _rows(store: Store) -> list[int]:
    with store.reading() as session:
        return [
            session.scalar(select(func.count()).select_from(model)) or 0
            for model in (Tunnel, Record, Configuration, Audit)
        ]


def test_a_tunnel_its_record_and_its_configuration_are_made_together(
    store: Store, sealer: Sealer, account: str
) -> None:
    zone = written(store, zones.create, account_id=account, name="example.test")
    before = _rows(store)
    heard: list[Notice] = []
    store.notices.subscribe(heard.append)
    with store.writing(SOMEBODY) as write:
        tunnel_id = _publish(write, sealer, account, zone.id, {"ingress": [{"service": "http://127.0.0.1:80"}]})
        assert heard == [], "nobody is told before the commit"
    assert [after - was for after, was in zip(_rows(store), before, strict=True)] == [1, 1, 1, 3]
    assert {notice.kind for notice in heard} == {NoticeKind.TUNNEL, NoticeKind.ROUTES, NoticeKind.CONFIGURATION}
    assert {notice.tunnel_id for notice in heard if notice.kind != NoticeKind.ROUTES} == {tunnel_id}
    with store.reading() as session:
        rows = session.scalars(select(Audit).where(Audit.actor == SOMEBODY.name).order_by(Audit.seq)).all()
        assert [row.action for row in rows] == ["tunnel.create", "record.create", "configuration.put"]
        assert first_broken(session) is None


def test_nothing_of_it_stays_when_the_last_part_fails(store: Store, sealer: Sealer, account: str) -> None:
    zone = written(store, zones.create, account_id=account, name="example.test")
    before = _rows(store)
    heard: list[Notice] = []
    store.notices.subscribe(heard.append)
    with pytest.raises(QanatError) as refused, store.writing(SOMEBODY) as write:
        _publish(write, sealer, account, zone.id, {"ingress": "\ud800"})
    assert refused.value.code == "configuration_malformed"
    assert _rows(store) == before
    assert heard == []


def test_nothing_of_it_stays_when_a_limit_is_passed_with_the_commit(store: Store, sealer: Sealer, account: str) -> None:
    zone = written(store, zones.create, account_id=account, name="example.test")
    store.limits = AccountLimits(tunnels=0)
    before = _rows(store)
    with pytest.raises(QanatError) as refused, store.writing(SOMEBODY) as write:
        _publish(write, sealer, account, zone.id, {"ingress": []})
    assert refused.value.code == "tunnel_too_many"
    assert _rows(store) == before


def test_a_write_that_is_taken_back_leaves_no_row_and_tells_nobody(store: Store, account: str) -> None:
    heard: list[Notice] = []
    store.notices.subscribe(heard.append)
    before = _rows(store)
    with store.writing(SYSTEM) as write:
        zones.create(write, account_id=account, name="example.test")
        write.undo()
    assert heard == []
    assert _rows(store) == before
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Zone)) == 0
    written(store, zones.create, account_id=account, name="example.test")


def test_a_hostname_that_is_routed_already_needs_no_audit_row(store: Store, sealer: Sealer, account: str) -> None:
    zone = written(store, zones.create, account_id=account, name="example.test")
    with store.writing(SYSTEM) as write:
        tunnel_id = _publish(write, sealer, account, zone.id, {"ingress": []})
    before = _rows(store)
    routed = written(
        store,
        hostname_routes.route,
        zone_id=zone.id,
        tunnel_id=tunnel_id,
        hostname="app",
        overwrite=False,
        reach=EVERYTHING,
    )
    assert routed.outcome == "unchanged"
    assert _rows(store) == before


def test_what_ended_meanwhile_is_no_fault_of_whoever_would_end_it(store: Store) -> None:
    gone = str(uuid4())
    assert written(store, connector_tokens.expire, gone) is False
    assert written(store, quick_tunnels.expire, gone) is False
