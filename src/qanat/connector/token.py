"""The connector token: base64 of `{"a": account, "t": tunnel, "s": secret}` (protocol.md, *Tokens and credentials*), and of our
own `"edge"` and `"ca"`.

Refusals say what the text looks like and never repeat it: it may hold a secret.
"""

import base64
import binascii
from pathlib import Path

import msgspec
from msgspec import Struct, field

from qanat import structs
from qanat.errors import QanatError
from qanat.ids import TunnelId, parse_tunnel_id

SMALLEST_SECRET, LARGEST_SECRET = 16, 256
LARGEST_FILE = 64 * 1024

NOT_VALID = "Provided Tunnel token is not valid"
UNREADABLE = "Failed to read token file"
"""As a stock cloudflared says it: scripts look for these words. What is wrong follows."""


class Credentials(Struct, frozen=True):
    """Who a connector is. Its text form hides the secret. `edges` and `ca_pem`: where the token says that its edge is, and whose
    certificates it shows there; stock connectors pass over both."""

    account_tag: str
    tunnel_id: TunnelId
    secret: bytes
    endpoint: str = ""
    edges: tuple[str, ...] = ()
    ca_pem: bytes | None = None

    def __repr__(self) -> str:
        return f"Credentials(account_tag={self.account_tag!r}, tunnel_id={self.tunnel_id!r}, secret=*****)"


class _Token(Struct):
    a: str
    t: str
    s: str
    e: str = ""
    edge: str | tuple[str, ...] = ()
    ca: str = ""


class _File(Struct):
    account_tag: str = field(name="AccountTag")
    tunnel_secret: str = field(name="TunnelSecret")
    tunnel_id: str = field(name="TunnelID")
    endpoint: str = field(name="Endpoint", default="")


def parse_token(text: str, *, where: str = "--token") -> Credentials:
    """A token as any source gives it: white space around it and base64 padding may be there or not.

    Raises:
        QanatError: `token_missing` or `token_invalid`, which says what was given instead of a token.
    """
    token = text.strip()
    if not token:
        raise QanatError("token_missing", "the token is empty", where=where, hint="give the tunnel's token")
    _refuse_look_alikes(token, where)
    if len(token) > LARGEST_FILE:
        raise _invalid("it is far longer than a token", where)
    try:
        document = base64.b64decode(token.rstrip("=") + "=" * (-len(token.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(f"its {len(token)} characters are not valid base64; a part may be missing", where) from None
    try:
        fields = structs.decode(document, _Token)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _invalid("it is base64, but not of a token's content; a part may be missing", where) from None
    plain = _credentials(fields.a, fields.t, fields.s, fields.e, "token_invalid", where)
    edges = (fields.edge,) if isinstance(fields.edge, str) else fields.edge
    return Credentials(
        plain.account_tag,
        plain.tunnel_id,
        plain.secret,
        plain.endpoint,
        edges,
        _ca(fields.ca, where) if fields.ca else None,
    )


def _ca(text: str, where: str) -> bytes:
    """Base64 of a certificate (DER) as PEM."""
    try:
        der = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise QanatError("token_invalid", "its CA is not valid base64", where=where) from None
    lines = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"-----END CERTIFICATE-----\n"


def read_token_file(path: str, *, where: str = "--token-file") -> Credentials:
    """The token in a file.

    Raises:
        QanatError: `token_file_unreadable` (missing, a directory, no permission), or as `parse_token`.
    """
    try:
        text = _read(path, "token_file_unreadable", where)
    except QanatError as error:
        raise QanatError(error.code, f"{UNREADABLE}: {error.message}", where=error.where, hint=error.hint) from None
    return parse_token(text, where=f"{where} {path}")


def world_readable(path: str) -> bool:
    """Whether others than owner and group may read the file: worth a warning, as any local user has the token then."""
    try:
        return bool(Path(path).stat().st_mode & 0o004)
    except OSError:
        return False


def parse_credentials(text: str, *, where: str = "--credentials-contents") -> Credentials:
    """A tunnel's credentials file, JSON.

    Raises:
        QanatError: `credentials_file_invalid`.
    """
    try:
        fields = structs.decode(text, _File)
    except (msgspec.MsgspecError, UnicodeError):
        raise QanatError(
            "credentials_file_invalid",
            "this is not a JSON object with AccountTag, TunnelSecret and TunnelID",
            where=where,
            hint="use the file that `tunnel create` wrote; a token goes to --token-file",
        ) from None
    values = (fields.account_tag, fields.tunnel_id, fields.tunnel_secret, fields.endpoint)
    return _credentials(*values, "credentials_file_invalid", where)


def read_credentials_file(path: str, *, where: str = "--credentials-file") -> Credentials:
    """The credentials in a file.

    Raises:
        QanatError: `credentials_file_invalid`.
    """
    return parse_credentials(_read(path, "credentials_file_invalid", where), where=f"{where} {path}")


def _read(path: str, code: str, where: str) -> str:
    place = f"{where} {path}"
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except IsADirectoryError:
        raise QanatError(code, "this is a directory", where=place, hint="name the file in it") from None
    except OSError as error:
        raise QanatError(code, error.strerror or "it can't be read", where=place, hint=_reading_hint(error)) from None
    if len(content) > LARGEST_FILE:
        raise QanatError(code, "the file is larger than 64 KiB", where=place)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise QanatError(code, "the file is not text (UTF-8)", where=place) from None


def _reading_hint(error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError):
        return "write the token into that file, mode 0600"
    return "let the connector's user read it" if isinstance(error, PermissionError) else None


def _refuse_look_alikes(token: str, where: str) -> None:
    """What people paste instead of a token, each told by its name (case 62)."""
    if token[0] in "\"'`" or token[-1] in "\"'`":
        raise _invalid("it stands in quotes", where, "remove them")
    if token.startswith("{"):
        if '"result"' in token:
            raise _invalid("it is an API answer", where, "the token is its `result` field")
        if "TunnelSecret" in token:
            raise _invalid("it is a credentials file", where, "give it by --credentials-file")
        raise _invalid("it is JSON, which the token is the base64 of", where)
    for prefix in ("token=", "token:", "TUNNEL_TOKEN=", "--token", "Bearer "):
        if token.lower().startswith(prefix.lower()):
            raise _invalid(f"it begins with `{prefix.strip()}`", where, "leave that out")
    if any(char.isspace() for char in token):
        raise _invalid("it has white space or a line break inside", where, "give the token alone, in one line")


def _credentials(account: str, tunnel: str, secret: str, endpoint: str, code: str, where: str) -> Credentials:
    if not (len(account) == 32 and all(char in "0123456789abcdefABCDEF" for char in account)):
        raise QanatError(code, "its account is not 32 hexadecimal digits", where=where)
    try:
        tunnel_id = parse_tunnel_id(tunnel)
    except QanatError:
        raise QanatError(code, "its tunnel id is not a valid UUID", where=where) from None
    try:
        raw = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        raise QanatError(code, "its secret is not valid base64", where=where) from None
    if not SMALLEST_SECRET <= len(raw) <= LARGEST_SECRET:
        raise QanatError(
            code, f"its secret has {len(raw)} bytes, not {SMALLEST_SECRET} to {LARGEST_SECRET}", where=where
        )
    return Credentials(account, tunnel_id, raw, endpoint)


def _invalid(message: str, where: str, hint: str = "copy the token anew, whole and alone") -> QanatError:
    return QanatError("token_invalid", f"{NOT_VALID}: {message}", where=where, hint=hint)
