"""What comes next in a cutover: one pure function of where it is and what was seen. docs/explanation/cutover.md draws it."""

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from qanat.cutover.rule import Verdict


class State(StrEnum):
    """Where a cutover is. Those after `settling` are its ends."""

    CHECKING = "checking"
    HOLDING = "holding"
    MOVING = "moving"
    SETTLING = "settling"
    DONE = "done"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"
    BROKEN = "broken"


ACTIVE = (State.CHECKING, State.HOLDING, State.MOVING, State.SETTLING)
MOVED = (State.MOVING, State.SETTLING)


class Act(StrEnum):
    """What is to be done: each but `wait` and `finish` is one transaction, or none and the next look."""

    WAIT = "wait"
    REFUSE = "refuse"
    HOLD = "hold"
    SHIFT = "shift"
    REPOINT = "repoint"
    FINISH = "finish"
    ROLL_BACK = "roll_back"
    STOP = "stop"
    REPORT = "report"


class Situation(Struct, frozen=True, kw_only=True):
    """What is known of a cutover now. `gates`: None when they weren't asked yet; `shut`: what keeps them shut. `verdict`: of the
    watch. `is_held`: whether the edge holds requests; `elapsed_s`: since the state or step began. `can_return`: whether the old
    tunnel has a usable connection; `only_reports`: what is broken stays where it is, and that is told. `changed`: what of the
    hostnames' records somebody else changed meanwhile, "" for nothing."""

    state: State
    step: int
    steps: tuple[int, ...]
    hold: bool = False
    hold_s: float = 0.0
    is_paused: bool = False
    is_resumed: bool = False
    is_held: bool = False
    elapsed_s: float = 0.0
    gates: bool | None = None
    shut: str = ""
    verdict: Verdict | None = None
    can_return: bool = True
    only_reports: bool = False
    changed: str = ""


class Next(NamedTuple):
    """`step`: of a shift. `why`: for the timeline."""

    act: Act
    why: str
    step: int = 0


def decide(seen: Situation) -> Next:
    """The next act."""
    if seen.changed and seen.state in ACTIVE:
        return Next(Act.STOP, seen.changed)
    match seen.state:
        case State.CHECKING:
            return _checking(seen)
        case State.HOLDING:
            return _holding(seen)
        case State.MOVING | State.SETTLING:
            return _moved(seen)
        case _:
            return Next(Act.WAIT, "it is over")


def _checking(seen: Situation) -> Next:
    if seen.is_paused:
        return Next(Act.WAIT, "it is paused")
    if seen.gates is None:
        return Next(Act.WAIT, "the gates are being asked")
    if not seen.gates:
        return Next(Act.REFUSE, seen.shut)
    if seen.hold:
        return Next(Act.HOLD, "the gates are open")
    return _onwards(seen, -1, "the gates are open")


def _holding(seen: Situation) -> Next:
    if not seen.is_held:
        return Next(Act.ROLL_BACK, "the hold ended with the edge that held; nothing had been moved")
    if seen.verdict is not None and seen.verdict.kind == "broken":
        return Next(Act.ROLL_BACK, seen.verdict.why)
    if seen.elapsed_s >= seen.hold_s:
        return Next(Act.ROLL_BACK, f"nobody resumed it within {seen.hold_s:.0f} s; nothing had been moved")
    if seen.is_resumed:
        return Next(Act.REPOINT, "it was resumed")
    return Next(Act.WAIT, "new requests wait until it is resumed")


def _moved(seen: Situation) -> Next:
    verdict = seen.verdict
    if verdict is None:
        return Next(Act.WAIT, "nothing was seen yet")
    if verdict.kind == "broken":
        if seen.only_reports:
            return Next(Act.REPORT, verdict.why)
        if not seen.can_return:
            return Next(Act.WAIT, f"{verdict.why}; but the old tunnel has no connection to go back to")
        return Next(Act.ROLL_BACK, verdict.why)
    if seen.is_paused:
        return Next(Act.WAIT, "it is paused")
    if verdict.kind == "waits":
        return Next(Act.WAIT, verdict.why)
    if seen.state is State.SETTLING:
        return Next(Act.FINISH, verdict.why)
    return _onwards(seen, seen.step, verdict.why)


def _onwards(seen: Situation, step: int, why: str) -> Next:
    following = step + 1
    if following >= len(seen.steps) - 1:
        return Next(Act.REPOINT, why)
    return Next(Act.SHIFT, why, following)
