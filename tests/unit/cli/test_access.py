import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from qanat.auth import issue
from qanat.cli.access import Access
from qanat.cli.control_plane import check_encrypted, resolve
from qanat.cli.main import main
from qanat.client.profiles import Profiles, write_secret
from qanat.errors import QanatError
from tests.support.control import Control, running_control
from tests.support.writes import written

A, B, C = (f"https://{name}.example.net/client/v4" for name in "abc")


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Profiles:
    profiles = Profiles()
    profiles.add("a", api=A, token="token-a", account="account-a")
    profiles.add("b", api=B, token="token-b")
    return profiles


def went_to(**given: object) -> tuple[str, str]:
    found = resolve(Access(**given))  # type: ignore[arg-type]
    return found.api, found.token


def test_flags_win_over_the_environment_over_the_profile_over_this_machine(
    two: Profiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "flag"
    file.write_text("token-flag")
    assert went_to() == (A, "token-a")
    monkeypatch.setenv("QANAT_PROFILE", "b")
    assert went_to() == (B, "token-b")
    monkeypatch.setenv("QANAT_API", C)
    monkeypatch.setenv("QANAT_API_TOKEN", "token-environment")
    assert went_to() == (C, "token-environment")
    assert went_to(profile="a") == (A, "token-a")
    assert went_to(profile="a", token_file=file) == (A, "token-flag")
    assert went_to(api=A, token_file=file) == (A, "token-flag")
    assert went_to(api=A) == (A, "token-environment")


def test_this_machines_first_token_is_the_last_resort(tmp_path: Path) -> None:
    first = tmp_path / "state" / "qanat" / "first-token"
    first.parent.mkdir(parents=True)
    write_secret(first, "token-first\n", replace=True)
    assert went_to() == ("http://127.0.0.1:7880/client/v4", "token-first")
    assert went_to(api="http://localhost:1/client/v4")[1] == "token-first"
    with pytest.raises(QanatError) as refused:
        went_to(api=A)
    assert refused.value.code == "api_token_missing", "it is never sent to another machine"
    first.chmod(0o644)
    with pytest.raises(QanatError) as refused:
        went_to()
    assert refused.value.code == "api_token_unsafe"


def test_a_profiles_token_goes_to_the_profiles_address_alone(two: Profiles, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ({"api": C}, {"api": C, "profile": "a"}):
        with pytest.raises(QanatError) as refused:
            went_to(**given)
        assert refused.value.code == "api_token_missing"
    assert went_to(api=A + "/") == (A + "/", "token-a")
    monkeypatch.setenv("QANAT_API", C)
    with pytest.raises(QanatError):
        went_to()


def test_the_accounts_order(two: Profiles, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Access().account_name() == "account-a"
    monkeypatch.setenv("QANAT_ACCOUNT", "from-environment")
    assert Access().account_name() == "from-environment"
    assert Access(profile="a").account_name() == "account-a"
    assert Access(account="from-flag").account_name() == "from-flag"


def test_a_profiles_account_is_for_the_profiles_address_alone(two: Profiles, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Access(api=A).account_name() == "account-a"
    assert Access(api=C).account_name() is None
    monkeypatch.setenv("QANAT_API", C)
    assert Access().account_name() is None
    assert Access(profile="a").account_name() == "account-a"


@pytest.mark.parametrize("api", ["http://edge.example.net/client/v4", "HTTP://192.0.2.1/", "http://127.0.0.1.nip.io/"])
def test_a_token_never_goes_to_another_machine_in_clear_text(
    api: str, two: Profiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QANAT_API_TOKEN", "x")
    with pytest.raises(QanatError) as refused:
        Access(api=api).connect()
    assert refused.value.code == "api_not_encrypted"
    monkeypatch.setenv("QANAT_INSECURE_HTTP", "1")
    Access(api=api).connect().close()
    check_encrypted(api, allowed=False)


@pytest.mark.parametrize("api", [A, "http://127.0.0.1:1/", "http://[::1]:1/x", "http://localhost/"])
def test_encrypted_or_local_is_fine(api: str) -> None:
    check_encrypted(api, allowed=False)


def test_login_checks_the_token_and_keeps_it(
    control: Control, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "given"
    file.write_text(control.token)
    assert main(["login", "--api", control.url, "--token-file", str(file), "--profile", "lab"]) == 0
    assert control.token not in "".join(capsys.readouterr())
    assert main(["zone", "list"]) == 0
    assert main(["profile", "list", "--output", "json"]) == 0
    printed = capsys.readouterr().out
    (profile,) = json.loads(printed[printed.index("[") :])
    assert profile == {"name": "lab", "api": control.url, "account": None, "current": True}
    file.write_text("qnt_" + "0" * 36)
    assert main(["login", "--api", control.url, "--token-file", str(file), "--profile", "lab"]) == 1
    assert Profiles().token("lab") == control.token, "a bad token replaces no good one"


def test_login_takes_the_token_from_standard_input(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(control.token + "\n"))
    assert main(["login", "--api", control.url]) == 0
    assert Profiles().current() == "default"
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["login", "--api", control.url]) == 1


@pytest.mark.parametrize("command", [["login"], ["profile", "add", "new"]])
def test_a_profile_may_be_of_a_network_that_is_yours(
    command: list[str], two: Profiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "given"
    file.write_text("x")
    flags = ["--api", "http://0.0.0.0:1/client/v4", "--token-file", str(file)]
    reached = 4 if command == ["login"] else 0
    assert main([*command, *flags]) == 1
    monkeypatch.setenv("QANAT_INSECURE_HTTP", "1")
    assert main([*command, *flags]) == reached
    monkeypatch.delenv("QANAT_INSECURE_HTTP")
    assert two.all()["a"].api == A, "a login that failed changes nothing"


def test_leave_for_one_clear_address_is_none_for_another(two: Profiles, tmp_path: Path) -> None:
    file = tmp_path / "given"
    file.write_text("x")
    two.add("a", api="http://192.0.2.1/client/v4", token="x", insecure_http=True, replace=True)
    other = ["login", "--profile", "a", "--api", "http://0.0.0.0:1/client/v4", "--token-file", str(file)]
    assert main(other) == 1


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Control]:
    folder = tmp_path / "other"
    folder.mkdir()
    with running_control(folder) as running:
        yield running


def test_several_control_planes(
    control: Control, other: Control, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, plane in (("one", control), ("two", other)):
        file = tmp_path / f"token-{name}"
        file.write_text(plane.token)
        assert main(["profile", "add", name, "--api", plane.url, "--token-file", str(file)]) == 0
        assert main(["tunnel", "create", f"at-{name}", "--profile", name]) == 0
    capsys.readouterr()
    assert main(["tunnel", "list", "-o", "json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["at-one"]
    assert main(["profile", "use", "two"]) == 0
    capsys.readouterr()
    assert main(["tunnel", "list", "-o", "json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["at-two"]
    assert main(["profile", "remove", "two"]) == 0
    assert main(["tunnel", "list", "--profile", "two"]) == 1
    assert main(["zone", "list", "--profile", "two"]) == 3
    assert main(["profile", "add", "one", "--api", control.url, "--token-file", str(file)]) == 1


def test_exit_statuses(at_control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["zone", "list"]) == 0
    assert main(["zone", "show", "none.test"]) == 3
    assert main(["tunnel", "show", "none"]) == 3
    assert main(["tunnel", "show", "0b1c7f5e-0f4b-4a63-9a2c-1f6a4d1d2f00"]) == 3
    assert main(["tunnel", "create", ""]) == 1
    assert main(["zone", "lst"]) == 2
    assert main(["zone", "create"]) == 2
    weak, _ = written(at_control.store, issue, name="weak", policies=[zone_reader()])
    monkeypatch.delenv("QANAT_API_TOKEN_FILE")
    monkeypatch.setenv("QANAT_API_TOKEN", weak)
    assert main(["zone", "list"]) == 0
    assert main(["audit", "list"]) == 1
    monkeypatch.setenv("QANAT_API", "http://127.0.0.1:1/client/v4")
    assert main(["zone", "list"]) == 4


def zone_reader() -> dict[str, object]:
    return {
        "effect": "allow",
        "resources": {"com.cloudflare.api.account.*": "*"},
        "permission_groups": [{"id": "c8fed203ed3043cba015a93ad1616f1f"}],
    }


@pytest.mark.parametrize("name", ["profile", "tunnel", "zone"])
def test_names_are_completed(name: str, at_control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    at_control.create_tunnel("web-1")
    at_control.create_zone("web-1.test")
    Profiles().add("web-1", api=at_control.url, token=at_control.token)
    words = {
        "profile": "qanat zone list --profile web",
        "tunnel": "qanat tunnel token web",
        "zone": "qanat record list web",
    }[name]
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    monkeypatch.setenv("_QANAT_COMPLETE", "complete_bash")
    import contextlib
    import io

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        main([])
    assert "web-1" in shown.getvalue()


def test_completion_is_silent_when_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from qanat.cli import complete

    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    context.params = {"api": "http://127.0.0.1:1/client/v4"}
    monkeypatch.setenv("QANAT_API_TOKEN", "x")
    assert complete.tunnels(context, "") == []
