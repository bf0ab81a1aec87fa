"""What can't simply be undone is asked for once more: what will happen stands there, and a name has to be typed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starlette.responses import Response

from qanat.dashboard.ask import Ask
from qanat.errors import QanatError


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`title` as a question without its mark; `name`: what is typed; `verb`: on the button; `back`: for who leaves it; `keeps`:
    fields that are sent along."""

    title: str
    consequences: Sequence[str]
    name: str
    verb: str
    back: str
    keeps: Mapping[str, str] = field(default_factory=dict)


def confirmed(ask: Ask, asked: Asked) -> Response | None:
    """None: the name was typed. Else the page that asks for it."""
    if not ask.form.get("sure"):
        return ask.show("confirm.html", asked=asked, error=None)
    if ask.form.get("name", "").strip() == asked.name:
        return None
    wrong = QanatError("name_differs", "that is not the name", where="name", hint=f"type {asked.name}")
    return ask.show("confirm.html", status=400, asked=asked, error=wrong)
