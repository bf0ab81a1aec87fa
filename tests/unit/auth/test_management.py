import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from qanat.auth.management import ManagementKey
from qanat.errors import QanatError

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
TUNNEL, ACCOUNT = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415", "0" * 32


def _token(key: ManagementKey, at: datetime = NOW) -> str:
    return key.issue(tunnel_id=TUNNEL, account_id=ACCOUNT, actor="someone", resources=["logs", "logs"], at=at)[0]


def test_a_good_one_says_what_it_is_good_for() -> None:
    key = ManagementKey.make()
    grant = key.verify(_token(key), at=NOW)
    assert (grant.tunnel_id, grant.account_id, grant.actor, grant.resources) == (TUNNEL, ACCOUNT, "someone", ("logs",))
    assert grant.expires_at == NOW + timedelta(hours=1)


def test_security_s55_it_is_over_after_an_hour_and_not_good_before() -> None:
    key = ManagementKey.make()
    token = _token(key)
    key.verify(token, at=NOW + timedelta(minutes=59, seconds=59))
    for at in (NOW + timedelta(hours=1), NOW + timedelta(days=1), NOW - timedelta(minutes=5)):
        with pytest.raises(QanatError, match="the management token is not good"):
            key.verify(token, at=at)


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_security_s55_forged_ones_are_refused() -> None:
    key = ManagementKey.make()
    good = _token(key)
    head, claims, signature = good.split(".")
    decoded = jwt.decode(good, options={"verify_signature": False})
    far = {**decoded, "exp": decoded["iat"] + 7200}
    forged = [
        _token(ManagementKey.make()),
        f"{head}.{claims}." + base64.urlsafe_b64encode(bytes(64)).decode().rstrip("="),
        f"{head}.{claims}.",
        f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{claims}.",
        f"{_segment({'alg': 'HS256', 'typ': 'JWT'})}.{claims}.{signature}",
        f"{head}.{_segment(far)}.{signature}",
        jwt.encode(decoded, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
        jwt.encode(far, key._key, algorithm="ES256"),
        jwt.encode({**decoded, "iss": "else"}, key._key, algorithm="ES256"),
        *(jwt.encode({k: v for k, v in decoded.items() if k != gone}, key._key, algorithm="ES256") for gone in decoded),
        jwt.encode({**decoded, "tun": "x"}, key._key, algorithm="ES256"),
        "",
        "a.b.c",
        good + "x",
    ]
    for token in forged:
        with pytest.raises(QanatError, match="the management token is not good"):
            key.verify(token, at=NOW)


def test_the_key_file_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "management.key"
    token = _token(ManagementKey.open(path))
    assert path.stat().st_mode & 0o777 == 0o600
    ManagementKey.open(path).verify(token, at=NOW)
    path.chmod(0o640)
    with pytest.raises(QanatError, match="can be read by others"):
        ManagementKey.open(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(QanatError, match="holds no private key"):
        ManagementKey.open(path)


def test_a_start_that_was_cut_leaves_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "management.key"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("qanat.store.secret_file.os.fdopen", crash)
        ManagementKey.open(path)
    ManagementKey.open(path).verify(_token(ManagementKey.open(path)), at=NOW)
    assert [file.name for file in tmp_path.iterdir()] == ["management.key"]
