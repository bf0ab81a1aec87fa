"""The machine, or a folder that is to become one (`--root`): files put in place, and commands run on a live one."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shutil import which

from qanat.errors import QanatError

LONGEST_COMMAND_S = 90.0


class Machine:
    """`root` is `/` for the machine we run on. In any other folder nothing is started or asked: files alone are written, as in
    the build of an image."""

    def __init__(self, root: Path = Path("/"), *, search: str | None = None) -> None:
        self.root = root
        self._search = search

    @property
    def live(self) -> bool:
        return self.root == Path("/")

    def path(self, absolute: str) -> Path:
        """Where the file that the machine knows as `absolute` is."""
        return self.root / absolute.lstrip("/")

    def exists(self, absolute: str) -> bool:
        return os.path.lexists(self.path(absolute))

    def read(self, absolute: str) -> bytes | None:
        """The content; None where there is no such file. QanatError `file_unreadable`."""
        try:
            return self.path(absolute).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise QanatError("file_unreadable", error.strerror or "unreadable", where=absolute) from error

    def write(self, absolute: str, content: bytes, mode: int = 0o644, *, owner: str | None = None) -> bool:
        """Puts a whole file in place, with its mode from the first byte on; whether anything changed. `owner`: a user of this
        machine. QanatError `file_unwritable`."""
        path = self.path(absolute)
        beside = path.with_name(f".{path.name}.new")
        try:
            if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
                same = path.stat().st_mode & 0o7777 == mode
                path.chmod(mode)
                self._own(path, owner)
                return not same
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            with suppress(FileNotFoundError):
                beside.unlink()
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            self._own(beside, owner)
            beside.replace(path)
        except OSError as error:
            raise _unwritable(absolute, error) from error
        return True

    def link(self, absolute: str, target: str) -> bool:
        """A symbolic link; whether anything changed. QanatError `file_unwritable`."""
        path = self.path(absolute)
        try:
            if path.is_symlink() and str(path.readlink()) == target:
                return False
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            with suppress(FileNotFoundError):
                path.unlink()
            path.symlink_to(target)
        except OSError as error:
            raise _unwritable(absolute, error) from error
        return True

    def remove(self, absolute: str) -> bool:
        """A file, a link or an empty folder; whether there was one. A folder with anything in it stays."""
        path = self.path(absolute)
        try:
            if path.is_dir() and not path.is_symlink():
                if any(path.iterdir()):
                    return False
                path.rmdir()
            else:
                path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unwritable(absolute, error) from error
        return True

    def program(self, name: str) -> str | None:
        """Where a program of the machine is."""
        path = self._search or os.environ.get("PATH") or "/usr/bin:/bin"
        return which(name, path=f"{path}:/usr/sbin:/sbin:/usr/local/sbin")

    def run(self, *argv: str, given: str | None = None) -> str:
        """What the command prints. QanatError `host_command_failed`: with what it says on standard error."""
        status, out, err = self.try_run(*argv, given=given)
        if status != 0:
            told = (err or out).strip().splitlines()
            message = f"`{' '.join(argv)}` ended with {status}" + (f": {told[-1]}" if told else "")
            raise QanatError("host_command_failed", message, where=argv[0])
        return out

    def try_run(self, *argv: str, given: str | None = None) -> tuple[int, str, str]:
        """Its exit status, and what it prints on either side; 127 where there is no such program."""
        program = self.program(argv[0])
        if program is None:
            return 127, "", f"{argv[0]}: not found"
        command: Sequence[str] = [program, *argv[1:]]
        try:
            done = subprocess.run(
                command, input=given or "", capture_output=True, text=True, timeout=LONGEST_COMMAND_S, check=False
            )
        except subprocess.TimeoutExpired:
            return 124, "", f"no end within {LONGEST_COMMAND_S:g} s"
        except OSError as error:
            return 126, "", error.strerror or "can't be run"
        return done.returncode, done.stdout, done.stderr

    def _own(self, path: Path, owner: str | None) -> None:
        if owner is None or os.geteuid() != 0:
            return
        import pwd  # not on every start

        with suppress(KeyError):  # in a folder that stands for another machine, its users aren't ours
            user = pwd.getpwnam(owner)
            os.chown(path, user.pw_uid, user.pw_gid)


def _unwritable(absolute: str, error: OSError) -> QanatError:
    hint = "run it as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else None
    return QanatError("file_unwritable", error.strerror or "it can't be written", where=absolute, hint=hint)
