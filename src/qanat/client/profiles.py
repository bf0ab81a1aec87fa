"""Profiles: several control planes by name, in `profiles.toml`, and their tokens beside it in files of their own, all 0600."""

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from qanat import structs
from qanat.defaults import home
from qanat.errors import QanatError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One control plane. `token_file` is relative to the folder of `profiles.toml`; `account` an id or a name."""

    api: str
    token_file: str
    account: str | None = None
    insecure_http: bool = False


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    current: str | None = None
    profiles: dict[str, Profile] = msgspec.field(default_factory=dict)


def default_folder() -> Path:
    """`$XDG_CONFIG_HOME/qanat` (`~/.config/qanat`)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or home() / ".config") / "qanat"


class Profiles(msgspec.Struct, frozen=True):
    """The profiles of one user. Each call reads or writes the file anew."""

    folder: Path = msgspec.field(default_factory=default_folder)

    @property
    def file(self) -> Path:
        """`profiles.toml`."""
        return self.folder / "profiles.toml"

    def all(self) -> dict[str, Profile]:
        """By name, in the order of the file."""
        return self._read().profiles

    def current(self) -> str | None:
        """The name of the one that is used when none is named."""
        return self._read().current

    def get(self, name: str) -> Profile:
        """QanatError `profile_unknown`."""
        found = self.all().get(name)
        if found is None:
            raise QanatError(
                "profile_unknown", f"there is no profile {name!r}", where="--profile", hint="see `qanat profile list`"
            )
        return found

    def token(self, name: str) -> str:
        """QanatError `profile_unknown`, `api_token_unreadable`, `api_token_unsafe`."""
        return read_token(self.folder / self.get(name).token_file, own=True)

    def add(
        self,
        name: str,
        *,
        api: str,
        token: str,
        account: str | None = None,
        insecure_http: bool = False,
        replace: bool = False,
    ) -> None:
        """Writes the token, then the profile; the first one becomes current. QanatError `profile_exists`, `profile_bad_name`."""
        if not NAME.fullmatch(name):
            raise QanatError("profile_bad_name", "a profile's name has letters, digits, `.`, `_` and `-`", where="NAME")
        document = self._read()
        if name in document.profiles and not replace:
            raise QanatError(
                "profile_exists", f"there is a profile {name!r}", where="NAME", hint="remove it first, or log in again"
            )
        relative = f"tokens/{name}"
        _make_folder(self.folder)
        _make_folder(self.folder / "tokens")
        write_secret(self.folder / relative, token + "\n", replace=True)
        document.profiles[name] = Profile(api=api, token_file=relative, account=account, insecure_http=insecure_http)
        document.current = document.current or name
        self._write(document)

    def use(self, name: str) -> None:
        """Makes it current. QanatError `profile_unknown`."""
        self.get(name)
        document = self._read()
        document.current = name
        self._write(document)

    def remove(self, name: str) -> None:
        """The profile and its token; the token itself stays good. QanatError `profile_unknown`."""
        profile = self.get(name)
        document = self._read()
        del document.profiles[name]
        if document.current == name:
            document.current = None
        self._write(document)
        if not Path(profile.token_file).is_absolute():
            with suppress(FileNotFoundError):
                (self.folder / profile.token_file).unlink()

    def _read(self) -> _Document:
        import tomllib  # where there is no file, it is not needed

        try:
            with self.file.open("rb") as opened:
                _check_private(self.file, opened.fileno(), "profiles_unusable")
                return structs.convert(tomllib.load(opened), _Document)
        except FileNotFoundError:
            return _Document()
        except OSError as error:
            raise QanatError("profiles_unusable", f"{self.file}: {error.strerror}", where=str(self.file)) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
            raise QanatError(
                "profiles_unusable", f"{self.file} is not a file of profiles: {error}", where=str(self.file)
            ) from error

    def _write(self, document: _Document) -> None:
        plain = {
            **({"current": document.current} if document.current else {}),
            "profiles": {
                name: {key: value for key, value in msgspec.to_builtins(profile).items() if value not in (None, False)}
                for name, profile in document.profiles.items()
            },
        }
        import tomli_w  # most commands only read

        write_secret(self.file, tomli_w.dumps(plain), replace=True)


def read_token(file: Path, *, own: bool = False) -> str:
    """A token from a file. `own`: of ours, so that nobody else may be able to read it.

    Raises:
        QanatError: `api_token_unreadable`, `api_token_unsafe`.
    """
    try:
        with file.open("rb") as opened:
            if own:
                _check_private(file, opened.fileno(), "api_token_unsafe")
            token = opened.read(4096).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII"
        raise QanatError("api_token_unreadable", f"{file}: {reason}", where="--token-file") from error
    if not token:
        raise QanatError("api_token_unreadable", f"{file} is empty", where="--token-file")
    return token


def write_secret(file: Path, text: str | bytes, *, replace: bool) -> None:
    """0600 from its first byte on, and whole or not at all. QanatError `file_exists` unless `replace`, `file_unwritable`."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with suppress(FileNotFoundError):
            beside.unlink()
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(text if isinstance(text, bytes) else text.encode())
                opened.flush()
                os.fsync(opened.fileno())
            put_in_place(beside, file, replace=replace)
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
    except OSError as error:
        raise QanatError("file_unwritable", f"{file}: {error.strerror}", where=str(file)) from error


def put_in_place(beside: Path, file: Path, *, replace: bool) -> None:
    """Gives a finished file its name. QanatError `file_exists`."""
    if replace:
        beside.replace(file)
        return
    try:
        os.link(beside, file)  # fails when the name is taken, whoever took it in the meantime
    except FileExistsError:
        raise QanatError(
            "file_exists",
            f"{file} exists and is not overwritten",
            where=str(file),
            hint="move it away, or name another",
        ) from None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise QanatError("file_unwritable", f"{folder}: {error.strerror}", where=str(folder)) from error


def _check_private(file: Path, descriptor: int, code: str) -> None:
    if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
        raise QanatError(
            code,
            f"{file} can be read or written by others",
            where=str(file),
            hint=f"chmod 600 {file}; if somebody may have read a token, roll it",
        )
