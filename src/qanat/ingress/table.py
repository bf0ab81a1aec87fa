"""A sound configuration → the engine's table, and the question which rule would match, asked of that same table."""

from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import Struct

from qanat.errors import QanatError
from qanat.ingress import origin
from qanat.ingress.engine import EngineError, IngressTable, Rule
from qanat.ingress.rules import Configuration, IngressRule

ReadFile = Callable[[str], bytes]


def compile_table(configuration: Configuration, *, read_file: ReadFile | None = None) -> IngressTable:
    """The table for the engine.

    Args:
        read_file: reads what `caPool` names, on the connector's host; None where no request will be sent by this table.

    Raises:
        QanatError: `ca_file_invalid` (where: the rule's key), or `engine_<code>` for what only the engine refuses.
    """
    rules = [_rule(rule, index, read_file) for index, rule in enumerate(configuration.rules)]
    try:
        return IngressTable(rules=rules)
    except EngineError as error:
        raise QanatError(f"engine_{error.code}", error.message) from error


class Match(Struct, frozen=True):
    """Which rule takes a request: its index and itself; -1 and None where there are no rules, which is answered 503."""

    index: int
    rule: IngressRule | None


def explain(configuration: Configuration, url: str) -> Match:
    """The rule for a URL (or `host/path`): the same code as live traffic, so that a preview can't be wrong.

    Raises:
        QanatError: `usage`, the text has no hostname.
    """
    parts = urlsplit(url if "://" in url else f"//{url}")
    if not parts.netloc:
        raise QanatError("usage", f"'{url[:80]}' has no hostname", hint="write https://app.example.com/path")
    index = compile_table(configuration).match(hostname=parts.netloc, path=parts.path or "/")
    return Match(index, configuration.rules[index] if index >= 0 else None)


def _rule(rule: IngressRule, index: int, read_file: ReadFile | None) -> Rule:
    kind, target = rule.service.kind, rule.service.target
    if rule.origin.access and rule.origin.access.required:
        kind, target = "status", "403"  # fails closed: see the warning `access_fails_closed`
    ca_pool = None
    if rule.origin.ca_pool and read_file is not None:
        ca_pool = _read_ca_pool(rule.origin.ca_pool, index, read_file)
    return Rule(
        hostname=rule.hostname,
        path=rule.path,
        kind=kind,
        target=target,
        service=rule.service.text,
        origin=origin.settings(rule.origin, ca_pool_pem=ca_pool),
    )


def _read_ca_pool(path: str, index: int, read_file: ReadFile) -> bytes:
    where = f"ingress[{index}].originRequest.caPool"
    try:
        content = read_file(path)
    except OSError as error:
        raise QanatError("ca_file_invalid", f"'{path}': {error.strerror}", where=where) from None
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise QanatError("ca_file_invalid", f"'{path}' holds no PEM certificate", where=where)
    return content
