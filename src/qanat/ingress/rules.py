"""A configuration document (protocol.md, *Configuration*) → rules that are known to be sound. One verdict everywhere:
the API, the dashboard, `ingress validate` and the connector all call `parse_configuration`."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from qanat import structs
from qanat.errors import QanatError
from qanat.ids import parse_hostname
from qanat.ingress import origin
from qanat.ingress.access import issuer_of
from qanat.ingress.documents import check_size, read_json, read_yaml
from qanat.ingress.durations import LONGEST_S, parse_duration
from qanat.ingress.engine import OriginBounds
from qanat.ingress.keys import Misspelt, unknown_keys, without_nulls
from qanat.ingress.origin import OriginRequest
from qanat.ingress.patterns import check_paths, is_unanchored
from qanat.ingress.services import BASTION, Service, parse_service
from qanat.ingress.warnings import ConfigurationWarning

if TYPE_CHECKING:
    from qanat.ingress.engine import WarpRouting

Form = Literal["json", "yaml"]

UNLISTED = OriginBounds(allowed=(), own=())
"""What a connector without --allow-origins doesn't reach for a pushed rule (security.md S40)."""


class IngressRule(Struct, frozen=True):
    """One sound rule. `hostname` "" matches every host, `path` "" every path; `origin` has the defaults merged in; `issuer`:
    whose tokens `access` wants, "" for nobody's."""

    hostname: str
    path: str
    service: Service
    origin: OriginRequest
    issuer: str = ""


class Configuration(Struct, frozen=True):
    """A sound configuration. `document` is what was sent, less nulls: what the API stores and gives back."""

    rules: tuple[IngressRule, ...]
    origin_request: OriginRequest
    warnings: tuple[ConfigurationWarning, ...]
    document: dict[str, Any]
    warp_routing: "WarpRouting | None" = None


class _Rule(Struct, frozen=True):
    hostname: str = ""
    path: str = ""
    service: str = ""
    origin_request: OriginRequest = field(name="originRequest", default=OriginRequest())


Flows = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class _WarpRouting(Struct, frozen=True):
    enabled: bool = False
    connect_timeout: float | None = field(name="connectTimeout", default=None)
    max_active_flows: Flows | None = field(name="maxActiveFlows", default=None)
    tcp_keep_alive: float | None = field(name="tcpKeepAlive", default=None)

    def settings(self) -> "WarpRouting":
        """For the engine, with stock cloudflared's defaults."""
        return {
            "connect_timeout_s": 5.0 if self.connect_timeout is None else self.connect_timeout,
            "tcp_keep_alive_s": 30.0 if self.tcp_keep_alive is None else self.tcp_keep_alive,
            "max_active_flows": self.max_active_flows or 0,
        }


class _Document(Struct, frozen=True):
    ingress: tuple[_Rule, ...] = ()
    origin_request: OriginRequest = field(name="originRequest", default=OriginRequest())
    warp_routing: _WarpRouting = field(name="warp-routing", default=_WarpRouting())


def with_flows(configuration: Configuration, most: int) -> Configuration:
    """The same with this `maxActiveFlows`, whatever it says itself."""
    document = configuration.document
    warp_routing: WarpRouting = {**(configuration.warp_routing or _WarpRouting().settings()), "max_active_flows": most}
    told = {**(document.get("warp-routing") or {}), "maxActiveFlows": most}
    return replace(configuration, document={**document, "warp-routing": told}, warp_routing=warp_routing)


def parse_configuration(
    document: bytes | str | Mapping[str, Any],
    *,
    form: Form = "json",
    also_known: frozenset[str] = frozenset(),
    misspelt_keys: Misspelt = "refused",
    patterns: bool = True,
) -> Configuration:
    """Reads and checks a whole document; nothing sound is changed but for nulls, which are absent keys.

    Args:
        document: its bytes, or the object that they decode to.
        form: `json` has durations as whole seconds, `yaml` as texts (`30s`).
        also_known: further keys of the top level that are somebody else's (the flags of a `config.yml`).
        misspelt_keys: whether a key that all but matches a known one is refused, or told.
        patterns: compile the paths to see that they can be; False for who only asks about some of them.

    Raises:
        QanatError: the first thing wrong, `where` it stands (`ingress[2].service`) and the fix.
    """
    raw = without_nulls(_decode(document, form))
    if not isinstance(raw, dict):
        raise QanatError("configuration_malformed", f"the document is {type(raw).__name__}, not an object")
    warnings = unknown_keys(raw, _Document, misspelt=misspelt_keys, also=also_known)
    typed = _convert(_with_seconds(raw, "", form))
    origin.check(typed.origin_request, where="originRequest")
    rules = []
    last = len(typed.ingress) - 1
    for index, rule in enumerate(typed.ingress):
        context = _Context(index == last, typed.origin_request, misspelt_keys == "refused", warnings)
        rules.append(_check_rule(rule, f"ingress[{index}]", context))
    if patterns:
        check_paths([rule.path for rule in rules])
    _warn_of_unreachable(rules, warnings)
    warp_routing = typed.warp_routing.settings()
    return Configuration(tuple(rules), typed.origin_request, tuple(warnings), raw, warp_routing)


def _decode(document: object, form: Form) -> object:
    if isinstance(document, (bytes, bytearray, memoryview, str)):
        text = document.encode("utf-8", "surrogatepass") if isinstance(document, str) else bytes(document)
        return read_json(text) if form == "json" else read_yaml(text)
    try:
        text = msgspec.json.encode(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise QanatError("configuration_malformed", f"the document is not valid JSON: {error}") from None
    check_size(len(text))
    read_json(text)  # for its bounds
    return document


def _with_seconds(value: object, where: str, form: Form) -> object:
    """The document with every duration as float seconds."""
    if isinstance(value, dict):
        return {
            key: _seconds(item, f"{where}{key}", form)
            if key in origin.DURATIONS
            else _with_seconds(item, f"{where}{key}.", form)
            for key, item in value.items()
        }
    if isinstance(value, list):
        place = where.removesuffix(".")
        return [_with_seconds(item, f"{place}[{index}].", form) for index, item in enumerate(value)]
    return value


def _seconds(value: object, where: str, form: Form) -> float:
    if form == "yaml":
        if isinstance(value, str):
            return parse_duration(value, where=where)
        raise _bad_duration(value, where, "write a text with its unit, such as 30s")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LONGEST_S:
        raise _bad_duration(value, where, "write whole seconds as a number, such as 30")
    return float(value)


def _bad_duration(value: object, where: str, hint: str) -> QanatError:
    return QanatError(
        "ingress_bad_duration", f"{str(value)[:40]!r} is not a valid duration here", where=where, hint=hint
    )


_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)


def _convert(value: object) -> _Document:
    try:
        return structs.convert(value, _Document)
    except msgspec.ValidationError as error:
        match = _PLACE.match(str(error))
        what, where = (match["what"], match["where"]) if match else (str(error), None)
        raise QanatError("configuration_bad_type", what, where=where or None) from None


class _Context(Struct, frozen=True):
    """What a rule is checked against. `strict`: at the API, where a slip can be mended at once."""

    last: bool
    top: OriginRequest
    strict: bool
    warnings: list[ConfigurationWarning]


def _check_rule(rule: _Rule, where: str, context: _Context) -> IngressRule:
    last, warnings = context.last, context.warnings
    merged = origin.merge(rule.origin_request, context.top)
    service = _service(rule.service, merged, f"{where}.service")
    hostname = _hostname(rule.hostname, f"{where}.hostname", context)
    catch_all = not hostname and not rule.path
    if last and not catch_all:
        raise QanatError(
            "ingress_no_catch_all",
            "the last rule must match everything, so it has neither hostname nor path",
            where=where,
            hint='append {"service": "http_status:404"}',
        )
    if catch_all and not last:
        raise QanatError(
            "ingress_catch_all_not_last",
            "this rule matches everything, so the rules after it are never reached",
            where=where,
            hint="move it to the end, or give it a hostname",
        )
    if rule.path and is_unanchored(rule.path):
        warnings.append(
            ConfigurationWarning(
                "path_unanchored",
                f"{where}.path",
                f"'{rule.path[:80]}' matches anywhere in the path",
                f"write ^{rule.path[:80]} to match at its start only",
            )
        )
    origin.check(rule.origin_request, where=f"{where}.originRequest")
    issuer = issuer_of(merged.access, where=f"{where}.originRequest.access") if merged.access else ""
    _warn_of_service(service, merged, where, warnings)
    _warn_of_access(merged, issuer, where, warnings)
    if service.kind == "http" and hostname and _host_of(service.target) == hostname:
        warnings.append(
            ConfigurationWarning(
                "service_is_own_hostname",
                f"{where}.service",
                f"'{service.text[:80]}' is the rule's own public hostname: where it leads to the edge, requests go in a "
                "circle and end with 508",
                "name the service by its address, and set httpHostHeader where it needs the name",
            )
        )
    return IngressRule(hostname, rule.path, service, merged, issuer)


def _service(text: str, merged: OriginRequest, where: str) -> Service:
    """With `bastionMode` the service is a bastion, whatever is written, or nothing; what names no origin stays what it is."""
    if not text and merged.bastion_mode:
        return BASTION
    service = parse_service(text, where=where)
    return BASTION if merged.bastion_mode and service.kind in ("http", "tcp") else service


def _host_of(target: str) -> str:
    return target.partition("://")[2].rpartition(":")[0]


# Capitals match in stock connectors as well, which fold them with the rules of IDNA; those know no `*` and no `_`, refuse hyphens
# in the third and fourth place, and leave a trailing dot.
_STOCK_FOLDS = re.compile(r"(?!(?:.*\.)?(?!xn)..--)[a-z0-9-]+(\.[a-z0-9-]+)*", re.ASCII | re.IGNORECASE)


def _hostname(text: str, where: str, context: _Context) -> str:
    """What stock cloudflared takes for a hostname and no request can have is refused at the API, and told elsewhere."""
    try:
        return _matchable(text, where, context.warnings)
    except QanatError as error:
        if context.strict or error.code not in ("ingress_bad_hostname", "ingress_bad_wildcard") or "*" in text[1:]:
            raise
        message = f"no request has this hostname: {error.message}"
        context.warnings.append(ConfigurationWarning("hostname_never_matches", where, message, error.hint or ""))
        return text


def _matchable(text: str, where: str, warnings: list[ConfigurationWarning]) -> str:
    if text in ("", "*"):
        return ""
    if "://" in text:
        raise QanatError("ingress_hostname_is_url", f"'{text[:80]}' is a URL", where=where, hint=_hostname_of(text))
    if "*" in (text.removeprefix("*.") if text.startswith("*.") else text):
        raise QanatError(
            "ingress_bad_wildcard",
            f"'{text[:80]}': a `*` may only be the whole first label",
            where=where,
            hint="write *.example.com, which matches any depth below example.com",
        )
    if re.search(r":\d*$", text):
        raise QanatError(
            "ingress_hostname_has_port",
            f"'{text[:80]}' has a port; a request's port is ignored",
            where=where,
            hint=f"write {text.rpartition(':')[0][:80]}",
        )
    try:
        hostname = parse_hostname(text)
    except QanatError as error:
        raise QanatError("ingress_bad_hostname", error.message, where=where, hint=error.hint) from None
    if text.isascii() and hostname != text and not _STOCK_FOLDS.fullmatch(text):
        warnings.append(
            ConfigurationWarning(
                "hostname_not_canonical", where, f"stock connectors never match '{text[:80]}'", f"write {hostname}"
            )
        )
    return hostname


def _hostname_of(url: str) -> str:
    bare = url.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0]
    return f"write {bare[:80]}" if bare else "write the hostname alone"


def _warn_of_service(service: Service, merged: OriginRequest, where: str, warnings: list[ConfigurationWarning]) -> None:
    def warn(code: str, key: str, message: str, hint: str = "") -> None:
        warnings.append(ConfigurationWarning(code, f"{where}.{key}", message, hint))

    if service.userinfo:
        warn("service_userinfo_ignored", "service", "the user name and password are never sent", "remove them")
    if service.ignored:
        warn(
            "service_part_ignored",
            "service",
            f"'{service.ignored[:40]}' is left out: requests keep what they came with",
            "remove it",
        )
    if service.kind == "tcp" and service.target.endswith(":0"):
        message = f"'{service.text[:80]}' has no port: every request is answered 502"
        warn("service_without_port", "service", message, f"write {service.text[:80]}:PORT")
    if service.kind.startswith("unix") and not service.target.startswith("/"):
        warn(
            "unix_path_relative", "service", "the path depends on the connector's working directory", "write it from /"
        )
    if service.kind == "socks-proxy" and not merged.ip_rules:
        warn(
            "socks_without_rules",
            "originRequest.ipRules",
            "without a rule that allows something, clients are connected to nothing",
            "add {prefix: 10.0.0.0/8, allow: true} or the like",
        )
    denied = UNLISTED.refusal(target=service.target) if service.kind in ("http", "tcp") else None
    if denied:
        warn(
            "origin_denied",
            "service",
            f"'{service.text[:80]}' is {denied}: a qanat connector answers 502 where this was pushed to it",
            "list it in the connector's --allow-origins if it is meant",
        )


def _warn_of_access(merged: OriginRequest, issuer: str, where: str, warnings: list[ConfigurationWarning]) -> None:
    access = merged.access
    if access and access.required and not (issuer and access.aud_tag):
        missing = "audTag" if issuer else "teamName"
        warnings.append(
            ConfigurationWarning(
                "access_lets_nobody_in",
                f"{where}.originRequest.access",
                f"{missing} is missing: every request is answered 403",
                f"add {missing}",
            )
        )


def _warn_of_unreachable(rules: list[IngressRule], warnings: list[ConfigurationWarning]) -> None:
    """A rule whose host an earlier rule covers, for every path or the same pattern (case 15)."""
    takers: dict[tuple[str, str], int] = {}
    for index, rule in enumerate(rules[:-1]):
        earlier = [
            takers[covering, path]
            for covering in _covering(rule.hostname)
            for path in {"", rule.path}
            if (covering, path) in takers
        ]
        if earlier:
            warnings.append(
                ConfigurationWarning(
                    "rule_unreachable",
                    f"ingress[{index}]",
                    f"ingress[{min(earlier)}] takes every request that this rule would: the first match wins",
                    "move it before that rule",
                )
            )
        takers.setdefault((rule.hostname, rule.path), index)


def _covering(hostname: str) -> list[str]:
    """Every pattern that matches all that `hostname` matches: itself, each wildcard above it, and "" for all."""
    name = hostname.removeprefix("*.")
    labels = name.split(".") if name else []
    above = [f"*.{'.'.join(labels[start:])}" for start in range(1, len(labels))]
    return list(dict.fromkeys([hostname, *above, ""]))
