"""The way to each edge: names, TCP with TLS, UDP, and how large a datagram may be."""

import os
import socket
import ssl
from collections.abc import Sequence
from typing import NamedTuple

from qanat.host.doctor.findings import Finding

DIAL_S = 5.0
PORT = 7844
HOSTED = ("region1.v2.argotunnel.com:7844", "region2.v2.argotunnel.com:7844")
TLS_NAME = "h2.cftunnel.com"
"""What connectors ask an edge for over HTTP/2 (protocol.md)."""
MOST_ADDRESSES = 4  # of one edge; the others are no different
SMALLEST, USUAL = 1200, 1452
"""A QUIC datagram is never smaller than the first (RFC 9000, 14); the second fills 1 500 bytes over IPv6."""
TRIES = 3


class Address(NamedTuple):
    """Where an edge is."""

    family: socket.AddressFamily
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.family == socket.AF_INET6 else f"{self.host}:{self.port}"


def check(
    edges: Sequence[str], *, ca_pem: bytes | None, ip_version: str, protocol: str, dial_s: float = DIAL_S
) -> list[Finding]:
    """Each edge by each of its addresses."""
    findings: list[Finding] = []
    for edge in edges or HOSTED:
        addresses, found = resolve(edge, ip_version)
        findings.append(found)
        reached = [each for each in addresses if _append(findings, tcp(each, ca_pem, dial_s))]
        by_udp = [each for each in addresses if _append(findings, udp(each, dial_s))]
        findings += _summed_up(edge, addresses, reached, by_udp, protocol)
    return findings


def resolve(edge: str, ip_version: str) -> tuple[list[Address], Finding]:
    """The addresses of `host:port`, or of a host at the usual port."""
    host, port = _host_and_port(edge)
    family = {"4": socket.AF_INET, "6": socket.AF_INET6}.get(ip_version, socket.AF_UNSPEC)
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except OSError as error:
        fix = f"check the name and this host's resolver: getent hosts {host}"
        return [], Finding("DNS", "failure", f"{host} has no address: {error.strerror}", fix)
    addresses = list(dict.fromkeys(Address(family, str(at[0]), int(at[1])) for family, _, _, _, at in found))
    shown = ", ".join(each.host for each in addresses[:MOST_ADDRESSES])
    return addresses[:MOST_ADDRESSES], Finding("DNS", "ok", f"{host} is {shown}")


def _host_and_port(edge: str) -> tuple[str, int]:
    host, colon, port = edge.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.startswith("[")):
        return host.strip("[]"), int(port)
    return edge.strip("[]"), PORT


def tcp(address: Address, ca_pem: bytes | None, dial_s: float) -> Finding:
    """A dial and a TLS handshake, as a connector's over HTTP/2. QUIC asks for the same certificate."""
    check = f"TCP {address}"
    try:
        connection = socket.create_connection((address.host, address.port), timeout=dial_s)
    except OSError as error:
        fix = f"let TCP out to port {address.port}: in this host's firewall, the network's, or the provider's"
        return Finding(check, "warning", f"no connection: {_reason(error)}", fix)
    context = ssl.create_default_context()
    if ca_pem is not None:
        context = ssl.create_default_context(cadata=ca_pem.decode("ascii", errors="ignore"))
    context.set_alpn_protocols(["h2"])
    with connection:
        try:
            with context.wrap_socket(connection, server_hostname=TLS_NAME) as encrypted:
                return Finding(check, "ok", f"connected, {encrypted.version()}")
        except ssl.SSLCertVerificationError as error:
            return Finding(
                check, "failure", f"its certificate is refused: {error.verify_message}", _certificate_fix(error)
            )
        except (OSError, ssl.SSLError) as error:
            fix = "something between here and the edge ends TLS, or this is no edge's tunnel port"
            return Finding(check, "warning", f"connected, but no TLS: {_reason(error)}", fix)


def _certificate_fix(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in (9, 10):  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
        return "set this host's clock: timedatectl set-ntp true; else the edge's certificate has run out"
    if error.verify_code in (18, 19, 20, 21):  # self-signed, or an issuer that isn't known
        return "give the edge's CA by --cacert FILE"
    return "the edge's certificate must be of the name that connectors ask for: see its `tls` settings"


def udp(address: Address, dial_s: float) -> Finding:
    """Whether QUIC answers: an unknown version is answered with those that are known (RFC 9000, 6), whoever asks."""
    check = f"UDP {address}"
    try:
        if _asked(address, USUAL, dial_s):
            return Finding(check, "ok", f"QUIC answers to {USUAL} bytes")
        if _asked(address, SMALLEST, dial_s):
            fix = "let ICMP `packet too big` through, or lower the MTU of the interface; it works meanwhile"
            return Finding(
                check, "note", f"QUIC answers to {SMALLEST} bytes and not to {USUAL}: the path's MTU is small", fix
            )
    except OSError as error:
        return Finding(
            check, "warning", f"nothing can be sent: {_reason(error)}", "check this host's routes and firewall"
        )
    return Finding(
        check, "warning", "QUIC doesn't answer", f"let UDP out to port {address.port}; HTTP/2 over TCP serves meanwhile"
    )


def _asked(address: Address, size: int, dial_s: float, *, tries: int = TRIES) -> bool:
    own, peer = os.urandom(8), os.urandom(8)
    # long header, a version that is kept for this (0x?a?a?a?a), both connection ids
    datagram = (b"\xc0\x1a\x2a\x3a\x4a\x08" + peer + b"\x08" + own).ljust(size, b"\0")
    with socket.socket(address.family, socket.SOCK_DGRAM) as probe:
        _never_cut(probe, address.family)
        probe.connect((address.host, address.port))
        probe.settimeout(dial_s / tries)
        for _ in range(tries):
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


def _summed_up(
    edge: str, addresses: list[Address], reached: list[Address], by_udp: list[Address], protocol: str
) -> list[Finding]:
    if not addresses:
        return []
    fix = "ask the network's keeper for TCP and UDP to its port; `--edge host:443` may pass where 7844 doesn't"
    if not reached and not by_udp:
        return [Finding("edge", "failure", f"{edge} can't be reached, neither over TCP nor over UDP", fix)]
    if protocol == "quic" and not by_udp:
        return [
            Finding(
                "edge", "failure", f"{edge} can't be reached over UDP, and --protocol quic allows nothing else", fix
            )
        ]
    if protocol == "http2" and not reached:
        return [
            Finding(
                "edge", "failure", f"{edge} can't be reached over TCP, and --protocol http2 allows nothing else", fix
            )
        ]
    return []


def _append(findings: list[Finding], finding: Finding) -> bool:
    findings.append(finding)
    return finding.level in ("ok", "note")


def _reason(error: OSError) -> str:
    return "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)


_TOO_LARGE = (90, 40)  # EMSGSIZE of Linux and of macOS
