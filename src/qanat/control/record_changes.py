"""One record's values: what a PATCH makes of them, and what a checked form sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qanat.dns.forms import AUTOMATIC_TTL, RecordDraft, RecordForm
from qanat.dns.rules import has_settings
from qanat.store.models import Record

FORMED = (
    "name",
    "type",
    "content",
    "content_key",
    "data",
    "written_as",
    "priority",
    "private_routing",
    "ttl",
    "proxied",
    "comment",
    "tags",
    "settings",
    "tunnel_id",
)
"""A record's columns that are its form's."""


@dataclass(frozen=True, slots=True)
class RecordChange:
    """What a PATCH gives: fields of `RecordDraft`, None to unset one."""

    given: Mapping[str, Any]

    def draft(self, before: Record) -> RecordDraft:
        """The record as it shall be."""
        # The ttl of a proxied record reads as automatic; it stays so when the proxy is switched off, as on a fresh one.
        content, data = self.given.get("content"), self.given.get("data")
        if content is None and data is None:
            content, data = self._value_before(before)
        return RecordDraft(
            name=self._taken(before, "name", before.name),
            type=self._taken(before, "type", before.type),
            content=content,
            data=data,
            priority=self._taken(before, "priority", None),
            ttl=self._taken(before, "ttl", AUTOMATIC_TTL),
            proxied=self._taken(before, "proxied", False),
            comment=self._taken(before, "comment", None),
            tags=tuple(self._taken(before, "tags", ())),
            settings=self._taken(before, "settings", {}),
            private_routing=self._taken(before, "private_routing", None),
        )

    def _value_before(self, before: Record) -> tuple[str, dict[str, Any] | None]:
        """What it was, with another priority where only that is given: of an SRV it stands in both."""
        priority = self.given.get("priority")
        data = before.data if before.written_as == "data" else None
        if before.type != "SRV" or priority is None:
            return before.content, data
        if data is not None and "priority" in data:
            data = {**data, "priority": priority}
        return f"{priority} {before.content.partition(' ')[2]}", data

    def _taken(self, before: Record, field_name: str, default: Any) -> Any:
        value = self.given[field_name] if field_name in self.given else getattr(before, field_name)
        return default if value is None else value


def fill(record: Record, form: RecordForm, at: datetime, *, is_new: bool) -> None:
    """Sets what the form says; each time moves only when what it is of does."""
    comment_changed = is_new or record.comment != form.comment
    tags_changed = is_new or record.tags != form.tags
    if is_new or _value(record) != _value(form) or not has_settings(record, form):
        record.modified_at = at
    record.name = form.name
    record.type = form.type
    record.content = form.content
    record.content_key = form.content_key
    record.data = form.data
    record.written_as = form.written_as
    record.priority = form.priority
    record.private_routing = form.private_routing
    record.ttl = form.ttl
    record.proxied = form.proxied
    record.settings = form.settings
    record.tunnel_id = form.tunnel_id
    if comment_changed:
        record.comment = form.comment
        record.comment_modified_at = at if form.comment else None
    if tags_changed:
        record.tags = form.tags
        record.tags_modified_at = at if form.tags else None


def _value(one: Any) -> tuple[object, ...]:
    return one.name, one.type, one.content, one.data, one.priority
