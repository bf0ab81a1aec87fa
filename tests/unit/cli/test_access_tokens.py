"""Logging in to an application behind Access: an edge, an organisation and a page of this test's own stand for the real ones."""

import json
import os
import stat
import time
from base64 import b64encode, urlsafe_b64decode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from nacl.public import Box, PrivateKey, PublicKey

from qanat.cli.main import main
from qanat.cli.stock import access_tokens, browser
from qanat.cli.stock.access_tokens import Application, token_file
from qanat.client.transport import Response

URL = "https://app.example.test"
TEAM = "team.cloudflareaccess.com"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Access:
    """Answers what a client asks; `metadata` is what the edge signs, `revoked` the tokens that it takes no more."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {
            "type": "match",
            "hostname": "app.example.test",
            "auth_domain": TEAM,
            "aud": "a1",
            "iat": int(time.time()),
        }
        self.key = KEY
        self.revoked: set[str] = set()
        self.shown: list[str] = []
        self.made = 0

    def token(self, ends_in_s: float = 3600.0, **claims: Any) -> str:
        self.made += 1
        body = {"aud": ["a1"], "exp": int(time.time() + ends_in_s), "iss": f"https://{TEAM}", "n": self.made, **claims}
        return jwt.encode(body, KEY, algorithm="RS256")

    def call(self, method: str, url: str, headers: list[tuple[str, str]], body: Any = None) -> Response:
        given, place = dict(headers), urlsplit(url)
        if place.path == "/cdn-cgi/access/certs":
            key = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
            return Response(200, {}, json.dumps({"keys": [{**key, "kid": "k", "alg": "RS256"}]}).encode())
        if place.path == "/cdn-cgi/access/cert_sign":
            assert body["public_key"].startswith("ecdsa-sha2-nistp256 ")
            return Response(200, {}, json.dumps({"certificate": "signed " + body["public_key"]}).encode())
        if "cf-access-metadata-request" in given:
            signed = jwt.encode(self.metadata, self.key, algorithm="RS256", headers={"kid": "k"})
            return Response(200, {"cf-access-metadata": signed}, b"")
        if place.path == "/cdn-cgi/access/authorized":
            assert "CF_AppSession=s" in given["cookie"]
            return Response(302, {"set-cookie": f"x=y\nCF_Authorization={self.token()}; Path=/", "location": URL}, b"")
        if place.hostname == TEAM:
            assert "CF_Authorization=" in given["cookie"]
            return Response(302, {"location": f"{URL}/cdn-cgi/access/authorized"}, b"")
        if given.get("cf-access-token") in {None, *self.revoked}:
            location = f"https://{TEAM}/cdn-cgi/access/login/app"
            return Response(302, {"location": location, "set-cookie": "CF_AppSession=s"}, b"")
        return Response(200, {}, b"")

    def fetch(self, address: str, _log: object) -> Response:
        """What the page leaves, sealed for the key in the address."""
        assert address.startswith(f"{browser.STORE}transfer/")
        sender = PrivateKey.generate()
        box = Box(sender, PublicKey(urlsafe_b64decode(address.rpartition("/")[2])))
        tokens = json.dumps({"app_token": self.token(), "org_token": self.token()}).encode()
        key = urlsafe_key(bytes(sender.public_key))
        return Response(200, {"service-public-key": key}, b64encode(bytes(box.encrypt(tokens))))


def urlsafe_key(key: bytes) -> str:
    return b64encode(key, b"-_").decode()


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch) -> Access:
    access = Access()
    monkeypatch.setattr(access_tokens, "call", access.call)
    monkeypatch.setattr(browser, "fetch", access.fetch)
    monkeypatch.setattr(browser, "show", lambda url, _what: access.shown.append(url))
    return access


@pytest.fixture
def kept() -> Path:
    return token_file(Application(TEAM, "a1", "app.example.test"))


def test_a_login_in_the_browser_once_then_the_kept_token(
    edge: Access, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["access", "token", URL]) == 1
    assert "Please run login command" in capsys.readouterr().err
    assert main(["access", "login", URL]) == 0
    token = kept.read_text()
    assert capsys.readouterr().out == f"Successfully fetched your token:\n\n{token}\n\n"
    (page,) = edge.shown
    assert urlsplit(page).path == "/cdn-cgi/access/cli"
    assert parse_qs(urlsplit(page).query).keys() == {
        "aud",
        "token",
        "edge_token_transfer",
        "redirect_url",
        "send_org_token",
    }
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert main(["access", "token", "--app", URL]) == 0
    assert main(["access", "login", "--no-verbose", "app.example.test"]) == 0
    assert main(["access", "login", "--quiet", URL]) == 0
    assert capsys.readouterr().out == token + token
    assert len(edge.shown) == 1


def test_a_revoked_token_is_replaced_by_the_organisations_without_a_page(
    edge: Access, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["access", "login", "--quiet", URL]) == 0
    before = kept.read_text()
    edge.revoked.add(before)
    assert main(["access", "login", "--no-verbose", URL]) == 0
    assert capsys.readouterr().out == kept.read_text() != before
    assert len(edge.shown) == 1


@pytest.mark.parametrize("claims", [{"ends_in_s": -1}, {"aud": ["another"]}, {"aud": 7}], ids=str)
def test_a_token_that_has_ended_or_is_of_another_application_is_not_used(
    claims: dict[str, Any], edge: Access, kept: Path
) -> None:
    kept.write_text(edge.token(**claims))
    assert main(["access", "token", URL]) == 1
    assert not kept.exists()


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"auth_domain": "evil.example"}, "does not end with"),
        ({"auth_domain": "evil.example/x.cloudflareaccess.com"}, "does not end with"),
        ({"hostname": "other.example.test"}, "not of app.example.test"),
        ({"iat": 1}, "older than a day"),
        ({"aud": ""}, "names no application"),
    ],
)
def test_an_edge_that_names_somebody_elses_application_is_not_believed(
    claims: dict[str, Any], said: str, edge: Access, capsys: pytest.CaptureFixture[str]
) -> None:
    edge.metadata |= claims
    assert main(["access", "login", URL]) == 1
    assert said in capsys.readouterr().err
    assert edge.shown == []


def test_a_signature_of_somebody_else_is_not_believed(edge: Access, capsys: pytest.CaptureFixture[str]) -> None:
    edge.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert main(["access", "login", URL]) == 1
    assert "signature doesn't hold" in capsys.readouterr().err


def test_curl_gets_the_token_and_not_in_its_arguments(
    edge: Access, kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    program = tmp_path / "curl"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {seen}\nwhile [ $# -gt 0 ]; do [ "$1" = --config ] && cat "$2" >> {seen}; shift; done\nexit 7\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert main(["access", "curl", "--allow-request", URL, "-s"]) == 7
    assert seen.read_text() == f"{URL} -s\n"
    assert main(["access", "curl", URL, "-s"]) == 7
    arguments, header = seen.read_text().splitlines()
    assert kept.read_text() not in arguments
    assert header == f'header = "Cf-Access-Token: {kept.read_text()}"'
    assert main(["access", "curl"]) == 255


def test_a_short_lived_certificate_for_ssh(edge: Access, kept: Path) -> None:
    assert main(["access", "ssh-gen", "--hostname", "app.example.test"]) == 0
    key = kept.parent / "app.example.test-cf_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    public = kept.parent / "app.example.test-cf_key.pub"
    assert isinstance(load_ssh_public_key(public.read_bytes()), ec.EllipticCurvePublicKey)
    assert (kept.parent / "app.example.test-cf_key-cert.pub").read_text() == f"signed {public.read_text()}"
