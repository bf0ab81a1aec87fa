"""scripts/check_modules.py, on small crates."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "check_modules.py"


def check(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """What the script says of a crate with these files; `__` stands for `/`."""
    for name, text in files.items():
        path = folder / "src" / f"{name.replace('__', '/')}.rs"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False)


def test_imports_that_lead_one_way_pass(tmp_path: Path) -> None:
    said = check(
        tmp_path,
        lib="mod a;\nmod b;\npub use a::A;",
        a="use crate::b::B;\npub struct A(B);",
        b="pub struct B;",
    )
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("use crate::b::B;", "use crate::a::A;"),
        ("use crate::{b::{self}};", "use super::a::{A as First};"),
        ("fn f() { crate::b::g(); }", "fn g() { super::a::f() }"),
        ("use crate::b::*;", "use crate::A;"),
    ],
)
def test_a_circle_is_named_with_what_ties_it(tmp_path: Path, a: str, b: str) -> None:
    said = check(tmp_path, lib="mod a;\nmod b;\npub use a::A;", a=f"{a}\npub struct A;", b=f"{b}\npub struct B;")
    assert said.returncode == 1
    assert "a circle of imports" in said.stdout
    assert "a.rs takes" in said.stdout and "b.rs takes" in said.stdout


def test_a_folder_and_its_file_are_two_modules(tmp_path: Path) -> None:
    child = "use super::Call;\npub struct Http;"
    said = check(
        tmp_path, lib="mod service;", service__mod="mod http;\nuse http::Http;\npub struct Call;", service__http=child
    )
    assert said.returncode == 1
    said = check(tmp_path, service__mod="mod http;\nfn f() { http::f() }\npub struct Call;")
    assert said.returncode == 1


def test_a_re_export_stands_for_the_file_where_the_thing_is(tmp_path: Path) -> None:
    said = check(
        tmp_path,
        lib="mod service;",
        service__mod="mod call;\nmod http;\npub use call::Call;\npub use http::Http;",
        service__call="pub struct Call;",
        service__http="use super::Call;\npub struct Http;",
    )
    assert said.returncode == 0, said.stdout


def test_tests_comments_and_strings_do_not_count(tmp_path: Path) -> None:
    b = """
    // use crate::a::A;
    const TEXT: &str = "crate::a::A";
    #[cfg(test)]
    mod tests { use crate::a::A; fn f() { { crate::a::f(); } } }
    #[cfg(test)]
    use crate::a::A;
    pub struct B<'a>(&'a str);
    """
    lib = "mod a;\nmod b;\n#[cfg(test)]\nmod tests;"
    tests = "use crate::{a::A, b::B};"
    assert check(tmp_path, lib=lib, a="use crate::b::B;\npub struct A;", b=b, tests=tests).returncode == 0


def test_a_crate_that_is_not_there_fails(tmp_path: Path) -> None:
    said = check(tmp_path / "none")
    assert said.returncode == 1
    assert "lib.rs" in said.stdout


def test_a_file_of_tests_that_no_binary_has_is_named(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "all.rs").write_text("mod tls;\nmod support;\n")
    (tests / "tls.rs").touch()
    assert check(tmp_path, lib="").returncode == 0
    (tests / "relay.rs").touch()
    said = check(tmp_path, lib="")
    assert said.returncode == 1
    assert "relay.rs: never runs" in said.stdout
