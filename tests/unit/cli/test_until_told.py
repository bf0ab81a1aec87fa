import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from qanat.cli.stock import until_told

BOTH = pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM], ids=lambda told: told.name)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Python's own, which a process that was started in the background lacks; those of the test process are there again."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@BOTH
def test_a_signal_ends_it_where_it_waits_and_not_in_the_middle_of_a_step(told: signal.Signals) -> None:
    done: list[str] = []

    async def main() -> None:
        try:
            os.kill(os.getpid(), told)
            done.append("the step")
            await asyncio.Event().wait()
        finally:
            done.append("its end")

    assert not until_told.run(main())
    assert done == ["the step", "its end"]


def test_what_ends_by_itself_was_not_told() -> None:
    assert until_told.run(asyncio.sleep(0))
