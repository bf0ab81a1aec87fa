"""`qanat edge`. Its flags are made from the settings' models, so that none can be forgotten."""

import gc
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from qanat.cli.lazy import LazyGroup
from qanat.cli.output import Output, OutputOption
from qanat.defaults import default_data_dir
from qanat.errors import QanatError
from qanat.settings import Setting, every_setting, load_edge_settings

if TYPE_CHECKING:
    from qanat.edge.handover import Predecessor

PANELS = {
    "public": "Public listeners",
    "tunnel": "Tunnel listener",
    "control": "Control API",
    "tls": "Certificates",
    "acme": "Certificates of CAs",
    "limits": "Limits",
    "account_limits": "Limits of an account",
    "engine": "Engine",
    "store": "Store",
    "log": "Log",
}


def run(config: Path | None, output: Output, flags: dict[str, object]) -> None:
    """Reads the settings, sets the log up, and serves; in place of a process before this one, where that started it."""
    predecessor = None
    if "QANAT_HANDED_OVER" in os.environ:  # another process of this program, which this one shall take over from
        from qanat.edge.handover import Predecessor

        predecessor = Predecessor.found(os.environ)
    try:
        status = _run(config, output, flags, predecessor)
    except Exception as error:
        if predecessor is not None:
            predecessor.tell_trouble(
                str(error) if isinstance(error, QanatError) else f"{type(error).__name__}: {error}"
            )
        raise
    # Everything that lasts is closed. To take the interpreter apart would take longer than all the rest of a stop, and who
    # starts the next edge waits for it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run(config: Path | None, output: Output, flags: dict[str, object], predecessor: "Predecessor | None") -> int:
    gc.disable()  # until the start is over: what it loads stays, and looking through it again and again takes a tenth of it
    settings = load_edge_settings(file=config, flags=flags)
    from qanat.log import set_up_logging

    set_up_logging(level=settings.log.level, form=settings.log.format)
    from qanat.edge.process import run_edge

    return run_edge(settings, output=output.value, predecessor=predecessor)


def command() -> Callable[..., None]:
    """The function that Typer makes `qanat edge` of: one keyword argument a setting."""
    settings = {_name(setting): setting for setting in every_setting()}

    def edge(ctx: typer.Context, config: Path | None = None, output: Output = Output.TEXT, **flags: object) -> None:
        if ctx.invoked_subcommand is not None:
            return
        run(config, output, {settings[name].key: _value(value) for name, value in flags.items()})

    edge.__doc__ = (
        "Run an edge: public listeners, tunnel listener and control API in one process.\n\n"
        "Each setting can be given by flag, by environment variable (named at its end) or in the TOML file, where "
        "`--public-https` is `https` under `\\[public]`; the first of these that is given wins."
    )
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        inspect.Parameter(
            "config",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                Path | None, typer.Option("--config", envvar="QANAT_CONFIG", help="TOML file with the settings.")
            ],
        ),
        inspect.Parameter("output", inspect.Parameter.KEYWORD_ONLY, default=Output.TEXT, annotation=OutputOption),
        *(_parameter(name, setting) for name, setting in settings.items()),
    ]
    edge.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    edge.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return edge


def _name(setting: Setting) -> str:
    return "_".join(setting.path)


def _parameter(name: str, setting: Setting) -> inspect.Parameter:
    kind = _flag_type(setting.field)
    flag = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}" if kind is bool else setting.flag
    default = _shown_default(setting)
    help_text = f"{setting.description}{f' Default: {default}.' if default else ''} ({setting.variable})"
    option = typer.Option(
        flag,
        help=help_text.replace("[", "\\["),  # rich would read it as markup
        rich_help_panel=PANELS.get(setting.path[0], "Options") if len(setting.path) > 1 else None,
        show_default=False,
        metavar=_metavar(setting.field),
    )
    annotation: Any = Annotated[list[str] | None if kind is list else kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag_type(field: FieldInfo) -> Any:
    annotation = field.annotation
    if get_origin(annotation) is tuple:
        return list
    return annotation if annotation in (bool, int, float) else str


def _metavar(field: FieldInfo) -> str | None:
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return "|".join(str(choice) for choice in get_args(annotation))
    return None


def _shown_default(setting: Setting) -> str:
    if setting.key == "data_dir":
        return str(default_data_dir())
    default = setting.field.default
    if default is PydanticUndefined or default is None or default == ():
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _value(value: object) -> object:
    """A repeated flag that was not given has no value; `tls.certificates` entries are JSON objects."""
    if isinstance(value, list):
        if not value:
            return None
        return tuple(_parsed(item) for item in value)
    return value


def _parsed(item: object) -> object:
    import json

    if isinstance(item, str) and item.startswith("{"):
        try:
            return json.loads(item)
        except ValueError:
            return item
    return item


class Commands(LazyGroup):
    """What needs a client or the database, and not to run an edge."""

    places: ClassVar = {
        "drain": "edge_process:app",
        "new-token": "edge_data:app",
        "restore": "edge_data:app",
        "rotate-key": "edge_data:app",
        "upgrade": "edge_process:app",
    }


app = typer.Typer(cls=Commands, invoke_without_command=True)
app.callback()(command())
