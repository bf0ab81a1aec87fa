"""The configuration in force: a pushed one → rules → table → swap → the answer. A bad one leaves the old in force."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from qanat.connector.engine import ConfigurationPushed, Connector, EngineError, OriginBounds
from qanat.connector.key_sets import KeySets
from qanat.connector.log import Log
from qanat.errors import QanatError
from qanat.ingress.durations import parse_duration
from qanat.ingress.origin import DEFAULTS, OriginRequest, merge
from qanat.ingress.rules import Configuration, parse_configuration, with_flows
from qanat.ingress.table import compile_table, issuers_of

LARGEST_CA_POOL = 4 << 20
"""Bytes of a file that `caPool` names."""

EMPTY = Configuration((), OriginRequest(), (), {})


class CurrentConfiguration:
    """Owns version and rules. `apply` runs on the event thread, `replace_local` on the one that watches the file, `as_json` on
    the endpoints' threads."""

    def __init__(
        self,
        connector: Connector,
        log: Log,
        *,
        read_file: Callable[[str], bytes] | None = None,
        bounds: OriginBounds | None = None,
        key_sets: KeySets | None = None,
        max_active_flows: int | None = None,
    ) -> None:
        """`max_active_flows`: this host's own bound, in place of any configuration's."""
        self._connector = connector
        self._log = log
        self._bounds = bounds or OriginBounds(allowed=(), own=())
        self._read_file = read_file or read_ca_pool
        self._key_sets = key_sets or KeySets(connector, log)
        self._max_active_flows = max_active_flows
        self._lock = threading.Lock()
        self._changing = threading.Lock()  # one change at a time: pushed ones, and those of the file
        self._version = -1
        self._current = EMPTY

    @property
    def version(self) -> int:
        """-1 until the edge pushed one that was sound."""
        return self._version

    def start(self, local: Configuration | None) -> None:
        """Puts the local rules in force, or none: then every request is answered 503. Who writes this host's files may reach
        what a pushed configuration may not (security.md S40).

        Raises:
            QanatError: what only the engine or the disk refuses.
        """
        configuration = self._bounded(local or EMPTY)
        table = compile_table(configuration, read_file=self._read_file, client_bounds=self._bounds)
        self._connector.swap_ingress(table)
        self._key_sets.use(issuers_of(configuration))
        with self._lock:
            self._current = configuration
        self._tell_hello_world(configuration)

    def _bounded(self, configuration: Configuration) -> Configuration:
        return configuration if self._max_active_flows is None else with_flows(configuration, self._max_active_flows)

    def replace_local(self, local: Configuration | None) -> bool:
        """As `start`, while the connector runs; False once the edge has pushed a configuration, which stays in force.

        Raises:
            QanatError: what only the engine or the disk refuses; the rules in force stay.
        """
        with self._changing:
            if self._version >= 0:
                return False
            self.start(local)
            return True

    def apply(self, push: ConfigurationPushed) -> None:
        """Takes a pushed configuration and answers it, whatever happens."""
        error = ""
        try:
            if push.version > self._version:
                with self._changing:
                    self._take(push.version, push.configuration)
            else:
                self._log.debug(
                    "Current version is equal or newer than received version",
                    current_version=self._version,
                    received_version=push.version,
                )
        except QanatError as refusal:
            error = str(refusal)
            self._log.error(
                "Failed to update ingress", error=error, version=push.version, config=_shown(push.configuration)
            )
        except Exception as fault:
            error = f"internal error: {type(fault).__name__}"
            self._log.error("Failed to update ingress", error=f"{error}: {fault}", version=push.version)
            raise
        finally:
            try:
                self._connector.answer_configuration(push_id=push.push_id, version=self._version, error=error)
            except EngineError as fault:
                self._log.warn("The configuration's answer came too late", error=fault.message, version=push.version)

    def _take(self, version: int, document: bytes) -> None:
        configuration = self._bounded(parse_configuration(document, misspelt_keys="told"))
        table = compile_table(configuration, read_file=self._read_file, bounds=self._bounds, client_bounds=self._bounds)
        self._connector.swap_ingress(table)
        self._key_sets.use(issuers_of(configuration))
        with self._lock:
            self._version = version
            self._current = configuration
        self._tell_hello_world(configuration)
        for warning in configuration.warnings:
            if warning.code != "origin_denied":
                self._log.warn(str(warning), version=version, code=warning.code)
        self._warn_of_denied(configuration, version)
        self._log.info("Updated to new configuration", config=_shown(document), version=version)
        if not configuration.rules:
            self._log.warn(
                "The pushed configuration has no ingress rules: every request is answered 503", version=version
            )

    def _tell_hello_world(self, configuration: Configuration) -> None:
        """Scripts wait for the line; there is no address, as the engine itself answers."""
        if any(rule.service.kind == "hello_world" for rule in configuration.rules):
            self._log.info("Starting Hello World server at hello_world (within this process, on no port)")

    def _warn_of_denied(self, configuration: Configuration, version: int) -> None:
        """The other rules serve: a configuration that was refused whole would hold back every later change as well."""
        for index, rule in enumerate(configuration.rules):
            denied = self._bounds.refusal(target=rule.service.target) if rule.service.kind in ("http", "tcp") else None
            if denied:
                self._log.warn(
                    f"ingress[{index}].service: {rule.service.text} is {denied}, which this connector denies to a pushed "
                    "configuration: its requests are answered 502 (list it in --allow-origins if it is meant)",
                    version=version,
                    code="origin_denied",
                )

    def has_rule_for(self, hostname: str, port: str) -> bool:
        """Whether a rule of this very hostname leads to this port of this host."""
        ends = tuple(f"//{host}:{port}" for host in ("localhost", "127.0.0.1", "[::1]"))
        return any(rule.hostname == hostname and rule.service.target.endswith(ends) for rule in self._current.rules)

    def as_json(self) -> bytes:
        """The answer of `/config`, as stock cloudflared shapes it."""
        with self._lock:
            version, current = self._version, self._current
        rules: list[dict[str, Any]] = [
            {
                "hostname": rule.hostname,
                "path": rule.path or None,
                "service": rule.service.text,
                "Handlers": None,
                "originRequest": _full(rule.origin),
            }
            for rule in current.rules
        ] or [
            {
                "hostname": "",
                "path": None,
                "service": "http_status:503",
                "Handlers": None,
                "originRequest": _unset(),
            }
        ]
        config = {
            "ingress": rules,
            "warp-routing": _warp_routing(current),
            "originRequest": _full(current.origin_request),
        }
        return msgspec.json.encode({"version": version, "config": config})


def local_document(local: Configuration, flags: dict[str, str]) -> bytes:
    """What a locally managed connector tells its edge (protocol.md, *Life of a control stream*)."""
    ingress = []
    for rule in local.rules:
        entry: dict[str, Any] = {"service": rule.service.text, "originRequest": _set_keys(rule.origin)}
        if rule.hostname:
            entry["hostname"] = rule.hostname
        if rule.path:
            entry["path"] = rule.path
        ingress.append(entry)
    document = {
        "__configuration_flags": flags,
        "ingress": ingress,
        "warp-routing": _warp_routing(local),
    }
    return msgspec.json.encode(document)


def read_ca_pool(path: str) -> bytes:
    """The file that a rule's `caPool` names, of at most 4 MiB: a regular one, as another kind could block or have no end, and
    who names it may be far away.

    Raises:
        OSError: it can't be read, or is not such a file.
    """
    # a FIFO would be waited for, a terminal could become ours
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        content = b""
        while len(content) <= LARGEST_CA_POOL and (part := os.read(file, LARGEST_CA_POOL + 1 - len(content))):
            content += part
    finally:
        os.close(file)
    if len(content) > LARGEST_CA_POOL:
        raise OSError(errno.EFBIG, f"larger than {LARGEST_CA_POOL} bytes", path)
    return content


def _shown(document: bytes) -> str:
    return bytes(document).decode("utf-8", "replace")


def _set_keys(origin: OriginRequest) -> dict[str, Any]:
    """The keys that differ from the defaults, durations as whole seconds."""
    full, plain = _full(origin), _full(OriginRequest())
    if not full["access"].get("required"):
        full["access"] = plain["access"]  # what is not in force is not told, as by stock
    return {key: value for key, value in full.items() if value != plain[key]}


def _full(origin: OriginRequest) -> dict[str, Any]:
    """Every key, in the shape and order of stock cloudflared's JSON."""
    full = merge(origin, DEFAULTS)
    access = full.access
    return {
        "connectTimeout": _whole(full.connect_timeout),
        "tlsTimeout": _whole(full.tls_timeout),
        "tcpKeepAlive": _whole(full.tcp_keep_alive),
        "noHappyEyeballs": bool(full.no_happy_eyeballs),
        "keepAliveTimeout": _whole(full.keep_alive_timeout),
        "keepAliveConnections": full.keep_alive_connections,
        "httpHostHeader": full.http_host_header or "",
        "originServerName": full.origin_server_name or "",
        "matchSNItoHost": bool(full.match_sni_to_host),
        "caPool": full.ca_pool or "",
        "noTLSVerify": bool(full.no_tls_verify),
        "disableChunkedEncoding": bool(full.disable_chunked_encoding),
        "bastionMode": bool(full.bastion_mode),
        "proxyAddress": full.proxy_address,
        "proxyPort": full.proxy_port or 0,
        "proxyType": full.proxy_type or "",
        "ipRules": [{"prefix": rule.prefix, "ports": rule.ports, "allow": rule.allow} for rule in full.ip_rules or ()]
        or None,
        "http2Origin": bool(full.http2_origin),
        "access": {
            **({"required": True} if access and access.required else {}),
            "teamName": access.team_name if access else "",
            "audTag": access.aud_tag if access and access.aud_tag else None,
        },
    }


def _warp_routing(configuration: Configuration) -> dict[str, Any]:
    """What it says of private networks, durations as whole seconds."""
    given = configuration.document.get("warp-routing", {})
    return {
        key: _whole(parse_duration(given[key], where=key)) if isinstance(given[key], str) else given[key]
        for key in ("connectTimeout", "maxActiveFlows", "tcpKeepAlive")
        if key in given
    }


def _unset() -> dict[str, Any]:
    """Of the rule that stands for none."""
    times = ("connectTimeout", "tlsTimeout", "tcpKeepAlive", "keepAliveTimeout", "keepAliveConnections")
    return {**_full(OriginRequest()), **dict.fromkeys(times, 0), "proxyAddress": ""}


def _whole(seconds: float | None) -> int | float:
    value = seconds or 0.0
    return int(value) if value.is_integer() else value
