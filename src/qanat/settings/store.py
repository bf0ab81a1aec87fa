"""The database."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from qanat.settings.values import Part


def _store_url(url: str | None) -> str | None:
    """Never quotes what was given: it may hold a password."""
    if url is None or url == "":
        return None
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("not a URL such as postgresql://qanat@db.example.test/qanat (leave it out for SQLite)")
    return url


class StoreSettings(Part):
    """The database, and the key that the secrets in it are sealed with."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Annotated[str | None, AfterValidator(_store_url)] = Field(
        default=None,
        repr=False,
        description="PostgreSQL's URL, as libpq takes it; without one, the store is a SQLite file in the data directory.",
    )
    password_file: Path | None = Field(
        default=None,
        description="File with PostgreSQL's password on its first line (PGPASSFILE and ~/.pgpass work as well).",
    )
    key_command: tuple[str, ...] = Field(
        default=(),
        description="Command, one argument an entry, that prints what would be in secret.key; no key file is used then.",
    )
    busy_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for another process's lock.")
