"""Requirements name their tests, and cases are named by theirs."""

from scripts import check_requirements


def test_a_case_without_a_test_is_told() -> None:
    page = "### Case 1: one\n\ntext\n\n### Case 2: two\n"
    assert check_requirements.untested(page, {1, 2, 7}) == []
    assert check_requirements.untested(page, {1}) == ["case 2: no test is marked with it"]


def test_every_case_that_a_mark_names_counts() -> None:
    assert check_requirements.MARK.findall("@pytest.mark.case(9, 10)\n@pytest.mark.case(54)") == ["9, 10", "54"]
    assert {1, 9, 10, 81} <= check_requirements.marked_cases()
