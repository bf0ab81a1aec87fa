"""What rules find, and what is queued of it: once, whoever looks and however often."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from qanat.alerts import channels, deliveries, rules
from qanat.alerts.channels import ChannelContent, Webhook
from qanat.alerts.look import Look, Looked
from qanat.alerts.rules import RuleContent
from qanat.auth.failed_logins import FailedLogins
from qanat.errors import QanatError, RetryLaterError
from qanat.health.questions import Check, Judgment
from qanat.health.verdicts import Verdict
from qanat.series.frames import Entry, Frame
from qanat.series.recorder import keep
from qanat.series.scopes import key
from qanat.store import SYSTEM
from qanat.store.models import AlertDelivery, CertificateOrder, Cutover, Promotion
from tests.support.clock import MovedClock
from tests.support.control import Control, running_control
from tests.support.links import lose, register


class Watch:
    """A control plane, whoever looks at its rules, and one channel."""

    def __init__(self, control: Control) -> None:
        self.control, self.store = control, control.store
        self.clock = MovedClock(control.store)
        self.restart()
        hook = ChannelContent(name="hook", to=Webhook(url="https://hooks.example.com/x"))
        with self.store.writing(SYSTEM) as write:
            self.channel = channels.add(write, control.sealer, control.account, hook)[0].id

    def restart(self) -> None:
        """Another process looks from now on: it knows what is in the store."""
        self.look_at = Look(self.store, self.control.edge.health, probing=True, files=list)

    def rule(self, kind: str, **given: Any) -> str:
        content = RuleContent(name=kind, kind=kind, channels=[self.channel], **given)
        with self.store.writing(SYSTEM) as write:
            return rules.add(write, self.control.account, content, may_edge=True).id

    def look(self, *, after_s: float = 0) -> Looked:
        self.clock.move(seconds=after_s)
        return self.look_at.look()

    @property
    def titles(self) -> list[str]:
        """Of every message, in order."""
        with self.store.reading() as session:
            query = select(AlertDelivery).order_by(AlertDelivery.created_at, AlertDelivery.id)
            return [str(row.message["title"]) for row in session.scalars(query)]

    def tunnel(self, name: str) -> str:
        """One with a connection whose origin answers."""
        tunnel_id = str(self.control.create_tunnel(name)["id"])
        self.connect(tunnel_id)
        zone = self.control.create_zone(f"{name}.test")
        content = f"{tunnel_id}.cfargotunnel.com"
        self.control.create_record(zone["id"], name=f"www.{name}.test", type="CNAME", content=content, proxied=True)
        self.answer(f"www.{name}.test", tunnel_id, good=True)
        return tunnel_id

    def connect(self, tunnel_id: str, token_id: str = "") -> str:
        connection = register(self.store, tunnel_id, str(uuid4()), token_id=token_id)
        self.control.edge.health.registered(connection, tunnel_id, token_id)
        return connection

    def answer(self, hostname: str, tunnel_id: str, *, good: bool) -> None:
        judgment = Judgment(good, "answered 200" if good else "connection refused")
        for _ in range(5):
            self.control.edge.health.answered((hostname, tunnel_id, ""), Check(), judgment)


@pytest.fixture
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    with running_control(tmp_path_factory.mktemp("control")) as control:
        yield Watch(control)


def test_a_tunnel_that_goes_down_is_told_once_however_often_the_edge_starts_again(watch: Watch) -> None:
    tunnel_id = watch.tunnel("shop")
    watch.rule("tunnel_down", settings={"for_s": 60})
    assert watch.look() == Looked()
    for row in watch.control.call("GET", f"{watch.control.tunnels()}/{tunnel_id}")["connections"]:
        lose(watch.store, row["id"])
    assert watch.look(after_s=30).queued == 0
    watch.restart()
    assert watch.look(after_s=40).queued == 1
    watch.restart()
    assert watch.look(after_s=5) == Looked(open=1)
    watch.connect(tunnel_id)
    watch.look(after_s=5)
    watch.restart()
    watch.look(after_s=5)
    assert watch.look(after_s=61) == Looked(queued=1)
    assert watch.titles == ["Firing: tunnel_down: tunnel shop", "Resolved: tunnel_down: tunnel shop"]


def test_hostnames_that_fall_together_are_one_message_and_a_tunnel_that_is_away_ends_nothing(watch: Watch) -> None:
    tunnel_id = watch.tunnel("shop")
    zone = watch.control.call("GET", "/zones")[0]["id"]
    content = f"{tunnel_id}.cfargotunnel.com"
    for name in ("a", "b", "c", "d"):
        watch.control.create_record(zone, name=f"{name}.shop.test", type="CNAME", content=content, proxied=True)
        watch.answer(f"{name}.shop.test", tunnel_id, good=False)
    watch.rule("hostname_down", settings={"for_s": 0})
    assert watch.look() == Looked(queued=1, open=4)
    assert watch.titles == ["Firing: hostname_down: a.shop.test, b.shop.test, c.shop.test and 1 more"]
    watch.control.edge.health.keep([])  # nothing is known of them, as after a restart
    assert watch.look(after_s=100) == Looked(open=4)
    watch.control.edge.health.restore([((f"{name}.shop.test", tunnel_id, ""), _well(watch)) for name in "abcd"])
    watch.look(after_s=5)
    assert watch.look(after_s=61) == Looked(queued=1)


def _well(watch: Watch) -> Verdict:
    return Verdict(state="healthy", since=watch.clock.now, why="answered 200")


def test_a_silence_holds_back_and_what_still_holds_is_told_at_its_end(watch: Watch) -> None:
    tunnel_id = watch.tunnel("shop")
    rule = watch.rule("hostname_down", settings={"for_s": 0}, hostname="www.shop.test")
    with watch.store.writing(SYSTEM) as write:
        rules.silence(write, watch.control.account, rule, for_s=600)
    watch.answer("www.shop.test", tunnel_id, good=False)
    assert watch.look() == Looked(open=1)
    assert watch.look(after_s=601) == Looked(queued=1, open=1)
    assert watch.look(after_s=5) == Looked(open=1)


def test_a_rule_that_means_something_else_ends_without_a_word(watch: Watch) -> None:
    tunnel_id = watch.tunnel("shop")
    rule = watch.rule("hostname_down", settings={"for_s": 0})
    watch.answer("www.shop.test", tunnel_id, good=False)
    assert watch.look().queued == 1
    other = RuleContent(name="r", kind="hostname_down", settings={"for_s": 0}, hostname="other.test")
    with watch.store.writing(SYSTEM) as write:
        rules.change(write, watch.control.account, rule, other, may_edge=True)
    assert watch.look(after_s=100) == Looked()


def test_a_node_that_is_gone_is_told_while_its_tunnel_serves_on(watch: Watch) -> None:
    tunnel_id = watch.tunnel("shop")
    made = watch.control.call("POST", f"/qanat/tunnels/{tunnel_id}/connector-tokens", {"name": "web-1"})
    connection = watch.connect(tunnel_id, made["id"])
    watch.rule("node_gone", settings={"for_s": 30})
    watch.rule("tunnel_down", settings={"for_s": 0})
    assert watch.look() == Looked()
    lose(watch.store, connection)
    watch.look(after_s=1)
    assert watch.look(after_s=40) == Looked(queued=1, open=1)
    assert watch.titles == ["Firing: node_gone: node web-1 of tunnel shop"]


def test_an_error_rate_counts_what_passed_within_its_window(watch: Watch) -> None:
    tunnel_id = watch.tunnel("shop")
    watch.rule("error_rate", settings={"share": 0.1, "window_s": 60, "requests": 50})
    name = key("hostname", "www.shop.test", tunnel_id)
    for requests, failed in ((40, 40), (100, 8), (100, 9)):  # too few; too few of them; enough of both
        with watch.store.recording() as write:
            entry = Entry(requests=requests, statuses=[0, requests - failed, 0, 0, failed - 1], edge_made=1)
            keep(write.session, Frame([], {}, {name: entry}), watch.clock.now - timedelta(seconds=15))
        looked = watch.look(after_s=100 if requests == 40 else 31)
    assert looked.open == 0
    with watch.store.recording() as write:
        entry = Entry(requests=100, statuses=[0, 80, 0, 0, 15], edge_made=4, cut=1)
        keep(write.session, Frame([], {}, {name: entry}), watch.clock.now)
    assert watch.look(after_s=31).queued == 1
    assert watch.titles == ["Firing: error_rate: www.shop.test"]


def test_refused_credentials_and_orders_that_fail_are_told(watch: Watch) -> None:
    failed = FailedLogins(watch.store)
    for number in range(30):
        failed.note(address=f"192.0.2.{number % 3}", way="password")
    failed.flush(all_now=True)
    watch.rule("sign_in_failures", settings={"failures": 20, "window_s": 600}, of_edge=True)
    watch.tunnel("shop")
    zone = watch.control.call("GET", "/zones")[0]["id"]
    with watch.store.recording() as write:
        order = CertificateOrder(id=str(uuid4()), name="www.shop.test", zone_id=zone, state="waiting", failures=4)
        order.sealed_secret = watch.control.sealer.seal(b"x", order.id)
        order.error_code, order.error_reason, order.error_at = "acme_x", "no answer", watch.clock.now
        write.session.add(order)
    watch.rule("certificate_failing", settings={"failures": 3})
    assert watch.look().queued == 2
    assert {title.partition(": ")[2] for title in watch.titles} == {
        "sign_in_failures: the edge",
        "certificate_failing: certificate of www.shop.test",
    }
    assert watch.look(after_s=31).queued == 0
    watch.look(after_s=700)
    assert watch.look(after_s=61).queued == 1  # the sign-ins are over; the order is not


def test_what_happens_once_is_told_once_and_nothing_from_before_the_rule(watch: Watch) -> None:
    tunnel_id = watch.tunnel("shop")

    def happen(at_s: float) -> None:
        at = watch.clock.now + timedelta(seconds=at_s)
        with watch.store.recording() as write:
            shared: dict[str, Any] = {"from_tunnel_id": tunnel_id, "to_tunnel_id": tunnel_id, "plan": {}, "step": 0}
            shared |= {"is_paused": False, "is_resumed": False, "version": 1, "base_version": "", "records": {}}
            shared |= {"gates": [], "baseline": None, "timeline": [], "asked_by": "", "hostnames": ["www.shop.test"]}
            write.session.add(
                Cutover(
                    id=uuid4().hex,
                    account_id=watch.control.account,
                    state="rolled_back",
                    why="worse",
                    since=at,
                    created_at=at,
                    finished_at=at,
                    **shared,
                )
            )
            counts: dict[str, Any] = {"epoch_before": 1, "epoch": 2, "hold_s": 1.0, "drain_s": 1.0, "most_held": 1}
            counts |= {"has_before": False, "has_after": False, "step_done": "", "step_error": "", "undo_reason": ""}
            write.session.add(
                Promotion(
                    id=str(uuid4()),
                    tunnel_id=tunnel_id,
                    kind="automatic",
                    from_token_id=None,
                    to_token_id="",
                    state="done",
                    reason="web-1 is gone",
                    actor="system qanat",
                    held=0,
                    cut=0,
                    timeline=[],
                    started_at=at,
                    finished_at=at,
                    **counts,
                )
            )

    happen(-60)
    rule = watch.rule("cutover_rolled_back")
    watch.rule("promotion")
    assert watch.look() == Looked()
    happen(5)
    assert watch.look(after_s=10) == Looked(queued=2)
    watch.restart()
    assert watch.look(after_s=10) == Looked()
    with watch.store.writing(SYSTEM) as write:
        rules.silence(write, watch.control.account, rule, for_s=60)
    happen(5)
    assert watch.look(after_s=10).queued == 1
    assert watch.look(after_s=60).queued == 1  # what was silenced, at its end
    assert watch.look(after_s=10).queued == 0


def test_a_queue_is_bounded_and_in_order_and_its_waits_grow(watch: Watch) -> None:
    account = watch.control.account

    def put(number: int) -> tuple[int, int]:
        with watch.store.recording() as write:
            watch.clock.move(seconds=0.001)
            return deliveries.enqueue(write, account, [watch.channel], f"{number:032}", {"title": str(number)})

    def due() -> list[deliveries.Due]:
        with watch.store.reading() as session:
            return deliveries.due(session, watch.clock.now, most=4)

    def settle(each: deliveries.Due, error: QanatError | None) -> str:
        with watch.store.recording() as write:
            return deliveries.settle(write, each.id, error)

    assert [put(number) for number in range(deliveries.MOST_WAITING + 2)][-3:] == [(1, 0), (1, 1), (1, 1)]
    [first] = due()
    assert first.message["title"] == "2"  # the two oldest were dropped
    gone = RetryLaterError("alert_unreachable", "away", retry_after_s=0.0)
    for tries in range(1, deliveries.MOST_TRIES):
        assert settle(first, gone) == "waiting"
        assert due() == []  # what waits behind it waits, too
        least = 0.5 * min(deliveries.FIRST_WAIT_S * 2**tries, deliveries.LONGEST_WAIT_S)
        watch.clock.move(seconds=least - 1)
        assert due() == []
        watch.clock.move(seconds=least + 1)
        [again] = due()
        assert (again.id, again.attempts) == (first.id, tries)
    assert settle(first, gone) == "failed"
    [second] = due()
    assert second.message["title"] == "3"
    assert settle(second, None) == "delivered"
    [third] = due()
    assert settle(third, QanatError("alert_refused", "no")) == "failed"
    with watch.store.reading() as session:
        channel = channels.get(session, account, watch.channel)
    assert (channel.dropped, channel.last_error) == (2, "no")
    watch.clock.move(seconds=31 * 86_400)
    with watch.store.recording() as write:
        deliveries.trim(write)
    with watch.store.reading() as session:
        states = set(session.scalars(select(AlertDelivery.state)))
    assert states == {"waiting"}
