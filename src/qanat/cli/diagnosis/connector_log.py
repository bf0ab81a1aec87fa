"""A connector's log: of a container, of a pod, or where the one on this host writes it."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from qanat.errors import QanatError

SINCE = timedelta(days=14)
MOST_LINES = "10000"
LARGEST = 64 << 20
"""Of each file its end."""
PATIENCE_S = 30.0

UNITS = ("qanat.service", "cloudflared.service")
UNIT_FOLDERS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
SERVICE_LOGS = (
    "/var/log/qanat/qanat.log",
    "/var/log/cloudflared.err",
    "/Library/Logs/com.cloudflare.cloudflared.err.log",
)

_OF_FOLDER = re.compile(r"cloudflared.*\.log", re.ASCII)


class NoLogError(QanatError):
    """Nothing says where the connector writes its log."""

    def __init__(self) -> None:
        super().__init__("log_not_found", "error collecting logs: provided log configuration is invalid")


def of_container(name: str) -> bytes:
    """By docker. QanatError `log_not_found`."""
    return _said_by(["docker", "logs", "--tail", MOST_LINES, "--since", _since(), name])


def of_pod(pod: str, container: str) -> bytes:
    """By kubectl; `container` where the pod has several. QanatError `log_not_found`."""
    command = ["kubectl", "logs", pod, "--since-time", _since(), "--tail", MOST_LINES]
    return _said_by([*command, "-c", container] if container else command)


def of_host(configuration: Mapping[str, str]) -> bytes:
    """By what the connector's /diag/configuration says, else by its service. QanatError `log_not_found`."""
    if file := configuration.get("logfile"):
        return _end_of(Path(file))
    if folder := configuration.get("log-directory"):
        return _of_folder(Path(folder))
    for unit in UNITS:
        if any((Path(folder) / unit).exists() for folder in UNIT_FOLDERS):
            return _said_by(["journalctl", "--since", "2 weeks ago", "--no-pager", "-u", unit])
    for path in SERVICE_LOGS:
        if Path(path).exists():
            return _end_of(Path(path))
    raise NoLogError


def _of_folder(folder: Path) -> bytes:
    """Its files one after another: their names end in their times, and the current one has none."""
    try:
        names = sorted(path.name for path in folder.iterdir() if _OF_FOLDER.fullmatch(path.name))
    except OSError as error:
        raise QanatError("log_not_found", f"error reading directory {folder}: {error.strerror}") from None
    names.sort(key=lambda name: (name == "cloudflared.log", name))
    return b"".join(_end_of(folder / name) for name in names)


def _end_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - LARGEST))
            return file.read(LARGEST)
    except OSError as error:
        raise QanatError("log_not_found", f"error opening file {path}: {error.strerror}") from None


def _said_by(command: Sequence[str]) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or "it took too long"
        raise QanatError("log_not_found", f"error running command '{' '.join(command)}': {reason}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        reason = f"exit status {done.returncode}{f': {said[0]}' if said else ''}"
        raise QanatError("log_not_found", f"error waiting from command '{' '.join(command)}': {reason}")
    return done.stdout + done.stderr


def _since() -> str:
    return (datetime.now(UTC) - SINCE).strftime("%Y-%m-%dT%H:%M:%SZ")
