"""What a service is to run, read and checked before anything is written: a token or a configuration file, and flags."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from qanat.connector import flags
from qanat.connector.flag_table import FLAGS, Value
from qanat.connector.options import Options, read_options
from qanat.connector.sources import Sources, gather
from qanat.connector.token import LARGEST_FILE
from qanat.errors import QanatError
from qanat.ingress.durations import show_duration

FOLDER = "/etc/qanat"
TOKEN = f"{FOLDER}/token"
CONFIGURATION = f"{FOLDER}/config.yml"
CREDENTIALS = f"{FOLDER}/credentials.json"
AUTHORITY = f"{FOLDER}/ca.pem"
LOGS = "/var/log/qanat"
RUN = "/run/qanat"

_KEPT_IN_FILES = ("token", "token-file", "credentials-file", "credentials-contents", "config", "cacert", "origincert")
_WRITES = ("logfile", "log-directory", "pidfile", "trace-output")


class Wanted(Struct, frozen=True):
    """A service: how qanat is started here, the secret, and what goes into files and flags beside it. `told`: what its reader
    may want to know."""

    program: tuple[str, ...]
    options: Options
    token: str | None = None
    configuration: bytes | None = None
    credentials: bytes | None = None
    authority: bytes | None = None
    flags: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    writes_logs: bool = False

    def __repr__(self) -> str:
        return f"Wanted(program={self.program!r}, tunnel={self.options.credentials.tunnel_id!r}, flags={self.flags!r})"

    @property
    def tunnel_id(self) -> str:
        return self.options.credentials.tunnel_id

    @property
    def secret_file(self) -> str:
        """The one file with a secret in it: of root alone, or of the service's user."""
        return TOKEN if self.token is not None else CREDENTIALS

    @property
    def secret(self) -> bytes:
        return self.token.encode() if self.token is not None else self.credentials or b""

    @property
    def grace_period_s(self) -> float:
        return self.options.grace_period_s

    def arguments(self, secret_file: str) -> list[str]:
        """qanat's arguments, as stock's service has them; `secret_file` is where the service sees its secret."""
        if self.token is not None:
            run = ["tunnel", "run", "--token-file", secret_file]
        else:
            run = ["--config", CONFIGURATION, "tunnel", "run", "--credentials-file", secret_file]
        authority = ["--cacert", AUTHORITY] if self.authority is not None else []
        return ["--no-autoupdate", *run, *authority, *self.flags]

    def files(self) -> dict[str, bytes]:
        """What is no secret and every service manager needs."""
        pairs = ((CONFIGURATION, self.configuration), (AUTHORITY, self.authority))
        return {path: content for path, content in pairs if content is not None}


def read_wanted(arguments: Sequence[str], *, program: tuple[str, ...], home: str, given: str | None = None) -> Wanted:
    """A service from `[TOKEN] [flags of tunnel run]`. `-` stands for a token that was `given` on standard input. Without any
    token the configuration file is taken that stock looks for, or --config names.

    Raises:
        QanatError: the first thing that is wrong, as `tunnel run` would tell it; `service_secret_in_flags`.
    """
    command_line = flags.read_command_line(["tunnel", "run", *arguments])
    words, values = command_line.words[2:], dict(command_line.values)
    if len(words) > 1:
        raise QanatError("usage", f"one token at most, not {len(words)} words", where="service install")
    token = _token(words, values, given)
    environment = {"HOME": home if token is None else "/nonexistent"}
    kept = {name: value for name, value in values.items() if name not in ("token-file", "token")}
    if token is not None:
        kept["token"] = token
    sources = gather(flags.CommandLine(("tunnel", "run"), kept, False), environment)
    if token is None and sources.path is None:
        raise QanatError(
            "token_missing",
            "there is no token, and no configuration file where cloudflared has one",
            where="service install",
            hint="give TOKEN, `-` for standard input, --token-file FILE or --config FILE",
        )
    if token is None and not (sources.tunnel or sources.document.get("tunnel")):
        raise QanatError(
            "configuration_file_invalid",
            "it doesn't name a tunnel, and no token is given",
            where=sources.path,
            hint="add `tunnel: UUID` and `credentials-file: FILE`, or give a token",
        )
    _refuse_secrets(sources)
    options = read_options(sources)
    writes_logs, unwritable = _check_paths(sources)
    return Wanted(
        program=program,
        options=options,
        token=token.strip() if token is not None else None,
        configuration=Path(sources.path).read_bytes() if token is None and sources.path else None,
        credentials=_credentials(options) if token is None else None,
        authority=options.edge_ca_pem,
        flags=_shown(command_line.values),
        told=(*options.warnings, *unwritable),
        writes_logs=writes_logs,
    )


def program_of(root: Path) -> tuple[str, ...]:
    """How the service is to start qanat: the command that is installed with this interpreter, else by its module. For another
    root, as the package installs it."""
    if root != Path("/"):
        return ("/usr/bin/qanat",)
    installed = Path(sys.prefix) / "bin" / "qanat"
    if not installed.is_file():
        return (sys.executable, "-m", "qanat")
    packaged = Path("/usr/bin/qanat")
    if packaged.is_file() and packaged.resolve() == installed.resolve():
        return (str(packaged),)
    return (str(installed),)


def _refuse_secrets(sources: Sources) -> None:
    """None but the token, which goes into its own file: flags and config.yml are for every user to read."""
    for flag in FLAGS:
        place = sources.place(flag.name)
        if flag.secret and sources.values.get(flag.name) and place != "--token":
            raise QanatError(
                "service_secret_in_flags",
                "every user of this host could read it in the service's command line or configuration",
                where=place,
                hint="use a file of its own: --token-file or --credentials-file",
            )


def _token(words: Sequence[str], values: Mapping[str, Value], given: str | None) -> str | None:
    named = [str(values[name]) for name in ("token",) if values.get(name)]
    if words and words[0] != "-":
        return words[0]
    if words:
        return given or ""
    if named:
        return named[0]
    file = str(values.get("token-file") or "")
    if not file:
        return None
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise QanatError(
            "token_file_unreadable", error.strerror or "it can't be read", where=f"--token-file {file}"
        ) from None
    if len(content) > LARGEST_FILE:
        raise QanatError("token_file_unreadable", "the file is larger than 64 KiB", where=f"--token-file {file}")
    return content.decode("utf-8-sig", errors="replace")


def _credentials(options: Options) -> bytes:
    """Written anew from what was read: whichever way they were found, the service has one file."""
    import base64
    import json

    held = options.credentials
    document = {
        "AccountTag": held.account_tag,
        "TunnelID": held.tunnel_id,
        "TunnelSecret": base64.b64encode(held.secret).decode(),
        **({"Endpoint": held.endpoint} if held.endpoint else {}),
    }
    return json.dumps(document).encode() + b"\n"


def _check_paths(sources: Sources) -> tuple[bool, list[str]]:
    """Whether it writes below `LOGS`, and a warning for each file elsewhere: a service of its own user writes nowhere else."""
    logs, warnings = False, []
    for name in _WRITES:
        path = sources.file(name)
        if path is None:
            continue
        full = os.path.abspath(path)  # noqa: PTH100 - not resolved: it may not be there yet
        if full == LOGS or full.startswith(f"{LOGS}/"):
            logs = True
        elif not full.startswith(f"{RUN}/"):
            warnings.append(
                f"{sources.place(name)}: the service's own user can't write {path}, so that it will be without: "
                f"name a file in {LOGS}, or leave it out, as the service manager keeps the log"
            )
    return logs, warnings


def _shown(values: Mapping[str, Value]) -> tuple[str, ...]:
    """The flags as arguments again, without those whose files are kept in `FOLDER`."""
    shown: list[str] = []
    for flag in FLAGS:
        value = values.get(flag.name)
        if value is None or flag.name in _KEPT_IN_FILES:
            continue
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, bool):
                shown.append(f"--{flag.name}={str(each).lower()}")
            else:
                shown += [f"--{flag.name}", show_duration(float(each)) if flag.kind == "duration" else str(each)]
    return tuple(shown)
