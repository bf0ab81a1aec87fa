import pytest

from qanat.auth.guesses import Guesses, network_of


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.requirement("S33")
def test_five_failures_a_minute_and_then_ever_longer_waits() -> None:
    clock = Seconds()
    guesses = Guesses(clock=clock)
    for number in range(5):
        assert guesses.failed(address="192.0.2.1", credentials=f"{number}-different") is None
    assert guesses.failed(address="192.0.2.1", credentials="another one") == pytest.approx(12)
    clock.now += 12
    assert guesses.failed(address="192.0.2.1", credentials="yet another") is None
    assert guesses.failed(address="192.0.2.1", credentials="yet another") == pytest.approx(24)
    clock.now += 24
    assert guesses.failed(address="192.0.2.1", credentials="and more") is None
    clock.now += 20
    assert guesses.failed(address="192.0.2.1", credentials="and more") == pytest.approx(28)


def test_other_addresses_are_not_kept_waiting_for_other_tokens() -> None:
    guesses = Guesses(clock=Seconds())
    for _ in range(9):
        guesses.failed(address="192.0.2.1", credentials="qnt_first000aaaa")
    assert guesses.failed(address="192.0.2.2", credentials="qnt_second00aaaa") is None


def test_one_tokens_beginning_is_counted_over_all_addresses() -> None:
    guesses = Guesses(clock=Seconds())
    for number in range(5):
        assert guesses.failed(address=f"192.0.2.{number}", credentials=f"qnt_AAAAAAAA{number}") is None
    assert guesses.failed(address="192.0.2.99", credentials="qnt_AAAAAAAAx") is not None


def test_a_minute_of_quiet_forgets() -> None:
    clock = Seconds()
    guesses = Guesses(clock=clock)
    for _ in range(6):
        guesses.failed(address="192.0.2.1", credentials="x")
    clock.now += 12 + 61
    for _ in range(5):
        assert guesses.failed(address="192.0.2.1", credentials="x") is None


def test_an_ipv6_host_is_counted_by_its_network() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("") == ""


def test_memory_is_bounded() -> None:
    guesses = Guesses(clock=Seconds())
    for number in range(12_000):
        guesses.failed(address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", credentials=f"{number:012}")
    assert len(guesses._failures) <= 10_000
