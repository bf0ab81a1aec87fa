"""The way to each edge, as the connector goes: names and services, QUIC and HTTP/2 with its certificate, a proxy; and how large a
datagram may be."""

import ipaddress
import os
import socket

from qanat.connector.edge_checks import check_edges
from qanat.connector.options import Options
from qanat.connector.prechecks import EdgeCheck
from qanat.errors import QanatError
from qanat.host.doctor.findings import Finding, Level

LIMIT_S = 10.0
SMALLEST, USUAL = 1200, 1452
"""A QUIC datagram is never smaller than the first (RFC 9000, 14); the second fills 1 500 bytes over IPv6."""
TRIES = 3
ANSWER_S = 3.0


def check(options: Options, *, limit_s: float = LIMIT_S) -> list[Finding]:
    """Each edge that these options lead to. Takes `limit_s` where nothing answers."""
    try:
        checks = check_edges(options, limit_s=limit_s)
    except QanatError as error:
        return [Finding("edge", "failure", error.message, error.hint or "see `qanat tunnel run --help`")]
    proxy = options.edges.proxy
    through = f" through the proxy {proxy.address} ({proxy.variable})" if proxy else ""
    return [finding for each in checks for finding in findings(each, options.protocol, through)]


def findings(edge: EdgeCheck, protocol: str, through: str = "") -> list[Finding]:
    """What was found out about one edge; `through`: by which way, in words."""
    target, no_address, no_quic, no_http2, addresses = edge
    if no_address:
        host = target.rpartition(":")[0] or target
        fix = f"check the name and this host's resolver: getent hosts {host}"
        return [Finding("DNS", "failure", f"{target} has no address: {no_address}", fix)]
    shown = f" is {', '.join(addresses)}" if addresses else " has an address"
    found = [Finding("DNS", "ok", f"{target}{shown}")]
    if no_http2 is not None:
        found.append(_transport(f"TCP {target}", no_http2, f"HTTP/2 answers{through}", _http2_fix(no_http2)))
    if no_quic is not None:
        fix = "let UDP out to the edge's port (7844); HTTP/2 over TCP serves meanwhile"
        found.append(_transport(f"UDP {target}", no_quic, "QUIC answers", fix))
        if not no_quic:
            found += filter(None, map(path_mtu, addresses))
    return [*found, *_summed_up(target, no_quic, no_http2, protocol)]


def _transport(check: str, why_not: str, good: str, fix: str) -> Finding:
    if not why_not:
        return Finding(check, "ok", good)
    level: Level = "failure" if "certificate" in why_not else "warning"
    return Finding(check, level, f"no connection: {why_not}", _certificate_fix(why_not) or fix)


def _http2_fix(reason: str) -> str:
    if "407" in reason:
        return "the proxy wants a name and a password: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"
    return "let TCP out to the edge's port (7844): in this host's firewall, the network's, or the provider's"


def _certificate_fix(reason: str) -> str:
    words = reason.lower()
    if "certificate" not in words:
        return ""
    if "expired" in words or "not valid yet" in words:
        return "set this host's clock: timedatectl set-ntp true; else the edge's certificate has run out"
    if "not valid for" in words:
        return "the edge's certificate must be of the name that connectors ask for: see its `tls` settings"
    return "give the edge's CA by --cacert FILE"


def _summed_up(target: str, no_quic: str | None, no_http2: str | None, protocol: str) -> list[Finding]:
    fix = "ask the network's keeper for TCP and UDP to its port; `--edge host:443` may pass where 7844 doesn't"
    by_quic, by_http2 = no_quic == "", no_http2 == ""
    if not by_quic and not by_http2:
        return [Finding("edge", "failure", f"{target} can't be reached, neither over TCP nor over UDP", fix)]
    for name, alone, transport in (("quic", by_quic, "UDP"), ("http2", by_http2, "TCP")):
        if protocol == name and not alone:
            text = f"{target} can't be reached over {transport}, and --protocol {name} allows nothing else"
            return [Finding("edge", "failure", text, fix)]
    return []


def path_mtu(address: str, *, answer_s: float = ANSWER_S) -> Finding | None:
    """Whether a datagram of the usual size passes where QUIC does; None where that can't be asked."""
    host, _, port = address.rpartition(":")
    where = (host.strip("[]"), int(port))
    check = f"MTU {address}"
    try:
        if _asked(where, USUAL, answer_s):
            return Finding(check, "ok", f"datagrams of {USUAL} bytes pass")
        if not _asked(where, SMALLEST, answer_s):
            return None
    except OSError:
        return None
    fix = "let ICMP `packet too big` through, or lower the MTU of the interface; it works meanwhile"
    return Finding(
        check, "note", f"datagrams of {SMALLEST} bytes pass and of {USUAL} don't: the path's MTU is small", fix
    )


def _asked(where: tuple[str, int], size: int, answer_s: float) -> bool:
    """An unknown version is answered with those that are known (RFC 9000, 6), whoever asks."""
    own, peer = os.urandom(8), os.urandom(8)
    # long header, a version that is kept for this (0x?a?a?a?a), both connection ids
    datagram = (b"\xc0\x1a\x2a\x3a\x4a\x08" + peer + b"\x08" + own).ljust(size, b"\0")
    family = socket.AF_INET6 if ipaddress.ip_address(where[0].partition("%")[0]).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        _never_cut(probe, family)
        probe.connect(where)
        probe.settimeout(answer_s / TRIES)
        for _ in range(TRIES):
            try:
                probe.send(datagram)
                answer = probe.recv(2048)
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno in _TOO_LARGE:
                    return False
                raise
            if answer[:1] >= b"\x80" and answer[1:5] == b"\0\0\0\0" and own in answer:
                return True
    return False


def _never_cut(probe: socket.socket, family: socket.AddressFamily) -> None:
    """Linux's IP_MTU_DISCOVER at IP_PMTUDISC_PROBE: whole or not at all, whatever the kernel believes of the path."""
    if os.name == "posix" and os.uname().sysname == "Linux":
        level, option = (socket.IPPROTO_IPV6, 23) if family == socket.AF_INET6 else (socket.IPPROTO_IP, 10)
        probe.setsockopt(level, option, 3)


_TOO_LARGE = (90, 40)  # EMSGSIZE of Linux and of macOS
