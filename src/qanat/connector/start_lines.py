"""The log of a connector, and its first lines: what it was told, and where it goes."""

import os
import platform
from pathlib import Path

from qanat.connector.build import version_line
from qanat.connector.log import LineFile, Log
from qanat.connector.log_file import RollingFile
from qanat.connector.options import LogOptions, Options
from qanat.connector.sources import Sources, shown_environment
from qanat.ids import ConnectorId

_NAMED_BY = {"token": "the token names", "hosted": "Cloudflare hosts"}


def open_log(options: LogOptions) -> Log:
    """A file that can't be written to costs its lines and not the tunnel, as in stock."""
    path = options.file or options.folder
    file: LineFile | None = None
    failure = ""
    try:
        if options.file:
            Path(options.file).parent.mkdir(mode=0o744, parents=True, exist_ok=True)
            file = Path(options.file).open("a", encoding="utf-8")  # noqa: SIM115 - open until the process ends
        elif options.folder:
            file = RollingFile(options.folder)
    except OSError as error:
        failure = error.strerror or "it can't be opened"
    log = Log(level=options.level, transport_level=options.transport_level, json=options.json, file=file)
    for warning in options.warnings:
        log.error(warning)
    if failure:
        log.error("The log can't be written to a file as well", file=path, error=failure)
    return log


def tell_start(log: Log, options: Options, sources: Sources, connector_id: ConnectorId) -> None:
    """As stock, line by line; the last two are ours."""
    for warning in options.warnings:
        log.warn(warning)
    log.info("Starting tunnel", tunnelID=options.credentials.tunnel_id)
    log.info(version_line())
    log.info(f"OS: {platform.system().lower()}, Python: {platform.python_version()}, Arch: {_architecture()}")
    if options.settings:
        log.info(f"Settings: {_go_map(options.settings)}")
    if sources.environment:
        log.info(f"Environmental variables {_go_map(shown_environment(sources.environment))}")
    log.info(f"Generated Connector ID: {connector_id}")
    edges = options.edges
    is_http2 = options.protocol == "http2" or edges.proxy is not None
    log.info(f"Initial protocol {'http2' if is_http2 else 'quic'}")
    if edges.named_by != "flag":
        log.info(f"Looking for the edge that {_NAMED_BY[edges.named_by]}: {', '.join(edges.targets)}")
    if edges.proxy:
        log.info(f"The edge is reached through the proxy {edges.proxy.address} ({edges.proxy.variable}), over HTTP/2")


def _go_map(values: dict[str, str]) -> str:
    return f"map[{' '.join(f'{key}:{values[key]}' for key in sorted(values))}]"


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
