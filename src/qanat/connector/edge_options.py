"""What a connector is told about its edge: trust, and how to dial."""

import socket
from pathlib import Path
from typing import Literal, cast, get_args

from qanat.connector.sources import Sources
from qanat.errors import QanatError

Protocol = Literal["auto", "quic", "http2"]
IpVersion = Literal["auto", "4", "6"]
Congestion = Literal["tolerant", "cubic", "bbr"]
CONGESTION = get_args(Congestion)

MOST_CONNECTIONS = 255


def protocol(sources: Sources, warnings: list[str]) -> Protocol:
    """`h2mux`, which is long gone, is HTTP/2, as in stock."""
    choice = sources.get("protocol", "auto")
    if choice == "h2mux":
        warnings.append("h2mux is no longer a supported protocol: upgrading edge connection to http2")
        choice = "http2"
    if choice not in ("auto", "quic", "http2"):
        raise sources.bad("protocol", f"'{choice[:40]}' is not a valid protocol", hint="use auto, quic or http2")
    return cast(Protocol, choice)


def congestion(sources: Sources) -> Congestion:
    choice = sources.get("congestion", "tolerant")
    if choice not in CONGESTION:
        raise sources.bad(
            "congestion", f"'{choice[:40]}' is not a valid congestion control", hint="use tolerant, cubic or bbr"
        )
    return cast(Congestion, choice)


def hosted_roots() -> bytes:
    """Cloudflare's own CAs, which the hosted edge may show besides those of the system, as stock trusts them."""
    return (Path(__file__).parent / "hosted_roots.pem").read_bytes()


def edge_ca(sources: Sources) -> bytes | None:
    path = sources.file("cacert")
    if path is None:
        return None
    where = f"{sources.place('cacert')} {path}"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise QanatError("ca_file_invalid", error.strerror or "unreadable", where=where) from None
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise QanatError("ca_file_invalid", "the file holds no PEM certificate", where=where)
    return content


def dial_from(sources: Sources, warnings: list[str]) -> tuple[str | None, IpVersion]:
    """The address to dial from, and of which version the edge's are: that address's, if there is one, as stock."""
    version = sources.get("edge-ip-version", "auto")
    if version not in ("auto", "4", "6"):
        raise sources.bad("edge-ip-version", f"'{version[:40]}' is not a valid IP version", hint="use auto, 4 or 6")
    address = sources.get("edge-bind-address", "")
    if not address:
        return None, cast(IpVersion, version)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.inet_pton(family, address)
    except (OSError, ValueError):
        raise sources.bad("edge-bind-address", f"'{address[:80]}' is not a valid IP address") from None
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        message = f"nothing can be sent from {address}: {error.strerror}"
        raise sources.bad("edge-bind-address", message, hint="name an address of this host") from None
    own: IpVersion = "6" if family == socket.AF_INET6 else "4"
    if version not in ("auto", own):
        warnings.append(f"{sources.place('edge-ip-version')} is {version} and {address} is not: {own} is used")
    return address, own


def ha_connections(sources: Sources, warnings: list[str]) -> int:
    count = sources.get("ha-connections", 4)
    if count < 0:
        raise sources.bad("ha-connections", f"{count} is out of range", hint=f"from 1 to {MOST_CONNECTIONS}")
    kept = min(max(count, 1), MOST_CONNECTIONS)
    if kept != count:
        warnings.append(f"{sources.place('ha-connections')} is {count}: {kept} is used")
    return kept


def retries(sources: Sources) -> int:
    """Below 0 there is no end of them, as in stock."""
    count = sources.get("retries", 5)
    return count if count >= 0 else 2**31


def above_zero(sources: Sources, name: str, default: float, warnings: list[str]) -> float:
    value = sources.get(name, default)
    if value > 0:
        return value
    warnings.append(f"{sources.place(name)} is 0: {default:g}s is used")
    return default


def flow_control(sources: Sources, name: str) -> int | None:
    """Bytes; None where nothing was said, so that the window grows with the line."""
    limit = sources.get(name, 0)
    if limit < 0:
        raise sources.bad(name, f"{limit} is below 0", hint="write a number of bytes, such as 6291456")
    return limit or None
