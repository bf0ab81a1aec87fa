"""security.md S7: marked secrets are planted, all that the control plane says and keeps is collected, and none is found."""

import base64
import io
import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from qanat.auth.tokens import token_hash
from qanat.log import set_up_logging
from tests.support.control import Control, running_control
from tests.support.matrix import World, routes

pytestmark = pytest.mark.requirement("S7")

SECRET = b"canary-of-a-tunnel-secret-0123456789abcdef"
# These hand a secret out: that is what they are for.
HAND_OUT = ("/token", "/value", "/origin-certificate", "/user/key", "/backup", "/management")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    before = list(root.handlers), root.level
    set_up_logging(level="debug", form="json", stream=stream)
    yield stream
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def forms(secret: bytes) -> list[bytes]:
    """As it is, and as JSON, PEM and people write it. Base64 is cut to what doesn't depend on its place."""
    shifted = [base64.b64encode(b"\0" * shift + secret)[4:-4] for shift in range(3)]
    return [secret, secret.hex().encode(), *shifted]


def found(secrets: dict[str, bytes], text: bytes) -> list[str]:
    return [name for name, secret in secrets.items() for form in forms(secret) if form in text]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with running_control(tmp_path) as running:
        running.context.legacy_keys = True
        yield running


def test_no_planted_secret_is_anywhere_but_where_it_is_handed_out(
    control: Control, log: io.StringIO, tmp_path: Path
) -> None:
    encoded = base64.b64encode(SECRET).decode()
    tunnel = control.create_tunnel(tunnel_secret=encoded)
    zone = control.create_zone()
    world = World(control)
    body = {"name": "t", "policies": world.token_policies(control.account)}
    token = control.call("POST", "/user/tokens", body)
    rolled = control.call("PUT", f"/user/tokens/{token['id']}/value", {})
    of_account = control.call("POST", f"/accounts/{control.account}/tokens", body)
    certificate = control.call("POST", f"/qanat/zones/{zone['id']}/origin-certificate")["certificate"]
    key = control.call("POST", "/qanat/user/key", {})["key"]
    named = control.call("POST", f"/qanat/tunnels/{tunnel['id']}/connector-tokens", {"name": "host"})["token"]
    inside = base64.b64decode("".join(certificate.splitlines()[1:-1]))
    secrets = {
        "the tunnel's secret": SECRET,
        "the first token": control.token.encode(),
        "a token": token["value"].encode(),
        "a rolled token": rolled.encode(),
        "an account's token": of_account["value"].encode(),
        "a certificate's token": inside.partition(b'"apiToken":"')[2].partition(b'"')[0],
        "the legacy key": key.encode(),
        "a connector token's secret": base64.b64decode(json.loads(base64.b64decode(named))["s"]),
    }
    assert all(len(secret) >= 32 for secret in secrets.values())

    # what the API answers: every route that reads, and refusals that could repeat what was sent
    for method, path, _ in routes():
        if method == "GET" and not path.endswith(HAND_OUT):
            call = world.call(method, path)
            own = {"account_id": control.account, "tunnel_id": tunnel["id"], "zone_id": zone["id"]}
            given = {name: value for name, value in own.items() if name in call.params}
            for asked in (call, call.at(**given)):
                answer = control.http.get(asked.url, params=asked.row.query)
                assert not found(secrets, answer.content), path
                for value in answer.headers.values():
                    assert not found(secrets, value.encode()), path
    refusals = (
        control.http.post(control.tunnels(), json={"name": "", "tunnel_secret": encoded}),
        control.http.post(control.tunnels(), json={"name": "x", "tunnel_secret": encoded[:-9] + "!"}),
        control.http.get("/zones", headers={"authorization": f"Bearer {rolled}x"}),
        control.http.get("/zones", headers={"authorization": f"Basic {rolled}"}),
        control.http.get("/user", headers={"x-auth-email": "a@example.test", "x-auth-key": key, "authorization": ""}),
        control.http.put(f"/user/tokens/{rolled}/value"),
    )
    for answer in refusals:
        assert answer.status_code >= 400
        assert not found(secrets, answer.content.replace(rolled.encode() + b"/value", b"")), answer.text

    # the log, the notices, and the database: as SQL, and byte by byte
    assert not found(secrets, log.getvalue().encode())
    assert not found(secrets, repr(control.notices).encode())
    with sqlite3.connect(tmp_path / "qanat.db") as connection:
        dump = "\n".join(connection.iterdump()).encode()
    assert not found(secrets, dump)
    for file in tmp_path.glob("qanat.db*"):
        assert not found(secrets, file.read_bytes()), file.name
    # while what is kept of a token is there: the dump is not empty
    assert token_hash(rolled).hex().upper().encode() in dump.upper()
