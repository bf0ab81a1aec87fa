"""What a cutover shall do: which hostnames go from which tunnel to which, in which steps, and by what they are judged."""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from qanat import structs
from qanat.errors import QanatError
from qanat.ids import parse_hostname, parse_tunnel_id

AT_ONCE = (100,)
GRADUAL = (1, 5, 25, 100)
LONGEST_HOLD_S = 30.0
MOST_HOSTNAMES = 100
MOST_STEPS = 20
LONGEST_S = 86_400.0
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


class Check(Struct, frozen=True, kw_only=True):
    """What a request through the target must be answered. What isn't given is learnt of the source's answer to the same
    request: its status and media type.

    `headers`: fields of the answer, and a text that each value holds. `body`: a text that the body holds. `within_s`: seconds
    to the whole answer.
    """

    path: str = "/"
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    within_s: float | None = None


class Rule(Struct, frozen=True, kw_only=True):
    """When the new tunnel is good enough to go on, and when it is worse than the old one (docs/explanation/cutover.md).

    Each step lasts `step_s` seconds at least, and until the new tunnel has answered `least_requests`, but no longer than
    `longest_s`. It is broken when its share of failed requests is above the old one's by more than `worse_share`, with 99 %
    confidence and at least `least_failed` failures; when its p95 is above `slower` times the old one's and above that by
    `slower_s` seconds; or when `failed_probes` probes in a row fail.
    """

    step_s: float = 30.0
    least_requests: int = 100
    longest_s: float = 300.0
    worse_share: float = 0.01
    least_failed: int = 5
    slower: float = 2.0
    slower_s: float = 0.25
    failed_probes: int = 2


class Plan(Struct, frozen=True, kw_only=True):
    """A cutover as it was asked for. `steps`: the target's share in percent, rising to 100. `checks`: by hostname, where they
    are others than `check`. `sticky`: by what a visitor stays on its side during the
    steps. `hold`: new requests wait, `hold_s` at most, until somebody says that the rest (a database) is
    ready. `watch`: not asked for, but begun by a record that other hands repointed (watches.py); `report`: it stays where it is.
    `websockets`: whether those that are open on the old tunnel stay, or are cut `drain_s` seconds after the move."""

    from_tunnel: str
    to_tunnel: str
    hostnames: tuple[str, ...]
    steps: tuple[int, ...] = AT_ONCE
    check: Check = Check()
    checks: dict[str, Check] = field(default_factory=dict)
    least_connections: int = 1
    least_nodes: int = 1
    rule: Rule = Rule()
    hold: bool = False
    hold_s: float = LONGEST_HOLD_S
    websockets: Literal["stay", "cut"] = "stay"
    drain_s: float = 10.0
    sticky: Literal["none", "address", "cookie"] = "none"
    watch: Literal["report", "rollback"] | None = None

    def check_of(self, hostname: str) -> Check:
        """The hostname's own, or that of all."""
        return self.checks.get(hostname, self.check)


def checked(plan: Plan) -> Plan:
    """The plan with its names in their one form.

    Raises:
        QanatError: `cutover_bad_plan`, `where` is the field; `cutover_onto_itself`; `bad_hostname`, `bad_id`.
    """
    source, target = parse_tunnel_id(plan.from_tunnel), parse_tunnel_id(plan.to_tunnel)
    if source == target:
        raise QanatError(
            "cutover_onto_itself", "the hostnames would go to the tunnel that they come from", where="to_tunnel"
        )
    hostnames = tuple(dict.fromkeys(str(parse_hostname(name)) for name in plan.hostnames))
    _check(0 < len(hostnames) <= MOST_HOSTNAMES, "hostnames", f"a cutover has 1 to {MOST_HOSTNAMES} hostnames")
    checks = {str(parse_hostname(name)): check for name, check in plan.checks.items()}
    unknown = sorted(checks.keys() - set(hostnames))
    _check(not unknown, "checks", f"{', '.join(unknown[:5])} is not among the hostnames")
    for where, check in (("check", plan.check), *((f"checks.{name}", check) for name, check in checks.items())):
        _check_check(where, check)
    _check_steps(plan)
    _check(plan.least_connections >= 1, "least_connections", "at least one connection is needed")
    _check(plan.least_nodes >= 1, "least_nodes", "at least one node is needed")
    _check(0 < plan.hold_s <= LONGEST_HOLD_S, "hold_s", f"requests wait for {LONGEST_HOLD_S:.0f} seconds at most")
    _check(0 <= plan.drain_s <= LONGEST_S, "drain_s", "it is a number of seconds, at most a day")
    _check_rule(plan.rule)
    return msgspec.structs.replace(plan, from_tunnel=source, to_tunnel=target, hostnames=hostnames, checks=checks)


def written(plan: Plan) -> dict[str, Any]:
    """As it is kept and shown."""
    built: dict[str, Any] = msgspec.to_builtins(plan)
    return built


def read(kept: object) -> Plan:
    """As `written` wrote it. QanatError `cutover_bad_plan`: it did not."""
    try:
        return structs.convert(kept, Plan)
    except msgspec.ValidationError as error:
        raise QanatError("cutover_bad_plan", f"the plan can't be read: {error}") from error


def representative(hostname: str) -> str:
    """A name that a request can be for: of a wildcard one that it answers."""
    return f"qanat-probe.{hostname[2:]}" if hostname.startswith("*.") else hostname


def _check_steps(plan: Plan) -> None:
    steps = plan.steps
    rising = all(before < after for before, after in pairwise(steps))
    _check(
        bool(steps) and len(steps) <= MOST_STEPS and rising and steps[0] >= 1 and steps[-1] == 100,
        "steps",
        "the steps are rising percentages, the last one 100, such as 1, 5, 25, 100",
    )
    _check(
        not plan.hold or len(steps) == 1,
        "hold",
        "requests are held for one move of all: with steps, some would use one database and some the other",
    )


def _check_rule(rule: Rule) -> None:
    for name in ("step_s", "longest_s", "slower_s"):
        value = getattr(rule, name)
        _check(0 <= value <= LONGEST_S, f"rule.{name}", "it is a number of seconds, at most a day")
    _check(rule.longest_s >= rule.step_s, "rule.longest_s", "it is not below step_s")
    _check(rule.least_requests >= 0, "rule.least_requests", "it is not below 0")
    _check(rule.least_failed >= 1, "rule.least_failed", "it is at least 1")
    _check(0 <= rule.worse_share < 1, "rule.worse_share", "it is a share, from 0 to below 1")
    _check(rule.slower >= 1, "rule.slower", "it is at least 1")
    _check(rule.failed_probes >= 1, "rule.failed_probes", "it is at least 1")


def _check_check(where: str, check: Check) -> None:
    path = check.path
    sound = path.startswith("/") and len(path) <= 2000 and all("!" <= each <= "~" for each in path)
    _check(sound and "#" not in path, f"{where}.path", "a path begins with / and has printable ASCII alone")
    _check(check.status is None or 100 <= check.status <= 599, f"{where}.status", "a status is from 100 to 599")
    _check(check.within_s is None or 0 < check.within_s <= 60, f"{where}.within_s", "it is at most 60 seconds")
    names: Iterable[str] = check.headers
    _check(all(_HEADER.fullmatch(name) for name in names), f"{where}.headers", "a field's name is not one")


def _check(holds: bool, where: str, message: str) -> None:
    if not holds:
        raise QanatError("cutover_bad_plan", message, where=where)
