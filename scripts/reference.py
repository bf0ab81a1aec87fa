"""Writes docs/reference/: error codes, flags, settings, permissions, endpoints, commands, from the code. `--check` compares."""

import sys
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import typer
from pydantic_core import PydanticUndefined

from qanat.api.app import create_app
from qanat.api.http.context import Context
from qanat.api.http.description import operations_of
from qanat.cli.command import COMMON
from qanat.cli.main import EXIT_STATUSES, app
from qanat.cli.stock.command_line import Command
from qanat.cli.stock.commands import API, COMMANDS
from qanat.connector.flag_table import FLAGS
from qanat.connector.flags import flag_form
from qanat.control.permissions import ALL, GROUPS
from qanat.edge.engine import causes
from qanat.errors import CODES
from qanat.ingress.warnings import WARNINGS
from qanat.settings import every_setting

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
ELSEWHERE = ("qanat edge", "qanat tunnel run")
NOTE = "<!-- Made by scripts/reference.py (`make docs`): change the code, not this page. -->\n"

EFFECTS = {
    "works": "works",
    "harmless": "accepted; not needed here",
    "warned": "accepted with a warning; no effect",
}


def errors() -> str:
    lines = [
        "# Error codes",
        "",
        NOTE,
        "Codes are stable: scripts may match them. A message says what was given, where, and how to fix it.",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *(f"| `{code}` | {_cell(meaning)} |" for code, meaning in sorted(CODES.items())),
        "",
        "## Warnings about a configuration",
        "",
        "A configuration with these is valid and accepted; the API's answer has them, and the connector logs them.",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *(f"| `{code}` | {_cell(meaning)} |" for code, meaning in sorted(WARNINGS.items())),
        "",
        "## Requests that the edge answers itself",
        "",
        "The code is in `X-Qanat-Error`, on the error page, and found by request id (`GET /qanat/requests/{id}`).",
        "",
        "The number is the one that users of the protocol's hosted edge know; it is on the page and `code` in problem+json,",
        "and is not always the status: clients' retries go by that.",
        "",
        "| code | status | number | whose fault | broke at | what happened | what to do |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *_causes(),
    ]
    return "\n".join(lines) + "\n"


def _causes() -> list[str]:
    return [
        f"| `{code}` | {status} | {number or ''} | {fault} | {place} | {_cell(title)} | {_cell(advice)} |"
        for code, status, number, fault, place, title, advice in sorted(causes())
    ]


def flags() -> str:
    lines = [
        "# `qanat tunnel run`: flags",
        "",
        NOTE,
        "Names, variables and `config.yml` keys are stock cloudflared's. The command line wins over variables, and",
        "these over the file.",
        "",
        "| flag | kind | variable | here | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for flag in FLAGS:
        names = ", ".join(f"`{flag_form(name)}`" for name in (flag.name, *flag.aliases))
        variables = ", ".join(f"`{variable}`" for variable in flag.env)
        lines.append(f"| {names} | {flag.kind} | {variables} | {EFFECTS[flag.effect]} | {_cell(flag.help)} |")
    return "\n".join(lines) + "\n"


def settings() -> str:
    lines = [
        "# `qanat edge`: settings",
        "",
        NOTE,
        "Each can be set by flag, by variable or in the TOML file; the first of these wins, and else the default holds.",
        "",
        "| key | variable | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for setting in every_setting():
        default = setting.field.get_default(call_default_factory=False)
        shown = "" if default is PydanticUndefined or default in (None, "", ()) else f"`{default}`"
        lines.append(f"| `{setting.key}` | `{setting.variable}` | {shown} | {_cell(setting.description)} |")
    return "\n".join(lines) + "\n"


def permissions() -> str:
    lines = [
        "# API tokens: permission groups",
        "",
        NOTE,
        "A policy names groups by id. Those of the stock API have their stock ids. Edit includes read. A group of zones can",
        "also be given on an account, for all zones in it; `com.cloudflare.api.account.*` is every account.",
        "",
        "| group | id | permissions | on |",
        "| --- | --- | --- | --- |",
    ]
    for group in GROUPS:
        held = "all" if group is ALL else ", ".join(f"`{each}`" for each in sorted(group.permissions | group.shows))
        scopes = ", ".join(f"`{scope}`" for scope in group.scopes)
        lines.append(f"| {group.name} | `{group.id}` | {held} | {scopes} |")
    return "\n".join(lines) + "\n"


def commands() -> str:
    lines = [
        "# `qanat`: commands",
        "",
        NOTE,
        "Every command that asks an API takes `--api`, `--token-file`, `--profile` and `--output text|json` (and `--account`",
        "where it works in one account): flags win over the environment, the environment over the current profile, and that",
        "over this machine's edge. `qanat edge` and `qanat tunnel run` have pages of their own.",
        "",
        "| exit status | meaning |",
        "| --- | --- |",
        *(f"| {status} | {_cell(meaning)} |" for status, meaning in EXIT_STATUSES.items()),
        "",
        "| command | what it does | arguments and flags |",
        "| --- | --- | --- |",
    ]
    told = {f"qanat {command.name}": command for command in COMMANDS.values() if not command.hidden}
    for path, command in sorted([*_leaves(typer.main.get_command(app), "qanat"), *told.items()], key=itemgetter(0)):
        if isinstance(command, Command):
            lines.append(f"| `{path}` | {_cell(command.about)} | {_cell(_stock_parameters(command))} |")
        if path in told:
            continue
        shown = [] if path in ELSEWHERE else [_parameter(each) for each in command.params]
        about = (command.help or "").split("\n\n")[0].replace("\n", " ")
        lines.append(f"| `{path}` | {_cell(about)} | {_cell(', '.join(each for each in shown if each))} |")
    return "\n".join(lines) + "\n"


def endpoints() -> str:
    described = create_app(cast(Context, SimpleNamespace(version="0", own_endpoints=True))).openapi()
    lines = [
        "# The API: endpoints",
        "",
        NOTE,
        "Under `/client/v4`. Those outside of `/qanat` are the stock API's, with its fields, filters and error codes. Each edge",
        "describes them in full, with schemas and examples, at `/client/v4/qanat/openapi.json` (OpenAPI 3.1; any good token",
        "reads it). A token needs the permissions named; a write with `If-Match` never overwrites somebody else's.",
    ]
    for tag in described["tags"]:
        lines += [
            "",
            f"## {tag['name']}",
            "",
            tag["description"],
            "",
            "| endpoint | what it does | query |",
            "| --- | --- | --- |",
        ]
        for path, method, operation in operations_of(described):
            if operation["tags"][-1] == tag["name"]:  # the closest, where it has two
                told = " ".join(operation["description"].split())
                names = [f"`{each['name']}`" for each in operation.get("parameters", ()) if each["in"] == "query"]
                lines.append(f"| `{method.upper()} {path}` | {_cell(told)} | {' '.join(names)} |")
    return "\n".join(lines) + "\n"


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The commands that can be run; hidden ones are not told."""
    inner = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        yield path, command
    for name, each in inner.items():
        if not each.hidden:
            yield from _leaves(each, f"{path} {name}")


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name).upper().strip("[]")
        return f"`{name}`" if parameter.required else f"`[{name}]`"
    if "--help" in parameter.opts or parameter.name in COMMON:
        return ""
    names = "/".join([*parameter.opts, *parameter.secondary_opts])
    return f"`{names}`{'…' if parameter.multiple else ''}"


def _stock_parameters(command: Command) -> str:
    names = [
        f"`{'/'.join(flag_form(name) for name in (flag.name, *flag.aliases))}`{'…' if flag.kind == 'texts' else ''}"
        for flag in command.flags
        if not flag.hidden and flag not in API
    ]
    return ", ".join([*([f"`{command.usage}`"] if command.usage else []), *names])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES = {
    "errors.md": errors,
    "connector-flags.md": flags,
    "edge-settings.md": settings,
    "api-permissions.md": permissions,
    "api-endpoints.md": endpoints,
    "commands.md": commands,
}


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"docs/reference: {', '.join(stale)} is stale: run `make docs`")
        return 1
    print(f"docs/reference: {len(PAGES)} pages {'are current' if check else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
