import copy
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qanat.ingress.differences import Difference, _blocks, differences

json_values = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=12,
)
documents = st.dictionaries(st.text("abc", min_size=1, max_size=2), json_values, max_size=4)


@given(documents)
def test_a_document_does_not_differ_from_itself(document: dict[str, Any]) -> None:
    assert differences(document, copy.deepcopy(document)) == []


@given(documents, documents)
def test_what_differs_is_told_and_both_ways_alike(before: dict[str, Any], after: dict[str, Any]) -> None:
    found, back = differences(before, after), differences(after, before)
    assert bool(found) == bool(back)
    if not found:
        assert repr(sorted(before)) == repr(sorted(after))
        assert before == after


def test_numbers_and_booleans_are_not_each_other() -> None:
    assert differences({"a": 1}, {"a": True}) == [Difference("a", 1, True)]
    assert differences({"a": 1}, {"a": 1.0}) == [Difference("a", 1, 1.0)]


def test_a_rule_put_in_between_is_one_difference() -> None:
    rules = [{"hostname": f"{name}.test"} for name in "abcdef"]
    changed = [*rules[:2], {"hostname": "new.test"}, *rules[2:]]
    assert differences({"ingress": rules}, {"ingress": changed}) == [
        Difference("ingress[2]", None, {"hostname": "new.test"})
    ]
    assert differences({"ingress": changed}, {"ingress": rules}) == [
        Difference("ingress[2]", {"hostname": "new.test"}, None)
    ]


def test_a_changed_rule_is_told_by_its_field() -> None:
    before = {"ingress": [{"hostname": "a", "service": "x"}, {"service": "y"}]}
    after = {"ingress": [{"hostname": "a", "service": "z"}, {"service": "y"}]}
    assert differences(before, after) == [Difference("ingress[0].service", "x", "z")]


def test_the_order_of_keys_does_not_matter() -> None:
    assert differences({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}) == []


def test_long_lists_and_deep_documents_end() -> None:
    many: list[Any] = [1, 2] * 5000
    assert differences({"a": many}, {"a": [*many[:-1], 3]}) == [Difference("a[9999]", 2, 3)]
    deep: Any = 1
    other: Any = 2
    for _ in range(480):
        deep, other = {"a": deep}, {"a": other}
    assert len(differences(deep, other)) == 1


def test_lists_made_to_take_long_are_compared_at_once() -> None:
    """Two 1 MiB configurations in which hardly an item stands once."""
    before: list[Any] = [{"x": number % 7} for number in range(40_000)]
    after: list[Any] = [{"x": number % 5} for number in range(40_000)]
    turned = [{"x": number} for number in range(20_000)]
    started = time.thread_time()
    assert differences({"a": before}, {"a": after})
    assert differences({"a": turned}, {"a": turned[::-1]})
    assert time.thread_time() - started < 8.0


@given(st.lists(st.integers(0, 6), max_size=12), st.lists(st.integers(0, 6), max_size=12))
def test_the_blocks_of_two_lists_are_the_lists(before: list[int], after: list[int]) -> None:
    blocks = _blocks([str(each) for each in before], [str(each) for each in after])
    assert [each for _, old, old_end, _, _ in blocks for each in before[old:old_end]] == before
    assert [each for *_, new, new_end in blocks for each in after[new:new_end]] == after
    for what, old, old_end, new, new_end in blocks:
        assert what != "equal" or before[old:old_end] == after[new:new_end]
