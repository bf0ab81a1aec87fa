"""What a plan may say."""

from typing import Any

import pytest

from qanat.cutover.plan import GRADUAL, Check, Plan, Rule, checked, read, representative, written
from qanat.errors import QanatError

SOURCE, TARGET = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415", "5d8f9b0a-7a3e-4f8d-a7c8-2b1f6e0c9d34"


def planned(**more: Any) -> Plan:
    return Plan(**{"from_tunnel": SOURCE, "to_tunnel": TARGET, "hostnames": ("App.example.test",), **more})


def test_names_come_in_their_one_form_and_a_plan_survives_being_kept() -> None:
    plan = checked(planned(steps=GRADUAL, checks={"APP.example.test": Check(path="/up", status=200)}))
    assert plan.hostnames == ("app.example.test",)
    assert plan.check_of("app.example.test").path == "/up"
    assert read(written(plan)) == plan


def test_onto_itself_is_refused() -> None:
    with pytest.raises(QanatError) as refused:
        checked(planned(to_tunnel=SOURCE.upper()))
    assert refused.value.code == "cutover_onto_itself"


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("hostnames", {"hostnames": ()}),
        ("hostnames", {"hostnames": tuple(f"h{number}.test" for number in range(101))}),
        ("steps", {"steps": ()}),
        ("steps", {"steps": (5, 1, 100)}),
        ("steps", {"steps": (1, 50)}),
        ("steps", {"steps": (0, 100)}),
        ("hold", {"hold": True, "steps": GRADUAL}),
        ("hold_s", {"hold_s": 31.0}),
        ("checks", {"checks": {"other.test": Check()}}),
        ("check.path", {"check": Check(path="up")}),
        ("check.path", {"check": Check(path="/a b")}),
        ("check.status", {"check": Check(status=20)}),
        ("check.headers", {"check": Check(headers={"a b": "c"})}),
        ("rule.longest_s", {"rule": Rule(step_s=10, longest_s=5)}),
        ("rule.worse_share", {"rule": Rule(worse_share=1.0)}),
        ("rule.step_s", {"rule": Rule(step_s=float("nan"))}),
        ("least_nodes", {"least_nodes": 0}),
    ],
)
def test_what_a_plan_cannot_say_is_told_with_its_field(field: str, more: dict[str, Any]) -> None:
    with pytest.raises(QanatError) as refused:
        checked(planned(**more))
    assert (refused.value.code, refused.value.where) == ("cutover_bad_plan", field)


def test_a_wildcard_is_asked_by_a_name_that_it_answers() -> None:
    assert representative("*.example.test") == "qanat-probe.example.test"
    assert representative("app.example.test") == "app.example.test"
