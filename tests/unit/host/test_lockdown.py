"""`qanat lockdown`, on a machine in a folder; tests/process/test_lockdown.py has the packets."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from qanat.cli.main import main
from qanat.errors import QanatError
from qanat.host.lockdown.iptables import Iptables
from qanat.host.lockdown.lockdown import UNIT, WANTS, apply, backend_of, status, undo
from qanat.host.lockdown.nftables import Nftables
from qanat.host.lockdown.wanted import Lockdown, read_lockdown, read_noted
from tests.support.host import LiveMachine

LOOK = ("nft", "list", "table")


def systemd_on(machine: LiveMachine) -> None:
    machine.path("/run/systemd/system").mkdir(parents=True)


def test_it_is_applied_now_and_at_each_boot_and_taken_back_whole(machine: LiveMachine) -> None:
    systemd_on(machine)
    backend = backend_of(machine)
    done = apply(machine, backend, Lockdown())
    assert (done.backend, done.in_force, done.at_boot) == ("nftables", True, "qanat-lockdown.service")
    assert done.lockdown == Lockdown()
    unit = machine.path(UNIT).read_text()
    assert "ExecStart=/usr/sbin/nft -f /etc/qanat/lockdown.nft" in unit
    assert "Before=network-pre.target" in unit, "no moment of a boot in which the ports are open"
    assert machine.path(WANTS).is_symlink()
    before = {path: path.read_bytes() for path in machine.root.rglob("*") if path.is_file()}
    apply(machine, backend, Lockdown())
    assert {path: path.read_bytes() for path in machine.root.rglob("*") if path.is_file()} == before
    assert set(undo(machine)) == {WANTS, UNIT, "/etc/qanat/lockdown.nft"}
    machine.answers[LOOK] = (1, "", "No such file")
    assert not status(machine, backend).in_force
    assert undo(machine) == ()
    assert not machine.exists("/etc/qanat")


def test_another_backend_takes_the_place_of_the_first(machine: LiveMachine) -> None:
    apply(machine, backend_of(machine, "nftables"), Lockdown())
    apply(machine, backend_of(machine, "iptables"), Lockdown())
    assert ("nft", "delete", "table", "inet", "qanat_lockdown") in machine.ran
    assert not machine.exists("/etc/qanat/lockdown.nft")
    assert status(machine, backend_of(machine)).backend == "iptables"


def test_without_nft_it_is_iptables_and_without_both_it_is_told(machine: LiveMachine) -> None:
    machine.programs.discard("nft")
    assert backend_of(machine).name == "iptables"
    machine.programs.discard("ip6tables")  # IPv6 would stay open
    with pytest.raises(QanatError) as raised:
        backend_of(machine)
    assert raised.value.code == "lockdown_tool_missing"


def test_alpines_nftables_reads_it_at_boot(machine: LiveMachine) -> None:
    machine.path("/etc/nftables.d").mkdir(parents=True)
    assert apply(machine, backend_of(machine), Lockdown()).at_boot == "/etc/nftables.d/qanat-lockdown.nft"


def test_where_nothing_applies_it_at_boot_the_status_says_so(machine: LiveMachine) -> None:
    assert apply(machine, backend_of(machine), Lockdown()).at_boot is None


@pytest.mark.parametrize("kind", [Nftables, Iptables])
def test_what_is_written_says_what_it_is(machine: LiveMachine, kind: type[Nftables | Iptables]) -> None:
    wanted = read_lockdown([8443, 80], ["wg+"], ["192.0.2.0/24", "2001:db8::/32"])
    text = kind(machine).text(wanted)
    assert read_noted(text) == wanted
    assert wanted.ports == (80, 8443)
    for word in ("8443", "192.0.2.0/24", "2001:db8::/32", "wg"):
        assert word in text
    assert "tailscale0" not in text
    if kind is Iptables and shutil.which("shellcheck"):
        assert subprocess.run(["shellcheck", "-"], input=text, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("ports", "interfaces", "sources", "where"),
    [
        ([0], [], [], "--port"),
        ([65536], [], [], "--port"),
        ([], ["a b"], [], "--keep-interface"),
        ([], ["x; drop"], [], "--keep-interface"),
        ([], ["n" * 16], [], "--keep-interface"),
        ([], [], ["tailnet"], "--keep-source"),
        ([], [], ["192.0.2.1/24"], "--keep-source"),
    ],
)
def test_a_wrong_value_is_refused_by_its_option(
    ports: list[int], interfaces: list[str], sources: list[str], where: str
) -> None:
    with pytest.raises(QanatError) as raised:
        read_lockdown(ports, interfaces, sources)
    assert (raised.value.code, raised.value.where) == ("lockdown_bad_value", where)


def test_the_command_shows_and_changes_nothing_until_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--root", str(tmp_path)]
    assert main(["lockdown", "--port", "8080", "--backend", "nftables", *where]) == 0
    assert "tcp dport { 8080 }" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert main(["lockdown", "status", *where]) == 1
    (tmp_path / "usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd").touch()
    assert main(["lockdown", "--apply", *where]) == 0
    capsys.readouterr()
    assert main(["lockdown", "status", "--output", "json", *where]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["lockdown"]["ports"] == [80, 443]
    assert main(["lockdown", "undo", *where]) == 0
    assert not any(path.is_file() or path.is_symlink() for path in (tmp_path / "etc").rglob("*"))
