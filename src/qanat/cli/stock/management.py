"""`management token`, and what `tail` needs of it: a token for the management of a tunnel's connectors, and where to ask."""

import base64
import binascii
import json
from collections.abc import Sequence

from qanat.cli.stock.session import Session
from qanat.errors import QanatError

RESOURCES = ("logs", "admin", "host_details")
GOVERNMENT_ISSUER = "fed-tunnelstore"
GOVERNMENT_HOSTNAME = "management.fed.argotunnel.com"
HOSTNAME = "management.argotunnel.com"


def print_management_token(session: Session) -> None:
    """Prints a token for one resource, as JSON."""
    resource = session.asked.text("resource")
    if not session.asked.is_set("resource"):
        raise session.asked.usage('Required flag "resource" not set')
    if resource not in RESOURCES:
        message = f"invalid resource '{resource[:40]}': must be one of: {', '.join(RESOURCES)}"
        raise QanatError("flag_value_invalid", message)
    print_token(session, resource, session.asked.words)


def print_token(session: Session, resource: str, words: Sequence[str]) -> None:
    """`{"token":"…"}`."""
    print(json.dumps({"token": token(session, resource, words)}, separators=(",", ":")))


def token(session: Session, resource: str, words: Sequence[str]) -> str:
    """A new token for the tunnel that is named, good for an hour."""
    if not words or not words[0]:
        raise QanatError("usage", "no tunnel ID provided", hint=f"write {session.asked.called} … TUNNEL")
    tunnel_id = session.tunnel_id(words[0])
    path = f"{session.tunnels_path}/{tunnel_id}/management/{resource}"
    return str(session.one("POST", path, "get management token"))


def hostname(session: Session, token: str) -> str:
    """Where the management is asked: what is set, else what the token says, else the hosted edge's."""
    issuer, own = _says(token)
    if issuer == GOVERNMENT_ISSUER:
        return GOVERNMENT_HOSTNAME
    return session.settings.get("management-hostname", "") or own or HOSTNAME


def _says(token: str) -> tuple[str, str]:
    """Issuer, and the management hostname that an edge of ours writes into its tokens. QanatError `management_token_invalid`."""
    try:
        _, body, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return str(claims.get("iss", "")), str(claims.get("host", ""))
    except (ValueError, binascii.Error, AttributeError):
        raise QanatError(
            "management_token_invalid",
            "the management token is not a JWT",
            where="--token",
            hint="`qanat management token --resource logs TUNNEL` gets one",
        ) from None
