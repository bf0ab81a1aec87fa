import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanat.errors import QanatError
from qanat.ingress.durations import parse_duration, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("1h", 3600),
        ("500ms", 0.5),
        ("0", 0),
        ("0s", 0),
        ("1.5s", 1.5),
        ("+2s", 2),
        (".5m", 30),
    ],
)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text, where="x") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1s ", "1 s", "1d", "1e3s", "infs", "nan", "999999999h", "١s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(QanatError) as caught:
        parse_duration(text, where="--grace-period", code="usage")
    assert (caught.value.code, caught.value.where) == ("usage", "--grace-period")


@pytest.mark.parametrize(
    ("seconds", "text"), [(30, "30s"), (90, "1m30s"), (3600, "1h0m0s"), (0.5, "500ms"), (0, "0s"), (1.5, "1.5s")]
)
def test_a_duration_is_shown_as_go_prints_it(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@given(st.integers(min_value=0, max_value=300_000_000))
def test_what_is_shown_reads_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(show_duration(seconds), where="x") == pytest.approx(seconds, abs=1e-9)
