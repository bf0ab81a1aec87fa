"""A second entry point named `cloudflared`, for scripts and units that say that name. Made on request, and undone."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from qanat.called import VARIABLE
from qanat.errors import QanatError

NAME = "cloudflared"
MARK = "# made by `qanat service shim`; `qanat service shim --undo` removes it"


def program() -> Path:
    """Our own executable, as it was started. QanatError `shim_impossible`."""
    started = Path(sys.argv[0])
    found = started if started.name == "qanat" and started.is_file() else shutil.which("qanat")
    if found is None:
        message = "there is no program `qanat` in $PATH that it could stand for"
        raise QanatError("shim_impossible", message, hint="install qanat, or start it by its path")
    return Path(found).absolute()


def make(folder: Path, target: Path) -> tuple[Path, bool]:
    """Puts `cloudflared` into a folder; where, and whether anything changed. QanatError `shim_impossible`."""
    shim = folder / NAME
    if is_ours(shim) and _content(target) == _found(shim):
        return shim, False
    if os.path.lexists(shim) and not is_ours(shim):
        message = "there is another program of this name"
        hint = "move it away, or choose another folder with --to"
        raise QanatError("shim_impossible", message, where=str(shim), hint=hint)
    content = _content(target)
    beside = shim.with_name(f".{NAME}.new")
    try:
        beside.unlink(missing_ok=True)
        if isinstance(content, Path):
            beside.symlink_to(content)
        else:
            beside.write_text(content, encoding="utf-8")
            beside.chmod(0o755)
        beside.replace(shim)
    except OSError as error:
        hint = "choose a folder that you may write to with --to, or become root"
        raise QanatError("shim_impossible", error.strerror or "unwritable", where=str(shim), hint=hint) from error
    return shim, True


def undo(folder: Path) -> Path | None:
    """Removes it; None where there is none. QanatError `shim_impossible` for one that isn't ours."""
    shim = folder / NAME
    if not os.path.lexists(shim):
        return None
    if not is_ours(shim):
        raise QanatError("shim_impossible", "this is not a shim of qanat: it stays", where=str(shim))
    try:
        shim.unlink()
    except OSError as error:
        raise QanatError("shim_impossible", error.strerror or "unwritable", where=str(shim)) from error
    return shim


def is_ours(shim: Path) -> bool:
    """A link to a `qanat`, or a script that says so."""
    if shim.is_symlink():
        return shim.readlink().name == "qanat"
    try:
        return shim.is_file() and MARK.encode() in shim.read_bytes()[:4096]
    except OSError:
        return False


def hidden_by(shim: Path) -> Path | None:
    """The program that the name finds in $PATH instead of the shim."""
    found = shutil.which(NAME)
    return Path(found) if found is not None and Path(found).absolute() != shim.absolute() else None


def _content(target: Path) -> Path | str:
    """A link where a Python script is started, which then sees its own name; a script before anything else."""
    try:
        with target.open("rb") as file:
            first = file.readline(256)
    except OSError:
        first = b""
    if first.startswith(b"#!") and b"python" in first:
        return target
    return f'#!/bin/sh\n{MARK}\n{VARIABLE}={NAME} exec {shlex.quote(str(target))} "$@"\n'


def _found(shim: Path) -> Path | str:
    return shim.readlink() if shim.is_symlink() else shim.read_text(encoding="utf-8", errors="replace")
