"""Small files that hold secrets: for their owner only, and whole at any moment."""

import os
from pathlib import Path


def create(path: Path, content: bytes) -> None:
    """A new file (0600), on the disk when this returns. OSError; FileExistsError when there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path)


def replace(path: Path, content: bytes) -> None:
    """The file anew: written beside and then named, so that it has the old or the new content, and never a half. OSError."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    create(beside, content)
    beside.replace(path)
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
