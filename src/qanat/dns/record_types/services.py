"""SRV, NAPTR and URI."""

from collections.abc import Mapping
from typing import Any

from qanat.dns.record_types.base import DataType, Part, Scalar, bare_target, quoted, target, whole
from qanat.dns.record_types.names import required_priority
from qanat.errors import QanatError


class Srv(DataType):
    """A service. What is kept has all four parts; clients read `weight port target`, without the last dot. A top-level
    priority stands in for a missing one; beside `data`, which has it too, a single read answers it only where it was sent."""

    def __init__(self) -> None:
        super().__init__(
            "SRV",
            [
                Part(key="priority", present=whole(16), read=lambda rdata: int(rdata.priority)),
                Part(key="weight", present=whole(16), read=lambda rdata: int(rdata.weight)),
                Part(key="port", present=whole(16), read=lambda rdata: int(rdata.port)),
                Part(key="target", present=bare_target, read=lambda rdata: bare(rdata.target), is_canonical=True),
            ],
            legacy_keys=("service", "proto", "name"),
        )

    def presented(self, data: Mapping[str, Scalar], priority: int | None) -> str:
        if "priority" not in data and priority is not None:
            data = {"priority": priority, **data}
        return super().presented(data, priority)

    def whole(self, content: str, priority: int | None) -> str:
        return f"{priority} {content}" if priority is not None and len(content.split()) == 3 else content

    def priority_kept(self, priority: int | None, rdata: Any) -> int | None:
        return int(rdata.priority) if priority is not None else None

    def priority_of_content(self, priority: int | None, rdata: Any) -> int | None:
        return int(rdata.priority)

    def answered(self, content: str) -> str:
        found = content.partition(" ")[2]
        return found if found.endswith(" .") else found.removesuffix(".")

    def answered_priority(self, content: str, priority: int | None) -> int | None:
        return int(content.partition(" ")[0])


class Uri(DataType):
    """A URI; its priority stands beside `data` and the answered content."""

    def __init__(self) -> None:
        super().__init__(
            "URI",
            [
                Part(key="weight", present=whole(16), read=lambda rdata: int(rdata.weight)),
                Part(key="target", present=quoted, read=lambda rdata: text(rdata.target)),
            ],
        )

    def presented(self, data: Mapping[str, Scalar], priority: int | None) -> str:
        return f"{required_priority(priority, self.name)} {super().presented(data, priority)}"

    def whole(self, content: str, priority: int | None) -> str:
        return f"{priority} {content}" if priority is not None and len(content.split(None, 2)) == 2 else content

    def priority_kept(self, priority: int | None, rdata: Any) -> int | None:
        own = int(rdata.priority)
        if priority is not None and priority != own:
            raise QanatError("record_bad_priority", f"{priority} is not the content's priority {own}", where="priority")
        return own

    def answered(self, content: str) -> str:
        first, _, rest = content.partition(" ")
        # one of an older version may lack its priority
        return rest if rest[:1].isdigit() else f"{first} {rest}"


def bare(name: Any) -> str:
    """A name without its last dot, `.` for the root."""
    shown = str(name.to_text())
    return shown if shown == "." else shown.removesuffix(".")


def text(value: bytes) -> str:
    """Bytes for JSON."""
    return value.decode(errors="backslashreplace")


SRV = Srv()
URI = Uri()
NAPTR = DataType(
    "NAPTR",
    [
        Part(key="order", present=whole(16), read=lambda rdata: int(rdata.order)),
        Part(key="preference", present=whole(16), read=lambda rdata: int(rdata.preference)),
        Part(key="flags", present=quoted, read=lambda rdata: text(rdata.flags), default='""'),
        Part(key="service", present=quoted, read=lambda rdata: text(rdata.service), default='""'),
        Part(key="regex", present=quoted, read=lambda rdata: text(rdata.regexp), default='""'),
        Part(
            key="replacement",
            present=target,
            read=lambda rdata: str(rdata.replacement.to_text()),
            default=".",
            is_canonical=True,
        ),
    ],
)
