"""A plain `pip install qanat`, without `qanat[edge]`: what requirements/connector.txt doesn't name can't be imported here."""

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[3]
WITHOUT = """
import contextlib, io, json, sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

MISSING, LINES = json.loads(sys.argv[1]), json.loads(sys.argv[2])
sys.meta_path.insert(0, Without())
from qanat.__main__ import main
results = []
for line in LINES:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = 0
        try:
            main(line.split())
        except SystemExit as ending:
            status = ending.code or 0
    results.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(results))
"""
COMMANDS = (
    "",
    "tunnel",
    "tunnel run",
    "tunnel create",
    "tunnel config",
    "service install",
    "service update",
    "access",
    "lockdown",
    "zone",
    "record",
    "profile",
    "login",
    "token",
    "audit",
    "account",
)


def missing() -> set[str]:
    """Modules of distributions that such an installation doesn't have."""
    listed = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/connector.txt").read_text(), re.MULTILINE)
    kept = {*listed, "qanat"}
    return {
        module
        for module, names in packages_distributions().items()
        if not kept & {name.lower().replace("_", "-") for name in names}
    }


def qanat(*lines: str) -> list[tuple[int, str, str]]:
    """Exit status, standard output and standard error of each command line, all in one process."""
    given = [json.dumps(sorted(missing())), json.dumps(lines)]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [tuple(each) for each in json.loads(done.stdout.splitlines()[-1])]


def test_the_list_keeps_what_it_names_and_nothing_else() -> None:
    found = missing()
    assert {"sqlalchemy", "fastapi", "cryptography", "uvicorn"} <= found
    assert not {"msgspec", "typer", "rich", "yaml", "idna", "tomli_w"} & found


def test_a_connectors_host_has_every_command_of_its_own() -> None:
    for command, (status, out, err) in zip(COMMANDS, qanat(*(f"{each} --help" for each in COMMANDS)), strict=True):
        assert status == 0, (command, err)
        assert "sage" in out, command
        if command == "":
            assert re.search(r"edge\s.*Not installed here", out)


def test_the_edge_says_how_it_is_installed() -> None:
    for status, _, err in qanat("edge", "edge --help", "edge --data-dir x", "edge new-token"):
        assert status == 1
        assert err.splitlines() == [
            "error[extra_missing]: qanat edge: this is not installed here (pydantic_settings is missing)",
            "  fix: pip install 'qanat[edge]'",
        ]
