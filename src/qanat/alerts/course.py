"""When something that holds is told, and when that it is over: a rule's course for one subject. Pure.

What comes and goes is not told each time: it is told once it has held for long enough, or has begun three times within ten
minutes; and that it is over, once it has not held for as long (a minute at least). What fires again within an hour has to be
quiet for twice as long each time."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

Act = Literal["stay", "fire", "resolve"]

FLAPS = 3
FLAP_WINDOW = timedelta(minutes=10)
LEAST_QUIET = timedelta(minutes=1)
MOST_QUIET = timedelta(hours=1)
AGAIN_WITHIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Course:
    """`ill_since`: of the spell that lasts; `well_since`: when it was first seen not to hold any more; `spells`: when it began,
    lately."""

    ill_since: datetime | None = None
    well_since: datetime | None = None
    spells: tuple[datetime, ...] = ()

    def is_over(self, now: datetime) -> bool:
        """Nothing of it matters any more."""
        return self.ill_since is None and not any(now - at < FLAP_WINDOW for at in self.spells)


def step(
    course: Course, *, ill_since: datetime | None, now: datetime, for_s: float, is_open: bool, again: int = 0
) -> tuple[Course, Act]:
    """One look. `ill_since`: since when it holds; None: it doesn't. `is_open`: whether it is told, and not yet that it is over;
    `again`: how often it fired before, within AGAIN_WITHIN."""
    spells = tuple(at for at in course.spells if now - at < FLAP_WINDOW)
    held_for = timedelta(seconds=for_s)
    if ill_since is None:
        course = replace(course, ill_since=None, well_since=course.well_since or now, spells=spells)
        assert course.well_since is not None
        return course, "resolve" if is_open and now - course.well_since >= quiet(held_for, again) else "stay"
    if course.ill_since is None:
        course = Course(ill_since=min(ill_since, now), spells=(*spells, now)[-FLAPS:])
    else:
        course = replace(course, ill_since=min(course.ill_since, ill_since), well_since=None, spells=spells)
    assert course.ill_since is not None
    if is_open:
        return course, "stay"
    lasts = now - course.ill_since >= held_for
    return course, "fire" if lasts or len(course.spells) >= FLAPS else "stay"


def quiet(held_for: timedelta, again: int) -> timedelta:
    """For how long it must not hold before that is told."""
    least = max(held_for, LEAST_QUIET)
    longer: timedelta = least * (1 << min(again, 10))
    return max(least, min(longer, MOST_QUIET))
