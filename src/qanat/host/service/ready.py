"""`/ready` of the service's process, wherever it listens: Linux tells which sockets a process has."""

import http.client
import json
import socket
import struct
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

LISTENING = "0A"
ANSWER_S = 5.0


class Ready(Struct, frozen=True):
    """The answer: connections that are up, and whose."""

    connections: int
    connector_id: str
    address: str


def ask(process: int | None, *, proc: Path = Path("/proc")) -> Ready | None:
    """None where the process isn't there, listens nowhere, or nothing that listens answers as a connector."""
    if process is None:
        return None
    for host, port in listeners(process, proc=proc):
        found = _ask(host, port)
        if found is not None:
            return found
    return None


def listeners(process: int, *, proc: Path = Path("/proc")) -> list[tuple[str, int]]:
    """TCP addresses that the process listens on, as one dials them from here."""
    own = set()
    try:
        entries = list((proc / str(process) / "fd").iterdir())
    except OSError:
        return []
    for entry in entries:
        with suppress(OSError):  # closed meanwhile
            target = str(entry.readlink())
            if target.startswith("socket:["):
                own.add(target[8:-1])
    found = []
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            lines = (proc / str(process) / "net" / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTENING and fields[9] in own:
                found.append(_address(fields[1], family))
    return found


def _address(text: str, family: socket.AddressFamily) -> tuple[str, int]:
    digits, _, port = text.partition(":")
    words = [digits[at : at + 8] for at in range(0, len(digits), 8)]
    host = socket.inet_ntop(family, b"".join(struct.pack("=I", int(word, 16)) for word in words))
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port, 16)


def _ask(host: str, port: int) -> Ready | None:
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/ready")
        body = connection.getresponse().read(65536)
        told = json.loads(body)
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return Ready(int(told["readyConnections"]), str(told["connectorId"]), shown)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
