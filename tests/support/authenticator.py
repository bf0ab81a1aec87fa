"""A device that holds passkeys, as WebAuthn has it: ES256, no attestation. Each part of its answers can be made wrong."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Device:
    """One passkey. `verifies`: whether it makes sure who holds it; `counts`: whether it counts its uses."""

    origin: str
    verifies: bool = True
    counts: bool = True
    count: int = 0
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = field(default_factory=lambda: token_bytes(32))
    user_handle: bytes | None = None

    def make(self, options: str) -> str:
        """A new credential, as the browser sends it."""
        asked = json.loads(options)
        self.user_handle = decoded(asked["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        data = self._data(asked["rp"]["id"], ATTESTED)
        data += bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor2.dumps(cose)
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", asked["challenge"])
        return self._sent(client, attestationObject=encoded(attestation), transports=["internal"])

    def sign(self, options: str, **changed: Any) -> str:
        """An answer; `changed`: fields of its response, or `challenge`, in place of the right ones."""
        asked = json.loads(options)
        self.count += self.counts
        client = self._client("webauthn.get", changed.pop("challenge", asked["challenge"]))
        data = self._data(changed.pop("rp_id", asked["rpId"]), 0)
        signature = self.key.sign(data + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        handle = encoded(self.user_handle) if self.user_handle is not None else None
        response = {"authenticatorData": encoded(data), "signature": encoded(signature), "userHandle": handle}
        return self._sent(client, **{**response, **changed})

    def _data(self, rp_id: str, flags: int) -> bytes:
        flags |= PRESENT | (VERIFIED if self.verifies else 0)
        return sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _sent(self, client: bytes, **response: Any) -> str:
        sent = {"id": encoded(self.credential_id), "rawId": encoded(self.credential_id), "type": "public-key"}
        return json.dumps({**sent, "response": {"clientDataJSON": encoded(client), **response}})
