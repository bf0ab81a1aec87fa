"""A crash at any point of a write: what was acknowledged is there, what was not is absent or whole."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from qanat.control import tunnels
from qanat.store import open_store, sqlite
from qanat.store.models import Audit, Configuration, Record, Tunnel
from qanat.store.sealing import load_key
from tests.support.audits import first_broken
from tests.support.mortal import MortalControl
from tests.support.postgres import Postgres, running_postgres
from tests.support.waiting import wait_until

SQLITE_KILLS = 20
POSTGRES_KILLS = 10
WRITERS = 3
BATCH = 5


@dataclass
class Told:
    """What the clients were told: done, surely not done, or nothing."""

    done: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


class Writers:
    """Clients that write whenever there is an API, each name once."""

    def __init__(self) -> None:
        self.told = Told()
        self._where: dict[str, Any] = {}
        self._end = Event()
        self._numbers = iter(range(10**9))
        self._lock = Lock()
        self._threads = [Thread(target=self._run, daemon=True) for _ in range(WRITERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def point_to(self, where: dict[str, Any]) -> None:
        """The API's next life."""
        with httpx.Client(
            base_url=where["url"], headers={"authorization": f"Bearer {where['token']}"}, trust_env=False, verify=False
        ) as client:
            account = client.get("/accounts").raise_for_status().json()["result"][0]["id"]
            zones = client.get("/zones").raise_for_status().json()["result"]
            zone = (
                zones[0]["id"]
                if zones
                else client.post("/zones", json={"name": "example.test"}).raise_for_status().json()["result"]["id"]
            )
        self._where = {**where, "account": account, "zone": zone}

    def done(self) -> int:
        with self.told.lock:
            return len(self.told.done)

    def wait_more(self, count: int) -> None:
        """Until so many more writes were acknowledged."""
        goal = self.done() + count
        wait_until(lambda: self.done() >= goal, "more acknowledged writes", timeout_s=60.0, every_s=0.001)

    def _run(self) -> None:
        while not self._end.is_set():
            where = self._where
            with (
                httpx.Client(
                    base_url=where["url"],
                    headers={"authorization": f"Bearer {where['token']}"},
                    trust_env=False,
                    verify=False,
                ) as client,
            ):
                while not self._end.is_set() and self._where is where:
                    with self._lock:
                        number = next(self._numbers)
                    if not self._write(client, where, number):
                        self._end.wait(0.01)

    def _write(self, client: httpx.Client, where: dict[str, Any], number: int) -> bool:
        name = f"n{number}"
        tunnels_path = f"/accounts/{where['account']}/cfd_tunnel"
        if number % 3:
            records = [
                {"type": "TXT", "name": f"{name}.example.test", "content": f"{part}", "ttl": 60}
                for part in range(BATCH)
            ]
            answer = self._send(client, name, f"/zones/{where['zone']}/dns_records/batch", {"posts": records})
            return answer is not None
        answer = self._send(client, name, tunnels_path, {"name": name, "config_src": "cloudflare"})
        if answer is None:
            return False
        tunnel_id = answer.json()["result"]["id"]
        try:
            put = client.put(
                f"{tunnels_path}/{tunnel_id}/configurations",
                json={"config": {"ingress": [{"service": "http_status:404"}]}},
            )
        except httpx.HTTPError:
            return False
        if put.status_code == 200:
            with self.told.lock:
                self.told.versions[tunnel_id] = put.json()["result"]["version"]
        return True

    def _send(self, client: httpx.Client, name: str, path: str, body: object) -> httpx.Response | None:
        try:
            answer = client.post(path, json=body)
        except httpx.HTTPError:
            with self.told.lock:
                self.told.unknown.add(name)
            return None
        with self.told.lock:
            if answer.status_code == 200:
                self.told.done.add(name)
                return answer
            assert answer.status_code == 503, answer.text
            surely = "nothing was written" in answer.text
            (self.told.refused if surely else self.told.unknown).add(name)
        return None


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[MortalControl]:
    made = MortalControl(tmp_path / "data")
    yield made
    made.close()


def _check(where: Path | str, folder: Path, told: Told) -> None:
    store = open_store(where)
    with store.reading() as session:
        assert first_broken(session) is None
        rows = {row.name: row for row in session.scalars(select(Tunnel))}
        created = [row.object_id for row in session.scalars(select(Audit).where(Audit.action == "tunnel.create"))]
        records: dict[str, int] = {}
        for name in session.scalars(select(Record.name)):
            records[name.partition(".")[0]] = records.get(name.partition(".")[0], 0) + 1
        versions = {row.tunnel_id: row.version for row in session.scalars(select(Configuration))}
        batches = len(list(session.scalars(select(Audit.seq).where(Audit.action == "record.batch"))))
    store.close()
    there = rows.keys() | records.keys()
    assert not told.done - there, "acknowledged, and gone"
    assert not told.refused & there, "said not to be written, and there"
    assert not there - told.done - told.unknown, "nobody asked for it"
    assert set(records.values()) == {BATCH}, "a batch is there as a whole or not at all"
    assert sorted(created) == sorted(row.id for row in rows.values()), "a tunnel without its audit row, or the reverse"
    assert batches == len(records)
    for tunnel_id, version in told.versions.items():
        assert versions.get(tunnel_id) == version
    sealer = load_key(folder / "secret.key")
    for row in rows.values():
        tunnels.open_secret(sealer, row)


@pytest.mark.timeout(300)
def test_kill_9_at_any_point_loses_nothing_that_was_acknowledged(mortal: MortalControl) -> None:
    chance = random.Random(4)
    writers = Writers()
    writers.point_to(mortal.start())
    writers.start()
    for _ in range(SQLITE_KILLS):
        writers.wait_more(chance.randint(1, 15))
        mortal.kill()
        writers.point_to(mortal.start())
    mortal.kill()
    writers.stop()
    assert mortal.lives == SQLITE_KILLS + 1
    database = mortal.folder / "qanat.db"
    _check(database, mortal.folder, writers.told)
    assert sqlite.check_file(database, whole=True)


@pytest.mark.timeout(300)
def test_neither_a_killed_control_plane_nor_a_killed_postgres_loses_what_was_acknowledged(
    tmp_path: Path, postgres: Postgres
) -> None:
    """`postgres`: only so that this is skipped where there is none; the server that dies is this test's own."""
    del postgres
    chance = random.Random(4)
    with running_postgres() as server:
        url = server.empty_database()
        mortal = MortalControl(tmp_path / "data", url)
        writers = Writers()
        writers.point_to(mortal.start())
        writers.start()
        for number in range(POSTGRES_KILLS):
            writers.wait_more(chance.randint(1, 15))
            if number % 2:
                server.stop(at_once=True)
                server.start()
            else:
                mortal.kill()
                writers.point_to(mortal.start())
        mortal.kill()
        writers.stop()
        mortal.close()
        _check(url, mortal.folder, writers.told)
