"""The control API's socket, which is there before the API: who comes while that is loaded waits, and isn't refused."""

import socket

from qanat.errors import QanatError

BACKLOG = 2048


def listen(address: str) -> socket.socket:
    """QanatError `api_address`."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
        bound.listen(BACKLOG)
    except OSError as error:
        raise QanatError(
            "api_address",
            f"can't listen on {address}: {error.strerror or error}",
            where="control.address",
            hint="choose another by --control-address (port 0: any free one)",
        ) from error
    bound.set_inheritable(False)
    return bound
