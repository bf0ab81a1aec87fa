"""Failed log-ins leave rows, and a flood of them neither fills the database nor hides anybody's rows (security.md S38)."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from qanat.auth.failed_logins import ACTION, BURST, FailedLogins
from qanat.auth.tokens import make_token
from qanat.control import accounts
from qanat.errors import QanatError
from qanat.store import Store
from qanat.store.models import Audit
from tests.support.audits import first_broken
from tests.support.control import Control
from tests.support.writes import written

pytestmark = pytest.mark.requirement("S38")


class Clock:
    """The store's, wound by the test."""

    def __init__(self, store: Store) -> None:
        self.now: datetime = store.clock()
        store.clock = lambda: self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock(store: Store) -> Clock:
    return Clock(store)


@pytest.fixture
def logins(store: Store, clock: Clock) -> FailedLogins:
    return FailedLogins(store)


def _rows(store: Store) -> list[tuple[str, str, dict[str, Any]]]:
    with store.reading() as session:
        query = select(Audit.actor, Audit.address, Audit.detail).where(Audit.action == ACTION).order_by(Audit.seq)
        return [(actor, address, json.loads(detail)) for actor, address, detail in session.execute(query)]


def _count(store: Store) -> int:
    return sum(detail["count"] for _, _, detail in _rows(store))


def test_an_address_gets_a_row_at_once_and_then_ever_fewer(store: Store, clock: Clock, logins: FailedLogins) -> None:
    logins.note(address="192.0.2.1", way="token")
    assert logins.flush() == 1
    for _ in range(24 * 60):
        for _ in range(3):
            logins.note(address="192.0.2.1", way="token")
        logins.flush()
        clock.pass_(minutes=1)
    assert len(_rows(store)) < 40
    logins.flush(all_now=True)
    assert _count(store) == 1 + 24 * 60 * 3
    assert {(actor, address) for actor, address, _ in _rows(store)} == {("192.0.2.1", "192.0.2.1")}


def test_a_flood_from_everywhere_is_told_in_few_rows_that_count_all(
    store: Store, clock: Clock, logins: FailedLogins
) -> None:
    with store.reading() as session:
        before = session.scalar(select(func.count()).select_from(Audit)) or 0
    for second in range(360):
        for number in range(50):
            logins.note(address=f"10.{second % 250}.{number}.1", way="token")
        logins.note(address="2001:db8::" + f"{second:x}", way="key")
        if second % 10 == 0:
            logins.flush()
        clock.pass_(seconds=1)
    assert len(_rows(store)) <= BURST + 6
    written(store, accounts.create, name="victim's own row")
    clock.pass_(hours=2)
    logins.flush(all_now=True)
    assert _count(store) == 360 * 51
    assert len(_rows(store)) <= 2 * BURST + 6
    with store.reading() as session:
        assert first_broken(session) is None
        rows = session.scalars(select(Audit.action)).all()
    assert rows.count("account.create") >= 1
    assert len(rows) < before + 2 * BURST + 10
    many = [detail for actor, _, detail in _rows(store) if actor == "many"]
    assert many
    assert all(len(detail["addresses"]) <= 20 for detail in many)


def test_what_the_database_does_not_take_waits(
    store: Store, logins: FailedLogins, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins.note(address="192.0.2.1", way="token")

    def full() -> Iterator[Any]:
        raise QanatError("store_full", "the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(store, "recording", full)
        with pytest.raises(QanatError):
            logins.flush()
    logins.note(address="192.0.2.1", way="token")
    assert logins.flush() == 1
    assert _count(store) == 2


def test_refused_credentials_at_the_api_leave_a_row_and_good_ones_none(control: Control) -> None:
    guess = make_token()
    for text in (guess, "x", make_token()):
        control.http.get("/zones", headers={"authorization": f"Bearer {text}"})
    with httpx.Client(base_url=control.url, trust_env=False, verify=False) as nobody:
        assert nobody.get("/zones").status_code == 400  # none at all: that is no attempt
        nobody.get("/zones", headers={"x-auth-email": "a@example.test", "x-auth-key": "0" * 37})
    control.call("GET", "/zones")
    assert control.context.failed_logins.flush() == 1
    (row,) = _rows(control.store)
    assert row[:2] == ("127.0.0.1", "127.0.0.1")
    assert row[2]["ways"] == {"token": 3, "key": 1}
    assert guess not in json.dumps(row)
    (listed,) = control.call("GET", "/qanat/audit", action="login.failed")
    assert listed["actor"] == {"kind": "address", "id": "127.0.0.1", "address": "127.0.0.1"}
