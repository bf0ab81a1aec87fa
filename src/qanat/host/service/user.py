"""A user of the service's own, where the service manager makes none: no password, no shell, no home."""

from contextlib import suppress

from qanat.errors import QanatError
from qanat.host.machine import Machine

USER = "qanat"


def add_user(machine: Machine) -> None:
    """Unless it is there. QanatError `host_command_failed`."""
    if not machine.live or has_user():
        return
    if machine.program("useradd"):
        machine.run("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                    "--shell", "/usr/sbin/nologin", USER)  # fmt: skip
    else:  # busybox
        machine.run("addgroup", "-S", USER)
        machine.run("adduser", "-S", "-D", "-H", "-h", "/nonexistent", "-s", "/sbin/nologin", "-G", USER, USER)


def remove_user(machine: Machine) -> None:
    """If it is there."""
    if not machine.live or not has_user():
        return
    with suppress(QanatError):
        machine.run("userdel" if machine.program("userdel") else "deluser", USER)


def has_user() -> bool:
    """Whether this machine knows the user."""
    import pwd  # not on every start

    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True
