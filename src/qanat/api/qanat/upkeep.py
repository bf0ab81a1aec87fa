"""`/qanat/backup` and `/qanat/keys/rotate`: what keeps the store safe, for who may do everything."""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from secrets import token_hex
from typing import Annotated

from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from qanat.api.http.context import Ctx, Who, needs
from qanat.api.http.endpoint import STREAMED, takes
from qanat.api.http.envelope import Ok, ok
from qanat.api.http.routes import resource
from qanat.api.http.shapes import FAILS, Shape
from qanat.errors import QanatError
from qanat.store import sqlite

router = resource(prefix="/qanat", tags=["qanat"])

MEDIA_TYPE = "application/vnd.sqlite3"
CHUNK = 256 * 1024


class RotationShape(Shape):
    """What a rotation did, and what is left to do."""

    key_id: Annotated[
        str, Field(examples=["1f0c9a3e"], description="the new key's; it tells nothing of the key itself")
    ]
    secrets: Annotated[int, Field(examples=[42], description="secrets that were sealed anew")]
    next: Annotated[
        str, Field(examples=["keep the new secret.key with your next backup; older backups need the key they had"])
    ]


@router.get(
    "/backup",
    responses={
        200: {
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            "description": "A SQLite database",
        },
        **FAILS,
    },
)
@needs("edge.edit")
@takes(STREAMED)
def get_backup(ctx: Ctx, who: Who) -> Response:
    """A consistent copy of the whole SQLite database, taken while everything goes on. Secrets in it are sealed: keep the key
    (`secret.key`) apart. On PostgreSQL it is refused, and `pg_dump` does the same."""
    who.everything_there_is()
    file = ctx.store.file
    if file is None:
        raise QanatError(
            "backup_elsewhere",
            "the store is a PostgreSQL database",
            hint="take its backup by `pg_dump --format=custom`, and keep secret.key with it",
        )
    copy = file.with_name(f"backup-{token_hex(8)}.tmp")
    sqlite.copy(file, copy)
    size = copy.stat().st_size
    content = _content(copy)
    next(content)  # an answer whose client is gone is not even begun
    with ctx.store.writing(who.actor) as write:
        write.audit("backup.take", file.name, detail={"bytes": size})
        name = f"qanat-{write.at.astimezone(UTC):%Y%m%dT%H%M%SZ}.db"
    return StreamingResponse(
        content,
        media_type=MEDIA_TYPE,
        headers={
            "content-length": str(size),
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "no-store",
        },
    )


@router.post("/keys/rotate")
@needs("edge.edit")
def rotate_key(ctx: Ctx, who: Who) -> Ok[RotationShape]:
    """A new key, and every secret in the store sealed with it. Where `store.key_command` gives the key, the command must
    print a new one first."""
    who.everything("edge.edit")
    rotation = ctx.keys.rotate(ctx.store, who.actor)
    left = f"{rotation.left} older key{'' if rotation.left == 1 else 's'}"
    told = (
        f"store.key_command may stop printing the {left}: no secret needs it any more, but older backups do"
        if rotation.left
        else "keep the new key with your next backup; older backups need the key they had"
    )
    return ok({"key_id": rotation.key_id, "secrets": rotation.secrets, "next": told})


def _content(copy: Path) -> Iterator[bytes]:
    """Nothing, then the copy: open and without a name from the first step on, it goes away however the answer ends."""
    try:
        opened = copy.open("rb")
    finally:
        sqlite.remove(copy)
    with opened:
        yield b""
        while chunk := opened.read(CHUNK):
            yield chunk
