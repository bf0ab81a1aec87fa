"""The service under OpenRC (Alpine, Gentoo): its supervisor starts it again when it fails."""

import shlex

from qanat.host.machine import Machine
from qanat.host.service.manager import State
from qanat.host.service.user import USER, add_user, remove_user
from qanat.host.service.wanted import LOGS, RUN, Wanted

SCRIPT = "/etc/init.d/qanat"
LINK = "/etc/runlevels/default/qanat"
LOG = f"{LOGS}/qanat.log"

_TEMPLATE = """\
#!/sbin/openrc-run
# Written by `qanat service install`.

description="qanat connector"
supervisor=supervise-daemon
command={program}
command_args={arguments}
command_user={user}:{user}
umask=077
respawn_delay=5
respawn_max=0
retry=TERM/{patience}/KILL/5
output_log={log}
error_log={log}
extra_started_commands=reload

depend() {{
    after net dns firewall logger
}}

start_pre() {{
    checkpath --directory --owner {user}:{user} --mode 0700 {run} {logs}
}}

reload() {{
    ebegin "Reading the configuration of $RC_SVCNAME again"
    supervise-daemon "$RC_SVCNAME" --signal HUP
    eend $?
}}
"""


class OpenRC:
    """The service as a script that openrc-run reads."""

    name = "openrc"
    title = "OpenRC"
    user: str | None = USER

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def files(self, wanted: Wanted) -> dict[str, tuple[bytes, int]]:
        return {SCRIPT: (script(wanted).encode(), 0o755)}

    def links(self) -> dict[str, str]:
        """What `rc-update add qanat default` makes."""
        return {LINK: SCRIPT}

    def paths(self) -> tuple[str, ...]:
        return (LINK, SCRIPT, RUN, LOG, LOGS)

    def installed(self) -> bool:
        return (self._machine.read(SCRIPT) or b"").startswith(b"#!/sbin/openrc-run")

    def prepare(self) -> None:
        add_user(self._machine)

    def start(self, *, anew: bool) -> None:
        self._machine.run("rc-service", "qanat", "restart" if anew else "start")

    def stop(self) -> None:
        self._machine.try_run("rc-service", "qanat", "stop")

    def forget(self) -> None:
        remove_user(self._machine)

    def state(self) -> State:
        status, _, _ = self._machine.try_run("rc-service", "qanat", "status")
        return State(running=status == 0, ready=None)


def script(wanted: Wanted) -> str:
    """The script's text. openrc-run gives `command_args` to a shell, so that each word is quoted once more."""
    return _TEMPLATE.format(
        program=shlex.quote(wanted.program[0]),
        arguments=shlex.quote(shlex.join([*wanted.program[1:], *wanted.arguments(wanted.secret_file)])),
        user=USER,
        run=RUN,
        logs=LOGS,
        log=LOG,
        patience=round(wanted.grace_period_s) + 15,
    )
