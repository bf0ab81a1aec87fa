"""Groups that import a command's module when the command is asked for: a start imports what it runs, and no more."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from qanat.errors import QanatError


class LazyGroup(TyperGroup):
    """A group whose further commands are in other modules: `places` has `module:attribute` by name, of a Typer under
    `qanat.cli`. Help and completion see them as if they had been added one after another."""

    places: ClassVar[Mapping[str, str]]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands(self.commands, self.places)  # type: ignore[assignment]  # nothing is added later

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # typer has its context's base
        """Names alone: typer's own would build every command for them."""
        return list(self.commands)


class _Commands(Mapping[str, Any]):
    def __init__(self, present: Mapping[str, Any], places: Mapping[str, str]) -> None:
        self._present = dict(present)
        self._places = places

    def __getitem__(self, name: str) -> Any:
        if name not in self._present:
            self._present[name] = _load(name, self._places[name])
        return self._present[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._present, **self._places})

    def __len__(self) -> int:
        return len({**self._present, **self._places})


def _load(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    try:
        import_module(f"{__package__}.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "qanat":
            raise
        return _not_installed(name, error.name)
    parent = typer.Typer()
    parent.add_typer(getattr(import_module(f"{__package__}.{module}"), attribute), name=name)
    group = typer.main.get_group(parent).commands[name]
    # A Typer that has a command of this name stands for that command.
    return getattr(group, "commands", {}).get(name, group)


def _not_installed(name: str, module: str) -> Any:
    """Stands for a command whose part of qanat isn't there: a connector's host has what a connector needs (pyproject.toml)."""
    parent = typer.Typer()

    @parent.command(
        name,
        help="Not installed here: pip install 'qanat[edge]'.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    )
    def command(_context: typer.Context) -> None:
        raise QanatError(
            "extra_missing",
            f"this is not installed here ({module} is missing)",
            where=f"qanat {name}",
            hint="pip install 'qanat[edge]'",
        )

    @parent.callback()
    def _group() -> None:
        """So that the command keeps its name."""

    return typer.main.get_group(parent).commands[name]
