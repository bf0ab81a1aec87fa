"""Files that come in a stream: whole under their name, or not there at all."""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from qanat.client.profiles import put_in_place
from qanat.errors import QanatError


def stream_to(file: Path, pieces: Iterator[bytes]) -> int:
    """Its bytes; 0600, and an existing file is kept. QanatError `file_exists`, `file_unwritable`."""
    refuse_existing(file, where="FILE")
    beside = file.with_name(f".{file.name}.{os.getpid()}.new")
    size = 0
    try:
        with suppress(FileNotFoundError):
            beside.unlink()
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
                for piece in pieces:
                    size += opened.write(piece)
                opened.flush()
                os.fsync(opened.fileno())
            put_in_place(beside, file, replace=False)
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
    except OSError as error:
        raise QanatError("file_unwritable", f"{file}: {error.strerror}", where="FILE") from error
    return size


def refuse_existing(file: Path, *, where: str) -> None:
    """Before work is done for nothing; the write itself looks again. QanatError `file_exists`, `file_unwritable`."""
    try:
        exists = file.exists()
    except OSError as error:  # a name that is too long, a folder that one may not look into
        raise QanatError("file_unwritable", f"{file}: {error.strerror}", where=where) from error
    if exists:
        raise QanatError(
            "file_exists", f"{file} exists and is not overwritten", where=where, hint="move it away, or name another"
        )


def read_text(file: Path) -> str:
    """UTF-8; `-` is standard input. QanatError `file_unreadable`."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise QanatError("file_unreadable", f"{file}: {reason}", where="FILE") from error


def sha256_of(file: Path) -> str:
    """In hex. QanatError `file_unreadable`."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise QanatError("file_unreadable", f"{file}: {error.strerror}", where="FILE") from error
