"""Folders with HCL, and terraform or tofu in them, with a provider that is already on this machine.

`QANAT_TEST_TERRAFORM` names a folder that holds `terraform` or `tofu` (or both), and one binary a provider version, named as its
release names it: `terraform-provider-cloudflare_v5.22.0`. Versions that are not there are skipped. Without a provider, what needs
none (formatting, the hosts' user data) runs with a program of that name on the PATH.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo import declared
from tests.support.processes import clean_environment

FOLDER = os.environ.get("QANAT_TEST_TERRAFORM")
needs_terraform = pytest.mark.skipif(
    not FOLDER, reason="QANAT_TEST_TERRAFORM does not name a folder with terraform and providers"
)
NAMES = ("terraform", "tofu")
PROGRAMS = [
    str(Path(FOLDER or "/nonexistent") / name) for name in NAMES if (Path(FOLDER or "/nonexistent") / name).exists()
]
"""Those that the folder has."""
ANY = next(iter([*PROGRAMS, *filter(None, map(shutil.which, NAMES))]), None)
"""One for what needs no provider."""
needs_any = pytest.mark.skipif(
    ANY is None, reason="there is no terraform or tofu, on the PATH or in QANAT_TEST_TERRAFORM"
)
MODULES = Path(__file__).parents[2] / "deploy/terraform"
RUN_S = 110.0


def provider(release: str) -> tuple[str, Path] | None:
    """The newest provider of a release such as "5.22": its version and its binary."""
    found = []
    for file in Path(FOLDER or "/nonexistent").glob("terraform-provider-cloudflare_v*"):
        version = file.name.rpartition("_v")[2]
        if f"{version}.".startswith(f"{release}."):
            found.append((tuple(int(part) for part in version.split(".")), version, file))
    if not found:
        return None
    _, version, file = max(found)
    return version, file


def mirror(folder: Path, release: str) -> str:
    """Writes `cli.tfrc`, which takes the provider from this machine alone; the provider's version."""
    found = provider(release)
    if found is None:
        pytest.skip(f"{FOLDER} has no terraform-provider-cloudflare_v{release}*")
    version, binary = found
    declared.mirror(folder, binary)
    return version


@dataclass
class Outcome:
    """How a run of terraform ended."""

    code: int
    text: str
    seconds: float


class Place:
    """A folder with a configuration, and its state. `program`: terraform or tofu."""

    def __init__(self, folder: Path, program: str, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.program = program
        self.env = {**clean_environment(), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", **env}

    def run(self, *arguments: str, **variables: str) -> Outcome:
        begun = time.monotonic()
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.folder,
            env={**self.env, **{f"TF_VAR_{name}": text for name, text in variables.items()}},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, time.monotonic() - begun)

    def succeeds(self, *arguments: str, **variables: str) -> str:
        outcome = self.run(*arguments, **variables)
        assert outcome.code == 0, outcome.text
        return outcome.text

    def assert_in_place(self, **variables: str) -> None:
        """A plan finds nothing to do."""
        outcome = self.run("plan", "-detailed-exitcode", "-no-color", **variables)
        assert outcome.code == 0, outcome.text

    def planned(self, **variables: str) -> dict[str, list[str]]:
        """What a plan would do to each resource that it would do something to."""
        outcome = self.run("plan", "-no-color", "-out", "planned", **variables)
        assert outcome.code == 0, outcome.text
        changes = json.loads(self.succeeds("show", "-json", "planned"))["resource_changes"]
        return {
            each["address"]: each["change"]["actions"]
            for each in changes
            if each["change"]["actions"] not in (["no-op"], ["read"])
        }

    def outputs(self) -> dict[str, Any]:
        return {name: each["value"] for name, each in json.loads(self.succeeds("output", "-json")).items()}

    def destroy(self) -> Outcome:
        return self.run("destroy", "-auto-approve", "-no-color")


class Workspace(Place):
    """One configuration that a test writes. `head`: of the provider's block."""

    def __init__(self, folder: Path, release: str, env: dict[str, str], *, head: str = "") -> None:
        assert PROGRAMS
        folder.mkdir(parents=True, exist_ok=True)
        version = mirror(folder, release)
        super().__init__(folder, PROGRAMS[0], {**env, "TF_CLI_CONFIG_FILE": str(folder / "cli.tfrc")})
        self._head = f"""
terraform {{
  required_providers {{
    cloudflare = {{
      source  = "cloudflare/cloudflare"
      version = "{version}"
    }}
  }}
}}
provider "cloudflare" {{
{head}
}}
"""
        (folder / "main.tf").write_text(self._head)
        self.succeeds("init", "-no-color")

    def write(self, hcl: str) -> None:
        """What is wanted from now on."""
        (self.folder / "main.tf").write_text(self._head + hcl)

    def apply(self, hcl: str | None = None) -> str:
        if hcl is not None:
            self.write(hcl)
        return self.succeeds("apply", "-auto-approve", "-no-color")

    def values(self, address: str) -> dict[str, Any]:
        """A resource's attributes in the state."""
        root = json.loads(self.succeeds("show", "-json"))["values"]["root_module"]
        found: dict[str, Any] = next(each["values"] for each in root["resources"] if each["address"] == address)
        return found

    def forget(self) -> None:
        """The state is lost; what it described is still there."""
        for file in self.folder.glob("terraform.tfstate*"):
            file.unlink()


@contextmanager
def workspace(folder: Path, release: str, env: dict[str, str], *, head: str = "") -> Iterator[Workspace]:
    """A workspace whose objects are gone afterwards."""
    made = Workspace(folder, release, env, head=head)
    yield made
    ended = made.destroy()
    assert ended.code == 0, ended.text


def sites(folder: Path, program: str, release: str, env: Mapping[str, str]) -> dict[str, Place]:
    """deploy/terraform, copied into `folder`: each root by its name, initialised."""
    shutil.copytree(MODULES, folder / "terraform", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    mirror(folder, release)
    made = {}
    for root in ("staging", "production", "second-site"):
        more = {"TF_CLI_CONFIG_FILE": str(folder / "cli.tfrc")}
        made[root] = Place(folder / "terraform" / root, program, {**env, **more})
        made[root].succeeds("init", "-no-color")
    return made
