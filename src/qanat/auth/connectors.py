"""A host that asks by the credential that it has anyway: its connector token. It says who the host is, a node of one tunnel, and
gives nothing but that node."""

import base64
import binascii
import hmac
import json
from dataclasses import dataclass
from hashlib import sha256

from qanat.control import connector_tokens, tunnels
from qanat.errors import QanatError
from qanat.ids import parse_tunnel_id
from qanat.store import Actor, Store
from qanat.store.models import Tunnel
from qanat.store.sealing import Sealer

LARGEST = 8192


@dataclass(frozen=True, slots=True)
class Host:
    """Who asks. `token_id` "": by the tunnel's own token."""

    tunnel: Tunnel
    token_id: str
    address: str

    @property
    def actor(self) -> Actor:
        """As the audit log names it."""
        return Actor(kind="connector", name=self.token_id or self.tunnel.id, address=self.address)


def verify_connector(store: Store, sealer: Sealer, text: str, *, address: str) -> Host:
    """Whose connector token it is. A malformed, unknown, wrong, revoked or expired one, and one of a deleted tunnel,
    get one and the same answer after the same work.

    Raises:
        QanatError: `token_refused`.
    """
    account_id, tunnel_id, secret = _read(text)
    given = sha256(secret).digest()
    with store.reading() as session:
        tunnel = session.get(Tunnel, tunnel_id)
        tokens = connector_tokens.good(session, tunnel_id)
    if tunnel is not None and (tunnel.deleted_at is not None or tunnel.account_id != account_id):
        tunnel = None
    own = tunnels.open_secret(sealer, tunnel) if tunnel is not None else b""
    found = "" if hmac.compare_digest(sha256(own).digest(), given) else None
    for token in tokens:
        is_good = connector_tokens.status_of(token, store.clock()) == "active"
        known = sha256(connector_tokens.open_secret(sealer, token)).digest()
        if hmac.compare_digest(known, given) and is_good:
            found = token.id
    if tunnel is None or found is None:
        raise QanatError("token_refused", "Invalid connector token", where="Authorization")
    return Host(tunnel, found, address)


def _read(text: str) -> tuple[str, str, bytes]:
    """Account, tunnel and secret; nobody's where the text is no token."""
    try:
        fields = json.loads(base64.b64decode(text, validate=True)) if len(text) <= LARGEST else None
        if isinstance(fields, dict):
            account, tunnel, secret = (str(fields.get(key, "")) for key in "ats")
            return account.lower(), parse_tunnel_id(tunnel), base64.b64decode(secret, validate=True)
    except (ValueError, binascii.Error, RecursionError, QanatError):
        pass
    return "", "", bytes(1)
