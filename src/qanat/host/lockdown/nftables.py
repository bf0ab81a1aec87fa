"""The lockdown as a table of its own in nftables: whatever else is there, Docker's rules with it, stays as it is, and what this
one drops is dropped."""

from qanat.host.lockdown.wanted import CONTAINERS, Lockdown, noted
from qanat.host.machine import Machine

TABLE = "qanat_lockdown"
FILE = "/etc/qanat/lockdown.nft"


class Nftables:
    """Applied as one transaction."""

    name = "nftables"
    programs: tuple[str, ...] = ("nft",)
    file = FILE
    mode = 0o644

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def text(self, lockdown: Lockdown) -> str:
        """The file: it makes the table anew, whatever was in it."""
        ports = f"{{ {', '.join(map(str, lockdown.ports))} }}"
        returns = [f"iifname {_name(each)} return" for each in lockdown.kept_interfaces]
        for family, version in (("ip", 4), ("ip6", 6)):
            returns += [f"{family} saddr {each} return" for each in lockdown.sources_of(version)]
        # one rule a protocol: with a set of them nft 1.0 doesn't know the type of a port
        published = [
            f"{way}meta l4proto {protocol} {state}ct original proto-dst {ports} jump closed"
            for protocol in ("tcp", "udp")
            for way, state in (("", "ct status dnat "), *((f"oifname {_name(each)} ", "") for each in CONTAINERS))
        ]
        lines = [
            "# Written by `qanat lockdown --apply`; `qanat lockdown undo` takes it away.",
            f"# settings: {noted(lockdown)}",
            f"table inet {TABLE}",
            f"delete table inet {TABLE}",
            f"table inet {TABLE} {{",
            "    # before everybody else's filters: what is accepted there later is dropped here first",
            "    chain input {",
            "        type filter hook input priority filter - 10; policy accept;",
            f"        tcp dport {ports} jump closed",
            f"        udp dport {ports} jump closed",
            "    }",
            "    # published ports: their number is rewritten by now, and the connection knows the one that was asked for",
            "    chain forward {",
            "        type filter hook forward priority filter - 10; policy accept;",
            *(f"        {line}" for line in published),
            "    }",
            "    chain closed {",
            "        ct state established,related return",
            *(f"        {line}" for line in returns),
            "        counter drop",
            "    }",
            "}",
        ]
        return "\n".join(lines) + "\n"

    def at_boot(self) -> list[str]:
        return [self._machine.program("nft") or "/usr/sbin/nft", "-f", FILE]

    def apply(self, text: str) -> None:
        self._machine.run("nft", "-f", "-", given=text)

    def in_force(self) -> bool:
        return self._machine.try_run("nft", "list", "table", "inet", TABLE)[0] == 0

    def undo(self) -> None:
        if self.in_force():
            self._machine.run("nft", "delete", "table", "inet", TABLE)


def _name(interface: str) -> str:
    return f'"{interface[:-1]}*"' if interface.endswith("+") else f'"{interface}"'
