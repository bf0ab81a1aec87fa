"""A tunnel's credentials file: `<id>.json` beside cert.pem, by which a connector of a locally managed tunnel registers."""

import json
import os
from pathlib import Path

from qanat.cli.stock.command_line import parse_uuid
from qanat.cli.stock.session import Session
from qanat.connector.sources import SEARCH_PATHS
from qanat.errors import QanatError

LARGEST = 1 << 16


def write(path: str, *, account_id: str, secret: str, tunnel_id: str, endpoint: str) -> None:
    """0400, and an existing file is kept. `secret` is base64. QanatError `file_exists`, `file_unwritable`."""
    fields = {"AccountTag": account_id, "TunnelSecret": secret, "TunnelID": tunnel_id, "Endpoint": endpoint}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    except FileExistsError:
        raise QanatError("file_exists", f"{path} already exists") from None
    except OSError as error:
        raise QanatError("file_unwritable", f"open {path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(json.dumps(fields, separators=(",", ":")))
    except OSError as error:
        Path(path).unlink(missing_ok=True)
        raise QanatError("file_unwritable", f"write {path}: {error.strerror}") from None


def tunnel_of(path: str) -> str | None:
    """The id of the tunnel that a file is of; None when it is none or names none."""
    try:
        with Path(path).open("rb") as file:
            found = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    named = parse_uuid(str(found.get("TunnelID", ""))) if isinstance(found, dict) else None
    return named if named and set(named) != {"0", "-"} else None


def find(session: Session, tunnel_id: str, named: str) -> str | None:
    """The file of a tunnel: the one that is named, else beside cert.pem, else where stock looks for it."""
    if named:
        return named if Path(named).is_file() else None
    certificate = session.certificate
    folders = [certificate.folder] if certificate is not None else []
    folders += [Path(session.in_home(folder)) for folder in SEARCH_PATHS]
    return next(
        (str(folder / f"{tunnel_id}.json") for folder in folders if (folder / f"{tunnel_id}.json").is_file()), None
    )
