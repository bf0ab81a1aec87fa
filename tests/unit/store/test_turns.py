"""One tenant's many writes don't keep another's waiting behind all of them."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Thread

import pytest

from qanat.store import Actor, Store
from qanat.store.turns import Turns
from tests.support.waiting import wait_until


def _waiting(turns: Turns) -> int:
    return sum(len(each) for each in turns._waiting.values())


def _waits(turns: Turns, number: int) -> bool:
    return _waiting(turns) == number


def test_each_owner_has_its_turn_after_one_of_the_others() -> None:
    turns, order, let_go = Turns(), [], Event()

    def take(owner: str, number: int) -> None:
        with turns.turn(owner):
            order.append((owner, number))
            let_go.wait(10)

    threads: list[Thread] = []
    wanted = [*(("attacker", number) for number in range(6)), ("victim", 0), ("other", 0), ("victim", 1)]
    for at, each in enumerate(wanted):
        threads.append(Thread(target=take, args=each))
        threads[-1].start()
        if at:
            wait_until(partial(_waits, turns, at), "the thread waits")
        else:
            wait_until(lambda: order, "the first has it")
    let_go.set()
    for thread in threads:
        thread.join(10)
    assert order[:4] == [("attacker", 0), ("attacker", 1), ("victim", 0), ("other", 0)]
    assert order[4:6] == [("attacker", 2), ("victim", 1)]
    assert order[6:] == [("attacker", number) for number in (3, 4, 5)]
    with turns.turn("anybody"):
        pass


def test_only_one_has_it_and_an_error_gives_it_back() -> None:
    turns, inside, most = Turns(), [0], [0]

    def work(number: int) -> None:
        for _ in range(100):
            try:
                with turns.turn(f"owner {number % 3}"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1
                    if number == 1:
                        raise ValueError
            except ValueError:
                continue

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert most == [1]
    assert not turns._waiting
    assert not turns._taken


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_victims_write_waits_for_one_of_the_attackers_and_not_for_all(store: Store) -> None:
    stop = Event()

    def attack() -> None:
        while not stop.is_set():
            with store.writing(Actor(kind="token", name="attacker")) as write:
                write.audit("a.b", "x")
                time.sleep(0.1)  # a large import

    attackers = [Thread(target=attack) for _ in range(8)]
    for thread in attackers:
        thread.start()
    try:
        wait_until(lambda: _waiting(store._writer) >= 6, "the attackers queue")
        waits = []
        for _ in range(5):
            start = time.monotonic()
            with store.writing(Actor(kind="token", name="victim")) as write:
                write.audit("a.b", "y")
            waits.append(time.monotonic() - start)
    finally:
        stop.set()
        for thread in attackers:
            thread.join(10)
    assert sorted(waits)[2] < 0.5, "behind all of them it would be 0.8 s"
