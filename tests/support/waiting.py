"""Waiting for conditions: no test sleeps for a fixed time and hopes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long what must happen is waited for: who waits in vain has failed anyway, and a busy machine is no fault of the product."""


def wait_until(
    condition: Callable[[], T | None], what: str, *, timeout_s: float = PATIENCE_S, every_s: float = 0.01
) -> T:
    """The first truthy answer of `condition`; AssertionError that names `what` after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s} s in vain: {what} (last answer: {value!r})")
        time.sleep(every_s)


def stays_true(condition: Callable[[], bool], what: str, *, for_s: float) -> None:
    """Fails as soon as `condition` is false within `for_s` (for "it must not happen" there is no other way)."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert condition(), what
        time.sleep(0.01)
