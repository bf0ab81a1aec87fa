"""What is examined: the connector that the command line names, else the installed service, else what `tunnel run` would take
here."""

import re
import shlex
from collections.abc import Mapping, Sequence

from msgspec import Struct

from qanat.connector import flags
from qanat.connector.options import Options, read_options
from qanat.connector.sources import gather
from qanat.errors import QanatError
from qanat.host.machine import Machine
from qanat.host.service.systemd import UNIT
from qanat.host.service.wanted import CREDENTIALS, TOKEN


class Subject(Struct, frozen=True):
    """`options` is None where they aren't sound; `refusal` says why. `from_service`: they are the installed service's."""

    arguments: tuple[str, ...]
    from_service: bool
    options: Options | None
    refusal: QanatError | None


def subject_of(machine: Machine, arguments: Sequence[str], environment: Mapping[str, str]) -> Subject:
    """Reads everything that the connector would read; nothing is raised for what is wrong with it."""
    unit = None if arguments else machine.read(UNIT)
    given = tuple(arguments) if unit is None else service_arguments(unit.decode(errors="replace"))
    seen: Mapping[str, str] = environment if unit is None else {"HOME": "/nonexistent"}
    try:
        command_line = flags.read_command_line(["tunnel", "run", *given] if unit is None else given)
        options = read_options(gather(command_line, seen))
    except QanatError as error:
        return Subject(given, unit is not None, None, error)
    return Subject(given, unit is not None, options, None)


def service_arguments(unit: str) -> tuple[str, ...]:
    """qanat's arguments in a unit that `service install` wrote; the secret by the file that systemd takes it from."""
    found = re.search(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    if found is None:
        return ()
    words = shlex.split(found[1])
    start = words.index("--no-autoupdate") if "--no-autoupdate" in words else 1
    files = {"${CREDENTIALS_DIRECTORY}/token": TOKEN, "${CREDENTIALS_DIRECTORY}/credentials": CREDENTIALS}
    return tuple(files.get(word, word.replace("%%", "%").replace("$$", "$")) for word in words[start:])
