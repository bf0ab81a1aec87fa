"""deploy/terraform, as far as it goes without a provider: its form, and the user data of its hosts."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from qanat.host.cloud_init import FirstBoot, render
from tests.support.terraform import ANY, MODULES, Place, needs_any
from tests.unit.host.conftest import TUNNEL, token_of

pytestmark = [needs_any, pytest.mark.timeout(120)]

TOKEN = token_of(TUNNEL)
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
PACKAGE = "https://packages.example.net/qanat-linux-amd64.deb?a=1&b='2'"
SHA256 = "0" * 64

BOOTS = {
    "all of it": FirstBoot(
        TOKEN,
        PACKAGE,
        SHA256,
        ("--edge", "edge.example.net:7844", "--label", 'it\'s "a"'),
        AUTHORITY,
        True,
        ("wg0", "eth1"),
    ),
    "an image that has the package": FirstBoot(TOKEN, lockdown=False),
}
VARIABLES: dict[str, dict[str, Any]] = {
    "all of it": {
        "token": TOKEN,
        "package": {"url": PACKAGE, "sha256": SHA256},
        "edge": "edge.example.net:7844",
        "flags": ["--label", 'it\'s "a"'],
        "ca_pem": AUTHORITY,
        "keep_interfaces": ["wg0", "eth1"],
    },
    "an image that has the package": {"token": TOKEN, "lockdown": False},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Module host; it needs no provider."""
    assert ANY
    folder = tmp_path_factory.mktemp("terraform")
    shutil.copytree(MODULES, folder / "it", ignore=shutil.ignore_patterns(".terraform*"))
    place = Place(folder / "it/modules/host", ANY, {"TF_CLI_CONFIG_FILE": "/dev/null"})
    place.succeeds("init", "-no-color")
    return place


def rendered(place: Place, boot: str) -> str:
    (place.folder / "terraform.tfvars.json").write_text(json.dumps(VARIABLES[boot]))
    place.succeeds("apply", "-auto-approve", "-no-color")
    return cast(str, place.outputs()["user_data"])


@pytest.mark.parametrize("boot", list(BOOTS))
def test_a_host_is_told_what_cloud_init_of_ours_tells_it(place: Place, boot: str) -> None:
    def words(text: str) -> list[list[str]]:
        return [shlex.split(line) for line in text.splitlines()]

    theirs = yaml.safe_load(rendered(place, boot))
    ours = yaml.safe_load(render(BOOTS[boot]))
    for document in (theirs, ours):
        document["write_files"][-1]["content"] = words(document["write_files"][-1]["content"])
    assert theirs == ours


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="needs cloud-init")
def test_cloud_init_finds_nothing_wrong(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "user-data"
    file.write_text(rendered(place, "all of it"))
    command = ["cloud-init", "schema", "--config-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_own_tests_pass(place: Place) -> None:
    (place.folder / "terraform.tfvars.json").unlink(missing_ok=True)
    assert "0 failed" in place.succeeds("test", "-no-color")


def test_it_is_formatted(place: Place) -> None:
    place.succeeds("fmt", "-check", "-recursive", "-no-color", "../..")
