"""A DNS record as a form: what its fields say, and the record that is meant by them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qanat.control.record_changes import RecordChange
from qanat.dns.forms import AUTOMATIC_TTL, SETTINGS, TUNNEL_SUFFIX, RecordDraft
from qanat.dns.record_types import RECORD_TYPES
from qanat.errors import QanatError

TTLS: Mapping[int, str] = {
    AUTOMATIC_TTL: "automatic",
    60: "1 minute",
    300: "5 minutes",
    600: "10 minutes",
    1800: "30 minutes",
    3600: "1 hour",
    18000: "5 hours",
    86400: "1 day",
}
FIELDS = ("name", "type", "content", "priority", "ttl", "comment", "tags")
SHOWN = ("type", "name", "content", "priority", "ttl", "proxied", "comment", "tags", "settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordForm:
    """What was typed, as text. `flags`: settings that are ticked; `tunnel`: the one that was chosen in place of a content;
    `version`: of the record that it was made of, "" for a new one."""

    name: str = ""
    type: str = "CNAME"
    content: str = ""
    priority: str = ""
    ttl: str = str(AUTOMATIC_TTL)
    comment: str = ""
    tags: str = ""
    proxied: bool = False
    flags: frozenset[str] = frozenset()
    tunnel: str = ""
    version: str = ""

    @classmethod
    def of(cls, record: Any, version: str) -> "RecordForm":
        """As it is stored."""
        kind = RECORD_TYPES[record.type]
        priority = kind.answered_priority(record.content, record.priority)
        return cls(
            name=record.name,
            type=record.type,
            content=kind.answered(record.content),
            priority="" if priority is None else str(priority),
            ttl=str(record.ttl),
            comment=record.comment or "",
            tags=", ".join(record.tags),
            proxied=record.proxied,
            flags=frozenset(name for name in SETTINGS if record.settings.get(name)),
            tunnel=record.tunnel_id or "",
            version=version,
        )

    @classmethod
    def read(cls, form: Mapping[str, str]) -> "RecordForm":
        """As it was sent. A tunnel that was chosen makes the record a proxied CNAME to it."""
        typed = {name: form.get(name, "").strip() for name in FIELDS}
        made = cls(
            **typed,
            proxied=bool(form.get("proxied")),
            flags=frozenset(name for name in SETTINGS if form.get(name)),
            tunnel=form.get("tunnel", "").strip(),
            version=form.get("version", ""),
        )
        if not made.tunnel:
            return made
        return replace(made, type="CNAME", content=f"{made.tunnel}{TUNNEL_SUFFIX}", proxied=True)

    def draft(self) -> RecordDraft:
        """A new record. QanatError `record_bad_priority`, `record_bad_ttl`."""
        return RecordDraft(
            name=self.name,
            type=self.type,
            content=self.content or None,
            priority=_number(self.priority, "priority"),
            ttl=_number(self.ttl, "ttl") or AUTOMATIC_TTL,
            proxied=self.proxied,
            comment=self.comment or None,
            tags=self._tags(),
            settings={name: True for name in SETTINGS if name in self.flags},
        )

    def change(self, before: Any) -> RecordChange:
        """What it makes of a record: a value that wasn't touched stays as it was written. QanatErrors as `draft`'s."""
        was, draft = RecordForm.of(before, ""), self.draft()
        given: dict[str, Any] = {
            "name": draft.name,
            "type": draft.type,
            "ttl": draft.ttl,
            "proxied": draft.proxied,
            "comment": draft.comment,
            "tags": list(draft.tags),
            "settings": {
                name: name in self.flags for name in SETTINGS if name in self.flags or name in before.settings
            },
        }
        is_anew = (self.type, self.content) != (was.type, was.content)
        if is_anew:
            given["content"] = self.content
        if is_anew or self.priority != was.priority:
            given["priority"] = draft.priority
        return RecordChange(given)

    def _tags(self) -> tuple[str, ...]:
        return tuple(tag for each in self.tags.replace("\n", ",").split(",") if (tag := each.strip()))


def told(one: Any) -> dict[str, Any]:
    """A record, stored or checked, as a document to be compared."""
    kind = RECORD_TYPES[one.type]
    values = {
        "type": one.type,
        "name": one.name,
        "content": kind.answered(one.content),
        "priority": kind.answered_priority(one.content, one.priority),
        "ttl": TTLS[AUTOMATIC_TTL] if one.ttl == AUTOMATIC_TTL else one.ttl,
        "proxied": one.proxied,
        "comment": one.comment or None,
        "tags": list(one.tags),
        "settings": {name: True for name in SETTINGS if one.settings.get(name)},
    }
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def field_of(error: QanatError, shown: Sequence[str] = (*FIELDS, "proxied")) -> str:
    """The field that an error is about; "" for none of them."""
    where = error.where or ""
    if where.startswith(("data", "content")):
        return "content"
    name = where.partition("[")[0]
    return name if name in shown else ""


def effects(before: Any, after: Any, tunnels: Mapping[str, str], *, is_paused: bool) -> list[str]:
    """What a change means for requests, in sentences. `before`, `after`: None for a record that isn't there, or won't be;
    `tunnels`: names by id."""
    had, has = _way(before), _way(after)
    said = []
    if had and has and had == has:
        said.append(f"Requests for {after.name} go to the same tunnel as before.")
    elif had and has and before.name == after.name:
        said.append(
            f"New requests for {after.name} go to {_named(tunnels, has[1])} instead of {_named(tunnels, had[1])}; "
            "those that are open end where they began."
        )
    else:
        if had:
            said.append(f"{before.name} is no longer served through {_named(tunnels, had[1])}.")
        if has:
            said.append(f"Requests for {after.name} come to this edge, and go through {_named(tunnels, has[1])}.")
    if after is not None and not has:
        said.append(
            f"{after.name} is proxied, but leads to no tunnel: the edge answers its requests with an error."
            if after.proxied
            else f"It is kept as DNS; requests for {after.name} don't pass through this edge."
        )
    if has and is_paused:
        said.append("The zone is paused: nothing of it is served until it goes on.")
    return said


def _way(one: Any) -> tuple[str, str] | None:
    if one is None or not one.proxied or one.tunnel_id is None:
        return None
    return one.name, str(one.tunnel_id)


def _named(tunnels: Mapping[str, str], tunnel_id: str) -> str:
    return f"the tunnel {tunnels.get(tunnel_id, tunnel_id)}"


def _number(text: str, where: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        code = "record_bad_ttl" if where == "ttl" else "record_bad_priority"
        raise QanatError(code, f"{text[:20]!r} is not a whole number", where=where)
    return int(text)
