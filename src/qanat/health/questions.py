"""What is asked of an origin, and which answers are good. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qanat.errors import QanatError
from qanat.health.engine import Answered

ANY_BUT_ERRORS = "100-499"
SHOWN_DETAIL = 200
MOST_HEADERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How an origin is asked, and what it must answer. `status`: `200`, `200-399`, several with commas. `body`: what must occur
    in the answer's first 64 KiB; "" anything. `headers`: fields that must be there with that value ("" any). `send`: fields of
    the request."""

    path: str = "/"
    method: str = "GET"
    status: str = ANY_BUT_ERRORS
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    send: Mapping[str, str] = field(default_factory=dict)
    interval_s: float = 10.0
    timeout_s: float = 5.0
    rise: int = 2
    fall: int = 3
    enabled: bool = True

    def checked(self) -> "Check":
        """Itself. QanatError `probe_bad` names the field."""
        if not self.path.startswith("/") or not self.path.isprintable() or " " in self.path or len(self.path) > 2000:
            raise _bad("path", f"{self.path!r} is not a valid path: it begins with / and has no spaces")
        if not self.method.isascii() or not self.method.isalpha() or self.method.upper() == "CONNECT":
            raise _bad("method", f"{self.method!r} is not a valid method, such as GET or HEAD")
        ranges(self.status)
        for name, least, most in (
            ("interval_s", 1.0, 86_400.0),
            ("timeout_s", 0.1, 60.0),
            ("rise", 1, 100),
            ("fall", 1, 100),
        ):
            if not least <= getattr(self, name) <= most:
                raise _bad(name, f"{getattr(self, name)} is not between {least:g} and {most:g}")
        for where, fields in (("headers", self.headers), ("send", self.send)):
            if len(fields) > MOST_HEADERS:
                raise _bad(where, f"{len(fields)} fields are more than {MOST_HEADERS}")
            for name, value in fields.items():
                if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                    raise _bad(where, f"{name!r} is not a valid field name")
                if not value.isprintable() or len(value) > 1000:
                    raise _bad(where, f"the value of {name} has line ends, or is longer than 1000")
        if len(self.body) > 1000:
            raise _bad("body", "a text of more than 1000 characters is not looked for")
        return self


@dataclass(frozen=True, slots=True)
class Judgment:
    """Whether an answer is good, and in a line why."""

    is_good: bool
    why: str


def judge(check: Check, answer: Answered) -> Judgment:
    """An answer by what was expected."""
    asked = f"{check.method} {check.path}"
    if answer.cause:
        detail = f": {answer.detail[:SHOWN_DETAIL]}" if answer.detail else ""
        return Judgment(False, f"{asked} got no answer ({answer.cause}{detail})")
    told = f"{asked} answered {answer.status}"
    if not any(least <= answer.status <= most for least, most in ranges(check.status)):
        return Judgment(False, f"{told}, not {check.status}")
    missing = _missing(check.headers, answer.headers)
    if missing:
        return Judgment(False, f"{told} without the field {missing}")
    if check.body and check.body.encode() not in answer.body:
        return Judgment(False, f"{told} without the expected text")
    return Judgment(True, told)


def judge_connection(answer: Answered) -> Judgment:
    """Of a service that isn't HTTP: whether the connector connected to it, which it says by 101."""
    if answer.cause:
        detail = f": {answer.detail[:SHOWN_DETAIL]}" if answer.detail else ""
        return Judgment(False, f"connecting failed ({answer.cause}{detail})")
    if answer.status != 101:
        return Judgment(False, f"connecting was answered {answer.status}")
    return Judgment(True, "the connector connects to it")


def ranges(status: str) -> list[tuple[int, int]]:
    """`200`, `200-399` or several with commas, as bounds. QanatError `probe_bad`."""
    found = []
    for part in status.split(","):
        least, dash, most = part.strip().partition("-")
        numbers = (least, most if dash else least)
        if not all(each.isascii() and each.isdigit() and 100 <= int(each) <= 599 for each in numbers):
            raise _bad("status", f"{status!r} is not a valid list of statuses, such as 200 or 200-299,304")
        found.append((int(numbers[0]), int(numbers[1])))
    return found


def _missing(expected: Mapping[str, str], headers: Sequence[tuple[str, str]]) -> str:
    for name, value in expected.items():
        given = [each for field_name, each in headers if field_name.lower() == name.lower()]
        if not given or (value and value not in given):
            return f"{name}: {value}" if value else name
    return ""


def _bad(where: str, message: str) -> QanatError:
    return QanatError("probe_bad", message, where=where)
