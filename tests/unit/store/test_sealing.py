from pathlib import Path

import pytest

from qanat.errors import QanatError
from qanat.store.sealing import Sealer, load_key, make_key


def test_what_was_sealed_opens(sealer: Sealer) -> None:
    sealed = sealer.seal(b"secret", "tunnel")
    assert b"secret" not in sealed
    assert sealer.open(sealed, "tunnel") == b"secret"
    assert sealer.seal(b"secret", "tunnel") != sealed


@pytest.mark.requirement("S32")
@pytest.mark.parametrize("change", ["moved", "changed", "cut", "empty", "other key"])
def test_what_was_tampered_with_does_not_open(sealer: Sealer, change: str) -> None:
    sealed = sealer.seal(b"secret", "tunnel")
    context, opener = "tunnel", sealer
    match change:
        case "moved":
            context = "another tunnel"
        case "changed":
            sealed = sealed[:-1] + bytes([sealed[-1] ^ 1])
        case "cut":
            sealed = sealed[:8]
        case "empty":
            sealed = b""
        case _:
            opener = Sealer(bytes(32))
    with pytest.raises(QanatError) as refused:
        opener.open(sealed, context)
    assert refused.value.code == "secret_key_wrong"


@pytest.mark.requirement("S7")
def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    sealed = make_key(file).seal(b"secret", "x")
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_key(file).open(sealed, "x") == b"secret"
    with pytest.raises(FileExistsError):
        make_key(file)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    make_key(file)
    file.chmod(0o644)
    with pytest.raises(QanatError, match="can be read by others"):
        load_key(file)


def test_a_broken_key_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    file.write_text("cafe\n")
    file.chmod(0o600)
    with pytest.raises(QanatError) as refused:
        load_key(file)
    assert refused.value.code == "secret_key_bad"
