"""`tunnel ingress validate` and `rule`: a connector's own rules, checked by the code that a connector checks them with."""

import json
from urllib.parse import urlsplit

from qanat.cli.output import note
from qanat.cli.stock.output import say
from qanat.cli.stock.session import Session, wrapped
from qanat.connector.flags import FILE_KEYS
from qanat.errors import QanatError
from qanat.ingress.rules import Configuration, IngressRule, parse_configuration
from qanat.ingress.table import compile_table

NO_FILE = (
    "No configuration file was found. Please create one, or use the --config flag to specify its filepath. You can use the help "
    "command to learn more about configuration files"
)
NO_RULES = "The config file doesn't contain any ingress rules"
URL_BESIDE_RULES = "You can't set the --url flag (or $TUNNEL_URL) when using multiple-origin ingress rules"


def validate(session: Session) -> None:
    """Checks the ingress rules of the configuration file, or of `--json`."""
    asked = session.asked
    if asked.is_set("json"):
        say("Validating rules from cmdline flag --json")
        try:
            document = json.loads(asked.text("json"))
        except (ValueError, RecursionError) as error:
            raise QanatError(
                "configuration_malformed", f"this is not JSON: {error}", where=asked.place("json")
            ) from None
        if not isinstance(document, dict):
            raise QanatError("configuration_malformed", "this is not a JSON object", where=asked.place("json"))
        configuration = _checked(document, asked.place("json"), form="json")
    else:
        settings = session.settings
        if settings.path is None:
            raise QanatError("configuration_file_invalid", NO_FILE)
        say(f"Validating rules from {settings.path}")
        configuration = _checked(settings.document, settings.path, form="yaml")
    if session.settings.values.get("url"):
        raise QanatError("usage", URL_BESIDE_RULES, where=session.settings.place("url"))
    unused = [warning for warning in configuration.warnings if "unknown_key" in warning.code]
    for warning in configuration.warnings:
        if warning not in unused:
            note(f"warning: {warning}")
    if unused:
        say("Warning: unused keys detected in your config file. Here is a list of unused keys:")
        for warning in unused:
            say(f"  {warning}")
        return
    say("OK")


def rule(session: Session) -> None:
    """Says which rule takes a URL."""
    asked = session.asked
    if len(asked.words) != 1 or not asked.words[0]:
        raise QanatError("usage", f"{asked.called} tunnel rule expects a single argument, the URL to test")
    text = asked.words[0]
    try:
        parts = urlsplit(text)
        hostname = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise QanatError("usage", f"{text} is not a valid URL") from None
    if not hostname and not parts.scheme:
        raise QanatError("usage", f"{text} doesn't have a hostname, consider adding a scheme")
    settings = session.settings
    if settings.path is None:
        raise QanatError("configuration_file_invalid", NO_FILE)
    say(f"Using rules from {settings.path}")
    configuration = _checked(settings.document, settings.path, form="yaml")
    index = compile_table(configuration).match(hostname=hostname, path=parts.path or "/")
    say(f"Matched rule #{index}")
    _print(configuration.rules[index])


def _checked(document: dict[str, object], where: str, *, form: str) -> Configuration:
    try:
        found = parse_configuration(
            document, form="json" if form == "json" else "yaml", also_known=FILE_KEYS, misspelt_keys="told"
        )
    except QanatError as error:
        place = f"{where}: {error.where}" if error.where else where
        raise QanatError(error.code, f"Validation failed: {error.message}", where=place, hint=error.hint) from None
    if not found.rules:
        raise wrapped("Validation failed", QanatError("configuration_file_invalid", NO_RULES))
    return found


def _print(taken: IngressRule) -> None:
    for key, value in (("hostname", taken.hostname), ("path", taken.path), ("service", taken.service.text)):
        if value:
            print(f"\t{key}: ", end="")
            say(value)
