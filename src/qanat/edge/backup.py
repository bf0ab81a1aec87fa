"""A backup checked, or put in place, on the host and without a running edge."""

from dataclasses import asdict
from pathlib import Path

from qanat.edge.data_dir import DataDir
from qanat.store import restore


def check_backup(file: Path) -> dict[str, object]:
    """What a backup holds, after a check of all of it. Raises as `restore.look`."""
    return {"file": str(file), "bytes": file.stat().st_size if file.exists() else 0, **asdict(restore.look(file))}


def restore_backup(file: Path, folder: Path) -> dict[str, object]:
    """Puts a backup in the place of a data directory's database.

    Raises:
        QanatError: `data_dir_in_use`: an edge runs; and as `restore.restore`. Nothing was changed then.
    """
    data_dir = DataDir(folder).lock()
    try:
        done = restore.restore(file, data_dir.path)
    finally:
        data_dir.unlock()
    return {
        "file": str(file),
        "data_dir": str(data_dir.path),
        "kept": str(done.kept) if done.kept is not None else None,
        "has_key": data_dir.key.exists(),
        **asdict(done.found),
    }
