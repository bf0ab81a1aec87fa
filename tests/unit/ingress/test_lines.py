import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanat.errors import QanatError
from qanat.ingress.documents import read_yaml_with_lines
from qanat.ingress.lines import line_of

TEXT = b"""\
tunnel: x
originRequest: {connectTimeout: 1s}

ingress:
- hostname: a.test
  service: http://h/x
- service: >-
    http_status:404
  originRequest:
    caPool: [1,
     2]
"""


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("tunnel", 1),
        ("originRequest.connectTimeout", 2),
        ("ingress", 4),
        ("ingress[0]", 5),
        ("ingress[0].service", 6),
        ("ingress[0].path", 5),
        ("ingress[1].originRequest.caPool", 10),
        ("ingress[1].originRequest.caPool[1]", 11),
        ("ingress[7].service", 4),
        ("nothing", None),
        ("", None),
    ],
)
def test_a_place_has_the_line_of_its_key_or_of_the_closest_one_around_it(where: str, line: int | None) -> None:
    assert line_of(TEXT, where) == line


def test_keys_of_the_top_level_have_their_lines() -> None:
    assert read_yaml_with_lines(TEXT)[1] == {"tunnel": 1, "originRequest": 2, "ingress": 4}
    assert read_yaml_with_lines(b"") == ({}, {})


@given(st.binary(max_size=60), st.text("ab[]0.1", max_size=10))
def test_any_text_and_place_are_looked_at_without_a_fault(text: bytes, where: str) -> None:
    try:
        read_yaml_with_lines(text)
    except QanatError:
        return
    line_of(text, where)
