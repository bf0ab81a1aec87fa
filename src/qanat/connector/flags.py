"""Reads the flags of `tunnel run` from a command line, the environment and a `config.yml`, each as stock cloudflared does. Which
of them wins is for `sources` to say."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from qanat.connector.flag_table import FLAGS, Flag, Value
from qanat.connector.words import Words
from qanat.errors import QanatError
from qanat.ingress.durations import parse_duration

_BY_NAME: dict[str, Flag] = {name: flag for flag in FLAGS for name in (flag.name, *flag.aliases)}


class CommandLine(Struct, frozen=True):
    """What was typed: the words that are no flags, and the flags. `help` when -h or --help is among them."""

    words: tuple[str, ...]
    values: dict[str, Value]
    help: bool


def flag_named(name: str) -> Flag | None:
    """By its name or one of its aliases, without dashes."""
    return _BY_NAME.get(name)


def is_run_command(arguments: Sequence[str]) -> bool:
    """Whether `arguments` are `[flags] tunnel [flags] run …`: the one command that must not load the rest of qanat."""
    return read_command_line(arguments, tolerant=True).words[:2] == ("tunnel", "run")


def is_bare_command(arguments: Sequence[str]) -> bool:
    """Whether `arguments` are `tunnel [flags]` without a command, or flags of the connector alone, as for a quick tunnel."""
    read = read_command_line(arguments, tolerant=True)
    names = [word.lstrip("-").partition("=")[0] for word in arguments if word.startswith("-")]
    return not read.help and (
        read.words == ("tunnel",) or (not read.words and bool(names) and all(name in _BY_NAME for name in names))
    )


def read_command_line(arguments: Sequence[str], *, tolerant: bool = False) -> CommandLine:
    """Splits words and flags: `--name value`, `--name=value`, one dash or two, flags anywhere, `--` ends them.

    `tolerant` passes over bad and missing values and unknown flags, and over the word between such a one and `run`: its value.

    Raises:
        QanatError: `usage`, naming the flag and, for a slip of the pen, the one that was meant; `flag_value_invalid`.
    """
    plain: list[str] = []
    values: dict[str, Value] = {}
    wants_help = False
    words = Words(arguments)
    while (word := words.next()) is not None:
        if isinstance(word, str):
            plain.append(word)
            continue
        name = word.name
        if name in ("h", "help"):
            wants_help = True
            continue
        flag = _BY_NAME.get(name)
        if flag is None:
            if not tolerant:
                raise _unknown(name)
            if word.text is None and plain == ["tunnel"] and words.left[1:2] == ["run"]:
                words.left.pop(0)
            continue
        text = words.value(word, is_switch=flag.kind == "bool")
        if tolerant:
            continue
        if text is None:
            raise QanatError("usage", "the flag needs a value", where=f"--{name}", hint=f"write --{name} VALUE")
        add_value(values, flag, read_value(flag, text, where=f"--{name}"))
    return CommandLine(tuple(plain), values, wants_help)


def read_environment(environment: Mapping[str, str]) -> tuple[dict[str, Value], dict[str, str]]:
    """The flags that variables set, and which variable set each. Of a flag's variables the first one that is there counts; an
    empty one sets nothing.

    Raises:
        QanatError: `flag_value_invalid`, naming the variable.
    """
    values: dict[str, Value] = {}
    places: dict[str, str] = {}
    for flag in FLAGS:
        variable = _variable(flag, environment)
        if variable is None or not environment[variable]:
            continue
        places[flag.name] = f"${variable}"
        texts = environment[variable].split(",") if flag.kind == "tags" else [environment[variable]]
        for text in texts:
            add_value(
                values, flag, read_value(flag, text.strip() if flag.kind == "tags" else text, where=f"${variable}")
            )
    return values, places


def emptied(environment: Mapping[str, str]) -> set[str]:
    """The flags whose variable is there and empty: with that, stock doesn't ask the file."""
    variables = {flag.name: _variable(flag, environment) for flag in FLAGS}
    return {name for name, variable in variables.items() if variable is not None and not environment[variable]}


def _variable(flag: Flag, environment: Mapping[str, str]) -> str | None:
    return next((name for name in flag.env if name in environment), None)


def read_file_values(
    document: Mapping[str, object], *, where: str, lines: Mapping[str, int] | None = None
) -> tuple[dict[str, Value], dict[str, str]]:
    """The flags that a `config.yml` sets at its top level, and the place of each: file, line where it is known, and key.

    Raises:
        QanatError: `configuration_file_invalid`, naming the key.
    """
    values: dict[str, Value] = {}
    places: dict[str, str] = {}
    for key, value in document.items():
        flag = _BY_NAME.get(key)
        if flag is None or flag.command_line_only or value is None:
            continue
        line = (lines or {}).get(key)
        place = f"{where}:{line}: {key}" if line else f"{where}: {key}"
        places[flag.name] = place
        takes_list = flag.kind in ("texts", "tags")
        texts = value if takes_list and isinstance(value, list) else [value]
        if not texts or any(isinstance(text, (dict, list)) for text in texts):
            hint = "write one value, or a list" if takes_list else "write one value"
            raise QanatError("configuration_file_invalid", "the value has the wrong form", where=place, hint=hint)
        for text in texts:
            shown = str(text).lower() if isinstance(text, bool) else str(text)
            add_value(values, flag, read_value(flag, shown, where=place, code="configuration_file_invalid"))
    return values, places


FILE_KEYS: frozenset[str] = frozenset(name for name, flag in _BY_NAME.items() if not flag.command_line_only) | {
    "tunnel",
    "forwarders",
}
"""Top-level keys of a `config.yml` besides the configuration document's own."""


def read_value(flag: Flag, text: str, *, where: str, code: str = "flag_value_invalid") -> Value:
    """The value of a flag from its text, wherever it comes from.

    Raises:
        QanatError: `code`, at `where`.
    """
    if flag.kind in ("text", "path"):
        return text
    if flag.kind == "tags":
        return (text,)
    if flag.kind == "texts":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if flag.kind == "duration":
        return parse_duration(text, where=where, code=code)
    if flag.kind == "bool":
        word = text.lower()
        if word in ("1", "t", "true"):
            return True
        if word in ("0", "f", "false"):
            return False
        raise QanatError(code, f"'{text[:40]}' is not a valid boolean", where=where, hint="write true or false")
    digits = text[1:] if text.startswith(("-", "+")) else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise QanatError(code, f"'{text[:40]}' is not a valid whole number", where=where, hint="write one such as 4")
    return int(text)


def add_value(values: dict[str, Value], flag: Flag, value: Value) -> None:
    """Beside the values that a flag has already where it may have several, else in place of the one."""
    earlier = values.get(flag.name)
    values[flag.name] = earlier + value if isinstance(earlier, tuple) and isinstance(value, tuple) else value


def _unknown(name: str) -> QanatError:
    from difflib import get_close_matches  # only here: most starts never need it

    close = get_close_matches(name, _BY_NAME, n=1, cutoff=0.7)
    hint = f"did you mean --{close[0]}?" if close else "`qanat tunnel run --help` lists them"
    return QanatError("usage", "there is no such flag", where=f"--{name[:40]}", hint=hint)


def flag_form(name: str) -> str:
    """As one types it: `-p`, `--protocol`."""
    return f"-{name}" if len(name) == 1 else f"--{name}"


def help_text() -> str:
    """The text of `qanat tunnel run --help`."""
    lines = [
        "Usage: qanat tunnel [flags] run [flags] [TUNNEL]",
        "",
        "Connects this host's services to an edge. Flags, variables and config.yml keys are those of cloudflared;",
        "the command line wins over variables, and these over the file.",
        "",
    ]
    for flag in FLAGS:
        if flag.effect != "works":
            continue
        name = ", ".join(flag_form(name) for name in (flag.name, *flag.aliases))
        variables = f"  [{', '.join(f'${variable}' for variable in flag.env)}]" if flag.env else ""
        lines.append(f"  {name:<32}{flag.help}{variables}")
    quiet = ", ".join(flag.name for flag in FLAGS if flag.effect != "works")
    lines += ["", f"Accepted without effect: {quiet}."]
    return "\n".join(lines)
