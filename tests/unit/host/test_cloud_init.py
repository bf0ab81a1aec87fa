"""`qanat cloud-init`: what a new host is told."""

import hashlib
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from qanat.cli.main import main
from qanat.errors import QanatError
from qanat.host.cloud_init import FOLDER, FirstBoot, render
from tests.unit.host.conftest import TUNNEL, token_of

TOKEN = token_of(TUNNEL)
URL = "https://packages.example.net/qanat-linux-amd64.deb?a=1&b='2'"
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
BOOT = FirstBoot(TOKEN, URL, "0" * 64, ("--edge", "edge.example.net:7844", "--label", "a b"), AUTHORITY)


def read(text: str) -> dict[str, Any]:
    assert text.startswith("#cloud-config\n"), "cloud-init reads it by its first line"
    return cast(dict[str, Any], yaml.safe_load(text))


def files(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {each["path"].removeprefix(f"{FOLDER}/"): each for each in document["write_files"]}


@pytest.mark.requirement("S7")
def test_the_token_is_in_a_file_of_roots_alone_and_in_no_command() -> None:
    document = read(render(BOOT))
    written = files(document)
    assert written["token"]["content"] == f"{TOKEN}\n"
    assert (written["token"]["permissions"], written["token"]["owner"]) == ("0600", "root:root")
    assert render(BOOT).count(TOKEN) == 1
    assert TOKEN not in repr(BOOT)
    assert document["runcmd"] == [["/bin/sh", f"{FOLDER}/setup"]]


def test_the_steps_in_order() -> None:
    written = files(read(render(BOOT)))
    assert written["ca.pem"]["content"] == AUTHORITY
    script = written["setup"]["content"]
    assert "set -eu" in script, "what fails is the end of it"
    steps = [shlex.split(line) for line in script.splitlines() if line.startswith(("echo", "dpkg", "qanat"))]
    assert steps[0][:2] == ["echo", f"{'0' * 64}  qanat.deb"]
    assert steps[1:] == [
        ["dpkg", "--install", "qanat.deb"],
        ["qanat", "lockdown", "--apply"],
        ["qanat", "service", "install", "--token-file", f"{FOLDER}/token", "--cacert", f"{FOLDER}/ca.pem",
         "--edge", "edge.example.net:7844", "--label", "a b"],
    ]  # fmt: skip
    fetched = next(shlex.split(line) for line in script.splitlines() if line.strip().startswith("curl"))
    assert fetched[-1] == URL
    assert f"trap 'rm -rf {FOLDER}' EXIT" in script, "the token doesn't stay there"
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
    if shutil.which("shellcheck"):
        assert subprocess.run(["shellcheck", "-"], input=script, text=True, check=False).returncode == 0


def test_an_image_that_has_the_package_downloads_nothing() -> None:
    document = read(render(FirstBoot(TOKEN, lockdown=False)))
    assert "packages" not in document
    script = files(document)["setup"]["content"]
    assert "curl" not in script
    assert "lockdown" not in script


@pytest.mark.parametrize(
    ("url", "digest", "where"),
    [("ftp://x/y", "0" * 64, "--package-url"), ("https://x/a b", "0" * 64, "--package-url"), (URL, None, "--sha256"),
     (URL, "abc", "--sha256")],
)  # fmt: skip
def test_a_package_has_an_address_and_a_hash(url: str, digest: str | None, where: str) -> None:
    with pytest.raises(QanatError) as raised:
        render(FirstBoot(TOKEN, url, digest))
    assert (raised.value.code, raised.value.where) == ("cloud_init_bad_package", where)


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "qanat.deb").write_bytes(b"package")
    arguments = [
        "--token-file",
        str(tmp_path / "token"),
        "--package-url",
        URL,
        "--package",
        str(tmp_path / "qanat.deb"),
    ]
    assert main(["cloud-init", *arguments, "--edge", "edge.example.net:7844"]) == 0
    script = files(read(capsys.readouterr().out))["setup"]["content"]
    assert hashlib.sha256(b"package").hexdigest() in script
    (tmp_path / "token").write_text("no token\n")
    assert main(["cloud-init", *arguments, "--edge", "edge.example.net:7844"]) == 1
    assert "token_invalid" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="needs cloud-init")
def test_cloud_init_finds_nothing_wrong(tmp_path: Path) -> None:
    file = tmp_path / "user-data"
    file.write_text(render(BOOT))
    command = ["cloud-init", "schema", "--config-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
