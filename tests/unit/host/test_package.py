"""What the .deb's scripts do on a host, with the host's commands and folders replaced by this test's."""

import subprocess
from pathlib import Path

import pytest

DEB = Path(__file__).parents[3] / "deploy/deb"


class Host:
    """Folders and commands of its own. `active`: whether the service runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran = folder / "ran"
        self.ran.touch()
        bin_ = folder / "bin"
        bin_.mkdir()
        (bin_ / "systemctl").write_text(
            f'#!/bin/sh\necho "systemctl $*" >> {self.ran}\n[ "$2" != is-active ] || [ -e {folder}/active ]\n'
        )
        (bin_ / "qanat").write_text(f'#!/bin/sh\necho "qanat $*" >> {self.ran}\nexit 1\n')
        for file in bin_.iterdir():
            file.chmod(0o755)
        (folder / "run/systemd/system").mkdir(parents=True)
        tree = folder / "usr/lib/qanat/bin"
        tree.mkdir(parents=True)
        (tree / "qanat").write_text(f'#!/bin/sh\necho "before $*" >> {self.ran}\n')
        (tree / "qanat").chmod(0o755)

    def start(self) -> None:
        (self.folder / "active").touch()

    def call(self, script: str, *arguments: str) -> list[str]:
        """The commands that it ran."""
        text = (DEB / script).read_text()
        for own in ("/usr/lib/qanat", "/usr/lib/systemd", "/etc/", "/run/systemd"):
            text = text.replace(own, f"{self.folder}{own}")
        done = subprocess.run(
            ["sh", "-s", "--", *arguments],
            input=text,
            text=True,
            capture_output=True,
            check=False,
            env={"PATH": f"{self.folder}/bin:/usr/bin:/bin"},
        )
        assert done.returncode == 0, done.stderr
        lines = self.ran.read_text().splitlines()
        self.ran.write_text("")
        return [line for line in lines if "is-active" not in line]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_first_installation_starts_nothing(host: Host) -> None:
    assert host.call("preinst", "install") == []
    assert host.call("postinst", "configure") == []
    assert not (host.folder / "usr/lib/qanat.previous").exists()


def test_an_update_of_what_runs_keeps_it_and_has_it_do_the_rest(host: Host) -> None:
    host.start()
    assert host.call("preinst", "upgrade", "0.1.0") == []
    kept = host.folder / "usr/lib/qanat.previous/bin/qanat"
    assert kept.is_file()
    (host.folder / "usr/lib/qanat/bin/qanat").unlink()  # as dpkg does
    assert kept.read_text()
    assert host.call("postinst", "configure", "0.1.0") == ["before service update"]


def test_what_the_service_runs_since_an_update_was_taken_back_stays_kept(host: Host) -> None:
    host.start()
    host.call("preinst", "upgrade", "0.1.0")
    pin = host.folder / "etc/systemd/system/qanat.service.d/previous.conf"
    pin.parent.mkdir(parents=True)
    pin.touch()
    (host.folder / "usr/lib/qanat/bin/new").touch()
    host.call("preinst", "upgrade", "0.1.1")
    assert not (host.folder / "usr/lib/qanat.previous/bin/new").exists()


def test_an_update_that_fails_leaves_the_package_installed(host: Host) -> None:
    host.start()
    assert host.call("postinst", "configure", "0.1.0") == ["qanat service update"]  # which fails here


def test_an_update_of_an_edge_has_the_running_one_hand_over(host: Host) -> None:
    host.start()
    unit = host.folder / "usr/lib/systemd/system/qanat-edge.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    assert host.call("postinst", "configure", "0.1.0")[1:] == [
        "systemctl daemon-reload",
        "systemctl reload qanat-edge.service",
    ]
    assert "systemctl disable --quiet --now qanat-edge.socket qanat-edge.service" in host.call("prerm", "remove")


def test_a_removal_stops_it_and_a_purge_leaves_nothing(host: Host) -> None:
    host.start()
    unit = host.folder / "etc/systemd/system/qanat.service"
    token = host.folder / "etc/qanat/token"
    for file in (unit, token):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert host.call("prerm", "remove") == ["systemctl disable --quiet --now qanat.service"]
    host.call("postrm", "remove")
    assert token.exists(), "its configuration is kept until a purge"
    assert not (host.folder / "usr/lib/qanat").exists()
    assert host.call("postrm", "purge") == ["systemctl daemon-reload"]
    assert not token.parent.exists()
    assert not unit.exists()
