"""`access` of a rule: only requests with a token of the issuer get through, and its keys may change while the connector runs."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.fixtures import quic_only
from tests.support.sites import Publisher, Site
from tests.support.waiting import wait_until
from tests.support.websocket import REQUEST_FIELDS


class Issuer:
    """Signs tokens, and serves the keys to check them with at stock's place."""

    def __init__(self) -> None:
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = json.dumps({"keys": issuer.jwks(), "public_certs": []}).encode()
                self.send_response(200 if self.path == "/cdn-cgi/access/certs" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def rotate(self, key_id: str) -> None:
        self.keys = {key_id: rsa.generate_private_key(public_exponent=65537, key_size=2048)}

    def jwks(self) -> list[dict[str, Any]]:
        return [
            {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": key_id, "alg": "RS256", "use": "sig"}
            for key_id, key in self.keys.items()
        ]

    def token(self, **claims: Any) -> str:
        ((key_id, key),) = self.keys.items()
        whole = {"iss": self.url, "aud": ["tag"], "exp": time.time() + 60, "email": "a@example.com", **claims}
        return jwt.encode(whole, key, algorithm="RS256", headers={"kid": key_id})

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    issuer.rotate("first")
    yield issuer
    issuer.close()


def status(site: Site, token: str | None) -> int:
    return site.get("/", [("Cookie", f"CF_Authorization={token}")] if token else []).status


@pytest.mark.case(19)
@quic_only
def test_only_a_token_of_the_issuer_lets_in_and_its_keys_may_change(publish: Publisher, issuer: Issuer) -> None:
    access = {"required": True, "teamName": issuer.url, "audTag": ["tag"]}
    site = publish("hello_world", origin_request={"access": access})
    assert status(site, None) == 403
    wait_until(lambda: status(site, issuer.token()) == 200, "the first keys")
    for claims in ({"aud": "other"}, {"exp": time.time() - 10}, {"iss": "https://other.example"}):
        assert status(site, issuer.token(**claims)) == 403, claims
    upgrade = site.h1()
    upgrade.start("GET", "/ws", REQUEST_FIELDS)
    assert upgrade.answer().status == 403
    stolen = issuer.token()
    issuer.rotate("second")
    wait_until(lambda: status(site, issuer.token()) == 200, "the new keys")
    wait_until(lambda: status(site, stolen) == 403, "the old key to be forgotten")
    assert issuer.asked <= 4, "an unknown key is asked for once in a while, whatever comes"
