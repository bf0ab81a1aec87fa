"""The issuer against a CA that lies, stalls, refuses and forgets: the reason is told, others get theirs, and no CA is asked too
often, however often the edge is restarted."""

import socket
import stat
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from qanat.certificates import network
from qanat.certificates.stored import read_served, renew
from qanat.control import records
from qanat.errors import QanatError
from qanat.store.models import Record
from qanat.store.reach import EVERYTHING
from tests.support.fake_ca import FakeCa, Reply
from tests.support.issuing import Lab
from tests.support.waiting import PATIENCE_S
from tests.support.writes import written

APP = "app.example.test"


def test_a_hostname_with_a_record_gets_a_certificate_and_nothing_else_does(lab: Lab) -> None:
    lab.publish(APP)
    lab.run()
    (certificate,) = lab.certificates()
    assert (certificate.names, certificate.issuer, certificate.source) == ([APP], "Fake CA", "acme")
    assert certificate.authority == lab.ca.directory
    assert b"PRIVATE KEY" not in certificate.sealed_secret
    with lab.store.reading() as session:
        (served,) = read_served(session, lab.sealer, now=lab.clock())
    assert served.names == (APP,) and b"PRIVATE KEY" in served.key
    assert lab.shown.ever == [f"http {APP}"]
    assert not lab.shown.http, "what was shown to the CA is shown no more"
    assert [each["identifiers"] for each in lab.ca.ordered] == [[{"type": "dns", "value": APP}]]


@pytest.mark.case(63)
def test_restarts_with_intact_state_order_nothing(lab: Lab) -> None:
    lab.publish(APP)
    lab.run()
    lab.run()  # asks when to renew
    lab.ca.seen.clear()
    for _ in range(20):
        lab.run()
    assert not lab.ca.seen


@pytest.mark.case(63)
def test_retry_after_is_obeyed_across_restarts_and_by_every_name(lab: Lab) -> None:
    lab.publish(APP)
    lab.ca.change["order"] = lambda _: Reply.problem("rateLimited", "too many", 429, **{"Retry-After": "3600"})
    lab.run()
    row = lab.order(APP)
    assert row.error_code == "acme_rate_limited" and "too many" in (row.error_reason or "")
    lab.publish("other.example.test")
    for minutes in (0, 5, 30, 24):
        lab.move(minutes=minutes)
        lab.run()
    assert lab.ca.seen["order"] == 1
    lab.ca.change.clear()
    lab.move(minutes=2)
    lab.run()
    assert {each.names[0] for each in lab.certificates()} == {APP, "other.example.test"}


@pytest.mark.case(63)
def test_what_one_name_is_refused_for_a_week_keeps_others_an_hour_at_most(lab: Lab) -> None:
    lab.publish(APP)
    lab.ca.change["order"] = lambda _: Reply.problem("rateLimited", "duplicates", 429, **{"Retry-After": "604800"})
    lab.run()
    lab.ca.change.clear()
    lab.publish("other.example.test")
    lab.move(hours=1, seconds=1)
    lab.run()
    assert [each.names for each in lab.certificates()] == [["other.example.test"]]
    assert lab.order(APP).next_at == lab.clock() + timedelta(days=7) - timedelta(hours=1, seconds=1)


@pytest.mark.case(63)
def test_a_hopeless_name_waits_from_minutes_to_a_day_and_the_others_get_theirs(lab: Lab) -> None:
    lab.publish(APP, *(f"s{n}.example.test" for n in range(5)))
    lab.ca.checks = lambda name, _kind: name != APP
    issuer = lab.run()
    assert len(lab.certificates()) == 5
    waits = []
    for _ in range(9):
        row = lab.order(APP)
        assert row.error_code == "acme_validation_failed" and "connection refused" in (row.error_reason or "")
        assert row.next_at is not None
        waits.append(row.next_at - lab.clock())
        before = lab.ca.seen["order"]
        lab.clock.now = row.next_at - timedelta(seconds=1)
        lab.run(issuer)
        assert lab.ca.seen["order"] == before
        lab.clock.now = row.next_at
        lab.run(issuer)
    assert timedelta(minutes=4) <= waits[0] <= timedelta(minutes=6)
    assert waits[:6] == sorted(waits[:6])
    assert max(waits) <= timedelta(days=1) and waits[-1] >= timedelta(hours=19)
    assert [row.name for row in lab.skipped.rows()] == [APP], "and `qanat status` counts it"


@pytest.mark.case(63)
def test_where_nothing_can_be_noted_nothing_is_asked_of_a_ca(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.publish(APP)
    issuer = lab.issuer()
    lab.ca.checks = lambda _name, _kind: False
    lab.run(issuer)
    lab.ca.seen.clear()
    lab.move(days=1)

    def read_only() -> None:
        raise QanatError("store_unavailable", "attempt to write a readonly database")

    monkeypatch.setattr(lab.store, "recording", read_only)
    lab.run(issuer)
    assert not lab.ca.seen


def _cut(reply: Reply) -> Reply:
    return Reply(reply.status, reply.body[: len(reply.body) // 2], reply.headers)


def _other_identifier(reply: Reply) -> Reply:
    return Reply(reply.status, reply.body.replace(b"app.example.test", b"bank.test"), reply.headers)


LIES: dict[str, tuple[str, Callable[[Lab], None]]] = {
    "half a directory": ("acme_answer_bad", lambda lab: lab.ca.change.update({"dir": _cut})),
    "half an order": ("acme_answer_bad", lambda lab: lab.ca.change.update({"order": _cut})),
    "half an authorization": ("acme_answer_bad", lambda lab: lab.ca.change.update({"authz": _cut})),
    "half a certificate": ("acme_certificate_bad", lambda lab: lab.ca.change.update({"cert": _cut})),
    "a page": ("acme_answer_bad", lambda lab: lab.ca.change.update({"order": lambda _: Reply(200, b"<html>")})),
    "an empty object": ("acme_answer_bad", lambda lab: lab.ca.change.update({"order": lambda _: Reply.json({}, 201)})),
    "no end": ("acme_answer_bad", lambda lab: lab.ca.change.update({"dir": lambda _: Reply(200, bytes(2 << 20))})),
    "its own trouble": ("acme_answer_bad", lambda lab: lab.ca.change.update({"order": lambda _: Reply(500, b"")})),
    "a proof of another's name": ("acme_answer_bad", lambda lab: lab.ca.change.update({"authz": _other_identifier})),
    "a certificate for another name": ("acme_certificate_bad", lambda lab: setattr(lab.ca, "names", ["bank.test"])),
    "a certificate for more names": ("acme_certificate_bad", lambda lab: setattr(lab.ca, "names", [APP, "bank.test"])),
    "a certificate of another key": ("acme_certificate_bad", lambda lab: setattr(lab.ca, "own_key", True)),
    "a certificate that is over": (
        "acme_certificate_bad",
        lambda lab: setattr(lab.ca, "starts_in", timedelta(days=-91)),
    ),
    "a certificate of next week": ("acme_certificate_bad", lambda lab: setattr(lab.ca, "starts_in", timedelta(days=7))),
    "a wrong account": (
        "acme_account_unknown",
        lambda lab: lab.ca.change.update({"order": lambda _: Reply.problem("accountDoesNotExist")}),
    ),
    "a refusal": (
        "acme_refused",
        lambda lab: lab.ca.change.update({"order": lambda _: Reply.problem("rejectedIdentifier")}),
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_ca_that_lies_or_answers_half_is_told_of_and_nothing_of_it_is_served(lab: Lab, lie: str) -> None:
    code, tell = LIES[lie]
    lab.publish(APP)
    tell(lab)
    lab.run()
    assert not lab.certificates()
    row = lab.order(APP)
    assert (row.error_code, row.failures) == (code, 1)
    assert row.error_reason and row.next_at is not None and row.next_at > lab.clock()
    assert not lab.shown.http and not lab.shown.tls


@pytest.mark.parametrize("kind", ["dir", "order", "cert"])
@pytest.mark.parametrize("part", ["nothing", "half"])
def test_a_ca_that_stops_in_the_middle_is_waited_for_no_longer_than_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: str, part: str
) -> None:
    monkeypatch.setattr(network, "ANSWER_S", 0.3)
    over = threading.Event()

    def stall(reply: Reply) -> Reply:
        if part == "half":
            return Reply(reply.status, reply.body, {**reply.headers, "Content-Length": str(len(reply.body) + 1)})
        over.wait(PATIENCE_S)
        return Reply(reply.status, reply.body, {**reply.headers, "Connection": "close"})

    lab.publish(APP)
    lab.ca.change[kind] = stall
    lab.run()
    over.set()
    assert not lab.certificates()
    row = lab.order(APP)
    assert (row.error_code, row.failures) == ("acme_timeout", 1)
    assert row.next_at is not None and row.next_at > lab.clock()
    del lab.ca.change[kind]
    lab.move(seconds=(row.next_at - lab.clock()).total_seconds() + 1)
    lab.run()
    assert lab.certificates()
    assert lab.order(APP).error_code is None


def test_the_next_ca_is_asked_when_the_first_lies_or_is_away(lab: Lab) -> None:
    lab.publish(APP)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        away = f"http://127.0.0.1:{sock.getsockname()[1]}/dir"
    with FakeCa(now=lab.clock) as liar:
        liar.names = ["bank.test"]
        lab.run(directory=(away, liar.directory, lab.ca.directory))
    (certificate,) = lab.certificates()
    assert certificate.authority == lab.ca.directory
    assert lab.order(APP).error_code is None


def test_no_other_ca_is_troubled_with_a_name_that_leads_elsewhere(lab: Lab) -> None:
    lab.publish(APP)
    lab.ca.checks = lambda _name, _kind: False
    with FakeCa(now=lab.clock) as other:
        lab.run(directory=(lab.ca.directory, other.directory))
        assert not other.seen


def test_a_clock_that_is_wrong_orders_nothing_until_it_is_right(lab: Lab) -> None:
    lab.publish(APP)
    right = lab.clock()
    lab.ca.now = lambda: right
    lab.move(days=400)
    lab.run()
    row = lab.order(APP)
    assert row.error_code == "acme_clock_wrong" and row.failures == 0
    assert lab.ca.seen["order"] == 0
    lab.clock.now = right
    lab.run()
    assert len(lab.certificates()) == 1, "what a wrong clock wrote down holds nothing up"


def test_an_order_is_taken_up_again_after_a_restart(lab: Lab) -> None:
    lab.publish(APP)

    def unplugged(_: Reply) -> Reply:
        raise ConnectionAbortedError

    lab.ca.change["finalize"] = unplugged
    lab.run()
    row = lab.order(APP)
    assert row.error_code == "acme_unreachable" and row.order_url
    lab.ca.change.clear()
    lab.move(hours=1)
    lab.run()
    assert len(lab.certificates()) == 1
    assert len(lab.ca.ordered) == 1


def test_each_attempt_takes_another_challenge(lab: Lab) -> None:
    lab.publish(APP)
    lab.ca.checks = lambda _name, _kind: False
    issuer = lab.run()
    for _ in range(2):
        lab.move(days=1)
        lab.run(issuer)
    assert lab.shown.ever == [f"http {APP}", f"tls {APP}", f"http {APP}"]


def test_renewal_is_when_the_ca_says_with_the_name_of_what_it_replaces(lab: Lab) -> None:
    lab.publish(APP)
    issuer = lab.run()
    lab.run(issuer)
    (first,) = lab.certificates()
    assert first.renew_at is not None
    assert timedelta(days=50) <= first.renew_at - lab.clock() <= timedelta(days=51), "the window that the CA named"
    lab.ca.window = (lab.clock() - timedelta(days=2), lab.clock() - timedelta(days=1))
    lab.move(hours=7)
    lab.run(issuer)
    lab.run(issuer)
    (second,) = lab.certificates()
    assert second.id != first.id and second.fingerprint != first.fingerprint
    assert "replaces" not in lab.ca.ordered[0] and lab.ca.ordered[1]["replaces"].count(".") == 1
    lab.run(issuer)
    assert len(lab.ca.ordered) == 2


@pytest.mark.case(63)
def test_a_ca_that_is_down_at_renewal_costs_nobody_the_certificate_in_force(lab: Lab) -> None:
    lab.publish(APP)
    issuer = lab.run()
    lab.ca.change["dir"] = lambda _: Reply(503, b"")
    lab.move(days=75)
    lab.run(issuer)
    lab.run(issuer)
    (certificate,) = lab.certificates()
    last = certificate.not_after - timedelta(seconds=1)
    with lab.store.reading() as session:
        for now in (lab.clock(), last):
            assert [each.names for each in read_served(session, lab.sealer, now=now)] == [(APP,)], "to its last second"
    assert lab.order(APP).error_code in ("acme_rate_limited", "acme_answer_bad")
    assert lab.order(APP).state == "issued" and certificate.not_after > lab.clock()


def test_renewal_by_hand_comes_before_its_time_and_after_any_failure(lab: Lab) -> None:
    lab.publish(APP)
    issuer = lab.run()
    (first,) = lab.certificates()
    written(lab.store, renew, first.id, reach=EVERYTHING)
    lab.run(issuer)
    assert [each.id for each in lab.certificates()] != [first.id]


def test_staging_is_asked_first_and_its_certificates_are_never_served(lab: Lab) -> None:
    lab.publish(APP)
    with FakeCa(now=lab.clock) as staging:
        staging.checks = lambda _name, _kind: False
        issuer = lab.run(staging_first=True, staging_directory=staging.directory)
        assert lab.ca.seen["order"] == 0 and lab.order(APP).error_code == "acme_validation_failed"
        staging.checks = lambda _name, _kind: True
        lab.move(days=1)
        lab.run(issuer)
        (certificate,) = lab.certificates()
        assert certificate.authority == lab.ca.directory
        assert (staging.seen["order"], lab.ca.seen["order"]) == (2, 1)


def test_a_wildcard_without_dns_is_told_of_and_not_ordered(lab: Lab) -> None:
    lab.publish("*.example.test")
    lab.run()
    assert not lab.ca.seen
    (row,) = lab.skipped.rows()
    assert (row.kind, row.name, row.code) == ("certificate_order", "*.example.test", "acme_no_challenge")


def test_a_hook_writes_the_records_of_a_wildcard_and_takes_them_away(lab: Lab, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/log\n')
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR)
    lab.publish("*.example.test", APP)
    lab.run(dns_hook=(str(hook), "--zone=example"))
    assert [each.names for each in lab.certificates()] == [["*.example.test"]], "which serves the names below it, too"
    present, cleanup = (tmp_path / "log").read_text().splitlines()
    value = present.split()[-1]
    assert present == f"--zone=example present _acme-challenge.example.test. {value}" and len(value) == 43
    assert cleanup == present.replace("present", "cleanup")


@pytest.mark.parametrize(
    ("script", "told"), [("echo no such zone >&2; exit 3", "status 3: no such zone"), (None, "can't run")]
)
def test_a_hook_that_fails_is_told_of(lab: Lab, tmp_path: Path, script: str | None, told: str) -> None:
    hook = tmp_path / "hook"
    if script is not None:
        hook.write_text(f"#!/bin/sh\n{script}\n")
        hook.chmod(0o755)
    lab.publish("*.example.test")
    lab.run(dns_hook=(str(hook),))
    row = lab.order("*.example.test")
    assert row.error_code == "acme_dns_failed" and told in (row.error_reason or "")


def test_an_account_is_bound_to_one_with_the_ca_by_a_key_from_a_file(lab: Lab, tmp_path: Path) -> None:
    lab.publish(APP)
    lab.ca.external = True
    lab.run()
    assert lab.order(APP).error_code == "acme_account_refused" and lab.ca.seen["account"] == 0
    key = tmp_path / "hmac"
    key.write_bytes(urlsafe_b64encode(bytes(32)) + b"\n")
    lab.move(days=1)
    external = {"directory": lab.ca.directory, "key_id": "kid-1", "key_file": key}
    lab.run(external_accounts=(external,))
    assert len(lab.certificates()) == 1
    (account,) = [asked for kind, asked in lab.ca.asked if kind == "account"]
    assert set(account["externalAccountBinding"]) == {"protected", "payload", "signature"}
    assert account["contact"] == ["mailto:you@example.com"] and account["termsOfServiceAgreed"] is True


def test_terms_that_are_not_agreed_to_are_told_of(lab: Lab) -> None:
    lab.publish(APP)
    lab.ca.terms = "https://ca.test/terms"
    lab.run(terms_agreed=False)
    row = lab.order(APP)
    assert row.error_code == "acme_terms" and "https://ca.test/terms" in (row.error_reason or "")
    assert lab.ca.seen["account"] == 0


def test_a_ca_that_forgot_the_account_is_told_of_it_anew(lab: Lab) -> None:
    lab.publish(APP)
    lab.ca.change["order"] = lambda _: Reply.problem("accountDoesNotExist")
    lab.run()
    lab.ca.change.clear()
    lab.move(days=1)
    lab.run()
    assert len(lab.certificates()) == 1 and lab.ca.seen["account"] == 2


def test_a_record_that_goes_and_comes_back_costs_no_order(lab: Lab) -> None:
    lab.publish(APP)
    issuer = lab.run()
    with lab.store.reading() as session:
        record = session.query(Record).filter_by(name=APP).one()
    written(lab.store, records.delete, lab.zone_id, record.id, reach=EVERYTHING)
    lab.run(issuer)
    assert len(lab.certificates()) == 1
    lab.publish(APP)
    lab.run(issuer)
    assert len(lab.ca.ordered) == 1
    with lab.store.reading() as session:
        record = session.query(Record).filter_by(name=APP).one()
    written(lab.store, records.delete, lab.zone_id, record.id, reach=EVERYTHING)
    lab.move(days=91)
    lab.run(issuer)
    assert not lab.certificates() and len(lab.ca.ordered) == 1, (
        "one that nobody wants is not renewed, and goes when it is over"
    )


def test_a_date_in_an_answer_says_when_to_ask_again(lab: Lab) -> None:
    lab.publish(APP)
    until = lab.clock() + timedelta(minutes=40)
    when = format_datetime(until, usegmt=True)
    lab.ca.change["order"] = lambda _: Reply.problem("rateLimited", "", 429, **{"Retry-After": when})
    lab.run()
    next_at = lab.order(APP).next_at
    assert next_at is not None and abs(next_at - until) < timedelta(seconds=1)
