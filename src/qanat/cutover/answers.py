"""Whether an answer through the target is the right one: by what was given, or by what the source answers to the same."""

from typing import NamedTuple

from msgspec import Struct, field

from qanat.cutover.plan import Check

LEARNT_TIMES = 3.0
LEARNT_MORE_S = 1.0
SHOWN = 80


class Answer(Struct, frozen=True, kw_only=True):
    """What a request was answered. `status` 0: nothing, for `cause` and `detail`. `headers`: by name in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    duration_s: float = 0.0
    cause: str = ""
    detail: str = ""

    @property
    def is_answered(self) -> bool:
        """By an origin, whatever it said."""
        return self.status != 0 and not self.cause

    @property
    def told(self) -> str:
        """In a few words."""
        return (
            f"{self.status} in {self.duration_s:.3f} s" if self.is_answered else self.detail or self.cause or "nothing"
        )


class Judgement(NamedTuple):
    """`passed`, and why; `learnt`: whether the source's answer was part of what was expected."""

    passed: bool
    why: str
    learnt: bool


def judge(check: Check, answer: Answer, source: Answer | None) -> Judgement:
    """Whether the answer is as it must be. `source`: the old tunnel's to the same request; None: it wasn't asked.

    Without a status that was given, it must be the source's; where that one doesn't answer (or with a 5xx), anything from 200
    to 399, or 101 of a service that is connected to. A 403 from both is the same; a 403 from the target alone is not (case 47).
    """
    known = source if source is not None and source.is_answered and source.status < 500 else None
    learns = check.status is None and known is not None
    if not answer.is_answered:
        return Judgement(False, f"no answer: {answer.told}", learns)
    wanted = check.status if check.status is not None else known.status if known is not None else None
    if wanted is None and not (200 <= answer.status < 400 or answer.status == 101):
        return Judgement(False, f"answered {answer.status}, which is none of 200 to 399", learns)
    if wanted is not None and answer.status != wanted:
        whose = "was expected" if check.status is not None else "is what the source answers"
        return Judgement(False, f"answered {answer.status}, where {wanted} {whose}", learns)
    for name, text in check.headers.items():
        if text not in answer.headers.get(name.lower(), ""):
            return Judgement(False, f"the field {name} of the answer does not hold {text[:SHOWN]!r}", learns)
    if learns and known is not None and "content-type" not in {name.lower() for name in check.headers}:
        ours, theirs = _media_type(answer), _media_type(known)
        if ours != theirs:
            return Judgement(False, f"answered {ours or 'no media type'}, where the source answers {theirs}", learns)
    if check.body is not None and check.body not in answer.body.decode("utf-8", "replace"):
        return Judgement(False, f"the body does not hold {check.body[:SHOWN]!r}", learns)
    bound = bound_s(check, known)
    if bound is not None and answer.duration_s > bound:
        return Judgement(False, f"answered after {answer.duration_s:.3f} s, and the bound is {bound:.3f} s", learns)
    return Judgement(True, f"answered {answer.told}", learns)


def bound_s(check: Check, source: Answer | None) -> float | None:
    """Seconds that the answer may take: what was given, else three times the source's time and a second more."""
    if check.within_s is not None:
        return check.within_s
    return source.duration_s * LEARNT_TIMES + LEARNT_MORE_S if source is not None and source.is_answered else None


def _media_type(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()
