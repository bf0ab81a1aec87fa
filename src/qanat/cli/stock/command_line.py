"""A stock command line: `[flags] command [flags] arguments`, one dash or two, values of variables where no flag is given."""

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal, cast

from msgspec import Struct

from qanat.connector.flag_table import Value
from qanat.connector.flags import add_value, flag_named, read_value
from qanat.connector.words import Words
from qanat.errors import QanatError

Kind = Literal["text", "texts", "bool", "count"]

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_UUID = re.compile(
    r"(urn:uuid:)?(\{)?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?", re.I
)


class UsageError(QanatError):
    """A command line that is none: exit status 255. What a command itself finds wrong ends with 1, as in stock."""

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__("usage", message, where=where, hint=hint)


class Flag(Struct, frozen=True):
    """One flag of a command; `ours`: a stock cloudflared doesn't have it."""

    name: str
    kind: Kind
    help: str
    aliases: tuple[str, ...] = ()
    env: str = ""
    ours: bool = False
    hidden: bool = False


class Command(Struct, frozen=True):
    """One command. `place` is `module:function` under `qanat.cli.stock`; `usage` its arguments. `raw`: everything behind it is
    another program's. `aliases`: last words that mean the same."""

    path: tuple[str, ...]
    about: str
    usage: str
    place: str
    flags: tuple[Flag, ...] = ()
    raw: bool = False
    aliases: tuple[str, ...] = ()
    hidden: bool = False

    @property
    def name(self) -> str:
        """`tunnel route dns`."""
        return " ".join(self.path)


class Invocation(Struct, frozen=True):
    """A command with what was typed. `general`: the flags of the connector, which stand in front of a command."""

    command: Command
    words: tuple[str, ...]
    given: Mapping[str, str | bool | tuple[str, ...]]
    general: Mapping[str, Value]
    called: str
    help: bool = False

    def text(self, name: str) -> str:
        """By flag, else by variable; "" without."""
        value = self._value(name)
        return value if isinstance(value, str) else ""

    def yes(self, name: str) -> bool:
        """Whether a switch is on."""
        return self._value(name) is True

    def texts(self, name: str) -> tuple[str, ...]:
        """Every value of a flag that may be repeated."""
        value = self._value(name)
        return value if isinstance(value, tuple) else ()

    def is_set(self, name: str) -> bool:
        """Whether anybody said something, were it the default."""
        return self._value(name) is not None

    def place(self, name: str) -> str:
        """What set it, as its reader can mend it: `--sort-by` or `$TUNNEL_LIST_SORT_BY`."""
        return f"--{name}" if name in self.given else f"${self._flag(name).env}"

    def usage(self, message: str) -> UsageError:
        """A wrong command line, said as stock says it."""
        return UsageError(f"{message}\nSee '{self.called} {self.command.name} --help'.")

    def _flag(self, name: str) -> Flag:
        return next(flag for flag in self.command.flags if flag.name == name)

    def _value(self, name: str) -> str | bool | tuple[str, ...] | None:
        if name in self.given:
            return self.given[name]
        flag = self._flag(name)
        text = os.environ.get(flag.env, "") if flag.env else ""
        return _read(flag, text, where=f"${flag.env}") if text else None


def find(arguments: Sequence[str], commands: Mapping[tuple[str, ...], Command], *, called: str) -> Invocation | None:
    """The stock command that is meant, and its invocation; None when it is none.

    Raises:
        QanatError: `usage` or `flag_value_invalid`, naming the flag.
    """
    path: tuple[str, ...] = ()
    general: dict[str, Value] = {}
    words = Words(arguments)
    while word := words.next():
        if words.only_words:
            return None
        if not isinstance(word, str):
            flag = flag_named(word.name)
            if flag is None:
                return None
            text = words.value(word, is_switch=flag.kind == "bool") or ""
            add_value(general, flag, read_value(flag, text, where=f"--{word.name}"))
            continue
        path = (*path, word)
        command = commands.get(path)
        if command is not None:
            return _read_rest(command, words, general, called)
        if not any(known[: len(path)] == path for known in commands):
            return None
    return None


def _read_rest(command: Command, words: Words, general: dict[str, Value], called: str) -> Invocation:
    if command.raw:
        rest = words.left
        return Invocation(command, tuple(rest), {}, general, called, help=rest[:1] in (["--help"], ["-h"]))
    by_name = {name: flag for flag in command.flags for name in (flag.name, *flag.aliases)}
    given: dict[str, str | bool | tuple[str, ...]] = {}
    plain: list[str] = []
    while (word := words.next()) is not None:
        if isinstance(word, str):
            plain.append(word)
            continue
        name = word.name
        if name in ("h", "help"):
            return Invocation(command, tuple(plain), given, general, called, help=True)
        flag = by_name.get(name)
        known = flag_named(name) if flag is None else None
        kind = flag.kind if flag else known.kind if known else None
        if kind is None:
            raise _unknown(command, name, by_name)
        text = words.value(word, is_switch=kind == "bool")
        if text is None:
            raise QanatError(
                "usage", f"flag needs an argument: -{name}", where=f"--{name}", hint=f"write --{name} VALUE"
            )
        if known is not None:
            add_value(general, known, read_value(known, text, where=f"--{name}"))
        elif flag is not None:
            value = _read(flag, text, where=f"--{name}")
            before = given.get(flag.name)
            given[flag.name] = (*before, *value) if isinstance(before, tuple) and isinstance(value, tuple) else value
    return Invocation(command, tuple(plain), given, general, called)


def _read(flag: Flag, text: str, *, where: str) -> str | bool | tuple[str, ...]:
    match flag.kind:
        case "bool":
            if text not in _TRUE and text not in _FALSE:
                raise QanatError(
                    "flag_value_invalid", f"'{text[:40]}' is not a boolean", where=where, hint="use true or false"
                )
            return text in _TRUE
        case "texts":
            return (text,)
        case "count":
            if not re.fullmatch(r"[0-9]{1,18}", text):
                raise QanatError(
                    "flag_value_invalid", f"'{text[:40]}' is not a number", where=where, hint="write digits"
                )
            return text
        case _:
            return text


def _unknown(command: Command, name: str, known: Mapping[str, Flag]) -> UsageError:
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean --{close[0]}?" if close else f"see 'qanat {command.name} --help'"
    return UsageError(f"flag provided but not defined: -{name[:80]}", where=command.name, hint=hint)


def parse_uuid(text: str) -> str | None:
    """An id in any form that stock takes, in its usual one; None when it is none."""
    found = _UUID.fullmatch(text)
    if found is None or bool(found[2]) != text.endswith("}"):
        return None
    return "-".join(cast(Sequence[str], found.groups()[2:])).lower()


def no_uuid(text: str) -> str:
    """What is wrong with it, in stock's words."""
    return "invalid UUID format" if len(text) in (32, 36, 38, 45) else f"invalid UUID length: {len(text)}"


def help_text(command: Command) -> str:
    """Of one command."""
    shown = [flag for flag in command.flags if not flag.hidden]
    lines = [f"Usage: qanat {command.name} {'[flags] ' if shown else ''}{command.usage}".rstrip(), "", command.about]
    for title, ours in (("Flags", False), ("Which control plane (not a stock cloudflared's)", True)):
        group = [flag for flag in shown if flag.ours is ours]
        if not group:
            continue
        lines += ["", f"{title}:"]
        for flag in group:
            names = ", ".join(f"--{name}" if len(name) > 1 else f"-{name}" for name in (flag.name, *flag.aliases))
            value = "" if flag.kind == "bool" else " VALUE"
            variable = f"  [${flag.env}]" if flag.env else ""
            lines.append(f"  {names + value:<40} {flag.help}{variable}")
    return "\n".join(lines)
