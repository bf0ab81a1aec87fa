"""Takes requests for the management from the engine, each on a thread of its own. Nothing of what they need is loaded before."""

import os
import socket
import threading
from collections.abc import Callable

from msgspec import Struct

from qanat.connector.endpoints import Answer
from qanat.connector.management.viewers import Viewers


class Facts(Struct, frozen=True):
    """What the service says of its connector. `diagnostics` by path; empty where they are switched off.
    `role`: answers what the role probe says; None without one."""

    connector_id: str
    tunnel_id: str
    account_tag: str
    label: str
    service_op_ip: str
    diagnostics: dict[str, Callable[[], Answer]]
    role: Callable[[], Answer] | None = None


class ManagementService:
    """Answers whoever the edge has let in. The engine bounds how many there are at once."""

    def __init__(self, facts: Facts, viewers: Viewers) -> None:
        self.facts = facts
        self.viewers = viewers

    def take(self, descriptor: int) -> None:
        """Serves one request. The descriptor stays its owner's: it is duplicated."""
        try:
            connection = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            return  # no descriptor is left: the engine answers 502
        try:
            threading.Thread(target=self._serve, args=(connection,), name="management", daemon=True).start()
        except RuntimeError:  # nor is a thread
            connection.close()

    def _serve(self, connection: socket.socket) -> None:
        from qanat.connector.management.requests import serve  # what it imports is for requests only

        with connection:
            serve(connection, self.facts, self.viewers)
