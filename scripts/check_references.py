"""What code, tests and docs refer to exists: pages, sections, headings, requirements (S38), cases, traps, links and anchors."""

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("crates", "src", "tests", "scripts", "docs", "demo", "bench", "fuzz")
SUFFIXES = {".rs", ".py", ".pyi", ".md", ".toml", ".json", ".capnp"}
EXAMPLES = {"test_check_references.py", "test_check_walks.py"}
"""Full of references to what isn't there."""
OTHERS = {"style.md"}
"""Pages that name files of other projects."""
SKIPPED = {"target", "__pycache__", "results", "corpus", "generated", *EXAMPLES}

PAGE = re.compile(r"(?<![\w/.:-])((?:[\w.-]+/)*[A-Za-z][\w-]*\.md)\b(?:['’]s)?")
# A path from the root or a folder above the file, maybe with wildcards; what follows `::` is for check_requirements.py.
FILE = re.compile(
    r"(?<![\w/.*-])((?:crates|src|tests|scripts|docs|demo|bench|fuzz)/[\w./*-]*(?:\.(?!md\b)[a-z]+\b|\*))"
)
# A number, or several: "S12, S19", "14, 15 and 62", "2.0 to 2.4". "7.1-7" is item 7 of section 7.1.
NUMBERS = re.compile(r"S?\d+(?:\.\d+)*(?:-\d+)?(?:(?:, | and | or | to )S?\d+(?:\.\d+)*(?:-\d+)?)*")
AFTER = re.compile(rf",? ?§? ?({NUMBERS.pattern})(?![\w.]*\w)")
NAMED = re.compile(r",\s(?:[*]([^*\n]+)[*]|\"([^\"\n]+)\")")
REQUIREMENT = re.compile(r"(?<![\w-])S(\d{1,2})(?![\w-])|\b(?:test_|fn )s(\d{1,2})_")
CASE = re.compile(rf"\b[Cc]ases? ({NUMBERS.pattern})(?!\.?\w)|\btest_case_(\d+)_|\bmark\.case\((\d+(?:, \d+)*)\)")
OWN_SECTION = re.compile(r"(?:§ ?|\b[Ss]ection )(\d+(?:\.\d+)*)")
TRAP = re.compile(rf"\b[Tt]raps? ({NUMBERS.pattern})(?!\.?\w)|\bmark\.trap\((\d+(?:, \d+)*)\)")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
ANCHOR = re.compile(r'<a id="([^"]+)"></a>')


def problems(root: Path) -> list[str]:
    """What refers to nothing, a line each."""
    return [*(problem for path in files(root) for problem in problems_of(root, path)), *unlisted(root)]


def unlisted(root: Path) -> Iterator[str]:
    """Pages that the index of docs leaves out."""
    index = root / "docs" / "README.md"
    listed = {(index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(_read(index))}
    for page in sorted((root / "docs").rglob("*.md")):
        if page != index and page.resolve() not in listed:
            yield f"docs/README.md doesn't list {page.relative_to(root)}"


def problems_of(root: Path, path: Path) -> Iterator[str]:
    """Those of one file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    # A reference may go on in the next line of a comment.
    flat = re.sub(r"\n[ \t]*(?://[/!]?|#(?!#))?[ \t]*", " ", text)
    place = path.relative_to(root)
    design = root / "docs" / "design"
    for match in PAGE.finditer(flat):
        page = find_page(root, path, match[1])
        if page is None:
            yield f"{place}: there is no page {match[1]}"
        elif page.parent == design:
            yield from (f"{place}: {match[1]} has no {what}" for what in missing(page, flat[match.end() :][:200]))
    if path.name not in OTHERS:
        for name in FILE.findall(text):
            if not any(any(folder.glob(name)) for folder in path.parents if folder.is_relative_to(root)):
                yield f"{place}: there is no {name}"
    if path.parent == design:
        yield from (
            f"{place}: there is no section {number}"
            for number in OWN_SECTION.findall(text)
            if number not in sections(path)
        )
    for pattern, kind, known in (
        (REQUIREMENT, "requirement S", requirements(design)),
        (CASE, "case ", cases(design)),
        (TRAP, "trap ", traps(design)),
    ):
        for match in pattern.finditer(flat):
            named = next(group for group in match.groups() if group is not None)
            for number in re.findall(r"\d+", named):
                if int(number) not in known:
                    yield f"{place}: there is no {kind}{number}"
    if path.suffix == ".md":
        yield from broken_links(root, path, text)


def missing(page: Path, after: str) -> Iterator[str]:
    """What the text after a page's name asks of it, and it doesn't have: sections by number, or a heading by name."""
    if match := AFTER.match(after):
        for number in re.findall(r"S?\d+(?:\.\d+)*", re.sub(r"-\d+", "", match[1])):
            if number.startswith("S"):
                continue  # looked for everywhere
            if page.name == "cases.md":
                if int(float(number)) not in cases(page.parent):
                    yield f"case {number}"
            elif number not in sections(page):
                yield f"section {number}"
    elif match := NAMED.match(after):
        name = match[1] or match[2]
        if not any(name in heading for heading in headings(page)):
            yield f"heading {name!r}"


def find_page(root: Path, path: Path, name: str) -> Path | None:
    """By its path from the root, from docs or from the file's own folder; a bare name also in docs' own folders."""
    places = [root, root / "docs", path.parent]
    if "/" not in name:
        places += [root / "docs" / "design", *sorted((root / "docs").glob("*/"))]
    return next((place / name for place in places if (place / name).is_file()), None)


def broken_links(root: Path, path: Path, text: str) -> Iterator[str]:
    """Relative links of a page: the file, and the heading or anchor in it."""
    code_free = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in LINK.findall(code_free):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        if not linked.exists():
            yield f"{path.relative_to(root)}: the link {target} leads nowhere"
        elif anchor and (linked.suffix != ".md" or anchor not in anchors(linked)):
            yield f"{path.relative_to(root)}: the link {target} names an anchor that {linked.name} doesn't have"


@cache
def headings(page: Path) -> list[str]:
    return HEADING.findall(re.sub(r"```.*?```", "", _read(page), flags=re.DOTALL))


@cache
def sections(page: Path) -> set[str]:
    """The numbers that its headings begin with."""
    return {match[1] for heading in headings(page) if (match := re.match(r"(\d+(?:\.\d+)*)\.? ", heading))}


@cache
def anchors(page: Path) -> set[str]:
    """Those that are written, and those that a forge makes of headings."""
    made = {
        re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-") for heading in headings(page)
    }
    return made | set(ANCHOR.findall(_read(page)))


@cache
def requirements(design: Path) -> set[int]:
    return {int(name[1:]) for name in anchors(design / "security.md") if re.fullmatch(r"S\d+", name)}


@cache
def cases(design: Path) -> set[int]:
    return {int(name[5:]) for name in anchors(design / "cases.md") if re.fullmatch(r"case-\d+", name)}


@cache
def traps(design: Path) -> set[int]:
    """The rows of api.md's section on traps."""
    text = _read(design / "api.md")
    section = re.search(r"^## 8\..*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return {int(number) for number in re.findall(r"^\| (\d+) \|", section[0] if section else "", re.MULTILINE)}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def files(root: Path) -> Iterator[Path]:
    """Code, tests and docs; not what is made or fetched."""
    yield from sorted(root.glob("*.md"))
    for name in ("pyproject.toml", "Cargo.toml"):
        if (root / name).is_file():
            yield root / name
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and not SKIPPED & set(path.relative_to(root).parts):
                yield path


def main() -> int:
    found = problems(ROOT)
    for problem in found:
        print(problem)
    if not found:
        print("references: every page, section, requirement, case and link exists")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
