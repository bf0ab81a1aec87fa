"""Tells that a file may have changed: written to, replaced by rename, or behind a symbolic link that was turned (which is how
Kubernetes replaces a mounted ConfigMap). By inotify, where there is one, so that nobody polls; else by looking each second."""

import os
import select
import stat
from contextlib import suppress

LOOK_S = 1.0
"""How often a file is looked at where there is no inotify."""
SURE_S = 60.0
"""How often it is looked at all the same: some file systems (NFS, Docker Desktop's mounts) tell nothing."""
QUIET_S, LONGEST_S = 0.05, 1.0
"""A change counts once there was no further one for a moment: editors write in parts. It waits no longer than a second."""

_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = (
    2, 4, 8, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800,
)  # fmt: skip
_OF_FOLDER = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO
_OF_FILE = _MODIFY | _ATTRIB | _CLOSE_WRITE | _DELETE_SELF | _MOVE_SELF

_MOST_LINKS = 40

Signature = tuple[int, int, int, int] | None


class FileWatch:
    """Watches one path. `wait` belongs to one thread; `wake` may be called from any, signal handlers as well."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # noqa: PTH100 - pathlib resolves nothing here either, and costs more
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._inotify = -1
        self._known = self._arm()

    def wait(self) -> bool:
        """Until something happened to the file since the last return: False; or until `wake` was called: True. Whatever comes
        after the return ends the next `wait`."""
        if self._sleep():
            return True
        self._settle()
        self._known = self._arm()
        return False

    def wake(self) -> None:
        """Ends a `wait`, now or the next one."""
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def _sleep(self) -> bool:
        while True:
            ready = self._poll(SURE_S if self._inotify >= 0 else LOOK_S)
            if self._reader in ready:
                os.read(self._reader, 4096)
                return True
            if ready or signature(self._path) != self._known:
                return False

    def _settle(self) -> None:
        for _ in range(int(LONGEST_S / QUIET_S)):
            if not self._poll(QUIET_S, with_wake=False):
                return
            self._drain()

    def _poll(self, timeout_s: float, *, with_wake: bool = True) -> list[int]:
        poll = select.poll()
        for descriptor in ((self._reader,) if with_wake else ()) + ((self._inotify,) if self._inotify >= 0 else ()):
            poll.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll(timeout_s * 1000)]

    def _drain(self) -> None:
        if self._inotify >= 0:
            with suppress(BlockingIOError):
                while os.read(self._inotify, 65536):
                    pass

    def _arm(self) -> Signature:
        """Begins to listen wherever the path leads now; what was there when it had begun."""
        if self._inotify >= 0:
            os.close(self._inotify)  # with all of its watches: those of files that are gone would gather
        self._inotify = _listen(self._path)
        return signature(self._path)


def signature(path: str) -> Signature:
    """What tells one content of a file from another; None: there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def deciding_folders(path: str) -> set[str]:
    """The folders that have an entry on the way to a file: the file itself, or a symbolic link to it or to a folder above it."""
    folders: set[str] = set()
    rest, at, links = path.split("/"), "/", 0
    while rest:
        name = rest.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            at = os.path.dirname(at)  # noqa: PTH120
            continue
        here = os.path.join(at, name)  # noqa: PTH118
        try:
            target = os.readlink(here) if links < _MOST_LINKS else None  # noqa: PTH115
        except OSError:
            target = None
        if target is not None:
            links += 1
            folders.add(at)
            rest = target.split("/") + rest
            at = "/" if target.startswith("/") else at
            continue
        if not any(part not in ("", ".") for part in rest):
            folders.add(at)
        at = here
    return folders


def _listen(path: str) -> int:
    """An inotify descriptor; -1 where the system has none, or none left."""
    import ctypes  # only where there is a file to watch

    libc = ctypes.CDLL(None)
    if not hasattr(libc, "inotify_init1"):
        return -1
    inotify: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if inotify < 0:
        return -1
    watches = [libc.inotify_add_watch(inotify, os.fsencode(path), _OF_FILE)]
    watches += [libc.inotify_add_watch(inotify, os.fsencode(at), _OF_FOLDER) for at in sorted(deciding_folders(path))]
    if max(watches) < 0:
        os.close(inotify)
        return -1
    return inotify
