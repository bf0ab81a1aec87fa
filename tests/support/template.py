"""A process that has loaded all that `qanat edge` loads, and forks when an edge is wanted (forked.py asks). What an edge does
from its first line on is done by the edge, as ever; that its code is loaded once and not a hundred times is the difference.

`python -m tests.support.template FD`: the socket that it is asked by. It ends when nobody has the other end any more."""

import gc
import json
import os
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

LOADED = (
    "qanat.__main__",
    "qanat.cli.edge",
    "qanat.cli.main",
    "qanat.edge.control",
    "qanat.edge.cutover_runner",
    "qanat.edge.metrics_listener",
    "qanat.edge.process",
    "qanat.log",
)
MOST_BYTES = 1 << 17


def serve(channel: socket.socket) -> None:
    """Forks for each request (`argv`, `env`, `cwd` as JSON, with the three standard files), answers the child's pid, and tells
    how each child ended."""
    for name in LOADED:
        import_module(name)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    woken, waking = socket.socketpair()
    waking.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of who sits at the terminal: the session's end ends everything
    signal.set_wakeup_fd(waking.fileno())
    while True:
        ready, _, _ = select.select([channel, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            with suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    channel.send(
                        json.dumps({"ended": ended[0], "status": os.waitstatus_to_exitcode(ended[1])}).encode()
                    )
        if channel in ready:
            asked, files, _, _ = socket.recv_fds(channel, MOST_BYTES, 3)
            if not asked:
                return
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for each in (channel, woken, waking):
                    each.close()
                become(json.loads(asked), files)
            for file in files:
                os.close(file)
            channel.send(json.dumps({"pid": pid}).encode())


def become(asked: dict[str, Any], files: list[int]) -> NoReturn:
    """`python -m qanat` with these arguments."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    program = import_module("qanat.__main__")
    sys.argv = [str(program.__file__), *asked["argv"]]
    sys.orig_argv = [sys.executable, "-m", "qanat", *asked["argv"]]
    status: Any = 1
    try:
        program.main()
        status = 0
    except SystemExit as ending:
        status = ending.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for each in (sys.stdout, sys.stderr):
            with suppress(OSError):
                each.flush()
        os._exit(status if isinstance(status, int) else 0 if status is None else 1)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
