"""One look at all rules: what fired and what is over goes into the store together with the messages that tell it, in one write:
a stop at any moment neither loses an alert nor tells it twice."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.alerts import deliveries, kinds, messages
from qanat.alerts.course import AGAIN_WITHIN, Course, step
from qanat.alerts.facts import EVENTS_WITHIN, Fact, Facts
from qanat.alerts.messages import About, Event, Told
from qanat.health.health import Health
from qanat.store import Store, Write
from qanat.store.models import Account, AlertFiring, AlertRule

COSTLY = ("error_rate", "certificate_expiring", "certificate_failing", "sign_in_failures")
COSTLY_EVERY_S = 30.0
"""What is read of many rows, and changes slowly, is looked at less often."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Wanted:
    """What a look wants to be written of one rule."""

    rule: AlertRule
    fire: dict[str, Fact] = field(default_factory=dict)
    resolve: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    tell: bool = False

    @property
    def is_nothing(self) -> bool:
        return not (self.fire or self.resolve or self.again or self.tell)


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of a look: how many messages were queued, and how many others were dropped for them; what is open now."""

    queued: int = 0
    dropped: int = 0
    open: int = 0


class Look:
    """Of one edge, by one thread. `files`: the chains that the edge has from files; `url`: of the dashboard's page."""

    def __init__(
        self, store: Store, health: Health, *, probing: bool, files: Callable[[], Sequence[bytes]], url: str = ""
    ) -> None:
        self._store = store
        self._health = health
        self._probing = probing
        self._files = files
        self._url = url
        self._courses: dict[tuple[str, str], Course] = {}
        self._costly_at: datetime | None = None

    def look(self) -> Looked:
        """QanatErrors of the store: then nothing was written, and the next look finds the same."""
        now = self._store.clock()
        costly = self._costly_at is None or (now - self._costly_at).total_seconds() >= COSTLY_EVERY_S
        with self._store.reading() as session:
            query = select(AlertRule).where(AlertRule.enabled.is_(True)).order_by(AlertRule.account_id, AlertRule.id)
            rules = [rule for rule in session.scalars(query) if rule.kind in kinds.KINDS]
            if not rules:
                self._courses = {}
                return Looked()
            facts = Facts(session, self._health, now, probing=self._probing, files=self._files())
            before = _Before.read(session, now)
            wanted = [self._of_rule(rule, facts, before, now) for rule in rules if costly or rule.kind not in COSTLY]
        if costly:
            self._costly_at = now
        self._forget({rule.id for rule in rules}, now, before)
        some = [each for each in wanted if not each.is_nothing]
        queued = dropped = 0
        if some:
            with self._store.recording() as write:
                for each in some:
                    more, fewer = self._write(write, each)
                    queued, dropped = queued + more, dropped + fewer
        with self._store.reading() as session:
            is_open = select(func.count()).select_from(AlertFiring).where(AlertFiring.resolved_at.is_(None))
            return Looked(queued, dropped, session.scalar(is_open) or 0)

    def _of_rule(self, rule: AlertRule, facts: Facts, before: "_Before", now: datetime) -> _Wanted:
        kind, wanted, found = kinds.KINDS[rule.kind], _Wanted(rule), facts.of(rule)
        is_open = before.open.get(rule.id, {})
        is_silenced = rule.silenced_until is not None and rule.silenced_until > now
        wanted.tell = not is_silenced and bool(rule.channels) and any(not each.told_at for each in is_open.values())
        if kind.is_event:
            wanted.tell = not is_silenced and bool(rule.channels) and rule.id in before.untold
            known = before.events.get(rule.id, frozenset())
            wanted.fire = {subject: fact for subject, fact in found.holds.items() if subject not in known}
            return wanted
        for_s = kinds.held_for_s(kind, rule.settings)
        mine = [subject for rule_id, subject in self._courses if rule_id == rule.id]
        for subject in dict.fromkeys([*found.holds, *is_open, *mine]):
            fact = found.holds.get(subject)
            if fact is None and found.is_unclear(subject):
                continue
            course = self._courses.get((rule.id, subject), Course())
            was_well = course.ill_since is None and course.well_since is not None
            course, act = step(
                course,
                ill_since=fact.since if fact is not None else None,
                now=now,
                for_s=for_s,
                is_open=subject in is_open,
                again=before.lately.get((rule.id, subject), 0) - 1 if subject in is_open else 0,
            )
            self._courses[rule.id, subject] = course
            if act == "fire" and fact is not None:
                wanted.fire[subject] = fact
            elif act == "resolve":
                wanted.resolve.append(subject)
            elif fact is not None and subject in is_open and was_well:
                wanted.again.append(subject)
        return wanted

    def _write(self, write: Write, wanted: _Wanted) -> tuple[int, int]:
        rule = write.session.get(AlertRule, wanted.rule.id)
        if rule is None or not rule.enabled or rule.modified_at != wanted.rule.modified_at:
            return 0, 0  # changed meanwhile: the next look asks what it says now
        kind, session = kinds.KINDS[rule.kind], write.session
        query = select(AlertFiring).where(AlertFiring.rule_id == rule.id)
        if kind.is_event:
            query = query.where(AlertFiring.told_at.is_(None), AlertFiring.fired_at >= write.at - EVENTS_WITHIN)
        else:
            query = query.where(AlertFiring.resolved_at.is_(None))
        is_open = {row.subject: row for row in session.scalars(query.order_by(AlertFiring.fired_at, AlertFiring.id))}
        for subject, fact in wanted.fire.items():
            row = AlertFiring(
                id=token_hex(16),
                account_id=rule.account_id,
                rule_id=rule.id,
                subject=subject,
                label=fact.label,
                why=fact.why,
                since=fact.since,
                fired_at=write.at,
                told_at=None,
                resolved_at=write.at if kind.is_event else None,
                spells=1,
            )
            session.add(row)
            is_open[subject] = row
            log.warning("alert", rule=rule.name, subject=fact.label, why=fact.why, account=rule.account_id)
        for subject in wanted.again:
            if subject in is_open:
                is_open[subject].spells += 1
        over = [is_open.pop(subject) for subject in wanted.resolve if subject in is_open]
        for row in over:
            row.resolved_at = write.at
            log.info("alert resolved", rule=rule.name, subject=row.label, account=rule.account_id)
        told = [
            row for row in over if row.told_at is not None
        ]  # also while it is silenced: whoever was told waits for it
        is_silenced = rule.silenced_until is not None and rule.silenced_until > write.at
        untold = [] if is_silenced else [row for row in is_open.values() if row.told_at is None]
        pairs: tuple[tuple[Event, list[AlertFiring]], ...] = (("alert.fired", untold), ("alert.resolved", told))
        counts = [self._tell(write, rule, event, rows) for event, rows in pairs if rows]
        return sum(each[0] for each in counts), sum(each[1] for each in counts)

    def _tell(self, write: Write, rule: AlertRule, event: Event, rows: Iterable[AlertFiring]) -> tuple[int, int]:
        if not rule.channels:
            return 0, 0
        account = write.session.get(Account, rule.account_id)
        about = About(
            account_id=rule.account_id,
            account=account.name if account is not None else "",
            rule_id=rule.id,
            rule=rule.name,
            kind=rule.kind,
            url=self._url,
        )
        told = [
            Told(
                id=row.id,
                label=row.label,
                why=row.why,
                since=row.since,
                resolved_at=row.resolved_at if event == "alert.resolved" else None,
                spells=row.spells,
            )
            for row in rows
        ]
        message = messages.written(event, about, told, at=write.at)
        if event == "alert.fired":
            for row in rows:
                row.told_at = write.at
        return deliveries.enqueue(write, rule.account_id, rule.channels, token_hex(16), message)

    def _forget(self, rule_ids: set[str], now: datetime, before: "_Before") -> None:
        self._courses = {
            (rule_id, subject): course
            for (rule_id, subject), course in self._courses.items()
            if rule_id in rule_ids and (subject in before.open.get(rule_id, {}) or not course.is_over(now))
        }


@dataclass(frozen=True, slots=True)
class _Before:
    """What fired before. `open`: by rule and subject; `events`: the subjects of each rule, of those that happen once;
    `untold`: the rules of those that nobody was told of; `lately`: how often each fired within AGAIN_WITHIN."""

    open: Mapping[str, dict[str, AlertFiring]]
    events: Mapping[str, frozenset[str]]
    lately: Mapping[tuple[str, str], int]
    untold: frozenset[str]

    @classmethod
    def read(cls, session: Session, now: datetime) -> "_Before":
        is_open: dict[str, dict[str, AlertFiring]] = {}
        for row in session.scalars(select(AlertFiring).where(AlertFiring.resolved_at.is_(None))):
            is_open.setdefault(row.rule_id, {})[row.subject] = row
        once = [name for name, kind in kinds.KINDS.items() if kind.is_event]
        query = select(AlertFiring.rule_id, AlertFiring.subject, AlertFiring.told_at).join(
            AlertRule, AlertRule.id == AlertFiring.rule_id
        )
        # What is older was told, or is no longer worth it (and facts.py finds it no more).
        query = query.where(AlertRule.kind.in_(once), AlertFiring.fired_at >= now - 2 * EVENTS_WITHIN)
        events: dict[str, set[str]] = {}
        untold = set()
        for rule_id, subject, told_at in session.execute(query):
            events.setdefault(rule_id, set()).add(subject)
            if told_at is None:
                untold.add(rule_id)
        lately = (
            select(AlertFiring.rule_id, AlertFiring.subject, func.count())
            .where(AlertFiring.fired_at >= now - AGAIN_WITHIN)
            .group_by(AlertFiring.rule_id, AlertFiring.subject)
        )
        return cls(
            is_open,
            {rule_id: frozenset(subjects) for rule_id, subjects in events.items()},
            {(row[0], row[1]): row[2] for row in session.execute(lately)},
            frozenset(untold),
        )
