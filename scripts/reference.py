"""Writes docs/reference/: error codes, connector flags, edge settings, made from the code. `--check` compares."""

import sys
from pathlib import Path

from pydantic_core import PydanticUndefined

from qanat.connector.flags import FLAGS, flag_form
from qanat.errors import CODES
from qanat.ingress.warnings import WARNINGS
from qanat.settings import every_setting

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
NOTE = "<!-- Made by scripts/reference.py (`make docs`): change the code, not this page. -->\n"

EFFECTS = {
    "works": "works",
    "harmless": "accepted; nothing is lost without it",
    "warned": "accepted with a warning; no effect yet",
    "refused": "refused for now, unless its value is the stock default",
}


def errors() -> str:
    lines = [
        "# Error codes",
        "",
        NOTE,
        "Codes are stable: scripts may match them. A message names what was given, where it stands and the fix.",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *(f"| `{code}` | {_cell(meaning)} |" for code, meaning in sorted(CODES.items())),
        "",
        "## Warnings about a configuration",
        "",
        "A configuration with these is sound and taken; the API's answer tells them, and the connector logs them.",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *(f"| `{code}` | {_cell(meaning)} |" for code, meaning in sorted(WARNINGS.items())),
    ]
    return "\n".join(lines) + "\n"


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
        "Each by flag, else by variable, else in the TOML file, else the default.",
        "",
        "| key | variable | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for setting in every_setting():
        default = setting.field.get_default(call_default_factory=False)
        shown = "" if default is PydanticUndefined or default is None else f"`{default}`"
        lines.append(f"| `{setting.key}` | `{setting.variable}` | {shown} | {_cell(setting.description)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES = {"errors.md": errors, "connector-flags.md": flags, "edge-settings.md": settings}


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
