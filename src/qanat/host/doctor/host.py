"""The host itself: clock, UDP buffers, the service and its files, and which ports are open to the public."""

import os
import time
from pathlib import Path

import qanat
from qanat.host.doctor.findings import Finding
from qanat.host.lockdown.lockdown import status as lockdown_status
from qanat.host.lockdown.nftables import Nftables
from qanat.host.lockdown.wanted import PORTS
from qanat.host.machine import Machine
from qanat.host.service.manager import Manager
from qanat.host.service.ready import Ready, ask
from qanat.host.service.update import is_pinned
from qanat.host.service.wanted import CREDENTIALS, TOKEN

WANTED_BUFFER = 7_500_000
"""Bytes, as QUIC implementations ask for; less works, and a fast line may lose datagrams (case 58)."""
BUFFERS = ("net.core.rmem_max", "net.core.wmem_max")


def clock(machine: Machine, *, now: float | None = None) -> Finding:
    """Neither before this program was written, nor left to itself."""
    now = time.time() if now is None else now
    written = Path(qanat.__file__).stat().st_mtime
    fix = "set the clock: timedatectl set-ntp true"
    if now < written - 86400:
        shown = time.strftime("%Y-%m-%d", time.gmtime(now))
        return Finding(
            "clock", "failure", f"it is {shown} here, before this version was made: no certificate is valid", fix
        )
    status, out, _ = machine.try_run("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if status == 0 and out.strip() == "no":
        return Finding("clock", "warning", "it is not kept by NTP: certificates are refused once it is off", fix)
    return Finding("clock", "ok", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))


def buffers(*, proc: Path = Path("/proc/sys")) -> list[Finding]:
    """Never more than a note: they are not why anything fails."""
    findings = []
    for name in BUFFERS:
        try:
            size = int((proc / name.replace(".", "/")).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if size < WANTED_BUFFER:
            findings.append(
                Finding(
                    "UDP buffers",
                    "note",
                    f"{name} is {size}: it works, and may be slower on a fast line",
                    f"on the host: sysctl -w {name}={WANTED_BUFFER}",
                )
            )
        else:
            findings.append(Finding("UDP buffers", "ok", f"{name} is {size}"))
    return findings


def service(machine: Machine, manager: Manager, *, installed: bool) -> tuple[list[Finding], Ready | None]:
    """Its state, and what its `/ready` says."""
    if not installed:
        return [
            Finding("service", "note", "it is not installed here", "`qanat service install TOKEN` installs it")
        ], None
    state = manager.state()
    ready = ask(state.process)
    findings = []
    if not state.running:
        findings.append(Finding("service", "failure", "it doesn't run", _start_of(manager)))
    elif ready is not None and ready.connections > 0:
        findings.append(Finding("service", "ok", f"it runs, {ready.connections} connections ({ready.address}/ready)"))
    elif state.ready is None and ready is None:
        findings.append(Finding("service", "ok", "it runs"))
    else:
        text = f": {state.text}" if state.text else ""
        findings.append(Finding("service", "failure", f"it runs and has no connection{text}", _log_of(manager)))
    if state.restarts > 3:
        findings.append(Finding("service", "warning", f"it was started anew {state.restarts} times", _log_of(manager)))
    if is_pinned(machine):
        findings.append(
            Finding(
                "service",
                "warning",
                "it runs the version before the last update, which wasn't ready in time",
                "`qanat service update` tries the new one again",
            )
        )
    return findings, ready


def secret_files(machine: Machine) -> list[Finding]:
    """Of root (or the service's user) alone."""
    findings = []
    for path in (TOKEN, CREDENTIALS):
        try:
            mode = machine.path(path).stat().st_mode & 0o777
        except OSError:
            continue
        if mode & 0o077:
            findings.append(
                Finding("token", "warning", f"others can read {path} (mode {mode:04o})", f"chmod 600 {path}")
            )
    return findings


def public_ports(machine: Machine, *, proc: Path = Path("/proc/self/net")) -> list[Finding]:
    """What listens on the web's ports on all addresses, as long as no lockdown is in force."""
    ports = sorted(port for port in PORTS if port in _public_listeners(proc))
    if not ports or (os.geteuid() == 0 and lockdown_status(machine, Nftables(machine)).in_force):
        return []
    shown = " and ".join(map(str, ports))
    return [
        Finding(
            "public ports",
            "note",
            f"port {shown} listens on all addresses: who finds this host needs no tunnel",
            "`qanat lockdown` shows how they are closed",
        )
    ]


def _public_listeners(proc: Path) -> set[int]:
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            address, _, port = fields[1].partition(":")
            if fields[3] == "0A" and not address.strip("0"):
                found.add(int(port, 16))
    return found


def _start_of(manager: Manager) -> str:
    return {"systemd": "systemctl start qanat", "openrc": "rc-service qanat start"}.get(manager.name, "start it")


def _log_of(manager: Manager) -> str:
    return "the log has the reason: " + (
        "journalctl -u qanat" if manager.name == "systemd" else "/var/log/qanat/qanat.log"
    )
