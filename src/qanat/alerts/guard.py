"""Where messages may be sent: an account's channel must not become a way into the edge's own networks (security.md S40). The
address is judged at the dial, after each lookup, and what was judged is what is dialled: a name that is looked up twice may lead
elsewhere the second time."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from time import monotonic

from qanat.errors import QanatError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

# IANA's special-purpose registries (RFC 6890 and later), multicast, and Azure's metadata, which has an address like any other's.
_DENIED_4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "behind a carrier's NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata"),
        ("169.254.0.0/16", "link-local, as metadata of clouds is"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")
_DENIED_6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
    )
)
_NAMED_6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("::/128", "this host"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private, as metadata of clouds is"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class Guard:
    """`networks`: where messages may go besides, as the operator lists them."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, networks: Sequence[str]) -> "Guard":
        """From the setting's texts."""
        return cls(tuple(ip_network(each) for each in networks))

    def is_listed(self, address: Address) -> bool:
        """Whether the operator named it."""
        plain = _plain(address)
        return any(plain in network for network in self.networks if network.version == plain.version)

    def refusal(self, address: Address) -> str:
        """Why nothing is sent to this address; "" when it is."""
        return "" if self.is_listed(address) else denied(address)

    def permitted(self, host: str, port: int, resolve: Resolve | None = None) -> list[str]:
        """The addresses of a host that may be dialled, of one lookup.

        Raises:
            QanatError: `alert_address_denied`: none of them may be; `alert_unreachable`: there is none.
        """
        try:
            found = list(dict.fromkeys((resolve or looked_up)(host, port)))
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a name"
            raise QanatError("alert_unreachable", f"{host} was not found: {reason}", where=host) from None
        reasons = {text: self.refusal(ip_address(text)) for text in found}
        good = [text for text in found if not reasons[text]]
        if not good:
            told = ", ".join(f"{text} ({reason})" for text, reason in list(reasons.items())[:3])
            raise QanatError(
                "alert_address_denied",
                f"{host} leads to {told or 'no address'}, where nothing is sent",
                where=host,
                hint="name a public address, or let the operator list the network in alerts.networks",
            )
        return good

    def dial(self, host: str, port: int, *, ends_at: float, resolve: Resolve | None = None) -> socket.socket:
        """A connection to one of the host's permitted addresses. `ends_at`: of the monotonic clock.

        Raises:
            QanatError: as `permitted`; `alert_unreachable`.
        """
        last = "no time was left"
        for text in self.permitted(host, port, resolve):
            left = ends_at - monotonic()
            if left <= 0:
                break
            try:
                return socket.create_connection((text, port), timeout=left)
            except OSError as error:
                last = f"{text}: {error.strerror or 'no answer in time'}"
        raise QanatError("alert_unreachable", f"{host} can't be reached: {last}", where=host)


def looked_up(host: str, port: int) -> list[str]:
    """By the system's resolver, which also reads addresses as C does (`0x7f.1`, `2130706433`). OSError: there is none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


def denied(address: Address) -> str:
    """What an address is that nothing is sent to unless it is listed; "" for a public one. What is wrapped in IPv6 is judged by
    what it leads to."""
    plain = _plain(address)
    if isinstance(plain, IPv4Address):
        return next((what for network, what in _DENIED_4 if plain in network), "")
    for inner in _carried(plain):
        return denied(inner)
    for network, what in _NAMED_6:
        if plain in network:
            return what
    if plain not in _GLOBAL_6:
        return "reserved"
    return next((what for network, what in _DENIED_6 if plain in network), "")


def _plain(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return _plain(IPv6Address(int(address)))
        return address.ipv4_mapped or address
    return address


def _carried(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 address that an IPv6 one leads to: by NAT64, 6to4, Teredo or as compatible."""
    last = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _NAT64:
        return [last]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return [address.teredo[1]]
    if address in _COMPATIBLE and int(address) > 0xFFFF:
        return [last]
    return []
