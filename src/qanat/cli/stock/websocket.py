"""WebSockets of commands: one thread each, as a TLS connection bears no second one (OpenSSL's objects are not to be shared).

websockets' blocking client reads in one thread and writes in another: over TLS, one connection of some hundreds then
hung or lost its answer. So everything here is asyncio's.
"""

from websockets.asyncio.client import ClientConnection, connect

__all__ = ["ClientConnection", "Connect"]


class Connect(connect):
    """Opens one. An answer that leads elsewhere is an `InvalidStatus` like every other: what was sent is for that host alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
