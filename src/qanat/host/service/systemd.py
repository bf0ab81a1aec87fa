"""The service under systemd: a unit of its own user, shut in as far as a connector needs nothing (security.md S51)."""

from qanat.host.machine import Machine
from qanat.host.service.manager import State
from qanat.host.service.wanted import CREDENTIALS, TOKEN, Wanted

NAME = "qanat.service"
UNIT = f"/etc/systemd/system/{NAME}"
WANTS = f"/etc/systemd/system/multi-user.target.wants/{NAME}"
DROP_INS = f"{UNIT}.d"
PREVIOUS = f"{DROP_INS}/previous.conf"
"""While an update is taken back: the service runs what it names."""

START_S = 60
"""How long a boot waits for the first connection at most (case 44): then the service is started anew, again and again."""
RESTART_S = 5
STOP_SPARE_S = 15

_TEMPLATE = """\
# Written by `qanat service install`, which writes it anew: make changes by `systemctl edit qanat`.
[Unit]
Description=qanat connector
After=network.target nss-lookup.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/sh -c 'kill -HUP $MAINPID'
{credential}
TimeoutStartSec={start_s}s
TimeoutStopSec={stop_s}s
WatchdogSec=30s
Restart=always
RestartSec={restart_s}s
KillMode=mixed
LimitNOFILE=1048576
LimitCORE=0

DynamicUser=yes
User=qanat
RuntimeDirectory=qanat
RuntimeDirectoryPreserve=restart
{logs}UMask=0077
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


class Systemd:
    """The service as a unit."""

    name = "systemd"
    title = "systemd"
    user: str | None = None
    """Made for each run; the secret stays root's, and systemd hands it over."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def files(self, wanted: Wanted) -> dict[str, tuple[bytes, int]]:
        return {UNIT: (unit(wanted).encode(), 0o644)}

    def links(self) -> dict[str, str]:
        return {WANTS: UNIT}

    def paths(self) -> tuple[str, ...]:
        return (WANTS, PREVIOUS, DROP_INS, UNIT)

    def installed(self) -> bool:
        return self._machine.exists(UNIT)

    def prepare(self) -> None:
        """Nothing: users and folders are systemd's."""

    def start(self, *, anew: bool) -> None:
        """Without waiting for a connection: in a first boot there may be no network for minutes (case 17)."""
        self._machine.run("systemctl", "daemon-reload")
        self._machine.run("systemctl", "--no-block", "restart" if anew else "start", NAME)

    def stop(self) -> None:
        """Waits for its end: what is open may finish."""
        self._machine.try_run("systemctl", "stop", NAME)

    def forget(self) -> None:
        self._machine.try_run("systemctl", "daemon-reload")
        self._machine.try_run("systemctl", "reset-failed", NAME)

    def state(self) -> State:
        status, out, _ = self._machine.try_run(
            "systemctl", "show", NAME, "--property=LoadState,ActiveState,SubState,StatusText,MainPID,NRestarts"
        )
        told = dict(line.partition("=")[::2] for line in out.splitlines()) if status == 0 else {}
        active = told.get("ActiveState", "")
        return State(
            running=active in ("active", "activating", "reloading", "deactivating"),
            ready=active in ("active", "reloading"),
            text=told.get("StatusText", ""),
            process=int(told.get("MainPID") or 0) or None,
            restarts=int(told.get("NRestarts") or 0),
        )


def unit(wanted: Wanted) -> str:
    """The unit's text."""
    name = "token" if wanted.secret_file == TOKEN else "credentials"
    in_home = any(part.startswith(("/home/", "/root/")) for part in wanted.program)
    return _TEMPLATE.format(
        # systemd 247 (Debian 11) has the variable, and not yet the specifier
        command=command(wanted.program, wanted.arguments(f"\0{name}")).replace(
            quoted(f"\0{name}"), f"${{CREDENTIALS_DIRECTORY}}/{name}"
        ),
        credential=f"LoadCredential={name}:{TOKEN if name == 'token' else CREDENTIALS}",
        start_s=START_S,
        stop_s=round(wanted.grace_period_s) + STOP_SPARE_S,
        restart_s=RESTART_S,
        home="read-only" if in_home else "yes",
        logs="LogsDirectory=qanat\n" if wanted.writes_logs else "",
    )


def previous(program: str, unit_text: str) -> str:
    """The drop-in that starts `program` in place of the unit's, with its arguments."""
    line = next(line for line in unit_text.splitlines() if line.startswith("ExecStart="))
    _, _, arguments = line.removeprefix("ExecStart=").partition(" --no-autoupdate ")
    return (
        "# Written by `qanat service update`: the new version was not ready in time. The next update takes it away.\n"
        f"[Service]\nExecStart=\nExecStart={quoted(program)} --no-autoupdate {arguments}\n"
    )


def command(program: tuple[str, ...], arguments: list[str]) -> str:
    """One line of a unit: systemd.service(5), *Command lines*."""
    return " ".join(quoted(word) for word in (*program, *arguments))


def quoted(word: str) -> str:
    """Taken by systemd for this very word: no variable, no specifier, no end."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    plain = plain.replace("\n", "\\n")
    return plain if plain and not any(char in plain for char in " \t;'\"\\") else f'"{plain}"'
