import stat
from pathlib import Path

import pytest

from qanat.client.profiles import Profiles, read_token, write_secret
from qanat.errors import QanatError

API = "https://edge.example.net/client/v4"


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return Profiles(tmp_path / "config" / "qanat")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_profile_becomes_current_and_others_dont(profiles: Profiles) -> None:
    assert profiles.all() == {}
    assert profiles.current() is None
    profiles.add("home", api=API, token="one", account="mine")
    profiles.add("work", api="http://127.0.0.1:1/client/v4", token="two")
    assert list(profiles.all()) == ["home", "work"]
    assert profiles.current() == "home"
    assert profiles.get("home").account == "mine"
    assert (profiles.token("home"), profiles.token("work")) == ("one", "two")
    profiles.use("work")
    assert profiles.current() == "work"
    profiles.remove("work")
    assert profiles.current() is None
    assert not (profiles.folder / "tokens" / "work").exists()


def test_everything_is_for_its_owner_alone(profiles: Profiles) -> None:
    profiles.add("home", api=API, token="one")
    assert mode(profiles.file) == mode(profiles.folder / "tokens" / "home") == 0o600
    assert mode(profiles.folder) == mode(profiles.folder / "tokens") == 0o700
    assert "one" not in profiles.file.read_text()
    assert [each.name for each in profiles.folder.iterdir() if each.name.endswith(".new")] == []


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o602])
def test_a_token_that_others_can_read_is_refused(profiles: Profiles, bits: int) -> None:
    profiles.add("home", api=API, token="one")
    (profiles.folder / "tokens" / "home").chmod(bits)
    with pytest.raises(QanatError) as refused:
        profiles.token("home")
    assert refused.value.code == "api_token_unsafe"
    assert "chmod 600" in str(refused.value)


def test_profiles_that_others_can_change_are_refused(profiles: Profiles) -> None:
    profiles.add("home", api=API, token="one")
    profiles.file.chmod(0o666)
    with pytest.raises(QanatError) as refused:
        profiles.all()
    assert refused.value.code == "profiles_unusable"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "a b", "x" * 65, "ü"])
def test_a_name_is_never_a_path(profiles: Profiles, name: str) -> None:
    with pytest.raises(QanatError) as refused:
        profiles.add(name, api=API, token="one")
    assert refused.value.code == "profile_bad_name"
    assert not profiles.folder.exists()


def test_a_profile_is_not_replaced_by_chance(profiles: Profiles) -> None:
    profiles.add("home", api=API, token="one")
    with pytest.raises(QanatError) as refused:
        profiles.add("home", api=API, token="two")
    assert refused.value.code == "profile_exists"
    assert profiles.token("home") == "one"
    profiles.add("home", api=API, token="two", replace=True)
    assert profiles.token("home") == "two"


@pytest.mark.parametrize("text", ["x", "profiles = 5", "[profiles.a]\napi = 1", "\xff", 'unknown = "x"'])
def test_a_damaged_file_is_told(profiles: Profiles, text: str) -> None:
    profiles.folder.mkdir(parents=True)
    write_secret(profiles.file, text.encode("latin-1"), replace=True)
    with pytest.raises(QanatError) as refused:
        profiles.all()
    assert refused.value.code == "profiles_unusable"


def test_what_is_not_there(profiles: Profiles) -> None:
    for call in (lambda: profiles.get("x"), lambda: profiles.use("x"), lambda: profiles.remove("x")):
        with pytest.raises(QanatError) as refused:
            call()
        assert refused.value.code == "profile_unknown"


def test_token_files(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for content, code in ((b"", "api_token_unreadable"), (b"\xff", "api_token_unreadable")):
        file.write_bytes(content)
        with pytest.raises(QanatError) as refused:
            read_token(file)
        assert refused.value.code == code
    file.write_text(" abc \n")
    assert read_token(file) == "abc"
    with pytest.raises(QanatError):
        read_token(tmp_path)


def test_a_secret_is_written_whole_and_nothing_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    write_secret(file, "one", replace=False)
    with pytest.raises(QanatError) as refused:
        write_secret(file, "two", replace=False)
    assert refused.value.code == "file_exists"
    assert file.read_text() == "one"
    write_secret(file, "two", replace=True)
    assert file.read_text() == "two"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(QanatError) as refused:
        write_secret(tmp_path / "none" / "x", "one", replace=False)
    assert refused.value.code == "file_unwritable"
