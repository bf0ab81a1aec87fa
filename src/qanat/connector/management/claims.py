"""Who a management token is for. Its signature is for the edge to verify, which has the key (security.md S55, S43): a request
gets here only with an edge's word for it. What the connector can know it checks all the same."""

import base64
import binascii

import msgspec
from msgspec import Struct

from qanat import structs
from qanat.errors import QanatError
from qanat.ids import parse_tunnel_id

LARGEST = 8192
LEEWAY_S = 60.0
"""Between the clocks of this host and of who issued the token."""
MISSING = 1001
"""Stock's code of a token that is not there, or none."""
FORBIDDEN = 403


class NotAllowedError(Exception):
    """Why a request is not served: HTTP's status and the code in the answer."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Tunnel(Struct):
    id: str
    account_tag: str


class _Actor(Struct):
    id: str


class _Header(Struct):
    alg: str


class Claims(Struct, frozen=True):
    """What a token says. `res`: the resources it is good for, which a hosted edge's tokens leave out."""

    tun: _Tunnel
    actor: _Actor
    exp: float | None = None
    res: tuple[str, ...] | None = None


def read_claims(token: str, *, tunnel_id: str, account_tag: str, path: str, now: float) -> Claims:
    """The claims of a token that is good for this tunnel, now, and for the path.

    Raises:
        NotAllowedError: 400 as stock's where there is no token, 403 where it is for something else.
    """
    try:
        header, body, _ = token.split(".")
        claims = structs.decode(_decoded(body), Claims)
        is_sound = len(token) <= LARGEST and structs.decode(_decoded(header), _Header).alg == "ES256"
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        is_sound = False
    if not is_sound or not (claims.tun.id and claims.tun.account_tag and claims.actor.id):
        raise NotAllowedError(400, MISSING, "missing access_token query parameter")
    if not _is_tunnel(claims.tun.id, tunnel_id) or claims.tun.account_tag.lower() != account_tag.lower():
        raise NotAllowedError(403, FORBIDDEN, "the token is for another tunnel")
    if claims.exp is not None and now >= claims.exp + LEEWAY_S:
        raise NotAllowedError(403, FORBIDDEN, "the token is over")
    if claims.res is not None and path != "/ping" and _resource(path) not in claims.res:
        raise NotAllowedError(403, FORBIDDEN, "the token is for another resource")
    return claims


def _resource(path: str) -> str:
    return {"/logs": "logs", "/host_details": "host_details", "/qanat/role": "host_details"}.get(path, "admin")


def _is_tunnel(named: str, tunnel_id: str) -> bool:
    try:
        return parse_tunnel_id(named) == parse_tunnel_id(tunnel_id)
    except QanatError:
        return False


def _decoded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
