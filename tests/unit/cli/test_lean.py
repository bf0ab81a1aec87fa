"""A command imports what it runs. Each runs in a process of its own, which prints its modules at its end."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.control import Control

SHOW = """
import json, sys
from qanat.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as ending:
    code = ending.code or 0
else:
    code = 0
print("\\n" + json.dumps([code, list(sys.modules)]))
"""

# The server, its database and its engine.
SERVER = {
    "alembic",
    "fastapi",
    "psycopg",
    "qanat._engine",
    "qanat.api",
    "qanat.auth",
    "qanat.edge",
    "qanat.store",
    "sqlalchemy",
    "starlette",
    "uvicorn",
}
SLOW = {"pydantic_settings", "qanat.settings", "structlog"}  # typer itself takes pydantic


def modules(*arguments: str, code: int = 0) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW, *arguments], env=dict(os.environ), capture_output=True, text=True, timeout=60
    )
    assert done.stdout, done.stderr
    status, found = json.loads(done.stdout.splitlines()[-1])
    assert status == code, done.stderr
    return set(found)


@pytest.mark.parametrize(
    "command",
    [
        ["tunnel", "list"],
        ["zone", "list", "--output", "json"],
        ["record", "list", "example.test"],
        ["token", "verify"],
        ["account", "list"],
        ["audit", "list"],
        ["profile", "list"],
        ["status"],
        ["explain", "https://example.test/"],
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_a_client_needs_no_database_and_no_server(command: list[str], at_control: Control) -> None:
    at_control.create_zone("example.test")
    found = modules(*command)
    assert "qanat.client.http" in found
    assert sorted(found & (SERVER | SLOW)) == []


def test_a_stock_command_needs_no_typer_either(at_control: Control) -> None:
    found = modules("tunnel", "list", "--output", "json")
    assert sorted(found & {"typer", "click", "rich", "pydantic", "httpx", "tomli_w", "yaml"}) == []


def test_the_help_of_every_command_needs_neither() -> None:
    found = modules("--help")
    assert "qanat.cli.edge" in found
    assert sorted(found & SERVER) == []


def test_the_edge_needs_no_client() -> None:
    found = modules("edge", "--public-https", "nonsense", code=1)
    assert "qanat.settings" in found
    assert sorted(found & (SERVER | {"httpx", "rich.table", "qanat.cli.tunnel", "qanat.cli.command"})) == []


def test_the_version_needs_no_commands() -> None:
    found = modules("--version")
    assert sorted(found & {"typer", "rich", "httpx", "pydantic", "qanat.cli.main"}) == []


def test_one_group_leaves_the_others_alone(at_control: Control) -> None:
    loaded = {name for name in modules("zone", "list") if name.startswith("qanat.cli.")}
    others = ("edge", "edge_data", "tunnel", "record", "token", "cloudflare")
    assert sorted(loaded & {f"qanat.cli.{name}" for name in others}) == []
