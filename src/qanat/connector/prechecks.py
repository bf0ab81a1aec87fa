"""The connectivity pre-checks at the start: a table for people and lines for machines, both as stock cloudflared's. They only
tell; nothing waits for them."""

import socket
from collections.abc import Sequence
from typing import Literal
from uuid import uuid4

from msgspec import Struct

from qanat.connector.engine import Connector
from qanat.connector.log import Log

LIMIT_S = 10.0
API = "api.cloudflare.com"
API_TIMEOUT_S = 5.0

Status = Literal["pass", "fail", "skip"]
Component = Literal["DNS Resolution", "UDP Connectivity", "TCP Connectivity", "Cloudflare API"]


class Check(Struct, frozen=True):
    """One row; component, target, status and details in stock's words. `action`: what to do where it failed; `reason`: why it
    failed, which stock doesn't say."""

    component: Component
    target: str
    status: Status
    details: str
    action: str = ""
    reason: str = ""


EdgeCheck = tuple[str, str, str | None, str | None, list[str]]
"""As `Connector.check_edges` gives it: target, why its name has no address, why there is no QUIC, why no HTTP/2, addresses."""


def run(connector: Connector, log: Log, *, protocol: str, hosted: bool) -> None:
    """Asks, and logs what came of it. Takes up to ten seconds."""
    checks = rows(connector.check_edges(limit_s=LIMIT_S))
    if hosted:
        checks.append(_api())
    tell(log, checks, protocol=protocol)


def rows(edges: Sequence[EdgeCheck]) -> list[Check]:
    """DNS of all edges first, then UDP, then TCP."""
    dns, udp, tcp = [], [], []
    for target, names, quic, http2, _ in edges:
        if names:
            action = (
                f"Ensure your DNS resolver can resolve '{target}'. Run: dig A {target} @1.1.1.1. If that fails, contact your "
                "network administrator."
            )
            dns.append(Check("DNS Resolution", target, "fail", names, action))
            skipped = "DNS prerequisite failed"
        else:
            dns.append(Check("DNS Resolution", target, "pass", "DNS Resolved successfully"))
            skipped = "Not through an HTTP proxy"
        udp.append(
            _transport(
                "UDP Connectivity", target, quic, "QUIC connection successful", "QUIC connection failed", skipped
            )
        )
        blocked = "HTTP/2 connection is blocked or unreachable"
        tcp.append(_transport("TCP Connectivity", target, http2, "HTTP/2 connection successful", blocked, skipped))
    return dns + udp + tcp


_ACTIONS = {
    "UDP Connectivity": "Allow outbound QUIC traffic on port 7844 or use HTTP2.",
    "TCP Connectivity": "Allow outbound TCP on port 7844.",
}


def _transport(component: Component, target: str, why_not: str | None, good: str, bad: str, skipped: str) -> Check:
    if why_not is None:
        return Check(component, target, "skip", skipped)
    if why_not:
        return Check(component, target, "fail", bad, _ACTIONS[component], why_not)
    return Check(component, target, "pass", good)


def _api() -> Check:
    target = f"{API}:443"
    try:
        socket.create_connection((API, 443), API_TIMEOUT_S).close()
    except OSError:
        action = (
            "qanat will still run; only commands that ask this API need it. Ensure port 443 TCP to api.cloudflare.com is open "
            "if you use them."
        )
        return Check("Cloudflare API", target, "fail", "API Connection failed", action)
    return Check("Cloudflare API", target, "pass", "API is reachable")


def is_hopeless(checks: Sequence[Check]) -> bool:
    """No name resolves, or neither transport works: as stock, any failure of a kind counts for the whole kind."""
    failed = _failed(checks)
    return "DNS Resolution" in failed or failed >= {"UDP Connectivity", "TCP Connectivity"}


def suggested(checks: Sequence[Check], protocol: str) -> str | None:
    """The transport that will do: the one asked for if it works, else QUIC before HTTP/2."""
    tried = {check.component for check in checks if check.status == "pass"}
    good = {name for name, kind in _KINDS.items() if kind in tried - _failed(checks)}
    return protocol if protocol in good else next((name for name in _KINDS if name in good), None)


_KINDS: dict[str, Component] = {"quic": "UDP Connectivity", "http2": "TCP Connectivity"}


def _failed(checks: Sequence[Check]) -> set[str]:
    return {check.component for check in checks if check.status == "fail"}


def tell(log: Log, checks: Sequence[Check], *, protocol: str) -> None:
    """The table in its box, then a line for each row and one for all."""
    for line in boxed(table(checks, protocol), "CONNECTIVITY PRE-CHECKS"):
        log.info(line)
    run_id = str(uuid4())
    for check in checks:
        log.info(
            "precheck",
            component=check.component,
            details=check.details,
            run_id=run_id,
            status=check.status,
            target=check.target,
            **({"reason": check.reason} if check.reason else {}),
        )
    choice = suggested(checks, protocol)
    told = {"suggested_protocol": choice} if choice else {}
    log.info("precheck complete", hard_fail=is_hopeless(checks), run_id=run_id, **told)


def table(checks: Sequence[Check], protocol: str) -> list[str]:
    """Aligned columns, then what to do, then the sum of it."""
    cells = [("COMPONENT", "TARGET", "STATUS", "DETAILS")]
    for check in checks:
        details = f"{check.details}  ({check.reason})" if check.reason else check.details
        cells.append((check.component, check.target, check.status.upper(), details))
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    lines = ["  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3]]) for row in cells]
    word = "ERROR" if is_hopeless(checks) else "WARNING"
    lines += dict.fromkeys(f"{word}: {check.action}" for check in checks if check.action)
    return [*lines, "", _summary(checks, suggested(checks, protocol))]


def _summary(checks: Sequence[Check], choice: str | None) -> str:
    if is_hopeless(checks):
        return "SUMMARY: Environment has critical failures. cloudflared may not be able to establish a tunnel."
    if _failed(checks):
        proceeds = f" cloudflared will proceed using '{choice}'." if choice else ""
        return f"SUMMARY: Environment ready with degraded transport.{proceeds}"
    uses = f" cloudflared will use '{choice}' as primary protocol." if choice else ""
    return f"SUMMARY: Environment is healthy.{uses}"


def boxed(lines: Sequence[str], title: str) -> list[str]:
    """In a frame of ASCII, the title in the middle of its own line."""
    width = max(len(line) for line in (*lines, title))
    border = f"+{'-' * (width + 4)}+"
    before = (width - len(title)) // 2
    middle = f"{' ' * before}{title}".ljust(width)
    return [border, f"|  {middle}  |", border, *(f"|  {line.ljust(width)}  |" for line in lines), border]
