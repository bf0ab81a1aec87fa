"""The rule by which a target is watched: is it worse than what it replaces, and were there enough requests to say so?

The share of failed requests is compared by the lower bound of Wilson's interval (one-sided, 99 %): few requests bind little,
and a target that fails all of five is found at once."""

from collections.abc import Mapping
from math import sqrt
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from qanat.cutover.plan import Rule

Z = 2.326
"""Of the normal distribution, one-sided 99 %."""


class Counts(Struct, frozen=True, kw_only=True):
    """Requests of a while, those of them that failed (5xx, refused, timed out, cut), and their p95 in seconds: None without
    any. Of those that began more than `long_s` ago (`begun`), `hanging` still wait for their answer's head; `slow`: answers that
    took so long."""

    requests: int = 0
    failed: int = 0
    p95_s: float | None = None
    begun: int = 0
    hanging: int = 0
    slow: int = 0
    long_s: float = 0.0

    def __add__(self, other: "Counts") -> "Counts":
        """Together; the slower p95 stands for both."""
        slower = [each for each in (self.p95_s, other.p95_s) if each is not None]
        return Counts(
            requests=self.requests + other.requests,
            failed=self.failed + other.failed,
            p95_s=max(slower, default=None),
            begun=self.begun + other.begun,
            hanging=self.hanging + other.hanging,
            slow=self.slow + other.slow,
            long_s=max(self.long_s, other.long_s),
        )

    @property
    def share(self) -> float:
        """Of failed requests."""
        return self.failed / self.requests if self.requests else 0.0


class Verdict(NamedTuple):
    """`good`: go on; `waits`: too early, or too few requests; `broken`: take it back."""

    kind: Literal["good", "waits", "broken"]
    why: str
    numbers: dict[str, Any]


class Watched(Struct, frozen=True, kw_only=True):
    """What was seen since the step began. `new`, `old`: by hostname. `failed_probes`: by hostname, how many in a row failed, and
    the last one's reason. `is_connected`: whether the target has a usable connection."""

    elapsed_s: float
    new: Mapping[str, Counts]
    old: Mapping[str, Counts]
    failed_probes: Mapping[str, tuple[int, str]]
    is_connected: bool = True


def numbers_of(new: Counts, old: Counts) -> dict[str, Any]:
    """As the timeline keeps them, of both sides' sums."""
    return {
        "new": {"requests": new.requests, "failed": new.failed, "hanging": new.hanging, "p95_s": new.p95_s},
        "old": {"requests": old.requests, "failed": old.failed, "p95_s": old.p95_s},
    }


def watch(rule: Rule, seen: Watched) -> Verdict:
    """What the rule says of it."""
    new, old = sum(seen.new.values(), Counts()), sum(seen.old.values(), Counts())
    numbers = numbers_of(new, old) | {"elapsed_s": round(seen.elapsed_s, 1)}
    why = _broken(rule, seen)
    if why is not None:
        return Verdict("broken", why, numbers)
    if seen.elapsed_s < rule.step_s:
        return Verdict("waits", f"{rule.step_s - seen.elapsed_s:.0f} s of the step are left", numbers)
    if any(count for count, _ in seen.failed_probes.values()):
        return Verdict("waits", "the last probe failed", numbers)
    if new.requests >= rule.least_requests:
        return Verdict("good", f"{new.failed} of {new.requests} requests failed", numbers)
    if seen.elapsed_s < rule.longest_s:
        return Verdict("waits", f"{new.requests} of {rule.least_requests} requests were answered", numbers)
    return Verdict("good", f"only {new.requests} requests came in {seen.elapsed_s:.0f} s; the probes are good", numbers)


def _broken(rule: Rule, seen: Watched) -> str | None:
    if not seen.is_connected:
        return "the target has no usable connection"
    for hostname, (count, why) in seen.failed_probes.items():
        if count >= rule.failed_probes:
            return f"{count} probes of {hostname} in a row failed: {why}"
    for hostname, new in {**seen.new, "all hostnames": sum(seen.new.values(), Counts())}.items():
        old = seen.old.get(hostname, sum(seen.old.values(), Counts()))
        lowest = lower_bound(new.failed, new.requests)
        if new.failed >= rule.least_failed and lowest > old.share + rule.worse_share:
            return (
                f"{new.failed} of {new.requests} requests to {hostname} failed ({new.share:.1%}; at least {lowest:.1%}), "
                f"on the old tunnel {old.failed} of {old.requests}"
            )
        slow = old.slow / old.requests if old.requests else 0.0
        if new.hanging >= rule.least_failed and lower_bound(new.hanging, new.begun) > slow + rule.worse_share:
            return (
                f"{new.hanging} of {new.begun} requests to {hostname} have had no answer for more than {new.long_s:.1f} s; on "
                f"the old tunnel {old.slow} of {old.requests} took so long"
            )
        enough = min(new.requests, old.requests) >= max(rule.least_requests, 1)
        if enough and new.p95_s is not None and old.p95_s is not None:
            bound = max(old.p95_s * rule.slower, old.p95_s + rule.slower_s)
            if new.p95_s > bound:
                return f"p95 of {hostname} is {new.p95_s:.3f} s; on the old tunnel {old.p95_s:.3f} s, the bound is {bound:.3f} s"
    return None


def lower_bound(failed: int, requests: int) -> float:
    """Wilson's, one-sided 99 %: the share is below it once in a hundred such samples. 0 without requests."""
    if not requests:
        return 0.0
    share, square = failed / requests, Z * Z
    middle = share + square / (2 * requests)
    spread = Z * sqrt(share * (1 - share) / requests + square / (4 * requests * requests))
    return max(0.0, (middle - spread) / (1 + square / requests))
