"""The same plan, gates, move and rollback against any v4 API, with its standard endpoints alone.

Without an edge to ask, a target can't be tried under the hostname before the move: that gate says so. After it, the public name
is asked once a second, and the records go back when it fails. Where it is, is kept in a file before anything is moved: what was
broken off is found there, and finished or taken back (docs/explanation/cutover.md)."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from qanat import structs
from qanat.client import ApiRefusedError, Client, Record
from qanat.client.profiles import write_secret
from qanat.client.sameness import fields
from qanat.client.zones import TUNNEL_SUFFIX, folded
from qanat.cutover.answers import Answer, judge
from qanat.cutover.gates import (
    Gate,
    Node,
    RuleSeen,
    certificate_gate,
    connections_gate,
    dns_gate,
    is_open,
    request_gate,
    rule_gate,
    shut,
)
from qanat.cutover.plan import Plan, representative, written
from qanat.cutover.public_name import PublicName
from qanat.errors import QanatError
from qanat.ingress.rules import parse_configuration
from qanat.ingress.verdicts import Asked, verdicts

ASK_EVERY_S = 1.0
ANSWER_S = 10.0
WATCHED_S = 3.0
UNTRIED = "a request through the target needs an edge of qanat's; the public name is asked after the move"

Tell = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class Progress:
    """What is kept in the state file: the plan, where it is, and the records as they were, by hostname."""

    file: Path
    plan: dict[str, Any]
    state: str = "checking"
    why: str = ""
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    timeline: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be finished or taken back."""
        return self.state in ("done", "refused", "rolled_back", "checking")

    def keep(self) -> None:
        """Written whole, or not at all. QanatError `file_unwritable`."""
        built = {name: getattr(self, name) for name in ("plan", "state", "why", "records", "sources", "timeline")}
        text = json.dumps(built, indent=2)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise QanatError("file_unwritable", f"{self.file}: {error.strerror}", where="--state-file") from error
        write_secret(self.file, text, replace=True)


def load(file: Path) -> Progress | None:
    """What is kept there; None: nothing. QanatError `file_unreadable`."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return Progress(file, **kept)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise QanatError(
            "file_unreadable", f"{file} is not a cutover's state: {error}", where="--state-file"
        ) from error


class Hosted:
    """One cutover through one account of a v4 API."""

    def __init__(
        self,
        client: Client,
        account_id: str,
        name: PublicName,
        *,
        tell: Tell,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._account = account_id
        self._name = name
        self._tell = tell
        self._sleep = sleep
        self._now = now

    def gates(self, plan: Plan) -> tuple[list[Gate], dict[str, Answer]]:
        """Every gate that the standard endpoints and the public name can answer, and the source's answers by hostname.

        Raises:
            QanatError: `cutover_bad_plan`: steps by weights and holding need an edge of qanat's; `cutover_hostname_unknown`,
                `cutover_not_from`.
        """
        if len(plan.steps) > 1 or plan.hold or plan.websockets == "cut":
            raise QanatError(
                "cutover_needs_edge",
                "steps by weights, holding requests and cutting WebSockets need an edge of qanat's",
                hint="against another API all requests move at once",
            )
        connectors = self._client.connectors(self._account, plan.to_tunnel)
        nodes = [Node(token_id=each.id, name=each.id, connections=len(each.conns)) for each in connectors]
        gates = [connections_gate(plan, nodes)]
        sources: dict[str, Answer] = {}
        for hostname in plan.hostnames:
            check = plan.check_of(hostname)
            _, record = self._record(hostname, plan.from_tunnel)
            asked = representative(hostname)
            sources[hostname] = self._name.ask(asked, check, timeout_s=ANSWER_S)
            untried = request_gate(plan, hostname, {}, sources[hostname])
            shown = {"type": record.type, "content": record.content, "proxied": record.proxied}
            gates += [
                rule_gate(hostname, self._rule(plan.to_tunnel, hostname, check.path)),
                msgspec.structs.replace(untried, passed=None, says=UNTRIED),
                certificate_gate(asked, self._name.certificate(asked, timeout_s=ANSWER_S), datetime.now(UTC)),
                dns_gate(hostname, shown, self._name.resolve(asked)),
            ]
        return gates, sources

    def apply(self, plan: Plan, file: Path) -> Progress:
        """Gates, move, watch; done, refused or rolled back.

        Raises:
            QanatError: as `gates`; `cutover_unfinished`: the file has one that isn't over; `api_refused`.
        """
        before = load(file)
        if before is not None and not before.is_over:
            raise QanatError(
                "cutover_unfinished",
                f"{file} has a cutover that is {before.state}",
                where="--state-file",
                hint="take it back by `qanat cutover rollback`, or finish it by `qanat cutover resume`",
            )
        progress = Progress(file, written(plan))
        gates, sources = self.gates(plan)
        if not is_open(gates):
            return self._enter(progress, "refused", shut(gates))
        for hostname in plan.hostnames:
            zone_id, record = self._record(hostname, plan.from_tunnel)
            progress.records[hostname] = {"zone_id": zone_id, "before": msgspec.to_builtins(record)}
            progress.sources[hostname] = msgspec.to_builtins(sources[hostname])
        self._enter(progress, "moving", "the gates are open")
        return self.resume(progress)

    def resume(self, progress: Progress) -> Progress:
        """Goes on with one that was broken off: what is not moved yet is moved, then it is watched."""
        plan = structs.convert(progress.plan, Plan)
        if progress.state == "moving":
            wanted = f"{plan.to_tunnel}{TUNNEL_SUFFIX}"
            self._write(progress, lambda before: {"content": wanted}, expected={before_of(progress), wanted})
            self._enter(progress, "settling", "the records are repointed")
        if progress.state == "settling":
            why = self._watch(plan, progress)
            if why is not None:
                return self.roll_back(progress, why)
            return self._enter(progress, "done", "the public names answer as before")
        return progress

    def roll_back(self, progress: Progress, why: str) -> Progress:
        """The records as they were, exactly. QanatError `cutover_changed`: others changed them since; `cutover_over`."""
        if progress.state not in ("moving", "settling", "done"):
            raise QanatError("cutover_over", f"the cutover is {progress.state}: there is nothing to take back")
        plan = structs.convert(progress.plan, Plan)
        wanted = f"{plan.to_tunnel}{TUNNEL_SUFFIX}"
        self._write(progress, lambda before: fields(before, before.content), expected={before_of(progress), wanted})
        return self._enter(progress, "rolled_back", why)

    def _watch(self, plan: Plan, progress: Progress) -> str | None:
        """Why it is to be taken back; None: it is good."""
        began, failed = self._now(), dict.fromkeys(plan.hostnames, 0)
        sources = {name: structs.convert(each, Answer) for name, each in progress.sources.items()}
        while True:
            for hostname in plan.hostnames:
                check = plan.check_of(hostname)
                timeout_s = check.within_s or WATCHED_S
                answer = self._name.ask(representative(hostname), check, timeout_s=timeout_s)
                judged = judge(check, answer, sources.get(hostname))
                failed[hostname] = 0 if judged.passed else failed[hostname] + 1
                if failed[hostname] >= plan.rule.failed_probes:
                    return f"{failed[hostname]} requests to {hostname} in a row failed: {judged.why}"
            if self._now() - began >= plan.rule.step_s and not any(failed.values()):
                return None
            self._sleep(ASK_EVERY_S)

    def _write(self, progress: Progress, change: Callable[[Record], dict[str, Any]], *, expected: set[str]) -> None:
        """All of a zone's records in one batch, which is one transaction; zones one after another."""
        by_zone: dict[str, list[dict[str, Any]]] = {}
        for hostname, kept in progress.records.items():
            before = structs.convert(kept["before"], Record)
            now = next(
                (each for each in self._client.records(kept["zone_id"], name=hostname) if each.id == before.id), None
            )
            if now is None or folded(now.content) not in expected:
                told = "was deleted or renamed" if now is None else f"is {now.type} {now.content} now"
                raise QanatError("cutover_changed", f"{hostname} {told}: others changed it meanwhile")
            by_zone.setdefault(kept["zone_id"], []).append({"id": before.id, **change(before)})
        for zone_id, patches in by_zone.items():
            self._client.batch_records(zone_id, {"patches": patches})

    def _enter(self, progress: Progress, state: str, why: str) -> Progress:
        progress.state, progress.why = state, why
        entry = {"at": datetime.now(UTC).isoformat(), "event": state, "state": state, "says": why}
        progress.timeline.append(entry)
        progress.keep()
        self._tell(entry)
        return progress

    def _record(self, hostname: str, from_tunnel: str) -> tuple[str, Record]:
        zone = self._client.find_zone(hostname.removeprefix("*."))
        found = [each for each in self._client.records(zone.id, name=hostname, type="CNAME") if each.proxied]
        if not found:
            raise QanatError(
                "cutover_hostname_unknown", f"{hostname} has no proxied CNAME to a tunnel", where="hostnames"
            )
        if folded(found[0].content) != f"{from_tunnel}{TUNNEL_SUFFIX}":
            raise QanatError(
                "cutover_not_from", f"{hostname} leads to {found[0].content}, not to {from_tunnel}", where="hostnames"
            )
        return zone.id, found[0]

    def _rule(self, tunnel_id: str, hostname: str, path: str) -> RuleSeen:
        try:
            document = self._client.configuration(self._account, tunnel_id).config
        except ApiRefusedError:
            document = {}
        if not document.get("ingress"):
            return RuleSeen(
                index=None, why="the API knows no rules of it: they are the connector's own", is_known=False
            )
        try:
            parsed = parse_configuration(json.dumps(document), misspelt_keys="told", patterns=False)
            taken = verdicts(parsed, Asked(representative(hostname), path.partition("?")[0]))
        except QanatError as error:
            return RuleSeen(index=None, why=str(error))
        rule = taken[-1].rule
        return RuleSeen(index=taken[-1].index, hostname=rule.hostname, service=rule.service.text)


def before_of(progress: Progress) -> str:
    """What the records held before: the source."""
    return f"{progress.plan['from_tunnel']}{TUNNEL_SUFFIX}"
