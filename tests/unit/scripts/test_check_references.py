"""`make lint` tells a reference to something that isn't there."""

from pathlib import Path

import pytest

from scripts.check_references import problems

API = "# API\n\n## 2. Tunnels\n\n### 2.5 Configuration\n\n## 8. Traps\n\n| # | trap |\n|---|---|\n| 1 | one |\n| 2 | two |\n"
SECURITY = '# Security\n\n## 2. Requirements\n\n| <a id="S1"></a>S1 [gate] | x |\n| <a id="S2"></a>S2 | x |\n'
CASES = '# Cases\n\n<a id="case-1"></a>\n### Case 1: one\n\n<a id="case-2"></a>\n### Case 2: two\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    design = tmp_path / "docs" / "design"
    design.mkdir(parents=True)
    for name, text in {"api.md": API, "security.md": SECURITY, "cases.md": CASES}.items():
        (design / name).write_text(text)
    (tmp_path / "docs" / "how-to").mkdir()
    (tmp_path / "docs" / "how-to" / "run.md").write_text("# Run it: `now`\n")
    pages = [*(tmp_path / "docs").rglob("*.md"), tmp_path / "docs" / "page.md"]
    listed = [f"[a]({page.relative_to(tmp_path / 'docs')})" for page in pages]
    (tmp_path / "docs" / "page.md").write_text("# Page\n")
    (tmp_path / "docs" / "README.md").write_text("\n".join(["# Index", *listed]))
    return tmp_path


def found(tree: Path, text: str, name: str = "src/a.py") -> list[str]:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return [problem.removeprefix(f"{name}: ") for problem in problems(tree)]


GOOD = [
    "(api.md 2.5)",
    "api.md §2.5, api.md 2.5-7 and (api.md, 2)",
    "api.md 2, 2.5 and 8; 9 of 10 pass",
    "protocol of api.md, *Configuration*",
    'api.md, "Tunnels": as it says',
    "security.md S1 to S2; security.md, S1",
    "cases.md 1 and 2; cases.md 1",
    "Trap 1 and 2 of api.md",
    "# case 2",
    "how-to/run.md and docs/how-to/run.md and run.md",
    "https://example.com/nowhere.md and https://example.com/src/b.py",
    "src/a.py, `docs/how-to/*` and src/a.py::function",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_there_is_no_problem(tree: Path, text: str) -> None:
    assert found(tree, text) == []


BAD = {
    "a page": ("(nowhere.md)", "there is no page nowhere.md"),
    "a page in a folder": ("docs/how-to/walk.md", "there is no page docs/how-to/walk.md"),
    "a file": ("see src/b.py.", "there is no src/b.py"),
    "files by a pattern": ("`docs/how-not-to/*`", "there is no docs/how-not-to/*"),
    "a section": ("api.md 2.6", "api.md has no section 2.6"),
    "one section of several": ("(api.md 2, 3)", "api.md has no section 3"),
    "a heading": ("(api.md, *Routes*)", "api.md has no heading 'Routes'"),
    "a heading in the next line": ("# (api.md,\n    #     *Routes*)", "api.md has no heading 'Routes'"),
    "a requirement": ("# security.md S3", "there is no requirement S3"),
    "the last requirement of a list": ("/// S1, S2, S3.", "there is no requirement S3"),
    "a requirement in a test's name": ("fn s7_is_kept() {}", "there is no requirement S7"),
    "a case": ("/// Case 3.", "there is no case 3"),
    "a case of a list": ("(cases.md 1, 4)", "cases.md has no case 4"),
    "a case that a test is marked with": ("@pytest.mark.case(5)", "there is no case 5"),
    "a trap": ("trap 3", "there is no trap 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_missing_is_told(tree: Path, name: str) -> None:
    text, problem = BAD[name]
    assert found(tree, text) == [problem]


def test_sections_of_a_design_page_itself(tree: Path) -> None:
    text = API + "\nAs §2.5 and section 8 say; not §7."
    assert found(tree, text, "docs/design/api.md") == ["there is no section 7"]


LINKS = {
    "[a](how-to/run.md)": [],
    "[a](how-to/run.md#run-it-now)": [],
    "[a](design/security.md#S2)": [],
    "[a](#here)\n\n## Here": [],
    "[a](https://example.com/x#y)": [],
    "[a](how-to)": [],
    "```\n[a](nowhere)\n```": [],
    "[a](nowhere)": ["the link nowhere leads nowhere"],
    "[a](how-to/run.md#walk)": ["the link how-to/run.md#walk names an anchor that run.md doesn't have"],
    "[a](#there)": ["the link #there names an anchor that page.md doesn't have"],
}


@pytest.mark.parametrize("text", LINKS)
def test_links_and_their_anchors(tree: Path, text: str) -> None:
    assert found(tree, text, "docs/page.md") == LINKS[text]


def test_a_page_that_the_index_leaves_out(tree: Path) -> None:
    assert found(tree, "# New\n", "docs/new.md") == ["docs/README.md doesn't list docs/new.md"]
