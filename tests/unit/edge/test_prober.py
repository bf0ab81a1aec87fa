"""Who is asked when: spread, bounded, and nobody because of another."""

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any, cast

import pytest

from qanat.control import configurations, records, targets, tunnels, zones
from qanat.dns.forms import RecordDraft
from qanat.edge.prober import AT_ONCE_OF_TUNNEL, FIRST_S, PUT_OFF_S, Prober, Schedule
from qanat.health import checks
from qanat.health.health import Health
from qanat.health.probing import Probes
from qanat.health.questions import Check
from qanat.health.rates import Meter
from qanat.store import Store
from qanat.store.models import HealthState
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from tests.support.waiting import PATIENCE_S, wait_until
from tests.support.writes import written


def _everybody(_spot: object) -> bool:
    return True


def test_probes_are_spread_and_come_at_their_interval() -> None:
    schedule = Schedule(per_second=1000.0, random=Random(1))
    wanted = {(f"h{n}.test", "t", ""): Check(interval_s=10.0) for n in range(100)}
    schedule.set(wanted, 0.0)
    asked: Counter[tuple[str, str, str]] = Counter()
    per_second: Counter[int] = Counter()
    for tick in range(1000):
        for spot, _ in schedule.take(tick / 10, _everybody, 1000):
            asked[spot] += 1
            per_second[tick // 10] += 1
    assert all(9 <= times <= 12 for times in asked.values())
    assert len(asked) == 100
    assert max(count for second, count in per_second.items() if second > 60) < 50, "jitter spreads them"


def test_ten_thousand_hostnames_are_asked_as_often_as_the_bound_allows() -> None:
    schedule = Schedule(per_second=100.0, random=Random(1))
    schedule.set({(f"h{n}.test", f"t{n % 50}", ""): Check(interval_s=1.0) for n in range(10_000)}, 0.0)
    assert schedule.interval(Check(interval_s=1.0)) == 100.0
    asked: Counter[tuple[str, str, str]] = Counter()
    for tick in range(2500):
        asked.update(spot for spot, _ in schedule.take(tick / 10, _everybody, 10))
    assert asked.total() <= 25_000
    assert len(asked) == 10_000
    assert max(asked.values()) <= 4


def test_one_without_room_is_put_off_and_keeps_nobody() -> None:
    schedule = Schedule(per_second=100.0, random=Random(1))
    slow, other = ("slow.test", "s", ""), ("other.test", "o", "")
    schedule.set({slow: Check(), other: Check()}, 0.0)
    assert [spot for spot, _ in schedule.take(2.0, lambda spot: spot != slow, 10)] == [other]
    assert [spot for spot, _ in schedule.take(2.0 + 2 * PUT_OFF_S, _everybody, 10)] == [slow]


def test_what_is_no_longer_wanted_is_not_asked() -> None:
    schedule = Schedule(per_second=100.0, random=Random(1))
    schedule.set({("a.test", "t", ""): Check(), ("b.test", "t", ""): Check()}, 0.0)
    schedule.set({("b.test", "t", ""): Check()}, 0.5)
    assert [spot[0] for spot, _ in schedule.take(5.0, _everybody, 10)] == ["b.test"]


def test_a_changed_check_is_made_soon_and_the_others_when_they_were_due() -> None:
    """Whoever mends a check of one day's interval sees what it says now, not tomorrow."""
    schedule = Schedule(per_second=1000.0, random=Random(1))
    spot, other = ("a.test", "t", ""), ("b.test", "t", "")
    day = Check(interval_s=86_400.0)
    schedule.set({spot: day, other: day}, 0.0)
    assert len(list(schedule.take(FIRST_S, _everybody, 10))) == 2
    mended = Check(interval_s=86_400.0, path="/up")
    schedule.set({spot: mended, other: day}, 2.0)
    assert list(schedule.take(2.0 + FIRST_S, _everybody, 10)) == [(spot, mended)]
    schedule.set({spot: mended, other: day}, 4.0)
    assert not list(schedule.take(4.0 + FIRST_S, _everybody, 10)), "nothing changed"


class Engine:
    """Keeps what it is to ask; `answer` is for the test."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def probe(self, **given: Any) -> None:
        self.sent.append(given)

    def traffic(self) -> list[Any]:
        return []

    def through(self, tunnel_id: str) -> list[dict[str, Any]]:
        return [sent for sent in self.sent if sent["tunnel_id"] == tunnel_id]

    def of(self, hostname: str) -> list[dict[str, Any]]:
        return [sent for sent in self.sent if sent["hostname"] == hostname]


class Answer:
    headers: tuple[tuple[str, str], ...] = ()
    body = b""
    detail = ""

    def __init__(self, sent: dict[str, Any], status: int, cause: str = "") -> None:
        self.probe_id, self.status, self.cause = sent["probe_id"], status, cause


class Lab:
    def __init__(self, store: Store) -> None:
        self.engine = Engine()
        self.probes = Probes(cast(Any, self.engine))
        self.health = Health(Meter(cast(Any, self.engine)))
        self.prober = Prober(store, self.probes, self.health, route_of=lambda _: None, per_second=1000.0)
        self.end = self.prober.start()

    def answer(self, sent: dict[str, Any], status: int, cause: str = "") -> None:
        self.probes.answered(cast(Any, Answer(sent, status, cause)))

    def stop(self) -> None:
        self.end()
        self.prober.stop()


@pytest.fixture
def zone(store: Store, account: str) -> str:
    return written(store, zones.create, account_id=account, name="example.test").id


@pytest.fixture
def tunnel_ids(store: Store, sealer: Sealer, account: str, zone: str) -> list[str]:
    """Of `a` with one hostname, and of `slow` with twenty."""
    made = []
    for name, hostnames in (("a", ["a"]), ("slow", [f"s{n}" for n in range(20)])):
        tunnel = written(
            store, tunnels.create, sealer, account_id=account, name=name, secret=bytes(32), config_src="cloudflare"
        )
        for hostname in hostnames:
            draft = RecordDraft(
                name=f"{hostname}.example.test", type="CNAME", content=f"{tunnel.id}.cfargotunnel.com", proxied=True
            )
            written(store, records.create, zone, draft, reach=EVERYTHING)
        made.append(tunnel.id)
    return made


@pytest.fixture
def lab(store: Store, tunnel_ids: list[str]) -> Iterator[Lab]:
    lab = Lab(store)
    yield lab
    lab.stop()


def test_each_hostname_is_asked_through_each_node_and_a_slow_origin_delays_no_other(
    lab: Lab, store: Store, account: str, tunnel_ids: list[str]
) -> None:
    quick, slow = tunnel_ids
    lab.health.registered("c1", quick, "")
    lab.health.registered("c2", quick, "host")
    lab.health.registered("c3", slow, "")
    wait_until(lambda: len(lab.engine.of("a.example.test")) >= 2, "both nodes are asked")
    own = lab.engine.of("a.example.test")
    assert {sent["token_id"] for sent in own} == {"", "host"}
    assert {(sent["path"], sent["method"], sent["scheme"]) for sent in own} == {("/", "GET", "https")}
    wait_until(lambda: len(lab.engine.through(slow)) >= AT_ONCE_OF_TUNNEL, "the slow origin is asked")
    for sent in own:
        lab.answer(sent, 200 if sent["token_id"] else 503)
    wait_until(lambda: lab.health.of(quick, "host").state == "healthy", "one is well")
    assert lab.health.of(quick, "").state == "unknown", "one bad answer is none of three"
    written(store, checks.put, account_id=account, target="a.example.test", changes={"interval_s": 1.0, "path": "/up"})
    wait_until(
        lambda: any(sent["path"] == "/up" for sent in lab.engine.of("a.example.test")),
        "it is asked on, as it was set, while the slow one owes its answers",
    )
    assert len(lab.engine.through(slow)) == AT_ONCE_OF_TUNNEL


def test_what_was_known_is_known_after_a_restart_and_what_is_off_is_not_asked(
    lab: Lab, store: Store, account: str, tunnel_ids: list[str]
) -> None:
    quick = tunnel_ids[0]
    lab.health.registered("c1", quick, "")
    (sent,) = wait_until(lambda: lab.engine.of("a.example.test"), "it is asked")
    lab.answer(sent, 200)
    wait_until(lambda: lab.health.of(quick, "").state == "healthy", "it is well")
    since = lab.health.of(quick, "").since
    lab.stop()
    with store.reading() as session:
        assert [row.state for row in session.query(HealthState)] == ["healthy"]
    again = Lab(store)
    again.health.registered("c9", quick, "")
    assert (again.health.of(quick, "").state, again.health.of(quick, "").since) == ("healthy", since)
    written(store, checks.put, account_id=account, target=quick, changes={"enabled": False})
    wait_until(lambda: again.health.of(quick, "").state == "unknown", "nothing is known of who isn't asked")
    again.stop()


def test_every_tunnel_of_a_hostname_with_weights_is_asked(
    lab: Lab, store: Store, sealer: Sealer, account: str, tunnel_ids: list[str]
) -> None:
    quick = tunnel_ids[0]
    canary = written(
        store, tunnels.create, sealer, account_id=account, name="canary", secret=bytes(32), config_src="cloudflare"
    ).id
    with store.reading() as session:
        place = targets.find(session, account, "a.example.test", reach=EVERYTHING)
    written(store, targets.put, place, [(quick, 95), (canary, 0)], "none")
    lab.health.registered("c1", quick, "")
    lab.health.registered("c2", canary, "host")
    wait_until(
        lambda: (
            {(sent["tunnel_id"], sent["token_id"]) for sent in lab.engine.of("a.example.test")}
            == {(quick, ""), (canary, "host")}
        ),
        "the one that gets nothing yet is asked as well",
    )


def test_services_that_are_not_http_are_connected_to_and_those_that_tell_nothing_are_left_alone(
    lab: Lab, store: Store, account: str, zone: str, tunnel_ids: list[str]
) -> None:
    quick = tunnel_ids[0]
    draft = RecordDraft(name="jump.example.test", type="CNAME", content=f"{quick}.cfargotunnel.com", proxied=True)
    written(store, records.create, zone, draft, reach=EVERYTHING)
    rules = [
        {"hostname": "a.example.test", "service": "ssh://127.0.0.1:22"},
        {"hostname": "jump.example.test", "service": "bastion"},
        {"service": "http_status:404"},
    ]
    written(
        store,
        configurations.put,
        account_id=account,
        tunnel_id=quick,
        document={"ingress": rules},
        source="cloudflare",
    )
    wait_until(lambda: lab.health.of(quick, hostname="jump.example.test").why, "the rules are read")
    lab.health.registered("c1", quick, "")
    sent = wait_until(
        lambda: next((each for each in lab.engine.of("a.example.test") if each["is_websocket"]), None),
        "it is connected to",
    )
    lab.answer(sent, 101)
    wait_until(lambda: lab.health.of(quick, hostname="a.example.test").state == "healthy", "it connects")
    assert lab.health.of(quick, hostname="a.example.test").why == "the connector connects to it"
    assert lab.health.of(quick, hostname="jump.example.test").why == "not probed: its service is bastion"
    assert not [each for each in lab.engine.of("jump.example.test") if each["is_websocket"]]


def test_with_nobody_to_ask_it_sleeps_until_something_changes(
    monkeypatch: pytest.MonkeyPatch, store: Store, account: str, tunnel_ids: list[str]
) -> None:
    for name in ("LOOK_S", "REREAD_S", "SAVE_S"):
        monkeypatch.setattr(f"qanat.edge.prober.{name}", 10 * PATIENCE_S)
    rounds: list[str] = []
    monkeypatch.setattr(Prober, "_take_answers", lambda self: rounds.append("round"))

    def read(prober: Prober) -> None:
        prober._is_stale.clear()
        rounds.append("read")

    monkeypatch.setattr(Prober, "_read", read)
    lab = Lab(store)
    wait_until(lambda: "round" in rounds, "it has read who is to be asked")
    prober = lab.prober
    written(store, checks.put, account_id=account, target="a.example.test", changes={"path": "/up"})
    wait_until(lambda: rounds.count("read") == 2, "it hears of the change")
    lab.stop()
    assert not prober._thread.is_alive()
    assert rounds.count("round") <= 4, "one when it begins, one or two for the change, one for its end"
