import json
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from qanat.control import configurations, records, tunnels, zones
from qanat.dns.forms import RecordDraft
from qanat.store import Actor, Store
from qanat.store.models import Audit, Base
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from tests.support.audits import first_broken
from tests.support.writes import first_account

SECRET = b"s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"
ACTOR = Actor(kind="token", name="a" * 32, address="192.0.2.1")


def _write_everything(store: Store, sealer: Sealer, account: str) -> None:
    with store.writing(ACTOR) as write:
        tunnel = tunnels.create(write, sealer, account_id=account, name="t", secret=SECRET, config_src="cloudflare")
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel.id}
    draft = RecordDraft(name="app", type="A", content="192.0.2.7")
    with store.writing(ACTOR) as write:
        tunnels.change(write, sealer, **scope, name="u", secret=SECRET + b"!")
        configurations.put(write, **scope, document={"ingress": []}, source="cloudflare")
        zone = zones.create(write, account_id=account, name="example.test")
        record = records.create(write, zone.id, draft, reach=EVERYTHING)
    with store.writing(ACTOR) as write:
        records.replace(write, zone.id, record.id, draft, reach=EVERYTHING)
    with store.writing(ACTOR) as write:
        records.delete(write, zone.id, record.id, reach=EVERYTHING)
        zones.change(write, zone.id, reach=EVERYTHING, paused=True)
    with store.writing(ACTOR) as write:
        zones.delete(write, zone.id, reach=EVERYTHING)
        tunnels.disconnect(write, **scope)
        tunnels.delete(write, **scope, cascade=False)


@pytest.mark.requirement("S38")
def test_every_write_leaves_one_row_and_the_chain_holds(store: Store, sealer: Sealer, account: str) -> None:
    _write_everything(store, sealer, account)
    with store.reading() as session:
        rows = list(session.scalars(select(Audit).order_by(Audit.seq)))
        assert first_broken(session) is None
    assert [row.action for row in rows if row.actor == ACTOR.name] == [
        "tunnel.create",
        "tunnel.change",
        "configuration.put",
        "zone.create",
        "record.create",
        "record.change",
        "record.delete",
        "zone.change",
        "zone.delete",
        "tunnel.disconnect",
        "tunnel.delete",
    ]
    assert {row.address for row in rows if row.actor == ACTOR.name} == {"192.0.2.1"}
    assert all(row.account_id == account for row in rows)


@pytest.mark.requirement("S32")
def test_no_secret_is_in_the_database_as_it_is(store: Store, sealer: Sealer, account: str) -> None:
    _write_everything(store, sealer, account)
    with store.reading() as session:
        rows = [row for table in Base.metadata.sorted_tables for row in session.execute(table.select())]
    assert rows
    for value in (value for row in rows for value in row):
        content = value if isinstance(value, bytes) else str(value).encode()
        assert SECRET not in content
        assert SECRET.hex().upper().encode() not in content.upper()


@pytest.mark.parametrize("statement", ["UPDATE audit SET detail = '{}'", "DELETE FROM audit"])
def test_rows_can_not_be_changed_or_taken_out(store: Store, statement: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"), store.recording() as write:
        write.session.execute(text(statement))


@pytest.mark.requirement("S38")
@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ('UPDATE audit SET detail = \'{"name":"x"}\' WHERE seq = 3', 3),
        ("UPDATE audit SET actor = 'somebody else' WHERE seq = 4", 4),
        ("DELETE FROM audit WHERE seq = 3", 4),
    ],
)
def test_tampering_is_found_where_it_was_done(
    store: Store, sealer: Sealer, account: str, tampering: str, found: int
) -> None:
    _write_everything(store, sealer, account)
    with store.recording() as write:
        for trigger in ("audit_never_changes", "audit_never_shrinks"):
            on = "" if store.file is not None else " ON audit"
            write.session.execute(text(f"DROP TRIGGER {trigger}{on}"))
        write.session.execute(text(tampering))
    with store.reading() as session:
        assert first_broken(session) == found


def test_the_detail_is_json(store: Store) -> None:
    first_account(store)
    with store.reading() as session:
        row = session.scalars(select(Audit)).first()
    assert row is not None
    assert json.loads(row.detail) == {"name": "first"}
