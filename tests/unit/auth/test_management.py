from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from qanat.auth.management import ManagementKey
from qanat.errors import QanatError

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
TUNNEL, ACCOUNT = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415", "0" * 32


def _token(key: ManagementKey, at: datetime = NOW) -> str:
    return key.issue(tunnel_id=TUNNEL, account_id=ACCOUNT, actor="someone", resources=["logs", "logs"], at=at)[0]


def _claims(key: ManagementKey, token: str) -> dict[str, Any]:
    public = load_der_public_key(key.public)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    claims: dict[str, Any] = jwt.decode(token, public, algorithms=["ES256"], options={"verify_exp": False})
    return claims


def test_it_says_what_it_is_good_for_and_is_over_after_an_hour() -> None:
    key = ManagementKey.make()
    claims = _claims(key, _token(key))
    assert claims["tun"] == {"id": TUNNEL, "account_tag": ACCOUNT}
    assert (claims["actor"]["id"], claims["res"]) == ("someone", ["logs", "ping"])
    assert (claims["iat"], claims["exp"]) == (NOW.timestamp(), (NOW + timedelta(hours=1)).timestamp())
    with pytest.raises(jwt.InvalidSignatureError):
        _claims(ManagementKey.make(), _token(key))


def test_the_key_file_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "management.key"
    token = _token(ManagementKey.open(path))
    assert path.stat().st_mode & 0o777 == 0o600
    _claims(ManagementKey.open(path), token)
    path.chmod(0o640)
    with pytest.raises(QanatError, match="can be read by others"):
        ManagementKey.open(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(QanatError, match="does not hold a private key"):
        ManagementKey.open(path)


def test_a_start_that_was_cut_leaves_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "management.key"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("qanat.store.secret_file.os.fdopen", crash)
        ManagementKey.open(path)
    _claims(ManagementKey.open(path), _token(ManagementKey.open(path)))
    assert [file.name for file in tmp_path.iterdir()] == ["management.key"]
