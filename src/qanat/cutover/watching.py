"""Requests of our own through a target, once a second for each hostname, whether or not those before were answered: a target that
hangs is found as fast as one that refuses."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from qanat.cutover.answers import Answer, bound_s
from qanat.cutover.plan import Check

EVERY_S = 1.0
AT_ONCE = 32
PENDING = 4
"""Of one hostname."""
LOOK_S = 0.3
"""A look waits so long for answers; those that come later are for the next one."""
LEAST_S = 1.5
HANGS_S = 3.0
LONGEST_S = 10.0


def patience_s(check: Check, source: Answer | None, took_s: float) -> float:
    """How long a target that is watched may take for its answer: twice what it took at the gate (`took_s`) and a second more, up
    to three seconds; for a path that takes longer by itself half as much again. What the plan allows can only shorten that: a
    minute that a report may take is no reason to wait a minute for a target that hangs."""
    usual = max(LEAST_S, min(HANGS_S, 2 * took_s + 1.0), 1.5 * took_s)
    bound = bound_s(check, source)
    return min(LONGEST_S, usual if bound is None else min(usual, max(bound, LEAST_S)))


def took_s(gates: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """How long the target's slowest node took for its answer, by hostname, from gates as they are kept."""
    return {
        gate["hostname"]: max((node.get("duration_s", 0.0) for node in gate["evidence"]["nodes"].values()), default=0.0)
        for gate in gates
        if gate.get("name") == "request" and gate.get("hostname") and "nodes" in gate.get("evidence", {})
    }


@dataclass(slots=True)
class _Asked:
    patience_s: float
    answer: Future[str] | None = None
    began: float | None = None


@dataclass(slots=True)
class _Hostname:
    asked_at: float
    pending: list[_Asked] = field(default_factory=list)


class TargetProbes:
    """`failed`: by hostname, how many in a row, and the last one's reason. For one thread; `now` as `Course` has it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.failed: dict[str, tuple[int, str]] = {}
        self._now = now
        self._hostnames: dict[str, _Hostname] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="qanat-cutover-probe")

    def look(self, patience: Mapping[str, float], ask: Callable[[str, float], str]) -> None:
        """Asks whom it is time to ask (`ask` gets the hostname and seconds, and returns what was wrong, "" for nothing), those
        first that failed last, and takes what was answered until now."""
        now = self._now()
        for hostname in sorted(patience, key=lambda each: each not in self.failed):
            seen = self._hostnames.get(hostname)
            if seen is None:
                seen = self._hostnames[hostname] = _Hostname(now - EVERY_S)
            if now - seen.asked_at < EVERY_S or len(seen.pending) >= PENDING:
                continue
            seen.asked_at = now
            asked = _Asked(patience[hostname])
            asked.answer = self._pool.submit(self._ask, asked, hostname, ask)
            seen.pending.append(asked)
        wait([each.answer for seen in self._hostnames.values() for each in seen.pending if each.answer], LOOK_S)
        now = self._now()
        for hostname, seen in self._hostnames.items():
            seen.pending = [each for each in seen.pending if not self._is_settled(hostname, each, now)]

    def forget(self) -> None:
        """What was seen counts no longer: another step begins."""
        self.failed.clear()
        self._hostnames.clear()

    def close(self) -> None:
        """What is under way is waited for by nobody."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, asked: _Asked, hostname: str, ask: Callable[[str, float], str]) -> str:
        asked.began = self._now()
        return ask(hostname, asked.patience_s)

    def _is_settled(self, hostname: str, asked: _Asked, now: float) -> bool:
        if asked.answer is not None and asked.answer.done():
            why = asked.answer.result()
        elif asked.began is not None and now - asked.began > asked.patience_s:
            why = f"no answer within {asked.patience_s:.1f} s"
        else:
            return False
        if why:
            self.failed[hostname] = (self.failed.get(hostname, (0, ""))[0] + 1, why)
        else:
            self.failed.pop(hostname, None)
        return True


def patiences(
    hostnames: Sequence[str],
    check_of: Callable[[str], Check],
    sources: Mapping[str, Answer],
    took: Mapping[str, float],
) -> dict[str, float]:
    """`patience_s` of each."""
    return {each: patience_s(check_of(each), sources.get(each), took.get(each, 0.0)) for each in hostnames}
