"""A command line, word by word, as stock cloudflared's library reads one: `--name value`, `--name=value`, one dash or two, flags
anywhere; behind `--` are words only."""

from collections.abc import Sequence

from msgspec import Struct


class Dashed(Struct, frozen=True):
    """A flag as it was typed; `text` is what stood behind its `=`."""

    name: str
    text: str | None


class Words:
    """What is left of a command line. `only_words`: a `--` has ended the flags."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.left = list(arguments)
        self.only_words = False

    def next(self) -> str | Dashed | None:
        """The next word or flag; None at the end."""
        if not self.left:
            return None
        word = self.left.pop(0)
        if self.only_words or not word.startswith("-") or word == "-":
            return word
        if word == "--":
            self.only_words = True
            return self.next()
        name, equals, text = word.lstrip("-").partition("=")
        return Dashed(name, text if equals else None)

    def value(self, flag: Dashed, *, is_switch: bool) -> str | None:
        """A flag's text: behind its `=`, `true` of a switch, else the next word; None when there is none."""
        if flag.text is not None:
            return flag.text
        if is_switch:
            return "true"
        return self.left.pop(0) if self.left else None
