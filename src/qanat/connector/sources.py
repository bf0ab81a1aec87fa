"""Where a connector's settings come from: command line, environment and `config.yml`, laid over one another."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from qanat.connector import flags
from qanat.connector.flag_table import FLAGS, Flag, Value
from qanat.connector.flags import CommandLine
from qanat.connector.way_out import VARIABLES
from qanat.errors import QanatError
from qanat.ingress.durations import show_duration
from qanat.ingress.lines import line_of

SEARCH_PATHS = (
    "~/.cloudflared",
    "~/.cloudflare-warp",
    "~/cloudflare-warp",
    "/etc/cloudflared",
    "/usr/local/etc/cloudflared",
)
"""Where stock cloudflared looks for `config.yml` and `config.yaml` when --config isn't given, and for credentials."""

LARGEST_FILE = 1 << 20
SECRET = "*****"

V = TypeVar("V", str, int, bool, float, tuple[str, ...])


class Sources(Struct, frozen=True):
    """The flags of all three sources, and the configuration file. `places`: what set each flag, as its reader can mend it:
    `--url`, `$TUNNEL_URL` or `config.yml:3: url`. `text`: the file as it was read. `quick_hostname`: of a quick tunnel, which has
    its name from the edge. `ways_out`: the variables of HTTP proxies."""

    values: dict[str, Value]
    places: dict[str, str]
    document: dict[str, Any]
    path: str | None
    text: bytes
    tunnel: str | None
    environment: dict[str, str]
    home: str
    quick_hostname: str = ""
    ways_out: dict[str, str] = {}

    def get(self, name: str, default: V) -> V:
        return cast(V, self.values.get(name, default))

    def place(self, name: str) -> str:
        return self.places.get(name, f"--{name}")

    def file(self, name: str) -> str | None:
        """The path that a flag names; None when it is not set, or empty."""
        path = self.get(name, "")
        return expanded(path, self.home) if path else None

    def in_file(self, error: QanatError) -> QanatError:
        """What is wrong with the file's own document, with file and line."""
        line = line_of(self.text, error.where or "")
        place = f"{self.path}:{line}" if line else self.path or ""
        where = f"{place}: {error.where}" if error.where else place
        return QanatError(error.code, error.message, where=where, hint=error.hint)

    def bad(self, name: str, message: str, hint: str | None = None) -> QanatError:
        """A value that the flag can't have."""
        return QanatError("flag_value_invalid", message, where=self.place(name), hint=hint)


class OwnTunnel(Struct, frozen=True):
    """The tunnel that a command made for its own connector: the flags that name it, and the hostname of a quick tunnel."""

    values: dict[str, Value]
    quick_hostname: str = ""

    def over(self, read: Sources) -> Sources:
        """The settings as they are for this tunnel, and for no other that they may name."""
        kept = {name: value for name, value in read.values.items() if name not in _NAMES_A_TUNNEL}
        document = {key: value for key, value in read.document.items() if key != "tunnel"}
        return replace(
            read,
            values={**kept, **self.values},
            document=document,
            tunnel=None,
            quick_hostname=self.quick_hostname,
        )


_NAMES_A_TUNNEL = (
    "token",
    "token-file",
    "credentials-file",
    "credentials-contents",
    "hostname",
    "lb-pool",
    "overwrite-dns",
)


def gather(command_line: CommandLine, environment: Mapping[str, str], *, path: str | None = None) -> Sources:
    """Reads the three sources. `path`: the file, where it was found before.

    Raises:
        QanatError: `usage`, `flag_value_invalid` or `configuration_file_invalid`.
    """
    words = command_line.words[2:]
    if len(words) > 1:
        message = f"it accepts only one argument, the ID or name of the tunnel to run, not {len(words)}"
        raise QanatError("usage", message, where="tunnel run", hint="leave the others out")
    home = environment.get("HOME", "/nonexistent")
    path, text = _read_file(path or str(command_line.values.get("config", "")) or None, home)
    return lay_over(path, text, command_line, environment)


def lay_over(path: str | None, text: bytes, command_line: CommandLine, environment: Mapping[str, str]) -> Sources:
    """The command line over the environment, and that over the text of a file, if there is a `path`.

    Raises:
        QanatError: as `gather`.
    """
    document, lines = _decode(path, text) if path else ({}, {})
    values, places = flags.read_file_values(document, where=path, lines=lines) if path else ({}, {})
    variables, variable_places = flags.read_environment(environment)
    for name in flags.emptied(environment):
        values.pop(name, None)
    values |= variables | command_line.values
    places |= variable_places | {name: f"--{name}" for name in command_line.values}
    words = command_line.words[2:]
    home = environment.get("HOME", "/nonexistent")
    told = {name: text for name, text in sorted(environment.items()) if "TUNNEL_" in name}
    ways_out = {name: environment[name] for name in VARIABLES if name in environment}
    return Sources(values, places, document, path, text, words[0] if words else None, told, home, ways_out=ways_out)


def find_file(home: str) -> str | None:
    """The `config.yml` of whoever names none."""
    places = [f"{expanded(folder, home)}/config{end}" for folder in SEARCH_PATHS for end in (".yml", ".yaml")]
    return next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113 - pathlib costs more


def expanded(path: str, home: str) -> str:
    """`path` with the user's home for a leading `~`, which shells leave alone within `--flag=~/…`, files and variables."""
    return f"{home}{path[1:]}" if path == "~" or path.startswith("~/") else path


def shown_settings(sources: Sources) -> dict[str, str]:
    """Every flag that is set, as the `Settings:` line shows it: secrets as `*****`."""
    return {flag.name: _shown(flag, sources.values[flag.name]) for flag in FLAGS if flag.name in sources.values}


def shown_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The TUNNEL_ variables with secrets hidden: those of secret flags, and whatever is named like one."""
    secret = {variable for flag in FLAGS if flag.secret for variable in flag.env}
    return {
        name: SECRET if name in secret or any(word in name for word in ("TOKEN", "SECRET", "CRED", "KEY")) else value
        for name, value in environment.items()
    }


def _shown(flag: Flag, value: Value) -> str:
    if flag.secret:
        return SECRET
    if isinstance(value, tuple):
        return f"[{' '.join(value)}]"
    if flag.kind == "duration":
        return show_duration(float(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def configuration_flags(sources: Sources) -> dict[str, str]:
    """What the edge is told of a locally managed connector's flags: those that stock tells, none of them a secret."""
    return {name: text for name, text in shown_settings(sources).items() if name in _TOLD and text}


_TOLD = (
    *("autoupdate-freq", "no-autoupdate", "retries", "protocol", "loglevel", "transport-loglevel", "origincert"),
    *("metrics", "metrics-update-freq", "edge-ip-version", "edge-bind-address", "max-active-flows"),
)


def _read_file(path: str | None, home: str) -> tuple[str | None, bytes]:
    if path is None:
        path = find_file(home)
        if path is None:
            return None, b""
    path = expanded(path, home)
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise _bad_file(path, error.strerror or "it can't be read") from None
    if len(content) > LARGEST_FILE:
        raise _bad_file(path, "the file is larger than 1 MiB")
    return path, content


def _decode(path: str, text: bytes) -> tuple[dict[str, Any], dict[str, int]]:
    from qanat.ingress.documents import read_yaml_with_lines  # a management command has no file to read, mostly

    try:
        document, lines = read_yaml_with_lines(text)
    except QanatError as error:
        message = error.message.replace("the document", "this", 1)
        raise _bad_file(path, message, hint=error.hint) from None
    if not isinstance(document, dict):
        raise _bad_file(path, "the file holds no keys")
    return {str(key): value for key, value in document.items()}, lines


def _bad_file(path: str, message: str, hint: str | None = None) -> QanatError:
    return QanatError("configuration_file_invalid", message, where=path, hint=hint)
