"""Tests are found by the case, requirement or trap that they are about."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = "tests/process/test_cases_ingress.py"


def selected(*arguments: str) -> set[str]:
    """The names of the tests of one file that pytest would run."""
    argv = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", *arguments, FILE]
    told = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return {line.partition("::")[2].partition("[")[0] for line in told.splitlines() if line.startswith(FILE)}


def test_a_case_and_a_requirement_are_the_tests_of_the_one_and_those_of_the_other() -> None:
    of_case_15 = {"test_first_rule_wins", "test_edge_prefers_exact_then_the_longer_wildcard"}
    of_s15 = {"test_path_is_unanchored_and_matched_decoded"}
    assert selected("--case", "15", "--requirement", "s15") == of_case_15 | of_s15
