"""docs/design/security.md: each requirement has a row with a state, and every test that a row names exists. docs/design/cases.md:
a test says of each case that it is for it."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "design" / "security.md"
CASES = ROOT / "docs" / "design" / "cases.md"
CASE = re.compile(r"^### Case (\d+): ", re.MULTILINE)
MARK = re.compile(r"mark\.case\(([\d, ]+)\)")
LAST = 57
STATES = ("implemented", "partly", "waits")
ROW = re.compile(r"^\| (S\d+) \| (.+) \| (\w+) \| (.*) \|$", re.MULTILINE)


def problems(page: str) -> list[str]:
    """What is wrong with the table, a line each."""
    found = []
    rows = [match.groups() for match in ROW.finditer(page)]
    numbers = [number for number, *_ in rows]
    if numbers != [f"S{n}" for n in range(1, LAST + 1)]:
        missing = sorted({f"S{n}" for n in range(1, LAST + 1)} - set(numbers), key=lambda n: int(n[1:]))
        found.append(
            f"the rows are not S1 to S{LAST}, each once and in order (missing: {', '.join(missing) or 'none'})"
        )
    for number, _, state, tests in rows:
        if state not in STATES:
            found.append(f"{number}: {state!r} is not one of {', '.join(STATES)}")
        named = re.findall(r"`([^`]+)`", tests)
        if state == "implemented" and not named:
            found.append(f"{number} is implemented, but no test is named")
        found += [f"{number} names {name}, which doesn't exist" for name in named if not exists(name)]
    return found


def untested(page: str, marked: set[int]) -> list[str]:
    """The cases that no test is for, a line each."""
    return [f"case {number}: no test is marked with it" for number in CASE.findall(page) if int(number) not in marked]


def marked_cases() -> set[int]:
    """Those of Python's tests; in Rust a comment says it."""
    texts = (file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    return {int(number) for text in texts for found in MARK.findall(text) for number in found.split(",")}


def exists(name: str) -> bool:
    """`path`, or `path::function` of a Python or Rust test."""
    path, _, function = name.partition("::")
    file = ROOT / path
    if not function:
        return file.exists()
    return file.is_file() and bool(
        re.search(rf"^\s*(async )?(def|fn) {re.escape(function)}\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    )


def main() -> int:
    found = [f"{PAGE.relative_to(ROOT)}: {problem}" for problem in problems(PAGE.read_text(encoding="utf-8"))]
    cases = CASES.read_text(encoding="utf-8")
    found += [f"{CASES.relative_to(ROOT)}: {problem}" for problem in untested(cases, marked_cases())]
    for problem in found:
        print(problem)
    if not found:
        count = len(CASE.findall(cases))
        print(f"requirements: S1 to S{LAST}, and every test that they name exists; {count} cases, each with a test")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
