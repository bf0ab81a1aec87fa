"""Which control plane, with which token. A token is never a flag's value: command lines can be read by others."""

import os
from pathlib import Path
from typing import Annotated

import typer

from qanat.client import Client
from qanat.errors import QanatError
from qanat.settings import ControlSettings, default_data_dir

ApiOption = Annotated[
    str | None,
    typer.Option(
        "--api", envvar="QANAT_API", help="Address of the API, ending in /client/v4. By default this machine's edge."
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="QANAT_API_TOKEN_FILE",
        help="File with the API token. Else QANAT_API_TOKEN; else the first token of this machine's edge.",
    ),
]
AccountOption = Annotated[
    str | None,
    typer.Option(
        "--account", envvar="QANAT_ACCOUNT", help="Id or name of the account. Not needed when the token sees one."
    ),
]


def connect(api: str | None, token_file: Path | None) -> Client:
    """A client. QanatError `api_token_missing`, `api_token_unreadable`."""
    return Client(api or default_api(), find_token(token_file))


def default_api() -> str:
    """Of an edge on this machine that runs with default settings."""
    address = ControlSettings.model_fields["address"].default
    return f"http://{address}/client/v4"


def find_token(token_file: Path | None) -> str:
    """From the file, the environment, or the default data directory."""
    if token_file is not None:
        return _read(token_file)
    from_environment = os.environ.get("QANAT_API_TOKEN", "").strip()
    if from_environment:
        return from_environment
    first = default_data_dir() / "first-token"
    if first.exists():
        return _read(first)
    raise QanatError(
        "api_token_missing",
        "no API token was given",
        hint="set QANAT_API_TOKEN, or give --token-file; `qanat edge` writes the first token to DATA_DIR/first-token",
    )


def _read(file: Path) -> str:
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII"
        raise QanatError("api_token_unreadable", f"{file}: {reason}", where="--token-file") from error
    if not token:
        raise QanatError("api_token_unreadable", f"{file} is empty", where="--token-file")
    return token
