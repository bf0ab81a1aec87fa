"""A sound configuration → the engine's table, and the question which rule would match, asked of that same table."""

from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import Struct

from qanat.errors import QanatError
from qanat.ids import parse_hostname
from qanat.ingress import origin
from qanat.ingress.engine import EngineError, IngressTable, OriginBounds, Rule
from qanat.ingress.rules import Configuration, IngressRule

ReadFile = Callable[[str], bytes]


LARGEST_CA_POOLS = 64 << 20
"""Bytes of the files that the rules of one configuration name by `caPool`, each counted for every rule that names it."""


def compile_table(
    configuration: Configuration,
    *,
    read_file: ReadFile | None = None,
    bounds: OriginBounds | None = None,
    client_bounds: OriginBounds | None = None,
) -> IngressTable:
    """The table for the engine.

    Args:
        read_file: reads what `caPool` names, on the connector's host; None where no request will be sent by this table.
        bounds: what the origins may not be, for a configuration that came from elsewhere.
        client_bounds: the same for destinations that clients choose.

    Raises:
        QanatError: `ca_file_invalid` (where: the rule's key), or `engine_<code>` for what only the engine refuses.
    """
    pools = _CaPools(read_file) if read_file is not None else None
    rules = [_rule(rule, index, pools) for index, rule in enumerate(configuration.rules)]
    try:
        return IngressTable(
            rules=rules, bounds=bounds, client_bounds=client_bounds, warp_routing=configuration.warp_routing
        )
    except EngineError as error:
        raise QanatError(f"engine_{error.code}", error.message) from error


def issuers_of(configuration: Configuration) -> set[str]:
    """Whose tokens its rules ask for."""
    return {
        rule.issuer
        for rule in configuration.rules
        if rule.issuer and rule.origin.access and rule.origin.access.required
    }


class Match(Struct, frozen=True):
    """Which rule takes a request: its index and itself; -1 and None where there are no rules, which is answered 503."""

    index: int
    rule: IngressRule | None


def explain(configuration: Configuration, url: str) -> Match:
    """The rule for a URL (or `host/path`): the same code as live traffic, so that a preview can't be wrong.

    Raises:
        QanatError: `usage`, the text has no hostname, or as `parse_hostname`.
    """
    parts = urlsplit(url if "://" in url else f"//{url}")
    if not parts.netloc:
        raise QanatError("usage", f"'{url[:80]}' has no hostname", hint="write https://app.example.com/path")
    host, colon, port = parts.netloc.partition(":")
    hostname = parts.netloc if host.isascii() else f"{parse_hostname(host)}{colon}{port}"  # as a client would send it
    index = compile_table(configuration).match(hostname=hostname, path=parts.path or "/")
    return Match(index, configuration.rules[index] if index >= 0 else None)


def _rule(rule: IngressRule, index: int, pools: "_CaPools | None") -> Rule:
    ca_pool = None
    if rule.origin.ca_pool and pools is not None:
        ca_pool = pools.read(rule.origin.ca_pool, f"ingress[{index}].originRequest.caPool")
    return Rule(
        hostname=rule.hostname,
        path=rule.path,
        kind=rule.service.kind,
        target=rule.service.target,
        service=rule.service.text,
        origin=origin.settings(rule.origin, ca_pool_pem=ca_pool, issuer=rule.issuer),
    )


class _CaPools:
    """The files of one configuration, each read once."""

    def __init__(self, read_file: ReadFile) -> None:
        self._read_file = read_file
        self._known: dict[str, bytes] = {}
        self._total = 0

    def read(self, path: str, where: str) -> bytes:
        content = self._known.get(path)
        if content is None:
            try:
                content = self._read_file(path)
            except OSError as error:
                raise QanatError("ca_file_invalid", f"'{path}': {error.strerror}", where=where) from None
            if b"-----BEGIN CERTIFICATE-----" not in content:
                raise QanatError("ca_file_invalid", f"'{path}' holds no PEM certificate", where=where)
            self._known[path] = content
        self._total += len(content)
        if self._total > LARGEST_CA_POOLS:
            message = f"the files of all rules together have more than {LARGEST_CA_POOLS} bytes"
            raise QanatError(
                "ca_file_invalid", message, where=where, hint="name smaller files, or name them at the top"
            )
        return content
