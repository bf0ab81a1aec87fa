"""A small OpenID provider in the test's own process, which can lie about everything."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

CLIENT = "qanat-test"
SECRET = "a secret with : and %"
ACCESS = "an access token"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def jwk(key_id: str, key: Key) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        found = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    else:
        found = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    return {**found, "kid": key_id, "use": "sig"}


@dataclass
class OpenId:
    """`keys`: those that it tells; `signing`: (key id, key, algorithm) of what it signs. `changed`: what ID tokens say besides,
    or in place of the truth (None: leaves it out). `token`: makes the ID token itself. `userinfo`: what it says there;
    None: it has none. `down`: it answers nothing but 503."""

    url: str = ""
    keys: dict[str, Key] = field(default_factory=lambda: {"one": new_key()})
    signing: tuple[str | None, Any, str] | None = None
    changed: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    token: Callable[[dict[str, Any]], str] | None = None
    userinfo: dict[str, Any] | None = None
    down: bool = False
    asked: list[str] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def allow(self, url: str, code: str = "code") -> dict[str, str]:
        """A user who allows what the browser was led to with; the callback's query."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        self._codes[code] = query
        return {"code": code, "state": query["state"]}

    def documents(self) -> dict[str, Any]:
        found = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "end_session_endpoint": f"{self.url}/leave",
        }
        if self.userinfo is not None:
            found["userinfo_endpoint"] = f"{self.url}/userinfo"
        return {
            "/.well-known/openid-configuration": {**found, **self.metadata},
            "/keys": {"keys": [jwk(*each) for each in self.keys.items()]},
        }

    def exchange(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        asked = self._codes.pop(form.get("code", ""), None)
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        challenge = (
            base64.urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        )
        if asked is None or pair != f"{CLIENT}:a%20secret%20with%20%3A%20and%20%25":
            return None
        if challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return None
        claims: dict[str, Any] = {
            "iss": self.url,
            "sub": "subject-1",
            "aud": CLIENT,
            "iat": int(time()),
            "exp": int(time()) + 300,
            "nonce": asked["nonce"],
            "email": "mir@example.com",
            "email_verified": True,
            "groups": ["staff"],
            **self.changed,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.token is not None:
            return {"id_token": self.token(claims)}
        key_id, key, algorithm = self.signing or ("one", self.keys["one"], "ES256")
        headers = {"kid": key_id} if key_id is not None else {}
        return {"id_token": jwt.encode(claims, key, algorithm=algorithm, headers=headers), "access_token": ACCESS}


@contextmanager
def openid_provider() -> Iterator[OpenId]:
    """On a port of this machine."""
    provider = OpenId()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            provider.asked.append(path)
            if path == "/userinfo":
                is_known = self.headers.get("authorization") == f"Bearer {ACCESS}"
                self._answer(provider.userinfo if is_known else None)
                return
            self._answer(provider.documents().get(path))

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._answer(provider.exchange(form, self.headers.get("authorization", "")))

        def _answer(self, found: Any) -> None:
            body = json.dumps(found if found is not None else {"error": "invalid_grant"}).encode()
            self.send_response(503 if provider.down else 400 if found is None else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield provider
    server.shutdown()
    server.server_close()
