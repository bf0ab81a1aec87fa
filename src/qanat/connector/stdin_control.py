"""`--stdin-control`: commands from standard input, as stock cloudflared takes them for its tests."""

from collections.abc import Callable, Iterable

from qanat.connector.log import Log
from qanat.errors import QanatError
from qanat.ingress.durations import parse_duration

HELP = (
    "Supported command:",
    "reconnect [delay]",
    "- restarts one randomly chosen connection with optional delay before reconnect",
)


def take(lines: Iterable[str], log: Log, reconnect: Callable[[float], None]) -> None:
    """Until the input ends. `reconnect` gets the delay in seconds."""
    log.info("Enabling control through stdin")
    for line in lines:
        command, _, rest = line.strip().partition(" ")
        if not command:
            continue
        if command == "reconnect":
            try:
                delay_s = parse_duration(rest.strip(), where="reconnect", code="flag_value_invalid") if rest else 0.0
            except QanatError as error:
                log.error(error.message)
                continue
            log.info("Sending reconnect signal")
            reconnect(delay_s)
            continue
        if command != "help":
            log.info("Unknown command", command=line.strip())
        for text in HELP:
            log.info(text)
