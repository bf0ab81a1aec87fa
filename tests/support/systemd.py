"""A systemd of the tests' own: process 1 in name spaces, with the test's units alone, on files that it can only read."""

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

PATIENCE_S = 60.0
_PROGRAM = "/lib/systemd/systemd"

# In groups of its own, so that it sees and makes none elsewhere; both forms, and the hybrid of Debian's.
_OUTSIDE = """
for tree in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -e $tree/cgroup.procs ] || continue
    mkdir -p $tree/$1 && echo $$ > $tree/$1/cgroup.procs
done
exec unshare --cgroup --mount --pid --fork --uts --ipc --kill-child /bin/sh -euc "$2" sh "$3" "$4"
"""
# Of the machine's files it may write none, and of its units it knows none: a boot of Debian's empties /tmp.
_INSIDE = """
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
if [ -e /sys/fs/cgroup/cgroup.procs ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
fi
mount --bind "$1" /etc/systemd/system
# A service's own user comes to the interpreter, wherever it lies.
case "$2" in /root/*)
    mkdir /run/interpreter
    mount --bind "$2" /run/interpreter
    mount -t tmpfs -o mode=755 tmpfs /root
    mkdir -p "$2"
    mount --move /run/interpreter "$2"
    ;;
esac
mount -t tmpfs -o mode=755 tmpfs /var/log
mount -o remount,bind,ro /
if touch "$1/../writable" 2>/dev/null; then
    echo "the machine's files can't be shut off" >&2
    exit 1
fi
export container=qanat-tests SYSTEMD_UNIT_PATH=/etc/systemd/system SYSTEMD_GENERATOR_PATH=/run/none
exec /lib/systemd/systemd --system --unit=first.target --log-target=console --log-level=warning
"""
_TARGETS = ("first", "sysinit", "basic", "network", "nss-lookup", "shutdown", "umount")


def missing() -> str:
    """Why there can be none here; "" where there can."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path(_PROGRAM).exists() or not shutil.which("unshare") or not shutil.which("nsenter"):
        return "needs systemd, unshare and nsenter"
    return ""


class Systemd:
    """Runs until `close`. Skips the test where the machine doesn't let it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.units = folder / "units"
        self.units.mkdir()
        for name in _TARGETS:
            (self.units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\nDefaultDependencies=no\n")
        self._group = f"qanat-tests-{os.getpid()}"
        log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            ["/bin/sh", "-euc", _OUTSIDE, "sh", self._group, _INSIDE, str(self.units), sys.base_prefix],
            stdout=log,
            stderr=log,
        )
        log.close()
        self._pid = 0
        try:
            wait_until(lambda: self._process.poll() is not None or self._is_up(), "systemd", timeout_s=PATIENCE_S)
        except AssertionError:
            self.close()
            raise
        if self._process.poll() is not None:
            pytest.skip(f"systemd doesn't run here: {(folder / 'log').read_text()[-300:]}")

    def _is_up(self) -> bool:
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._pid = next((int(each) for each in children if _name(each) == "systemd"), 0)
        return bool(self._pid) and self.ctl("is-active", "first.target")[0] == 0

    def run(self, *argv: str) -> tuple[int, str]:
        """A command beside it; exit code and what it said."""
        entered = ["nsenter", f"--target={self._pid}", "--mount", "--pid", "--uts", "--ipc", "--", *argv]
        done = subprocess.run(entered, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        return done.returncode, done.stdout + done.stderr

    def ctl(self, *words: str) -> tuple[int, str]:
        return self.run("systemctl", *words)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        _, told = self.ctl("show", unit, f"--property={','.join(properties)}")
        return dict(line.partition("=")[::2] for line in told.splitlines())

    def close(self) -> None:
        """Everything in it ends with it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)  # --kill-child
        self._process.wait(PATIENCE_S)
        # Groups of what ended.
        for tree in ("", "unified", "systemd"):
            top = Path("/sys/fs/cgroup", tree, self._group)
            if top.exists():
                wait_until(partial(_removed, top), f"{top} to be empty", timeout_s=PATIENCE_S)


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _removed(top: Path) -> bool:
    try:
        for group in sorted((each for each in top.rglob("*") if each.is_dir()), reverse=True):
            group.rmdir()
        top.rmdir()
    except OSError:
        return False
    return True
