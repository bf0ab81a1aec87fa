"""Why a rule takes a request and those before it don't: asked rule by rule of the engine's own matching."""

from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from qanat.errors import QanatError
from qanat.ingress.engine import EngineError, explain
from qanat.ingress.patterns import refused_path
from qanat.ingress.rules import Configuration, IngressRule

LONGEST_PATH = 16 * 1024
"""Of a path, as of a request's (security.md S16)."""
LONGEST_S = 2.0
"""For matching: only a pattern made for it takes more than some milliseconds."""


class Verdict(Struct, frozen=True):
    """One rule in front of a request. `missed`: what of it didn't match, `hostname` or `path`; None for the one that did."""

    index: int
    rule: IngressRule
    missed: Literal["hostname", "path"] | None


class Asked(Struct, frozen=True):
    """A URL as the router and the rules look at it. `authority` may have a port, which nothing looks at."""

    authority: str
    path: str


def parse_url(text: str) -> Asked:
    """A URL, or a hostname with or without a path.

    Raises:
        QanatError: `explain_bad_url`.
    """
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        hostname = parts.hostname
        _ = parts.port  # a malformed one is told now
    except ValueError:
        hostname = None
    if not hostname:
        raise QanatError(
            "explain_bad_url", f"{text[:80]!a} has no hostname", where="url", hint="write https://app.example.com/path"
        )
    return Asked(parts.netloc.rpartition("@")[2], parts.path or "/")


def verdicts(configuration: Configuration, asked: Asked) -> list[Verdict]:
    """A verdict on each rule up to the first that matches; empty where there are no rules, which is answered 503. Patterns are
    compiled only where the hostname matches, one after the other, so that it takes no memory for long.

    Raises:
        QanatError: `ingress_bad_path`, `ingress_patterns_too_large`: the configuration was never checked (a foreign
            connector's own); `explain_too_long`.
    """
    rules = configuration.rules
    if not rules:
        return []
    if len(asked.path) > LONGEST_PATH:
        raise QanatError("explain_bad_url", f"the path is longer than {LONGEST_PATH} characters", where="url")
    pairs = [(rule.hostname, rule.path) for rule in rules]
    try:
        before = explain(rules=pairs, hostname=asked.authority, path=asked.path, limit_s=LONGEST_S)
    except EngineError as error:
        if error.code == "time_over":
            raise QanatError("explain_too_long", error.message, hint="use simpler path patterns") from error
        index = next((at for at in range(len(rules)) if error.message.startswith(f"ingress[{at}].")), 0)
        raise refused_path(index, error.code, error.message, rules[index].path) from error
    taken = len(before)
    return [
        Verdict(index, rule, None if index == taken else "path" if before[index] else "hostname")
        for index, rule in enumerate(rules[: taken + 1])
    ]
