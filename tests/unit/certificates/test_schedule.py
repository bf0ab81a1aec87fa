"""Moments: pure, so for any."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanat.certificates.schedule import FIRST_RETRY, LONGEST_RETRY, is_late, renew_at, retry_at
from qanat.certificates.wanted import compile_wanted, covers

NOW = datetime(2026, 11, 29, tzinfo=UTC)


@given(st.integers(1, 10_000), st.integers())
def test_a_wait_is_from_minutes_to_a_day(failures: int, seed: int) -> None:
    wait = retry_at(NOW, failures, Random(seed)) - NOW
    assert FIRST_RETRY * 0.8 <= wait <= LONGEST_RETRY


@given(st.timedeltas(timedelta(hours=1), timedelta(days=400)), st.integers())
def test_renewal_is_well_within_a_certificate_s_life(life: timedelta, seed: int) -> None:
    at = renew_at(NOW, NOW + life, Random(seed))
    assert NOW + life * 0.6 <= at <= NOW + life * 0.73
    assert not is_late(NOW, NOW + life, at), "no alarm before it was tried"


@pytest.mark.case(63)
@pytest.mark.parametrize(
    ("life", "left", "late"),
    [(90, 21, False), (90, 19, True), (398, 21, False), (398, 19, True), (45, 12, False), (45, 11, True)],
)
def test_the_alarm_comes_before_the_end(life: int, left: int, late: bool) -> None:
    assert is_late(NOW - timedelta(days=life - left), NOW + timedelta(days=left), NOW) == late


def test_a_wildcard_covers_one_label() -> None:
    assert covers({"*.a.test"}, "x.a.test") and covers({"*.a.test"}, "*.a.test") and covers({"a.test"}, "a.test")
    assert not covers({"*.a.test"}, "x.y.a.test") and not covers({"*.a.test"}, "a.test")
    assert not covers({"*.test"}, "*.a.test"), "a wildcard does not cover a wildcard"


def test_which_hostnames_are_ordered() -> None:
    hostnames = dict.fromkeys(["a.test", "x.a.test", "*.a.test", "y.b.test", "given.test", "localhost"], "z")
    without = compile_wanted(hostnames, {"given.test"})
    assert set(without.names) == {"a.test", "x.a.test", "y.b.test"}
    assert set(without.refused) == {"*.a.test", "localhost"}
    with_dns = compile_wanted(hostnames, {"given.test"}, has_dns=True)
    assert set(with_dns.names) == {"a.test", "*.a.test", "y.b.test"}, "the wildcard's serves x.a.test"


def test_an_account_gets_no_more_than_its_share() -> None:
    hostnames = {"a.test": "z1", "b.test": "z1", "c.test": "z2"}
    wanted = compile_wanted(hostnames, account_of={"z1": "A", "z2": "B"}, most_of_account=1)
    assert set(wanted.names) == {"a.test", "c.test"} and wanted.refused["b.test"][0] == "certificate_too_many"
