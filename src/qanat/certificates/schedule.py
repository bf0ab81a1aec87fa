"""When a certificate is ordered, tried again, renewed. Pure: moments and chance are passed in."""

from datetime import datetime, timedelta
from typing import Protocol

FIRST_RETRY = timedelta(minutes=5)
LONGEST_RETRY = timedelta(days=1)
RETRY_GROWS = 3
PATIENCE_WITH_CLOCKS = timedelta(minutes=5)
ALARM_BEFORE = timedelta(days=20)
"""A certificate that has less than this left, or less than a quarter of its life, should have been renewed: it is, at the latest,
when it has 28 hundredths left (`renew_at`)."""


class Chance(Protocol):
    """As `random.Random`."""

    def uniform(self, a: float, b: float) -> float: ...


def retry_at(now: datetime, failures: int, chance: Chance) -> datetime:
    """After so many failures in a row (1: the first): from five minutes to a day, none of two names at the same moment."""
    grown: int = RETRY_GROWS ** min(failures - 1, 10)
    wait = min(FIRST_RETRY * grown, LONGEST_RETRY)
    jittered: timedelta = wait * chance.uniform(0.8, 1.2)
    return now + min(jittered, LONGEST_RETRY)


def renew_at(not_before: datetime, not_after: datetime, chance: Chance) -> datetime:
    """When two thirds of its life are over, give or take a twentieth of it: certificates made together aren't renewed
    together."""
    life = not_after - not_before
    return not_before + life * (2 / 3 + chance.uniform(-0.05, 0.05))


def is_late(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether a certificate ends so soon that somebody should look."""
    left = not_after - now
    return left < min(ALARM_BEFORE, (not_after - not_before) / 4)
