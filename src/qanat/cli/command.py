"""Commands over the API: each gets the same options for where it goes and how it answers."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_args, get_type_hints

import typer

from qanat.cli import complete
from qanat.cli.access import Access, AccountOption, ApiOption, ProfileOption, TokenFileOption
from qanat.cli.output import Output, OutputOption

P = ParamSpec("P")

COMMON: dict[str, Any] = {
    "account": AccountOption,
    "profile": ProfileOption,
    "api": ApiOption,
    "token_file": TokenFileOption,
    "output": OutputOption,
}

TunnelArgument = Annotated[
    str, typer.Argument(metavar="TUNNEL", help="Name or id of the tunnel.", autocompletion=complete.tunnels)
]
ZoneArgument = Annotated[
    str, typer.Argument(metavar="ZONE", help="Name or id of the zone.", autocompletion=complete.zones)
]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file; `-` for standard input.")]


def over_api(
    app: typer.Typer, name: str, *, account: bool = False, hidden: bool = False
) -> Callable[[Callable[Concatenate[Access, P], None]], Callable[..., None]]:
    """Makes a command of a function whose first parameter is its `Access`; `account`: it works in one account. Options that
    several commands share are a TypedDict, taken as `**options: Unpack[…]`."""

    def decorate(function: Callable[Concatenate[Access, P], None]) -> Callable[..., None]:
        keys = [key for key in COMMON if account or key != "account"]

        def command(**given: Any) -> None:
            common = {key: given.pop(key) for key in keys}
            function(Access(**common), **given)  # type: ignore[call-arg]

        _, *own = (each for given in inspect.signature(function).parameters.values() for each in _unpacked(given))
        common = [
            inspect.Parameter(
                key,
                inspect.Parameter.KEYWORD_ONLY,
                default=Output.TEXT if key == "output" else None,
                annotation=COMMON[key],
            )
            for key in keys
        ]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + common
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        app.command(name, hidden=hidden)(command)
        return command

    return decorate


def _unpacked(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """The options of an `Unpack[…]`, none of which must be given; any other parameter is itself."""
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
        return [parameter]
    (options,) = get_args(parameter.annotation)
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in get_type_hints(options, include_extras=True).items()
    ]
