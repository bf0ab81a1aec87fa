"""The lockdown as chains of its own in iptables and ip6tables, entered from INPUT, FORWARD and Docker's DOCKER-USER."""

import shlex

from qanat.host.lockdown.wanted import CONTAINERS, Lockdown, noted
from qanat.host.machine import Machine

FILE = "/etc/qanat/lockdown.sh"
INPUT, FORWARD, CLOSED = "QANAT-INPUT", "QANAT-FORWARD", "QANAT-CLOSED"
JUMPS = (("INPUT", INPUT), ("FORWARD", FORWARD), ("DOCKER-USER", FORWARD))
"""From where each is entered. Docker looks into DOCKER-USER before its own rules, and keeps what is there when it starts."""
TOOLS = {4: "iptables", 6: "ip6tables"}


class Iptables:
    """Applied by a script, which is what runs at boot, too: the chains' content at once, then the ways into them."""

    name = "iptables"
    programs: tuple[str, ...] = ("iptables", "ip6tables")
    file = FILE
    mode = 0o755

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def text(self, lockdown: Lockdown) -> str:
        lines = [
            "#!/bin/sh",
            "# Written by `qanat lockdown --apply`; `qanat lockdown undo` takes it away.",
            f"# settings: {noted(lockdown)}",
            "set -eu",
        ]
        for version, tool in TOOLS.items():
            lines += ["", f"{tool}-restore --wait --noflush <<'RULES'", *_rules(lockdown, version), "RULES"]
            lines.append(f"{tool} --wait --new-chain DOCKER-USER 2>/dev/null || true")
            lines += [
                f"{tool} --wait --check {chain} --jump {own} 2>/dev/null || {tool} --wait --insert {chain} 1 --jump {own}"
                for chain, own in JUMPS
            ]
        return "\n".join(lines) + "\n"

    def at_boot(self) -> list[str]:
        return ["/bin/sh", FILE]

    def apply(self, text: str) -> None:
        self._machine.run("sh", given=text)

    def in_force(self) -> bool:
        return all(
            self._machine.try_run(tool, "--wait", "--check", chain, "--jump", own)[0] == 0
            for tool in TOOLS.values()
            for chain, own in JUMPS
        )

    def undo(self) -> None:
        run = self._machine.try_run
        for tool in TOOLS.values():
            for chain, own in JUMPS:
                for _ in range(8):  # put there once, but who knows what was restored on top
                    if run(tool, "--wait", "--delete", chain, "--jump", own)[0] != 0:
                        break
            for own in (INPUT, FORWARD, CLOSED):
                run(tool, "--wait", "--flush", own)
            for own in (INPUT, FORWARD, CLOSED):
                run(tool, "--wait", "--delete-chain", own)
            run(tool, "--wait", "--delete-chain", "DOCKER-USER")  # refused where Docker, or anybody, uses it


def _rules(lockdown: Lockdown, version: int) -> list[str]:
    rules = ["*filter", *(f":{chain} - [0:0]" for chain in (INPUT, FORWARD, CLOSED))]
    for protocol in ("tcp", "udp"):
        for port in lockdown.ports:
            asked_for = f"-p {protocol} -m conntrack --ctdir ORIGINAL --ctorigdstport {port}"
            rules.append(f"-A {INPUT} -p {protocol} --dport {port} -j {CLOSED}")
            rules.append(f"-A {FORWARD} {asked_for} --ctstate DNAT -j {CLOSED}")
            rules += [f"-A {FORWARD} -o {shlex.quote(each)} {asked_for} -j {CLOSED}" for each in CONTAINERS]
    rules.append(f"-A {CLOSED} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN")
    rules += [f"-A {CLOSED} -i {each} -j RETURN" for each in lockdown.kept_interfaces]
    rules += [f"-A {CLOSED} -s {each} -j RETURN" for each in lockdown.sources_of(version)]
    return [*rules, f"-A {CLOSED} -j DROP", "COMMIT"]
