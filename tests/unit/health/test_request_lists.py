"""Request lists: off until somebody wants them, bounded, filtered, and nobody else's."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from qanat.errors import QanatError
from qanat.health.request_lists import KEPT, MOST_LISTS, Filters, RequestList, RequestLists
from qanat.store import Actor, Store
from qanat.store.models import Audit, Zone
from tests.support.writes import first_account

HOST = "app.example.test"
ME = Actor(kind="user", name="me")


class Engine:
    """Lists what a test lets pass."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        self.passed: list[bytes] = []

    def list_requests(self, *, hostnames: Sequence[str]) -> None:
        self.watched = list(hostnames)

    def route(self, *, hostname: str) -> SimpleNamespace | None:
        """One below `wild` is served by a wildcard."""
        return SimpleNamespace(hostname="*.wild.example.test") if ".wild." in hostname else None

    def listed_requests(self) -> list[bytes]:
        taken, self.passed = self.passed, []
        return taken

    def passes(self, hostname: str = HOST, **more: Any) -> None:
        fields = {
            "time": 1.5,
            "request_id": "1-lab",
            "client_ip": "192.0.2.7",
            "method": "GET",
            "scheme": "https",
            "host": hostname,
            "path": "/",
            "protocol": "HTTP/2",
            "status": 200,
            "bytes_in": 0,
            "bytes_out": 5,
            "duration_s": 0.25,
            "hostname": hostname,
            "headers": [["Accept", "text/html"], ["Cookie", "*"]],
        }
        self.passed.append(json.dumps({**fields, **more}).encode())


class Lab:
    def __init__(self, store: Store) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        store.clock = lambda: self.now
        self.store, self.engine = store, Engine()
        self.lists = RequestLists(self.engine, store)
        self.account = first_account(store).id
        with store.recording() as write:
            write.session.add(
                Zone(
                    id="z",
                    account_id=self.account,
                    name="example.test",
                    paused=False,
                    type="full",
                    created_at=self.now,
                    modified_at=self.now,
                )
            )

    def begin(self, hostname: str = HOST, *, minutes: int = 10, most: int = 500) -> RequestList:
        with self.store.writing(ME) as write:
            ordered = self.lists.ordered(write, account_id=self.account, hostname=hostname, minutes=minutes, most=most)
        return self.lists.begin(ordered)

    def audited(self) -> list[Audit]:
        with self.store.reading() as session:
            query = select(Audit).where(Audit.action.startswith("request_list.")).order_by(Audit.seq)
            return list(session.scalars(query))

    def paths(self, hostname: str = HOST, **filters: str) -> list[str]:
        return [each.path for each in self.lists.read(self.account, hostname, Filters(**filters), most=100)]


@pytest.fixture
def lab(store: Store) -> Lab:
    return Lab(store)


def test_nothing_is_listed_until_somebody_wants_it_and_the_audit_log_says_who(lab: Lab) -> None:
    lab.lists.look()
    assert lab.engine.watched == []
    lab.begin("APP.example.test", minutes=5, most=10)
    assert lab.engine.watched == [HOST]
    lab.engine.passes(path="/a", query="token=*")
    lab.engine.passes("other.test")
    (listed,) = lab.lists.read(lab.account, HOST, Filters(), most=10)
    assert (listed.path, listed.query, listed.headers[1], listed.origin_s) == ("/a", "token=*", ("Cookie", "*"), None)
    (row,) = lab.audited()
    assert (row.action, row.actor, row.object_id) == ("request_list.begin", "me", HOST)
    assert json.loads(row.detail) == {"minutes": 5, "most": 10}


def test_it_ends_by_itself_and_what_it_holds_is_forgotten_later(lab: Lab) -> None:
    lab.begin(minutes=5)
    lab.engine.passes(path="/a")
    lab.lists.look()
    lab.now += timedelta(minutes=5)
    lab.lists.look()
    assert lab.engine.watched == []
    assert lab.paths() == ["/a"]
    lab.now += KEPT + timedelta(seconds=1)
    lab.lists.look()
    assert lab.lists.every(lab.account) == []


def test_of_more_than_it_keeps_the_newest_stay_and_the_others_are_counted(lab: Lab) -> None:
    begun = lab.begin(most=2)
    for number in range(5):
        lab.engine.passes(path=f"/{number}")
    assert lab.paths() == ["/4", "/3"]
    assert begun.dropped == 3


def test_filters_let_through_what_they_say(lab: Lab) -> None:
    lab.begin()
    lab.engine.passes(path="/ok")
    lab.engine.passes(path="/gone", status=404, client_ip="198.51.100.9")
    lab.engine.passes(path="/broken", status=502, method="POST", cause="origin_refused")
    for filters, found in (
        ({"status": "5xx"}, ["/broken"]),
        ({"status": "404"}, ["/gone"]),
        ({"status": "400-599"}, ["/broken", "/gone"]),
        ({"path": "o"}, ["/broken", "/gone", "/ok"]),
        ({"path": "/br"}, ["/broken"]),
        ({"method": "post"}, ["/broken"]),
        ({"address": "192.0.2.0/24"}, ["/broken", "/ok"]),
        ({"address": "2001:db8::1"}, []),
        ({"address": "192.0.2.7", "status": "2xx"}, ["/ok"]),
    ):
        assert lab.paths(**filters) == found, filters


@pytest.mark.parametrize("filters", [{"status": "9xx"}, {"status": "x"}, {"status": "1-2-3"}, {"address": "example"}])
def test_a_filter_that_can_not_be_read_is_refused(lab: Lab, filters: dict[str, str]) -> None:
    lab.begin()
    with pytest.raises(QanatError) as refused:
        lab.paths(**filters)
    assert (refused.value.code, refused.value.where) == ("request_list_bad", next(iter(filters)))


def test_only_hostnames_of_the_account_are_listed_and_only_as_long_as_they_are(lab: Lab) -> None:
    with pytest.raises(QanatError) as refused:
        lab.begin("app.elsewhere.test")
    assert refused.value.code == "request_list_unknown"
    lab.begin()
    assert lab.lists.every("f" * 32) == []
    with pytest.raises(QanatError):
        lab.lists.read("f" * 32, HOST, Filters(), most=1)
    with lab.store.recording() as write:
        write.session.delete(write.session.get_one(Zone, "z"))
    lab.lists.look()
    assert lab.engine.watched == []


def test_bounds_are_kept(lab: Lab) -> None:
    for minutes, most, where in ((0, 1, "minutes"), (61, 1, "minutes"), (1, 0, "most"), (1, 2001, "most")):
        with pytest.raises(QanatError) as refused:
            lab.begin(minutes=minutes, most=most)
        assert refused.value.where == where
    for number in range(MOST_LISTS):
        lab.begin(f"a{number}.example.test")
    with pytest.raises(QanatError) as many:
        lab.begin()
    assert many.value.code == "request_list_too_many"
    lab.begin("a0.example.test", minutes=60)


def test_of_a_hostname_that_a_wildcard_serves_its_own_requests_are_listed(lab: Lab) -> None:
    lab.begin("a.wild.example.test")
    assert lab.engine.watched == ["*.wild.example.test"]
    lab.engine.passes("*.wild.example.test", host="a.wild.example.test", path="/a")
    lab.engine.passes("*.wild.example.test", host="b.wild.example.test", path="/b")
    assert lab.paths("a.wild.example.test") == ["/a"]
    lab.begin("*.wild.example.test")
    lab.engine.passes("*.wild.example.test", host="b.wild.example.test", path="/c")
    assert (lab.paths("a.wild.example.test"), lab.paths("*.wild.example.test")) == (["/a"], ["/c"])


def test_who_ends_it_forgets_what_it_held(lab: Lab) -> None:
    lab.begin("*.example.test")
    lab.engine.passes("*.example.test", path="/x")
    lab.lists.look()
    with lab.store.writing(ME) as write:
        lab.lists.end(write, account_id=lab.account, hostname="*.example.test")
    assert (lab.engine.watched, lab.lists.every(lab.account)) == ([], [])
    assert [row.action for row in lab.audited()] == ["request_list.begin", "request_list.end"]
