"""Which Host headers are answered: a page whose name was made to point here (DNS rebinding, security.md S36) comes with its own
name, and goes no further."""

import re
from ipaddress import ip_address

from qanat.errors import QanatError

_HOST = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")


def check_host(host: str, names: frozenset[str], *, reached: tuple[str, int | None] | None) -> None:
    """Loopback, the address that was dialled, and the configured names.

    Raises:
        QanatError: `host_refused`.
    """
    parsed = _HOST.fullmatch(host.lower())
    name = (parsed[1] or parsed[2]).removesuffix(".") if parsed else ""
    if name in names or name == "localhost":
        return
    try:
        address = ip_address(name)
        if address.is_loopback or (reached is not None and address == ip_address(reached[0])):
            return
    except ValueError:
        pass
    raise QanatError(
        "host_refused", "this API does not answer for that Host; the setting control.hosts names those it answers for"
    )
