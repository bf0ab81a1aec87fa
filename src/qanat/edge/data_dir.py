"""The data directory: one edge at a time, and never an empty state in place of a lost one."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import select

from qanat.auth import issue
from qanat.auth.tokens import make_token
from qanat.errors import QanatError
from qanat.store import SYSTEM, Store, open_store
from qanat.store.accounts import ensure_first_account
from qanat.store.models import Tunnel
from qanat.store.sealing import Sealer, load_key, make_key
from qanat.store.tokens import count_tokens


@dataclass(frozen=True, slots=True)
class State:
    """What the directory holds. `first_token` is set by the start that made it, and by no other."""

    store: Store
    sealer: Sealer
    first_token: str | None


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
    def token_file(self) -> Path:
        """Where scripts find the first API token."""
        return self.path / "first-token"

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

    def unlock(self) -> None:
        """Lets another edge have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def open(self, *, account: str, busy_timeout_s: float) -> State:
        """Opens what is there; on the first start makes database, key, account and API token.

        Raises:
            QanatError: `store_missing`, `secret_key_missing`, and what `open_store` and `load_key` say.
        """
        if self.key.exists() and not (self.database.exists() and self.database.stat().st_size):
            raise QanatError(
                "store_missing",
                f"{self.database} is gone, though this directory was used before",
                where=str(self.database),
                hint="restore it from a backup; or, to begin anew, use an empty data directory",
            )
        store = open_store(self.database, busy_timeout_s=busy_timeout_s)
        try:
            sealer = self._sealer(store)
            ensure_first_account(store, SYSTEM, name=account)
            return State(store=store, sealer=sealer, first_token=self._first_token(store))
        except BaseException:
            store.close()
            raise

    def _sealer(self, store: Store) -> Sealer:
        if self.key.exists():
            return load_key(self.key)
        with store.reading() as session:
            if session.scalar(select(Tunnel.id).limit(1)) is not None:
                raise QanatError(
                    "secret_key_missing",
                    f"{self.key} is gone; without it the tunnels' secrets can't be read",
                    where=str(self.key),
                    hint="restore it from the backup that belongs to this database",
                )
        return make_key(self.key)

    def _first_token(self, store: Store) -> str | None:
        if count_tokens(store):
            return None
        # The file first: a crash between leaves a token that nobody accepts, never an accepted one that nobody knows.
        text = make_token()
        descriptor = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        issue(store, SYSTEM, name="first token", text=text)
        return text
