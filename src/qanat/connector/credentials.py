"""Which tunnel a connector serves, and its secret: of all places that may name them, in stock cloudflared's order."""

import os

from qanat.connector.sources import SEARCH_PATHS, Sources, expanded
from qanat.connector.token import (
    Credentials,
    parse_credentials,
    parse_token,
    read_credentials_file,
    read_token_file,
    world_readable,
)
from qanat.errors import QanatError
from qanat.ids import parse_tunnel_id

_NAMELESS = (
    "no token was given, and it requires the ID or name of the tunnel to run as the last command line argument or in the "
    "configuration file"
)
"""With stock's own words, which scripts look for."""

SOURCES = ("token", "token-file", "credentials-contents", "credentials-file")


def names_a_tunnel(sources: Sources) -> bool:
    """Whether there is anything to run a connector by."""
    return _tunnel(sources) is not None or any(sources.values.get(source) for source in SOURCES)


def name_to_look_up(sources: Sources) -> str | None:
    """The tunnel's name, where nothing but the API can tell its id, by which its credentials file is named."""
    tunnel = _tunnel(sources)
    if tunnel is None or any(sources.values.get(source) for source in SOURCES):
        return None
    try:
        parse_tunnel_id(tunnel)
    except QanatError:
        return tunnel
    return None


def _tunnel(sources: Sources) -> str | None:
    return sources.tunnel or (str(sources.document["tunnel"]) if sources.document.get("tunnel") else None)


def read_credentials(sources: Sources, warnings: list[str]) -> Credentials:
    """As stock: a token, else a token file, else credentials as text, else a credentials file, else the one of the tunnel that
    is named, where stock looks for it."""
    given = [name for name in SOURCES if sources.values.get(name)]
    tunnel = _tunnel(sources)
    if not given:
        return _searched_credentials(sources, tunnel)
    source, rest = given[0], given[1:]
    where = sources.place(source)
    if rest:
        ignored = ", ".join(sources.place(name) for name in rest)
        warnings.append(f"{where} is used; {ignored} {'is' if len(rest) == 1 else 'are'} ignored")
    value = sources.get(source, "")
    path = sources.file(source) or ""
    if source == "token":
        credentials = parse_token(value, where=where)
    elif source == "token-file":
        credentials = read_token_file(path, where=where)
        if world_readable(path):
            warnings.append(f"every user of this host can read the token in {path}: set its mode to 0600")
    elif source == "credentials-contents":
        credentials = parse_credentials(value, where=where)
    else:
        credentials = read_credentials_file(path, where=where)
    if tunnel and not source.startswith("token"):
        _check_tunnel(tunnel, credentials, where)
    return credentials


def _searched_credentials(sources: Sources, tunnel: str | None) -> Credentials:
    if tunnel is None:
        hint = "give --token-file FILE, or the variable TUNNEL_TOKEN"
        raise QanatError("token_missing", _NAMELESS, where="tunnel run", hint=hint)
    try:
        tunnel_id = parse_tunnel_id(tunnel)
    except QanatError:
        message = f"'{tunnel[:80]}' is a name, and its credentials are not given"
        raise QanatError(
            "credentials_file_invalid", message, where="tunnel run", hint="give --credentials-file, or a token"
        ) from None
    folders = [expanded(folder, sources.home) for folder in SEARCH_PATHS]
    certificate = sources.file("origincert") or next(
        (place for folder in folders if os.path.isfile(place := f"{folder}/cert.pem")),  # noqa: PTH113
        None,
    )
    if certificate:
        folders.insert(0, os.path.dirname(certificate))  # noqa: PTH120 - pathlib costs more
    for folder in folders:
        path = f"{folder or '.'}/{tunnel_id}.json"
        if os.path.isfile(path):  # noqa: PTH113
            credentials = read_credentials_file(path, where="tunnel run")
            _check_tunnel(tunnel, credentials, path)
            return credentials
    message = f"there is no {tunnel_id}.json in {', '.join(dict.fromkeys(folders))}"
    hint = "give --credentials-file FILE, or a token"
    raise QanatError("credentials_file_invalid", message, where="tunnel run", hint=hint)


def _check_tunnel(tunnel: str, credentials: Credentials, where: str) -> None:
    try:
        wanted = parse_tunnel_id(tunnel)
    except QanatError:
        return  # a name: only the API could tell, and the credentials decide
    if wanted != credentials.tunnel_id:
        message = f"these are of tunnel {credentials.tunnel_id}, not of {wanted}"
        raise QanatError("credentials_file_invalid", message, where=where)
