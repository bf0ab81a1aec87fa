"""`tunnel diag`: one zip with what helps to find a connector's fault, in the files that stock's has, and without secrets."""

import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from qanat.cli.diagnosis import connector_log, instance, network
from qanat.cli.diagnosis.instance import Instance
from qanat.cli.stock.session import Session
from qanat.connector.redaction import redacted, redacted_value
from qanat.errors import QanatError

Files = dict[str, bytes]


def diag(session: Session) -> None:
    """Writes the file into the current folder. What can't be collected is logged and left out; the exit status is 0, as with
    stock."""
    log, address = session.log, session.settings.get("metrics", "")
    if address:
        found = instance.at(address)
    else:
        log.info(
            "If your instance is running in a Docker/Kubernetes environment you need to setup port forwarding for your "
            "application."
        )
        running = instance.find()
        if not running:
            log.warn("No instances found")
            return
        if len(running) > 1:
            log.info("Found multiple instances running:")
            for each in running:
                state = each.state or {}
                ids = f"tunnel-id={state.get('tunnelID', '')} connector-id={state.get('connectorID', '')}"
                log.info(f"Instance: {ids} metrics-address={each.url}")
            log.info("To select one instance use the option --metrics")
            return
        found = running[0]
    log.info(f"Selected server {found.url} starting diagnostic...")
    files, has_failed = _collect(session, found)
    path = _zip_name()
    try:
        _write(path, files)
    except OSError as error:
        raise QanatError("file_unwritable", f"error creating file {path}: {error.strerror}") from None
    log.info(f"Diagnostic file written: {path}")
    if has_failed:
        log.warn("Diagnostic completed with one or more errors")
    else:
        log.info("Diagnostic completed")


def _collect(session: Session, found: Instance) -> tuple[Files, bool]:
    log, asked = session.log, session.asked

    @cache
    def configuration() -> dict[str, str]:
        told = found.get_json("/diag/configuration")
        return {str(key): str(value) for key, value in told.items()} if isinstance(told, dict) else {}

    options = cache(lambda: network.options_of(configuration(), os.environ))
    traces = cache(lambda: network.traces(options().edges.targets))

    def fetched(path: str) -> bytes:
        return _clean(found.get(path))

    def logs() -> bytes:
        container, pod = asked.text("diag-container-id"), asked.text("diag-pod-id")
        if pod:
            return _clean(connector_log.of_pod(pod, container))
        return _clean(connector_log.of_container(container) if container else connector_log.of_host(configuration()))

    def raw_network() -> bytes:
        told = [f"{trace.name}\n{'no content' if trace.error else trace.raw}\n" for trace in traces()]
        return "".join(told).encode()

    def hops() -> bytes:
        return _json({trace.name: trace.hops or None for trace in traces()})

    def raise_of_traces() -> None:
        for trace in traces():
            if trace.error:
                raise QanatError("trace_failed", trace.error)

    jobs: list[tuple[str, str, Callable[[], bytes], str, Callable[[], None] | None]] = [
        ("tunnel state", "tunnelstate.json", lambda: _json(found.state or found.get_json("/diag/tunnel")), "", None),
        ("system information", "systeminformation.json", lambda: _json(found.get_json("/diag/system")), "system", None),
        ("goroutine profile", "goroutine.pprof", lambda: fetched("/debug/pprof/goroutine"), "runtime", None),
        ("heap profile", "heap.pprof", lambda: fetched("/debug/pprof/heap"), "runtime", None),
        ("metrics", "metrics.txt", lambda: fetched("/metrics"), "metrics", None),
        ("log information", "cloudflared_logs.txt", logs, "logs", None),
        ("raw network information", "raw-network.txt", raw_network, "network", raise_of_traces),
        ("network information", "network.json", hops, "network", raise_of_traces),
        ("cli configuration", "cli-configuration.json", lambda: _json(configuration()), "", None),
        ("configuration", "configuration.json", lambda: _json(found.get_json("/config")), "", None),
        ("connectivity pre-checks", "prechecks.json", lambda: _json(network.checks(options())), "network", None),
    ]
    files: Files = {}
    report: dict[str, dict[str, str]] = {}
    for name, file, collect, toggle, complain in jobs:
        if toggle and asked.yes(f"no-diag-{toggle}"):
            continue
        log.info(f"Collecting {name}...")
        try:
            files[file] = collect()
            if complain is not None:
                complain()
        except QanatError as error:
            report[name] = {"error": error.message, "result": "failure"}
            log.error(f"Job: {name} finished with error.", error=error.message)
            if isinstance(error, connector_log.NoLogError):
                log.info(
                    "Couldn't extract logs from the instance. If the instance is running in a containerized environment use the "
                    "option --diag-container-id or --diag-pod-id. If there is no logging configuration use --no-diag-logs."
                )
        else:
            report[name] = {"result": "success"}
            log.info(f"Collected {name}.")
    files["task-result.json"] = _json(report | {"job report": {"result": "success"}})
    return files, any(task["result"] == "failure" for task in report.values())


def _json(value: object) -> bytes:
    return json.dumps(redacted_value(value), indent=2, ensure_ascii=False).encode() + b"\n"


def _clean(content: bytes) -> bytes:
    """Text without its secrets, line by line: a line may be JSON. What is no text is a profile of stock's, and stays."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        if content.startswith(b"\x1f\x8b"):
            return content
        text = content.decode("utf-8", "backslashreplace")
    return "\n".join(map(_clean_line, redacted_blocks(text))).encode()


def redacted_blocks(text: str) -> list[str]:
    """The lines; what goes over several of them (a key in PEM) is taken out first."""
    return redacted(text).split("\n") if "-----BEGIN " in text else text.split("\n")


def _clean_line(line: str) -> str:
    if line.startswith("{"):
        try:
            return json.dumps(redacted_value(json.loads(line)), ensure_ascii=False, separators=(",", ":"))
        except ValueError:
            pass
    return redacted(line)


def _zip_name() -> str:
    now = datetime.now().astimezone() if time.timezone else datetime.now(UTC)
    stamp = now.isoformat(timespec="seconds").replace("+00:00", "Z").replace(":", "-")
    return f"cloudflared-diag-{stamp}.zip"


def _write(path: str, files: Files) -> None:
    """Whole, and for its owner only."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(packed.getvalue())
