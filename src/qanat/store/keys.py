"""The key ring at work: a wrong key is noticed at the start, and a rotation seals every secret anew in one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, class_mapper

from qanat.errors import QanatError
from qanat.store import sealing
from qanat.store.audit import Actor
from qanat.store.database import Store
from qanat.store.models import Base, KeyCheck
from qanat.store.sealing import Sealer

CHECK_ID = "newest"
CHECK = b"qanat"
SAMPLES = 50

# Every table with sealed secrets, found by its column: none can be forgotten. A secret's context is its row's id.
SEALED: tuple[Any, ...] = tuple(
    mapper.class_ for mapper in Base.registry.mappers if "sealed_secret" in class_mapper(mapper.class_).columns
)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did. `left`: how many older keys the key command still prints, which no secret needs now."""

    key_id: str
    secrets: int
    left: int


class KeyRing:
    """The sealer and where its keys come from: a file, which a rotation rewrites, or a command, which it only asks."""

    def __init__(self, sealer: Sealer, *, file: Path | None = None, command: Sequence[str] = ()) -> None:
        self.sealer = sealer
        self._file = file
        self._command = tuple(command)
        self._rotating = Lock()

    def rotate(self, store: Store, actor: Actor, *, reached: Callable[[str], None] = lambda step: None) -> Rotation:
        """Seals everything with a new key. A stop at any point (`reached` is told each) leaves everything openable.

        Raises:
            QanatError: `key_rotation_elsewhere`: the keys come from a command, and it prints no new one;
                `secret_key_wrong`: a secret can't be opened; nothing was changed then.
        """
        with self._rotating:
            if self._file is None:
                return self._take_from_command(store, actor)
            # Read anew: an earlier rotation that was cut short left more keys here than it began with.
            older = sealing.read_keys(self._file)
            key = sealing.new_key()
            sealing.replace_keys(self._file, [key, *older])
            reached("key written")
            self.sealer.use(key, *older)
            secrets = reseal(store, actor, self.sealer)
            reached("sealed anew")
            sealing.replace_keys(self._file, [key])
            reached("old key dropped")
            return Rotation(self.sealer.key_id, secrets, 0)

    def _take_from_command(self, store: Store, actor: Actor) -> Rotation:
        keys = sealing.run_key_command(self._command)
        if sealing.key_id(keys[0]).hex() == self.sealer.key_id and is_current(store, self.sealer):
            raise QanatError(
                "key_rotation_elsewhere",
                "the key comes from store.key_command, and the first key that it prints is the one in use",
                where="store.key_command",
                hint="let it print a new key (32 bytes in hex) on a line before the old one, and repeat",
            )
        self.sealer.use(*keys)
        return Rotation(self.sealer.key_id, reseal(store, actor, self.sealer), len(keys) - 1)


def _check_by_samples(session: Session, sealer: Sealer) -> None:
    """The key is right when it opens one of some secrets: a single damaged one must not keep the edge from starting."""
    refused: QanatError | None = None
    for model in SEALED:
        for row in session.execute(select(model.id, model.sealed_secret).limit(SAMPLES)):
            try:
                sealer.open(row.sealed_secret, row.id)
            except QanatError as error:
                refused = refused or error
            else:
                return
    if refused is not None:
        raise refused


def reseal(store: Store, actor: Actor, sealer: Sealer) -> int:
    """Seals what another key than the newest sealed, in one audited transaction; how many secrets that were."""
    with store.writing(actor) as write:
        count = 0
        for model in SEALED:
            for row in write.session.scalars(select(model)):
                if not sealer.is_current(row.sealed_secret):
                    row.sealed_secret = sealer.seal(sealer.open(row.sealed_secret, row.id), row.id)
                    count += model is not KeyCheck
        write.audit("key.rotate", sealer.key_id, detail={"secrets": count})
    return count


def is_current(store: Store, sealer: Sealer) -> bool:
    """Whether the newest key sealed everything."""
    with store.reading() as session:
        return all(
            sealer.is_current(sealed) for model in SEALED for sealed in session.scalars(select(model.sealed_secret))
        )


def has_sealed(session: Session) -> bool:
    """Whether a key has been used on this database."""
    return any(session.scalar(select(model.id).limit(1)) is not None for model in SEALED)


def check_key(store: Store, sealer: Sealer) -> None:
    """Notices another database's key before anything is sealed with it. QanatError `secret_key_wrong`."""
    with store.reading() as session:
        check = session.get(KeyCheck, CHECK_ID)
        if check is not None:
            sealer.open(check.sealed_secret, check.id)
        else:
            _check_by_samples(session, sealer)
    if check is None:
        with store.recording() as write:
            write.session.add(KeyCheck(id=CHECK_ID, sealed_secret=sealer.seal(CHECK, CHECK_ID)))
