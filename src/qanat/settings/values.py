"""Forms that settings have: addresses, names, networks."""

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from qanat.errors import QanatError
from qanat.ids import parse_hostname


def check_address(address: str) -> str:
    """`host:port`, an IPv6 host in brackets. ValueError says what is missing."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not host:port, such as 127.0.0.1:8443 or [::]:8443 (port 0: any free one)")
    if not host or (":" in host) != (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{address!r} has no host in front of the port, or an IPv6 host without brackets")
    return address


def _optional_address(address: str | None) -> str | None:
    return None if address in (None, "", "off") else check_address(address)


def check_name(name: str) -> str:
    """A hostname or an address, without scheme and port, in lower case. ValueError says what is too much."""
    bare = name.strip().lower().removesuffix(".")
    if not bare or any(each in bare for each in "/@[] ") or bare.count(":") == 1:
        raise ValueError(f"{name!r} is not a valid name, such as api.example.com: leave out scheme, port and brackets")
    return bare


def _optional_name(name: str | None) -> str | None:
    return None if name in (None, "", "off") else check_name(name)


def _optional_hostname(name: str | None) -> str | None:
    if name in (None, "", "off"):
        return None
    try:
        hostname = parse_hostname(check_name(name), wildcard=False)
    except QanatError as error:
        raise ValueError(error.message) from None
    if "." not in hostname:
        raise ValueError(f"{name!r} is a single label; give a whole name, such as api.example.com")
    return hostname


def check_network(network: str) -> str:
    """An address or a network, `10.0.0.0/8`. ValueError says what is wrong."""
    try:
        return str(ip_network(network.strip(), strict=False))
    except ValueError as error:
        raise ValueError(f"{network!r} is not a valid address or network, such as 192.0.2.0/24: {error}") from None


Address = Annotated[str, AfterValidator(check_address)]
Network = Annotated[str, AfterValidator(check_network)]
Name = Annotated[str, AfterValidator(check_name)]
OptionalName = Annotated[str | None, AfterValidator(_optional_name)]
OptionalHostname = Annotated[str | None, AfterValidator(_optional_hostname)]
OptionalAddress = Annotated[str | None, AfterValidator(_optional_address)]


class Part(BaseModel):
    """A section of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
