"""A data directory as a large installation has it, written straight into the store: by the API it would take minutes."""

from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import uuid4

from sqlalchemy import insert, select

from qanat.control import records, tunnels, zones
from qanat.dns.forms import RecordDraft
from qanat.edge.data_dir import DataDir
from qanat.settings import StoreSettings
from qanat.store import SYSTEM
from qanat.store.models import Account, Base, Record, Tunnel
from qanat.store.reach import EVERYTHING

ZONES = 100
CHUNK = 5000


def populate(directory: Path, *, tunnel_count: int, record_count: int, published_count: int | None = None) -> None:
    """That many tunnels and records. The first `published_count` of the records lead to them in turn (None: one a tunnel), the
    others are addresses."""
    published = tunnel_count - 1 if published_count is None else published_count
    data_dir = DataDir(directory).lock()
    state = data_dir.open(StoreSettings(), account="bench")
    try:
        store, sealer = state.store, state.sealer
        with store.reading() as session:
            account = session.scalars(select(Account.id)).one()
        with store.writing(SYSTEM) as write:
            made = [
                zones.create(write, account_id=account, name=f"zone{number}.test", paused=False)
                for number in range(min(ZONES, max(1, record_count // 10)))
            ]
            tunnel = tunnels.create(
                write, sealer, account_id=account, name="tunnel 0", secret=bytes(32), config_src="cloudflare"
            )
            route = RecordDraft(name="r", type="CNAME", content=f"{tunnel.id}.cfargotunnel.com", proxied=True)
            plain = RecordDraft(name="p", type="A", content="192.0.2.1")
            routed = columns(records.create(write, made[0].id, route, reach=EVERYTHING))
            address = columns(records.create(write, made[0].id, plain, reach=EVERYTHING))
        ids = [str(uuid4()) for _ in range(tunnel_count - 1)]
        first = columns(tunnel)

        def more_tunnels() -> Iterator[dict[str, Any]]:
            for number, tunnel_id in enumerate(ids, 1):
                sealed = sealer.seal(bytes(32), tunnel_id)
                yield {**first, "id": tunnel_id, "name": f"tunnel {number}", "sealed_secret": sealed}

        def more_records() -> Iterator[dict[str, Any]]:
            for number in range(record_count - 2):
                zone = made[number % len(made)]
                own = {"id": token_hex(16), "zone_id": zone.id, "name": f"r{number}.{zone.name}"}
                if number < published and ids:
                    tunnel_id = ids[number % len(ids)]
                    target = f"{tunnel_id}.cfargotunnel.com"
                    yield {**routed, **own, "content": target, "content_key": target, "tunnel_id": tunnel_id}
                else:
                    yield {**address, **own}

        with store.recording() as write:
            for model, rows in ((Tunnel, more_tunnels()), (Record, more_records())):
                chunk: list[dict[str, Any]] = []
                for row in rows:
                    chunk.append(row)
                    if len(chunk) == CHUNK:
                        write.session.execute(insert(model), chunk)
                        chunk = []
                if chunk:
                    write.session.execute(insert(model), chunk)
    finally:
        state.close()
        data_dir.unlock()


def columns(row: Base) -> dict[str, Any]:
    """A row as the values of its columns: a pattern for more."""
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}
