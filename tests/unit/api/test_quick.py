import base64
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from qanat.control import quick_tunnels
from qanat.control.quick_tunnels import KEPT_AFTERWARDS, QuickLimits
from qanat.edge.sweeps import end_quick_tunnels
from qanat.store import SYSTEM, Write
from qanat.store.models import Record, Tunnel
from qanat.store.skipped import SkippedRows
from tests.support.control import Control, check_failure
from tests.support.links import lose, register
from tests.support.writes import written

EXPIRY = timedelta(seconds=300)


@pytest.fixture
def quick(control: Control) -> Control:
    """A control plane with quick tunnels below try.example.test."""
    control.create_zone("try.example.test")
    control.context.quick = QuickLimits(zone="try.example.test", per_address=2, in_all=3, expiry=EXPIRY)
    return control


@pytest.fixture
def anybody(control: Control) -> Iterator[httpx.Client]:
    """A stock connector: no credentials, the header that it sends, no body."""
    base = control.url.removesuffix("/client/v4")
    with httpx.Client(
        base_url=base, headers={"content-type": "application/json"}, trust_env=False, verify=False
    ) as client:
        yield client


def _later(control: Control, after: timedelta) -> None:
    now = control.store.clock() + after
    control.store.clock = lambda: now


def _live(control: Control) -> list[str]:
    return [row["name"] for row in control.call("GET", control.tunnels(), is_deleted="false")]


def test_off_by_default(control: Control, anybody: httpx.Client) -> None:
    for path in ("/tunnel", "/client/v4/tunnel"):
        answer = anybody.post(path)
        check_failure(answer)
        assert answer.status_code == 404
    assert control.call("GET", control.tunnels()) == []


@pytest.mark.trap(27)
@pytest.mark.parametrize("path", ["/tunnel", "/client/v4/tunnel"])
def test_the_body_forms_of_stock_clients(quick: Control, anybody: httpx.Client, path: str) -> None:
    answer = anybody.post(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) >= {"success", "result", "errors"}
    assert (answer.json()["success"], answer.json()["errors"]) == (True, [])
    made = answer.json()["result"]
    assert set(made) == {"id", "name", "hostname", "account_tag", "secret"}
    UUID(made["id"])
    assert made["account_tag"] == quick.account
    assert len(base64.b64decode(made["secret"], validate=True)) == 32
    words, zone = made["hostname"].split(".", 1)
    assert zone == "try.example.test"
    assert len(words.split("-")) == 3
    tunnel = quick.call("GET", f"{quick.tunnels()}/{made['id']}")
    assert (tunnel["config_src"], tunnel["name"]) == ("local", made["name"])
    with quick.store.reading() as session:
        record = session.query(Record).filter(Record.name == made["hostname"]).one()
    assert (record.content, record.proxied) == (f"{made['id']}.cfargotunnel.com", True)


def test_only_this_one_endpoint_is_open(quick: Control, anybody: httpx.Client) -> None:
    for method, path in (
        ("GET", "/tunnel"),
        ("POST", "/tunnel//"),
        ("POST", "/tunnels"),
        ("GET", "/client/v4/tunnel"),
        ("POST", f"/client/v4/accounts/{quick.account}/cfd_tunnel"),
    ):
        answer = anybody.request(method, path)
        check_failure(answer)
        assert answer.status_code in (400, 404), (method, path)


def test_a_web_page_is_refused(quick: Control, anybody: httpx.Client) -> None:
    answer = anybody.post("/tunnel", headers={"origin": "https://elsewhere.example"})
    check_failure(answer)
    assert answer.status_code == 403
    assert _live(quick) == []


def test_limits_an_address_and_in_all(quick: Control, anybody: httpx.Client) -> None:
    for _ in range(2):
        assert anybody.post("/tunnel").status_code == 200
    answer = anybody.post("/tunnel")
    check_failure(answer)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "300"
    with quick.store.writing(SYSTEM) as write:
        write.session.query(Tunnel).update({"quick_address": "198.51.100.7"})
        write.audit("test", "")
    assert anybody.post("/tunnel").status_code == 200
    assert anybody.post("/tunnel").status_code == 429
    assert len(_live(quick)) == 3


def test_the_zone_must_be_there(control: Control, anybody: httpx.Client) -> None:
    control.context.quick = QuickLimits(zone="missing.example.test", per_address=2, in_all=3, expiry=EXPIRY)
    answer = anybody.post("/tunnel")
    check_failure(answer)
    assert answer.status_code == 503


def test_one_that_never_came_goes_with_its_record(quick: Control, anybody: httpx.Client) -> None:
    made = anybody.post("/tunnel").json()["result"]
    assert end_quick_tunnels(quick.store, expiry=EXPIRY) == 0
    _later(quick, EXPIRY - timedelta(seconds=20))
    assert end_quick_tunnels(quick.store, expiry=EXPIRY) == 0
    _later(quick, timedelta(seconds=40))
    assert end_quick_tunnels(quick.store, expiry=EXPIRY) == 1
    assert _live(quick) == []
    with quick.store.reading() as session:
        assert session.query(Record).filter(Record.name == made["hostname"]).all() == []
    assert end_quick_tunnels(quick.store, expiry=EXPIRY) == 0


def test_one_lives_as_long_as_its_connector_and_some_minutes_more(quick: Control, anybody: httpx.Client) -> None:
    made = anybody.post("/tunnel").json()["result"]
    connection = register(quick.store, made["id"], str(uuid4()))
    _later(quick, timedelta(days=3))
    assert end_quick_tunnels(quick.store, expiry=EXPIRY) == 0
    lose(quick.store, connection, "unregistered")
    assert end_quick_tunnels(quick.store, expiry=EXPIRY) == 0
    _later(quick, EXPIRY)
    assert end_quick_tunnels(quick.store, expiry=EXPIRY) == 1


def test_a_deleted_one_is_forgotten_after_a_day(quick: Control, anybody: httpx.Client) -> None:
    made = anybody.post("/tunnel").json()["result"]
    kept = quick.create_tunnel("kept")
    lose(quick.store, register(quick.store, made["id"], str(uuid4())))
    _later(quick, EXPIRY * 2)
    assert end_quick_tunnels(quick.store, expiry=EXPIRY) == 1
    assert len(quick.call("GET", quick.tunnels())) == 2
    _later(quick, KEPT_AFTERWARDS + timedelta(seconds=1))
    end_quick_tunnels(quick.store, expiry=EXPIRY)
    assert [row["id"] for row in quick.call("GET", quick.tunnels())] == [kept["id"]]


def test_what_a_crash_left_behind_is_tidied(quick: Control, anybody: httpx.Client) -> None:
    made = anybody.post("/tunnel").json()["result"]
    with quick.store.writing(SYSTEM) as write:
        write.session.get_one(Tunnel, made["id"]).deleted_at = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
        write.audit("test", "")
    end_quick_tunnels(quick.store, expiry=EXPIRY)
    with quick.store.reading() as session:
        assert session.query(Record).filter(Record.name == made["hostname"]).all() == []


def test_ipv6_addresses_count_by_their_network(quick: Control) -> None:
    limits: Any = quick.context.quick
    for address in ("2001:db8::1", "2001:db8::2"):
        written(quick.store, quick_tunnels.create, quick.sealer, limits, address=address)
    with pytest.raises(Exception, match="2001:db8::/64 has 2 quick tunnels"):
        written(quick.store, quick_tunnels.create, quick.sealer, limits, address="2001:db8::3")
    written(quick.store, quick_tunnels.create, quick.sealer, limits, address="2001:db8:1::3")


def test_one_that_can_not_be_deleted_keeps_no_other(
    quick: Control, anybody: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = (anybody.post("/tunnel").json()["result"]["id"] for _ in range(2))
    expire = quick_tunnels.expire

    def fails(write: Write, tunnel_id: str) -> bool:
        if tunnel_id == bad:
            raise ValueError("what it holds is from a newer version")
        return expire(write, tunnel_id)

    skipped = SkippedRows()
    _later(quick, EXPIRY * 2)
    with monkeypatch.context() as broken:
        broken.setattr(quick_tunnels, "expire", fails)
        assert end_quick_tunnels(quick.store, skipped, expiry=EXPIRY) == 1
    with quick.store.reading() as session:
        assert session.get_one(Tunnel, bad).deleted_at is None
        assert session.get_one(Tunnel, good).deleted_at is not None
    assert [(row.kind, row.name, row.code) for row in skipped.rows()] == [("quick_tunnel", bad, "row_unreadable")]
    assert end_quick_tunnels(quick.store, skipped, expiry=EXPIRY) == 1
    assert not skipped.rows()
