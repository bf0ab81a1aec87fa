"""Whether who asks came in through the very tunnel: a connector dials sshd from the host itself (case 17)."""

from ipaddress import ip_address
from pathlib import Path


def comes_through_tunnel(process: int, *, proc: Path = Path("/proc")) -> bool:
    """Looks for SSH_CONNECTION in the process and those that started it (sudo drops it from its own), and whether both ends are
    this host."""
    seen = 0
    while process > 1 and seen < 64:
        told = _environment(proc / str(process)).get("SSH_CONNECTION", "").split()
        if len(told) == 4:
            return _is_own(told[0], told[2])
        process = _parent(proc / str(process))
        seen += 1
    return False


def _is_own(client: str, server: str) -> bool:
    try:
        return ip_address(client).is_loopback or ip_address(client) == ip_address(server)
    except ValueError:
        return False


def _environment(folder: Path) -> dict[str, str]:
    try:
        entries = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(entry.decode(errors="replace").partition("=")[::2] for entry in entries if b"=" in entry)


def _parent(folder: Path) -> int:
    try:
        lines = (folder / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("PPid:")), 0)
