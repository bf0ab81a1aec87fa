import json

import pytest
from sqlalchemy import text

from qanat.auth import issue
from qanat.control import accounts
from tests.support.control import Control
from tests.support.writes import written

pytestmark = pytest.mark.requirement("S38")

AUDIT = "/qanat/audit"


def lines(control: Control, **query: str) -> list[dict[str, object]]:
    answer = control.http.get(f"{AUDIT}/export", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture
def busy(control: Control) -> Control:
    """A control plane where something was written."""
    control.create_tunnel("web")
    zone = control.create_zone()
    for number in range(5):
        control.create_record(zone["id"], type="TXT", name=f"t{number}", content="x")
    return control


def test_the_newest_write_comes_first_with_who_and_where_from(busy: Control) -> None:
    rows = busy.call("GET", AUDIT)
    assert [row["seq"] for row in rows] == sorted((row["seq"] for row in rows), reverse=True)
    newest = rows[0]
    assert newest["action"] == "record.create"
    assert newest["actor"]["kind"] == "token"
    assert newest["actor"]["address"] == "127.0.0.1"
    assert newest["account_id"] == busy.account
    assert newest["detail"]["name"] == "t4.example.test"


def test_filters(busy: Control) -> None:
    assert {row["action"] for row in busy.call("GET", AUDIT, action="record")} == {"record.create"}
    (tunnel,) = busy.call("GET", AUDIT, action="tunnel.create")
    assert [row["seq"] for row in busy.call("GET", AUDIT, object_id=tunnel["object_id"])] == [tunnel["seq"]]
    assert busy.call("GET", AUDIT, actor="nobody") == []
    assert len(busy.call("GET", AUDIT, actor=tunnel["actor"]["id"])) >= 7
    later = busy.call("GET", AUDIT, since=tunnel["at"])
    assert later[-1]["seq"] == tunnel["seq"]
    assert all(row["seq"] < tunnel["seq"] for row in busy.call("GET", AUDIT, until=tunnel["at"]))
    assert busy.call("GET", AUDIT, account="0" * 32) == []
    assert busy.call("GET", AUDIT, action="re%cord") == []
    status, code, message = busy.refused("GET", AUDIT, since="yesterday")
    assert (status, code) == (400, 10001)
    assert "since" in message


def test_pages_and_the_cursor_give_the_same_rows(busy: Control) -> None:
    every = busy.call("GET", AUDIT)
    paged = [row for page in range(1, 20) for row in busy.call("GET", AUDIT, page=str(page), per_page="3")]
    assert paged == every
    read = []
    query: dict[str, str] = {}
    while rows := busy.call("GET", AUDIT, per_page="3", **query):
        read.extend(rows)
        query = {"before": str(rows[-1]["seq"])}
        busy.create_zone(f"z{len(read)}.test")  # a new row at the front moves nothing
    assert read == every
    for odd in ("0", "-1", "x", "9" * 19, "9" * 30, "0" * 20 + "9" * 30, "0" * 20 + "9" * 4400):
        assert busy.http.get(AUDIT, params={"before": odd}).status_code == 200


def test_the_export_is_every_row_in_order(busy: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qanat.store.audit.ROWS_AT_ONCE", 2)
    rows = lines(busy)
    assert rows == list(reversed(busy.call("GET", AUDIT)))
    assert [row["action"] for row in lines(busy, action="zone")] == ["zone.create"]


def test_a_chain_that_holds(busy: Control) -> None:
    verdict = busy.call("GET", f"{AUDIT}/verify")
    last = lines(busy)[-1]
    assert verdict == {
        "ok": True,
        "count": last["seq"],
        "last_seq": last["seq"],
        "last_hash": last["hash"],
        "first_broken": None,
        "reason": None,
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE audit SET detail = '{}' WHERE seq = 4", "it was changed"),
        ("DELETE FROM audit WHERE seq = 4", "the rows from 4 to 4 are gone"),
        ("UPDATE audit SET actor = 'me' WHERE seq = 4", "it was changed"),
        ("UPDATE audit SET previous = hash WHERE seq = 4", "it does not follow the row before it"),
    ],
)
def test_verify_names_the_first_row_that_was_tampered_with(busy: Control, change: str, reason: str) -> None:
    tamper(busy, change)
    verdict = busy.call("GET", f"{AUDIT}/verify")
    assert not verdict["ok"]
    assert verdict["first_broken"] == (5 if change.startswith("DELETE") else 4)
    assert verdict["reason"] == reason
    assert verdict["last_seq"] == 3


def test_a_row_that_was_made_unreadable_is_still_shown(busy: Control) -> None:
    tamper(busy, "UPDATE audit SET detail = 'no json' WHERE seq = 4")
    assert busy.call("GET", AUDIT, before="5")[0]["detail"] == {"unreadable": "no json"}


def test_a_token_of_one_account_sees_that_accounts_rows_alone(busy: Control) -> None:
    other = written(busy.store, accounts.create, name="other")
    token, _ = written(busy.store, issue, name="theirs", account_id=other.id)
    headers = {"authorization": f"Bearer {token}"}
    rows = busy.http.get(AUDIT, headers=headers).json()["result"]
    assert rows
    assert {row["account_id"] for row in rows} == {other.id}
    exported = busy.http.get(f"{AUDIT}/export", headers=headers).text.splitlines()
    assert [json.loads(line) for line in exported][::-1] == rows
    assert busy.http.get(AUDIT, headers=headers, params={"account": busy.account}).json()["result"] == []
    assert busy.http.get(f"{AUDIT}/verify", headers=headers).status_code == 403


def tamper(control: Control, statement: str) -> None:
    """As somebody with the database in hands would: the triggers stand in nobody's way."""
    with control.store.recording() as write:
        connection = write.session.connection()
        if connection.dialect.name == "sqlite":
            for (name,) in list(
                connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'"))
            ):
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            connection.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
        connection.execute(text(statement))
