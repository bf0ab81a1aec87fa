"""`qanat service install` and `uninstall`, on a machine in a folder."""

import configparser
import json
import plistlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from qanat.errors import QanatError
from qanat.host.machine import Machine
from qanat.host.service.install import Installed, install, uninstall
from qanat.host.service.manager import NAMES, State, detected, manager_of
from qanat.host.service.session import comes_through_tunnel
from qanat.host.service.systemd import UNIT, quoted, unit
from qanat.host.service.wanted import CONFIGURATION, CREDENTIALS, LOGS, TOKEN, Wanted, read_wanted
from tests.support.host import Clock, FakeManager, LiveMachine
from tests.unit.host.conftest import OTHER_TUNNEL, TUNNEL, token_of

FIRST, OTHER = token_of(TUNNEL), token_of(OTHER_TUNNEL)
EDGE = ("--edge", "edge.example.net:7844")


def wanted_of(*arguments: str, given: str | None = None, home: str = "/nonexistent") -> Wanted:
    return read_wanted([*arguments, *EDGE], program=("/usr/bin/qanat",), home=home, given=given)


def put(machine: LiveMachine, manager: FakeManager, *arguments: str, wait_s: float = 5.0) -> Installed:
    clock = Clock()
    return install(machine, manager, wanted_of(*arguments), wait_s=wait_s, clock=clock, pause=clock.pause)


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink())


@pytest.mark.case(17)
def test_again_changes_nothing_and_another_token_replaces_it(machine: LiveMachine, manager: FakeManager) -> None:
    first = put(machine, manager, FIRST)
    assert (first.changed, first.tunnel_id) == (True, TUNNEL)
    assert first.state is not None
    assert first.state.ready
    again = put(machine, manager, FIRST)
    assert not again.changed
    assert manager.done == ["start"], "the same call doesn't touch what runs"
    other = put(machine, manager, OTHER)
    assert (other.changed, other.tunnel_id) == (True, OTHER_TUNNEL)
    assert manager.done == ["start", "restart"]
    assert machine.read(TOKEN) == OTHER.encode()


@pytest.mark.parametrize(("name", "place"), [("systemd", "etc/systemd/system/cloudflared.service"),
                                             ("sysv", "etc/init.d/cloudflared"), ("launchd", None)])  # fmt: skip
def test_called_as_cloudflared_the_service_has_that_name_too(tmp_path: Path, name: str, place: str | None) -> None:
    machine = Machine(tmp_path)
    manager = manager_of(machine, name)
    install(machine, manager, wanted_of(FIRST), wait_s=0)
    assert not [path for path in tree(tmp_path) if "cloudflared" in path]
    for changed in (place is not None, False):
        assert install(machine, manager, wanted_of(FIRST), wait_s=0, called="cloudflared").changed is changed
        assert [path for path in tree(tmp_path) if "cloudflared" in path] == ([place] if place else [])
    assert uninstall(machine, name)
    assert tree(tmp_path) == []
    if place is None:
        return
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("a stock one's")
    install(machine, manager, wanted_of(FIRST), wait_s=0, called="cloudflared")
    uninstall(machine, name)
    assert (tmp_path / place).read_text() == "a stock one's"


@pytest.mark.case(17)
def test_an_uninstallation_leaves_nothing_and_another_finds_nothing(machine: LiveMachine, manager: FakeManager) -> None:
    put(machine, manager, FIRST, "--loglevel", "debug")
    assert TOKEN in uninstall(machine, cut_session=True)
    assert tree(machine.root) == []
    assert not machine.exists("/etc/qanat")
    assert uninstall(machine) == ()


@pytest.mark.case(17)
def test_it_ends_in_time_without_an_edge_and_tells_why(machine: LiveMachine, manager: FakeManager) -> None:
    manager.becomes = [State(running=True, ready=False, text="not connected: no answer from 192.0.2.1:7844")]
    done = put(machine, manager, FIRST, wait_s=3.0)
    assert done.changed
    assert done.state is not None
    assert (done.state.ready, done.state.text) == (False, "not connected: no answer from 192.0.2.1:7844")


def test_a_service_that_is_down_is_started_without_a_change(machine: LiveMachine, manager: FakeManager) -> None:
    put(machine, manager, FIRST)
    manager.now = State(running=False, ready=False)
    assert not put(machine, manager, FIRST).changed
    assert manager.done == ["start", "start"]


@pytest.mark.case(18)
@pytest.mark.requirement("S7")
@pytest.mark.parametrize("name", NAMES)
def test_the_token_is_in_its_file_alone_of_mode_0600(machine: LiveMachine, name: str) -> None:
    manager = manager_of(machine, name)
    install(machine, manager, wanted_of(FIRST), wait_s=0.0, clock=Clock(), pause=Clock().pause)
    token = machine.path(TOKEN)
    assert token.read_text() == FIRST
    assert token.stat().st_mode & 0o7777 == 0o600
    for path in machine.root.rglob("*"):
        if path.is_file() and path != token:
            assert FIRST not in path.read_text(), path
    assert all(FIRST not in word for argv in machine.ran for word in argv)
    assert FIRST not in repr(wanted_of(FIRST))


def test_a_token_of_wider_mode_is_narrowed(machine: LiveMachine, manager: FakeManager) -> None:
    put(machine, manager, FIRST)
    machine.path(TOKEN).chmod(0o644)
    put(machine, manager, FIRST)
    assert machine.path(TOKEN).stat().st_mode & 0o7777 == 0o600


def test_what_cannot_be_written_leaves_no_token(machine: LiveMachine, manager: FakeManager) -> None:
    machine.path("/etc/systemd").parent.mkdir(parents=True)
    machine.path("/etc/systemd").write_text("a file where a folder should be")
    with pytest.raises(QanatError) as raised:
        put(machine, manager, FIRST)
    assert raised.value.code == "file_unwritable"
    assert not machine.exists(TOKEN)


@pytest.mark.parametrize(
    ("arguments", "given"),
    [((FIRST,), None), (("-",), f"{FIRST}\n"), (("--token", FIRST), None), ((f" {FIRST}\r\n",), None)],
)
def test_a_token_comes_as_word_by_standard_input_or_by_flag(arguments: tuple[str, ...], given: str | None) -> None:
    assert wanted_of(*arguments, given=given).secret == FIRST.encode()


def test_a_token_comes_by_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{FIRST}\n")
    wanted = wanted_of("--token-file", str(tmp_path / "token"))
    assert wanted.secret == FIRST.encode()
    assert str(tmp_path) not in " ".join(wanted.arguments("x"))


@pytest.mark.case(62)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("eyJhIjoi",), "token_invalid"),
        (("-",), "token_missing"),
        ((FIRST, OTHER), "usage"),
        (("--token-file", "/nonexistent/token"), "token_file_unreadable"),
        ((FIRST, "--credentials-contents", "{}"), "service_secret_in_flags"),
        ((FIRST, "--no-such-flag"), "usage"),
        ((FIRST, "--grace-period", "10"), "flag_value_invalid"),
        ((), "token_missing"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(arguments: tuple[str, ...], code: str) -> None:
    with pytest.raises(QanatError) as raised:
        wanted_of(*arguments)
    assert raised.value.code == code
    assert FIRST not in str(raised.value)


def locally_managed(folder: Path, extra: str = "") -> str:
    credentials = {
        "AccountTag": "0" * 32,
        "TunnelID": TUNNEL,
        "TunnelSecret": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=",
    }
    (folder / "credentials.json").write_text(json.dumps(credentials))
    text = f"tunnel: {TUNNEL}\ncredentials-file: {folder}/credentials.json\n{extra}ingress:\n  - service: http_status:404\n"
    (folder / "config.yml").write_text(text)
    return text


def test_a_configuration_file_takes_the_place_of_a_token(
    machine: LiveMachine, manager: FakeManager, tmp_path: Path
) -> None:
    text = locally_managed(tmp_path)
    put(machine, manager, "--config", str(tmp_path / "config.yml"))
    assert machine.read(CONFIGURATION) == text.encode()
    assert machine.path(CREDENTIALS).stat().st_mode & 0o7777 == 0o600
    assert machine.path(CONFIGURATION).stat().st_mode & 0o7777 == 0o644
    line = _exec_start(machine.path(UNIT).read_text())
    assert f"--config {CONFIGURATION} tunnel run --credentials-file ${{CREDENTIALS_DIRECTORY}}/credentials" in line
    put(machine, manager, FIRST)
    assert not machine.exists(CONFIGURATION), "a token takes its place in turn"
    assert not machine.exists(CREDENTIALS)


def test_the_configuration_that_stock_has_is_found(tmp_path: Path) -> None:
    (tmp_path / ".cloudflared").mkdir()
    locally_managed(tmp_path / ".cloudflared")
    assert wanted_of(home=str(tmp_path)).tunnel_id == TUNNEL


def test_a_secret_in_the_configuration_file_is_refused_by_its_key(tmp_path: Path) -> None:
    locally_managed(tmp_path, f"token: {FIRST}\n")
    with pytest.raises(QanatError) as raised:
        wanted_of("--config", str(tmp_path / "config.yml"))
    assert (raised.value.code, raised.value.where) == ("service_secret_in_flags", f"{tmp_path}/config.yml:3: token")


def test_a_log_where_the_service_cannot_write_is_warned_of() -> None:
    assert any(
        "/var/log/cloudflared.log" in line for line in wanted_of(FIRST, "--logfile", "/var/log/cloudflared.log").told
    )
    kept = wanted_of(FIRST, "--log-directory", LOGS)
    assert kept.told == ()
    assert "LogsDirectory=qanat" in unit(kept)
    assert "LogsDirectory" not in unit(wanted_of(FIRST))


def _exec_start(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("ExecStart="))


@pytest.mark.case(44)
@pytest.mark.requirement("S51")
def test_the_unit_shuts_the_connector_in() -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit(wanted_of(FIRST, "--grace-period", "1m", "--label", "a 100% $HOME")))
    service = parser["Service"]
    assert service["Type"] == "notify"
    assert service["DynamicUser"] == service["NoNewPrivileges"] == service["MemoryDenyWriteExecute"] == "yes"
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == ""
    assert (service["ProtectSystem"], service["ProtectHome"], service["UMask"]) == ("strict", "yes", "0077")
    assert service["LoadCredential"] == f"token:{TOKEN}"
    assert service["WatchdogSec"] == "30s"
    assert service["TimeoutStopSec"] == "75s", "longer than the grace period"
    assert '"a 100%% $$HOME"' in service["ExecStart"]
    # case 44: a boot waits a minute at most, and nothing makes it give up
    assert (service["TimeoutStartSec"], service["Restart"]) == ("60s", "always")
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"
    assert "network-online" not in parser["Unit"]["After"]


@pytest.mark.parametrize(
    ("word", "shown"), [("a", "a"), ("", '""'), ("a b", '"a b"'), ('"', '"\\""'), ("50%", "50%%"), ("$x;", '"$$x;"')]
)
def test_a_word_of_a_unit_is_taken_as_it_is(word: str, shown: str) -> None:
    assert quoted(word) == shown


@pytest.mark.requirement("S51")
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    file = tmp_path / "qanat.service"
    program = tmp_path / "qanat"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    wanted = read_wanted([FIRST, *EDGE], program=(str(program),), home="/nonexistent")
    file.write_text(unit(wanted))
    verified = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)
    assert "qanat.service" not in verified.stderr, verified.stderr
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(file)]
    rated = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in rated.stderr:
        pytest.skip("this systemd-analyze rates no files")
    assert rated.returncode == 0, rated.stdout[-200:] + rated.stderr


@pytest.mark.parametrize("name", ["sysv", "openrc"])
def test_scripts_start_the_same_command_and_are_sound(machine: LiveMachine, name: str) -> None:
    manager = manager_of(machine, name)
    wanted = wanted_of(FIRST, "--label", "it's 100% $HOME")
    ((path, (content, mode)),) = manager.files(wanted).items()
    assert (path, mode) == ("/etc/init.d/qanat", 0o755)
    text = content.decode()
    if name == "openrc":
        line = next(line for line in text.splitlines() if line.startswith("command_args="))
        assert shlex.split(shlex.split(line.partition("=")[2])[0]) == wanted.arguments(TOKEN)
    else:
        at = text.index("setsid su")
        inner = shlex.split(text[at : text.index("</dev/null", at)])[-1]
        started = next(line for line in inner.splitlines() if "tunnel run" in line)
        assert shlex.split(started.partition(">>")[0]) == ["/usr/bin/qanat", *wanted.arguments(TOKEN)]
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
    if shutil.which("shellcheck"):
        checked = subprocess.run(["shellcheck", "-s", "sh", "-e", "SC2034,SC2016", "-"], input=text, text=True,
                                 capture_output=True, check=False)  # fmt: skip
        assert checked.returncode == 0, checked.stdout


def test_a_sysv_script_starts_reports_and_stops(tmp_path: Path) -> None:
    """Run as it is, but for `su` and the folders, which are this test's."""
    from qanat.host.service.sysv import script

    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in (("su", 'exec sh -c "$5"'), ("chown", ":"), ("qanat", "exec sleep 600")):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    wanted = read_wanted([FIRST, *EDGE], program=(str(folder / "qanat"),), home="/nonexistent")
    text = (
        script(wanted).replace("/run/qanat", f"{tmp_path}/qanat-run").replace("/var/log/qanat", f"{tmp_path}/qanat-log")
    )
    (tmp_path / "script").write_text(text.replace("grep -q qanat", "grep -q sleep"))

    def call(verb: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", tmp_path / "script", verb], env={"PATH": f"{folder}:/usr/bin:/bin"},
                              capture_output=True, text=True, check=False, timeout=60)  # fmt: skip

    from tests.support.waiting import wait_until

    assert call("status").returncode == 3
    try:
        assert call("start").returncode == 0
        wait_until(lambda: call("status").returncode == 0, "the service runs")
        assert "already" in call("start").stdout
    finally:
        assert call("stop").returncode == 0
    assert call("status").returncode == 3
    assert call("unknown").returncode == 2


def test_a_property_list_starts_the_same_command(machine: LiveMachine) -> None:
    ((path, (content, _)),) = manager_of(machine, "launchd").files(wanted_of(FIRST)).items()
    assert path == "/Library/LaunchDaemons/qanat.connector.plist"
    document = plistlib.loads(content)
    assert document["ProgramArguments"] == ["/usr/bin/qanat", *wanted_of(FIRST).arguments(TOKEN)]
    assert document["KeepAlive"] is True


@pytest.mark.parametrize(
    ("there", "name"),
    [("/usr/lib/systemd/systemd", "systemd"), ("/sbin/openrc-run", "openrc"), ("/etc/init.d/rc", "sysv")],
)
def test_the_service_manager_of_a_folder_is_the_one_installed_there(tmp_path: Path, there: str, name: str) -> None:
    path = tmp_path / there.lstrip("/")
    path.parent.mkdir(parents=True)
    path.touch()
    assert detected(Machine(tmp_path)) == name
    with pytest.raises(QanatError, match="upstart"):
        manager_of(Machine(tmp_path), "upstart")


def test_a_folder_is_written_and_nothing_is_started(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    done = install(machine, manager_of(machine, "systemd"), wanted_of(FIRST), wait_s=60.0)
    assert done.state is None
    assert machine.path("/etc/systemd/system/multi-user.target.wants/qanat.service").is_symlink()


@pytest.mark.case(17)
def test_a_session_through_the_tunnel_is_not_cut_unasked(
    machine: LiveMachine, manager: FakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(machine, manager, FIRST)
    monkeypatch.setattr("qanat.host.service.install.comes_through_tunnel", lambda _process: True)
    with pytest.raises(QanatError) as raised:
        uninstall(machine)
    assert raised.value.code == "service_session"
    assert machine.exists(TOKEN)
    assert uninstall(machine, cut_session=True)


@pytest.mark.parametrize(
    ("connection", "through"),
    [
        ("127.0.0.1 50000 127.0.0.1 22", True),
        ("::1 50000 ::1 22", True),
        ("10.0.0.5 50000 10.0.0.5 22", True),
        ("198.51.100.7 50000 10.0.0.5 22", False),
        ("", False),
    ],
)
def test_a_session_comes_through_the_tunnel_when_both_its_ends_are_this_host(
    tmp_path: Path, connection: str, through: bool
) -> None:
    for pid, parent, environment in (
        (30, 20, b"PATH=/bin"),
        (20, 10, f"SSH_CONNECTION={connection}".encode()),
        (10, 1, b""),
    ):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "environ").write_bytes(environment + b"\0")
        (folder / "status").write_text(f"Name:\tsh\nPPid:\t{parent}\n")
    assert comes_through_tunnel(30, proc=tmp_path) is through


def test_another_user_is_told_to_be_root(
    machine: LiveMachine, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(QanatError) as raised:
        put(machine, manager, FIRST)
    assert raised.value.code == "service_not_permitted"
    assert tree(machine.root) == []


def test_folders_that_others_made_are_no_service_of_theirs(machine: LiveMachine, manager: FakeManager) -> None:
    """systemd makes /run/qanat, too: a SysV service isn't there for that, nor a user of its own to remove."""
    put(machine, manager, FIRST)
    machine.path("/run/qanat").mkdir(parents=True)
    assert [name for name in NAMES if manager_of(machine, name).installed()] == ["systemd"]
    for name in ("openrc", "sysv"):
        other = manager_of(machine, name)
        for path, (content, mode) in other.files(wanted_of(FIRST)).items():
            machine.write(path, content, mode)
        assert [each for each in NAMES if manager_of(machine, each).installed()] == ["systemd", name]
