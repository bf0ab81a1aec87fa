import ast
from pathlib import Path

import pytest

import qanat.errors
from qanat.errors import CODES, QanatError, render

SOURCE = Path(qanat.errors.__file__).parent
_TAKES_A_CODE = {"QanatError"}


def _used_codes() -> dict[str, str]:
    """Every literal code that the sources raise, and where."""
    used = {}
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _TAKES_A_CODE):
                continue
            if node.args and isinstance(node.args[0], ast.Constant):
                used[str(node.args[0].value)] = f"{file.relative_to(SOURCE)}:{node.lineno}"
    return used


def test_every_code_that_is_raised_is_registered() -> None:
    used = _used_codes()
    assert len(used) > 20
    assert {code: place for code, place in used.items() if code not in CODES} == {}


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_is_a_word_with_a_meaning(code: str) -> None:
    assert code.isidentifier()
    assert code == code.lower()
    assert CODES[code]
    assert not CODES[code].endswith(".")


def test_an_error_says_where_what_and_how_to_mend_it() -> None:
    error = QanatError("usage", "there is no such flag", where="--tokn", hint="did you mean --token?")
    assert str(error) == "--tokn: there is no such flag (did you mean --token?)"
    assert render(error) == "error[usage]: --tokn: there is no such flag\n  fix: did you mean --token?"
    assert error.meaning == CODES["usage"]
    assert error.as_dict() == {
        "code": "usage",
        "message": "there is no such flag",
        "where": "--tokn",
        "hint": "did you mean --token?",
    }


def test_an_error_without_place_and_fix_is_its_message() -> None:
    error = QanatError("usage", "nothing to do")
    assert (str(error), render(error)) == ("nothing to do", "error[usage]: nothing to do")
