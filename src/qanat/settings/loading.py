"""Reads them: flags, then the environment, then the file, then defaults."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from pydantic import ValidationError
from pydantic_settings import SettingsError

from qanat.errors import QanatError
from qanat.settings.edge import EdgeSettings, every_setting


def load_edge_settings(*, file: Path | None = None, flags: Mapping[str, object] | None = None) -> EdgeSettings:
    """The settings in force. `flags` are keyed by `Setting.key`; those that are None were not given.

    Raises:
        QanatError: `settings_invalid`; `where` is the setting and, where it came from the file, the file.
    """
    nested: dict[str, Any] = {}
    for key, value in (flags or {}).items():
        if value is not None:
            *parents, last = key.split(".")
            level = nested
            for parent in parents:
                level = level.setdefault(parent, {})
            level[last] = value
    values = _read_file(file) if file is not None else {}
    try:
        settings = EdgeSettings(_file_values=values, **nested)  # type: ignore[call-arg]  # taken out by the sources
    except ValidationError as error:
        raise _refused(error, file) from error
    except SettingsError as error:
        raise QanatError("settings_invalid", f"{error} (a value of several parts is JSON)") from error
    if _has_password(nested.get("store", {}).get("url")):
        raise QanatError(
            "settings_invalid",
            "a command line can be read by everybody on this machine: it must hold no password",
            where="store.url",
            hint="put it into a file and give --store-password-file",
        )
    _check_control(settings)
    if (settings.tls.tunnel_chain is None) != (settings.tls.tunnel_key is None):
        raise QanatError(
            "settings_invalid", "give both tunnel_chain and tunnel_key, or neither", where="tls.tunnel_chain"
        )
    return settings


def _check_control(settings: EdgeSettings) -> None:
    hostname = settings.control.hostname
    if hostname is None:
        return
    if not settings.public.https:
        raise QanatError(
            "settings_invalid",
            "it is served by the HTTPS listener, which is off",
            where="control.hostname",
            hint="set public.https, or leave control.hostname out",
        )
    if hostname == settings.public.management_hostname:
        raise QanatError(
            "settings_invalid",
            f"{hostname} is public.management_hostname already",
            where="control.hostname",
            hint="give each a name of its own",
        )


def _has_password(url: object) -> bool:
    if not isinstance(url, str):
        return False
    # By hand, as libpq reads it: urlsplit refuses some URLs of several hosts.
    authority = url.partition("://")[2].partition("/")[0]
    return ":" in authority.rpartition("@")[0] or "password" in parse_qs(url.partition("?")[2])


def _read_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            return tomllib.load(opened)
    except OSError as error:
        raise QanatError(
            "settings_invalid", f"can't read the settings file: {error.strerror}", where=str(file)
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise QanatError("settings_invalid", f"not TOML: {error}", where=str(file)) from error


def _refused(error: ValidationError, file: Path | None) -> QanatError:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(setting.key for setting in every_setting() if setting.key.startswith(where.split(".")[0]))
        message = "there is no such setting"
        hint = f"known here: {known}" if known else "see `qanat edge --help`"
    else:
        message = first["msg"].removeprefix("Value error, ")
        hint = "see `qanat edge --help`"
    if file is not None:
        hint += f"; the file is {file}"
    more = len(error.errors()) - 1
    if more:
        message += f" (and {more} more)"
    return QanatError("settings_invalid", message, where=where, hint=hint)
