"""What is told: one message for all that a rule found in one look. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from qanat.alerts import kinds
from qanat.errors import escape_text

Event = Literal["alert.fired", "alert.resolved", "alert.test"]
MOST_NAMED = 20
MOST_IN_TITLE = 3
MAX_WHY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that a rule holds (or held) for. `spells`: how often it began meanwhile."""

    id: str
    label: str
    why: str
    since: datetime
    resolved_at: datetime | None = None
    spells: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Whose rule it is. `url`: of the dashboard's page, "" where there is none."""

    account_id: str
    account: str
    rule_id: str
    rule: str
    kind: str
    url: str = ""


def written(event: Event, about: About, told: Sequence[Told], *, at: datetime) -> dict[str, Any]:
    """`text` is what Slack and its like show; `title` and `body` are an e-mail's; `data` is for programs."""
    word = "Resolved" if event == "alert.resolved" else "Firing"
    names = ", ".join(escape_text(each.label) for each in told[:MOST_IN_TITLE])
    more = f" and {len(told) - MOST_IN_TITLE} more" if len(told) > MOST_IN_TITLE else ""
    title = f"{word}: {escape_text(about.rule)}: {names}{more}"
    lines = [_line(each) for each in told[:MOST_NAMED]]
    if len(told) > MOST_NAMED:
        lines.append(f"… and {len(told) - MOST_NAMED} more")
    foot = [f"Account: {escape_text(about.account)}", *([f"Page: {about.url}"] if about.url else [])]
    return {
        "type": event,
        "timestamp": _moment(at),
        "text": _for_slack("\n".join([title, *lines, *([about.url] if about.url else [])])),
        "title": title,
        "body": "\n".join([title, "", *lines, "", *foot]),
        "data": {
            "account": {"id": about.account_id, "name": about.account},
            "rule": {"id": about.rule_id, "name": about.rule, "kind": about.kind},
            "alerts": [_shown(each) for each in told[:MOST_NAMED]],
            "count": len(told),
            "url": about.url,
        },
    }


def of_test(about_account: tuple[str, str], channel: str, *, at: datetime, url: str) -> dict[str, Any]:
    """What a test sends. `about_account`: its id and name."""
    account_id, account = about_account
    title = f"Test: the channel {escape_text(channel)} works"
    return {
        "type": "alert.test",
        "timestamp": _moment(at),
        "text": _for_slack(f"{title} (account {escape_text(account)})"),
        "title": title,
        "body": f"{title}\n\nNothing is wrong; somebody asked for a test.\nAccount: {escape_text(account)}",
        "data": {"account": {"id": account_id, "name": account}, "alerts": [], "count": 0, "url": url},
    }


def told_by(kind: str) -> str:
    """What a rule of the kind tells, for people; the name itself of a kind that another version had."""
    return kinds.KINDS[kind].told if kind in kinds.KINDS else kind


def _line(each: Told) -> str:
    flaps = f", began {each.spells} times" if each.spells > 1 else ""
    end = f", until {_moment(each.resolved_at)}" if each.resolved_at is not None else ""
    return f"{escape_text(each.label)}: {escape_text(each.why)[:MAX_WHY]} (since {_moment(each.since)}{end}{flaps})"


def _shown(each: Told) -> dict[str, Any]:
    return {
        "id": each.id,
        "subject": each.label,
        "why": each.why[:MAX_WHY],
        "since": _moment(each.since),
        "resolved_at": _moment(each.resolved_at) if each.resolved_at is not None else None,
        "spells": each.spells,
    }


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _for_slack(text: str) -> str:
    """Slack takes `<!channel>` and links from these three (https://docs.slack.dev, formatting text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
