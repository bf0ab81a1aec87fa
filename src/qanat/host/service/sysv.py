"""The service as a SysV init script, for machines without systemd and OpenRC."""

import shlex

from qanat.host.machine import Machine
from qanat.host.service.manager import State
from qanat.host.service.ready import ask
from qanat.host.service.user import USER, add_user, remove_user
from qanat.host.service.wanted import LOGS, RUN, Wanted

SCRIPT = "/etc/init.d/qanat"
LOG = f"{LOGS}/qanat.log"
PIDFILE = f"{RUN}/service.pid"

_TEMPLATE = """\
#!/bin/sh
# Written by `qanat service install`.
# chkconfig: 2345 99 01
# description: qanat connector
### BEGIN INIT INFO
# Provides:          qanat
# Required-Start:    $local_fs $remote_fs
# Required-Stop:     $local_fs $remote_fs
# Should-Start:      $network $named $time
# Should-Stop:       $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: qanat connector
### END INIT INFO

name=qanat
pidfile={pidfile}
log={log}
patience={patience}

# Its process; none where the number is another program's by now.
running() {{
    [ -s "$pidfile" ] || return 1
    pid=$(cat "$pidfile")
    kill -0 "$pid" 2>/dev/null && tr '\\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null | grep -q qanat
}}

start() {{
    if running; then
        echo "$name runs already"
        return 0
    fi
    echo "Starting $name"
    mkdir -p {run} {logs}
    chown {user}: {run} {logs}
    chmod 0700 {run} {logs}
    umask 077
    # A shell that starts it again when it fails, as the other service managers do.
    setsid su -s /bin/sh {user} -c {supervised} </dev/null >/dev/null 2>&1 &
}}

stop() {{
    if ! [ -s "$pidfile" ]; then
        echo "$name doesn't run"
        return 0
    fi
    echo "Stopping $name"
    pid=$(cat "$pidfile")
    rm -f "$pidfile"
    kill "$pid" 2>/dev/null
    while [ "$patience" -gt 0 ] && kill -0 "$pid" 2>/dev/null; do
        sleep 1
        patience=$((patience - 1))
    done
    if kill -0 "$pid" 2>/dev/null; then
        kill -9 "$pid"
    fi
}}

case "$1" in
    start) start ;;
    stop) stop ;;
    restart | force-reload) stop && start ;;
    reload) running && kill -HUP "$(cat "$pidfile")" ;;
    status)
        if running; then
            echo "$name runs"
        else
            echo "$name doesn't run"
            exit 3
        fi
        ;;
    *)
        echo "Usage: $0 {{start|stop|restart|reload|status}}"
        exit 2
        ;;
esac
"""

# It ends when the pidfile no longer holds its process: `stop` took it away, or another loop wrote its own.
_SUPERVISED = """\
while :; do
    {command} >> {log} 2>&1 &
    own=$!
    echo "$own" > {pidfile}
    wait "$own"
    [ "$(cat {pidfile} 2>/dev/null)" = "$own" ] || exit 0
    sleep 5
    [ "$(cat {pidfile} 2>/dev/null)" = "$own" ] || exit 0
done"""


class SysV:
    """The service as a script in /etc/init.d."""

    name = "sysv"
    title = "SysV"
    user: str | None = USER

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def files(self, wanted: Wanted) -> dict[str, tuple[bytes, int]]:
        return {SCRIPT: (script(wanted).encode(), 0o755)}

    def links(self) -> dict[str, str]:
        """Where runlevels are folders, as stock makes them."""
        starts = {f"/etc/rc{level}.d/S50qanat": "../init.d/qanat" for level in "2345"}
        return starts | {f"/etc/rc{level}.d/K02qanat": "../init.d/qanat" for level in "016"}

    def paths(self) -> tuple[str, ...]:
        return (*self.links(), SCRIPT, PIDFILE, RUN, LOG, LOGS)

    def installed(self) -> bool:
        return (self._machine.read(SCRIPT) or b"").startswith(b"#!/bin/sh")

    def prepare(self) -> None:
        add_user(self._machine)

    def start(self, *, anew: bool) -> None:
        self._machine.run(SCRIPT, "restart" if anew else "start")

    def stop(self) -> None:
        self._machine.try_run(SCRIPT, "stop")

    def forget(self) -> None:
        remove_user(self._machine)

    def state(self) -> State:
        status, _, _ = self._machine.try_run(SCRIPT, "status")
        told = (self._machine.read(PIDFILE) or b"").strip()
        process = int(told) if status == 0 and told.isdigit() else None
        answer = ask(process)
        return State(running=status == 0, ready=answer is not None and answer.connections > 0, process=process)


def script(wanted: Wanted) -> str:
    """The script's text."""
    command = shlex.join([*wanted.program, *wanted.arguments(wanted.secret_file)])
    supervised = _SUPERVISED.format(command=command, log=LOG, pidfile=PIDFILE)
    return _TEMPLATE.format(
        supervised=shlex.quote(supervised),
        pidfile=PIDFILE,
        run=RUN,
        logs=LOGS,
        log=LOG,
        user=USER,
        patience=round(wanted.grace_period_s) + 15,
    )
