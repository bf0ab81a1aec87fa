"""Why a rule takes a request and those before it don't: asked rule by rule of the engine's own matching."""

from urllib.parse import urlsplit

from msgspec import Struct

from qanat.errors import QanatError
from qanat.ingress.origin import OriginRequest
from qanat.ingress.rules import Configuration, IngressRule
from qanat.ingress.services import Service
from qanat.ingress.table import compile_table

OTHERWISE = IngressRule("", "", Service("status", "404", "http_status:404"), OriginRequest())


class Verdict(Struct, frozen=True):
    """One rule in front of a request. `missed`: what of it didn't match, `hostname` or `path`; None for the one that did."""

    index: int
    rule: IngressRule
    missed: str | None


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
    """A verdict on each rule up to the first that matches; empty where there are no rules, which is answered 503."""
    taken = compile_table(configuration).match(hostname=asked.authority, path=asked.path)
    return [
        Verdict(index, rule, None if index == taken else _missed(rule, asked))
        for index, rule in enumerate(configuration.rules[: taken + 1])
    ]


def _missed(rule: IngressRule, asked: Asked) -> str:
    alone = IngressRule(rule.hostname, "", rule.service, rule.origin)
    table = compile_table(Configuration((alone, OTHERWISE), OriginRequest(), (), {}))
    return "path" if table.match(hostname=asked.authority, path=asked.path) == 0 else "hostname"
