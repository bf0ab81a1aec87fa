"""The data directory: one edge at a time, and never an empty state in place of a lost one."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from qanat.auth import issue, one_time
from qanat.auth.tokens import make_token
from qanat.control import accounts, api_tokens, users
from qanat.errors import QanatError
from qanat.settings import StoreSettings
from qanat.store import SYSTEM, Store, open_store, restore, secret_file
from qanat.store.keys import KeyRing, check_key, has_sealed
from qanat.store.schema import is_current, is_empty
from qanat.store.sealing import Sealer, load_key, make_key, run_key_command

if TYPE_CHECKING:
    from qanat.store.lease import Lease

USED = b"used\n"


@dataclass(frozen=True, slots=True)
class State:
    """What the directory holds. `first_token` and `setup_token` are set by the start that made them, and by no other."""

    store: Store
    keys: KeyRing
    first_token: str | None
    lease: "Lease | None" = None
    setup_token: str | None = None

    @property
    def sealer(self) -> Sealer:
        """Seals and opens the store's secrets."""
        return self.keys.sealer

    def close(self) -> None:
        """The database's connections."""
        self.store.close()
        if self.lease is not None:
            self.lease.close()


class DataDir:
    """Locked from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def database(self) -> Path:
        """The store's file."""
        return self.path / "qanat.db"

    @property
    def key(self) -> Path:
        """The key that the secrets in the store are sealed with."""
        return self.path / "secret.key"

    @property
    def management_key(self) -> Path:
        """What management tokens are signed with."""
        return self.path / "management.key"

    @property
    def failed_requests(self) -> Path:
        """The newest of them, for `qanat explain` after a restart."""
        return self.path / "failed-requests.jsonl"

    @property
    def token_file(self) -> Path:
        """Where scripts find the first API token."""
        return self.path / "first-token"

    @property
    def setup_file(self) -> Path:
        """Where the one-time token is by which the first user signs in to the dashboard, until it is used."""
        return self.path / "setup-token"

    @property
    def control_socket(self) -> Path:
        """By which the engine hands over what comes for control.hostname."""
        return self.path / "control.sock"

    @property
    def ca(self) -> Path:
        """The development CA's certificate, to be trusted by clients and connectors."""
        return self.path / "ca.pem"

    @property
    def certificates(self) -> Path:
        """Keys and certificates that the development CA made."""
        return self.path / "certificates"

    def lock(self) -> Self:
        """Makes the directory (0700) and takes it. QanatError `data_dir_unusable`, `data_dir_in_use`."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise QanatError(
                "data_dir_unusable",
                f"the data directory {self.path} can't be used: {error.strerror}",
                where="data_dir",
                hint="choose another by --data-dir, or make it writable",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.unlock()
            raise QanatError(
                "data_dir_in_use",
                f"another edge runs on {self.path}",
                where="data_dir",
                hint="stop it, or give this one a directory of its own by --data-dir",
            ) from error
        return self

    def inherit(self, lock: int) -> Self:
        """Takes the file that a process before this one has locked: the lock is the open file's, and both have it."""
        os.set_inheritable(lock, False)
        self._lock = lock
        return self

    @property
    def lock_file(self) -> int:
        """What to hand down to the process that shall have this directory."""
        if self._lock is None:
            raise ValueError("the data directory is not locked")
        return self._lock

    def unlock(self) -> None:
        """Lets another edge have it; or the one that has inherited the lock, for itself."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_current(self, settings: StoreSettings) -> bool:
        """Whether the database has this version's schema already. Nothing is written."""
        return is_current(
            self.database if settings.url is None else settings.url,
            password_file=settings.password_file,
            busy_timeout_s=settings.busy_timeout_s,
        )

    def open(self, settings: StoreSettings, *, account: str, beside: bool = False) -> State:
        """Opens what is there; on the first start makes database, key, account and API token. `beside`: the process before this
        one still writes. Then nothing is written, and the lease is left to it.

        Raises:
            QanatError: `store_missing`, `store_in_use`, `secret_key_missing`, and what `open_store`, `load_key` and
                `check_key` say.
        """
        if not beside:
            restore.clean(self.path)
        url = settings.url
        if self._was_used() and not self._has_database(settings):
            where = self.database if url is None else "the PostgreSQL database of store.url"
            raise QanatError(
                "store_missing",
                f"{where} is {'gone' if url is None else 'empty'}, though this directory was used before",
                where=str(self.database) if url is None else "store.url",
                hint="restore it from a backup; or, to begin anew, use an empty data directory",
            )
        lease = None
        if url is not None:
            from qanat.store.lease import Lease  # and with it the driver, only where it is used

            lease = Lease(url, settings.password_file)
            if not beside:
                lease.acquire(wait_s=settings.busy_timeout_s)
        try:
            store = open_store(
                self.database if url is None else url,
                busy_timeout_s=settings.busy_timeout_s,
                password_file=settings.password_file,
            )
        except BaseException:
            if lease is not None:
                lease.close()
            raise
        try:
            keys = self._keys(store, settings)
            check_key(store, keys.sealer)
            if beside:
                return State(store=store, keys=keys, first_token=None, lease=lease)
            self._ensure_account(store, account)
            first_token = self._first_token(store)
            setup_token = self._setup_token(store)
            self._mark_used()
            return State(store=store, keys=keys, first_token=first_token, lease=lease, setup_token=setup_token)
        except BaseException:
            store.close()
            if lease is not None:
                lease.close()
            raise

    def new_token(self, settings: StoreSettings, *, account: str) -> None:
        """A token that may do everything, in `token_file`: for who has the host and no token that still may. No other
        token changes. QanatErrors as `open`'s, and `store_missing` where no edge was started before."""
        if not self._was_used():
            raise QanatError(
                "store_missing",
                f"no edge was started on {self.path}",
                where="data_dir",
                hint="name the edge's directory by --data-dir; the first start makes a token by itself",
            )
        state = self.open(settings, account=account)
        try:
            if state.first_token is None:
                self._make_token(state.store, "made on the edge's host")
        finally:
            state.close()

    def _has_database(self, settings: StoreSettings) -> bool:
        if settings.url is not None:
            return not is_empty(
                settings.url, password_file=settings.password_file, busy_timeout_s=settings.busy_timeout_s
            )
        return self.database.exists() and self.database.stat().st_size > 0

    def _was_used(self) -> bool:
        return self.key.exists() or (self._lock is not None and os.fstat(self._lock).st_size > 0)

    def _mark_used(self) -> None:
        """In the lock's file: a directory whose key comes from a command has no key file that would tell."""
        if self._lock is not None and os.fstat(self._lock).st_size == 0:
            os.pwrite(self._lock, USED, 0)
            os.fsync(self._lock)

    def _keys(self, store: Store, settings: StoreSettings) -> KeyRing:
        if settings.key_command:
            keys = run_key_command(settings.key_command)
            return KeyRing(Sealer(*keys), command=settings.key_command)
        if self.key.exists():
            return KeyRing(load_key(self.key), file=self.key)
        with store.reading() as session:
            if has_sealed(session):
                raise QanatError(
                    "secret_key_missing",
                    f"{self.key} is gone; without it the tunnels' secrets can't be read",
                    where=str(self.key),
                    hint="restore it from the backup that belongs to this database, or copy it from the edge before",
                )
        return KeyRing(make_key(self.key), file=self.key)

    def _ensure_account(self, store: Store, name: str) -> None:
        with store.reading() as session:
            found = accounts.first_account(session)
        if found is None:
            with store.writing(SYSTEM) as write:
                accounts.create_first(write, name=name)

    def _first_token(self, store: Store) -> str | None:
        with store.reading() as session:
            count = api_tokens.count(session)
        return None if count else self._make_token(store, "first token")

    def _setup_token(self, store: Store) -> str | None:
        """While nobody can sign in with a password, there is one by which the first user sets theirs. None: it isn't needed, or
        that of before is still good."""
        with store.reading() as session:
            is_needed = users.nobody_signs_in(session)
            user_id = accounts.first_user(session).id
            if is_needed and self.setup_file.exists():
                text = self.setup_file.read_text(encoding="utf-8", errors="replace")
                if one_time.find(session, text, at=store.clock()) is not None:
                    return None
        if not is_needed:
            self.setup_file.unlink(missing_ok=True)
            return None
        text = one_time.new_text()
        self._write(self.setup_file, text)
        with store.writing(SYSTEM) as write:
            one_time.make(write, user_id, "setup", text=text)
        return text

    def _make_token(self, store: Store, name: str) -> str:
        # The file first: a crash between leaves a token that nobody accepts, never an accepted one that nobody knows.
        text = make_token()
        self._write(self.token_file, text)
        with store.writing(SYSTEM) as write:
            issue(write, name=name, text=text)
        return text

    def _write(self, file: Path, text: str) -> None:
        try:
            secret_file.replace(file, f"{text}\n".encode())
        except OSError as error:
            raise QanatError(
                "data_dir_unusable",
                f"{file} can't be written: {error.strerror}; it is as before",
                where="data_dir",
                hint="make room or make it writable, and repeat",
            ) from error
