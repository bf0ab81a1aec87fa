"""What stays of a process that has handed over, where whoever started it waits for that process: a container's engine, a
shell, runit, supervisord. It passes signals on to the process in charge, and ends as that one ends.

Run as a script in the same process (`become`), so that nothing else of it stays in memory. The process in charge may
hand over again: its own successor is orphaned then, and adopted here.
"""

import os
import signal
import sys

TYPE_CHECKING = False  # `typing` costs too much here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of linux/prctl.h: a descendant whose parent is gone becomes a child of this process."""
_MARK = b"QANAT_HANDED_OVER="
"""In the environment of every process that was handed something (qanat.succession.child, which costs too much here)."""


def adopt_orphans() -> bool:
    """Makes this process the parent of whatever its descendants leave behind; False where that can't be done. It outlasts
    `become`."""
    if os.getpid() == 1:
        return True
    try:
        import ctypes  # once in a process's life

        return bool(ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def become(successor: int, unheard: "Callable[[], Iterable[int]]" = tuple) -> None:
    """This process becomes the one that waits for `successor`. `unheard`: signals that came before this call and were passed on
    to nobody; those that come during it are not lost either. Returns only if that fails."""
    # Blocked here, a signal is still taken by another thread that this process may have: its number goes into the pipe.
    read, write = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for each in PASSED_ON:
        signal.signal(each, _ignore)
    signal.pthread_sigmask(signal.SIG_BLOCK, [*PASSED_ON, signal.SIGCHLD])
    # Before a signal may end it: of a zombie nobody can tell that it was handed anything.
    in_charge = _newest(successor)
    for number in unheard():
        in_charge = pass_on(number) or in_charge
    os.set_inheritable(read, True)
    os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, str(in_charge), str(read)])


def _ignore(_number: int, _frame: object) -> None:
    pass


def watch(in_charge: int, unheard: "Iterable[int]" = ()) -> int:
    """Waits for the process in charge and all its successors; the last one's exit code, 128 and its number for a signal.
    `unheard`: signals to begin with."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [*PASSED_ON, signal.SIGCHLD])
    for number in unheard:
        if number != signal.SIGCHLD:
            in_charge = pass_on(number) or in_charge
    number = int(signal.SIGCHLD)  # it may have ended before this process could hear of it
    seen = {in_charge, *successors()}
    code = 0
    while True:
        if number == signal.SIGCHLD:
            codes = _reap()
            # where the one in charge was another's child, that one ends as it did
            for ended in (*codes, in_charge):
                if ended in seen:
                    code = codes.get(ended, code)
            left = successors()
            seen.update(left)
            if in_charge in codes or not _runs(in_charge):
                if not left:
                    return code
                in_charge = left[-1]
        else:
            in_charge = pass_on(number) or in_charge
            seen.add(in_charge)
        number = signal.sigwait([*PASSED_ON, signal.SIGCHLD])


def pass_on(number: int) -> int | None:
    """A signal for the process in charge: while one hands over there are two, and each knows what it means for it. The newest
    of those that it was meant for."""
    meant = successors()
    for process in meant:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue
    return meant[-1] if meant else None


def _newest(otherwise: int) -> int:
    running = successors()
    return running[-1] if running else otherwise


def _runs(child: int) -> bool:
    """False also where somebody else has heard of its end."""
    try:
        os.kill(child, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _reap() -> dict[int, int]:
    """Exit codes of the children that have ended, by process."""
    ended: dict[int, int] = {}
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if child == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended[child] = code if code >= 0 else 128 - code


def successors() -> list[int]:
    """The processes below this one that something was handed to, the oldest first."""
    parents: dict[int, int] = {}
    births: dict[int, int] = {}
    dead = set[int]()
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs more
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b")")[2].split()
            parents[int(name)], births[int(name)] = int(fields[1]), int(fields[19])
            if fields[0] == b"Z":  # its children are its own until the last of its threads has ended as well
                dead.add(int(name))
        except (OSError, ValueError, IndexError):
            continue
    below, found = {os.getpid()}, set[int]()
    while children := {process for process, parent in parents.items() if parent in below} - found:
        found |= children
        below = children
    return sorted((each for each in found - dead if _was_handed_over(each)), key=lambda process: births[process])


def _told(pipe: int) -> bytes:
    """What came while this process became what it is: each byte is a signal's number."""
    try:
        return os.read(pipe, 1024)
    except BlockingIOError:
        return b""
    finally:
        os.close(pipe)


def _was_handed_over(process: int) -> bool:
    try:
        with open(f"/proc/{process}/environ", "rb") as file:  # noqa: PTH123
            return _MARK in file.read()
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(watch(int(sys.argv[1]), _told(int(sys.argv[2]))))
