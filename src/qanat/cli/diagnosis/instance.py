"""Connectors that run on this host, by their endpoints."""

import http.client
import json
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from qanat.connector.endpoints import KNOWN_PORTS
from qanat.errors import QanatError

KNOWN_ADDRESSES = tuple(f"localhost:{port}" for port in KNOWN_PORTS)
PATIENCE_S = 15.0
LARGEST = 32 << 20


class Instance(Struct, frozen=True):
    """A connector's endpoints: `host:port`. `state` is what /diag/tunnel said of it, where that was asked."""

    address: str
    state: dict[str, Any] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def get(self, path: str) -> bytes:
        """QanatError `endpoint_unreachable`."""
        return get(self.address, path)

    def get_json(self, path: str) -> Any:
        """QanatError `endpoint_unreachable`, also when it is no JSON."""
        return get_json(self.address, path)


def at(address: str) -> Instance:
    """The one that is named: `host:port`, `:port`, or an http URL of it."""
    return Instance(address.removeprefix("http://").rstrip("/"))


def find(addresses: Iterable[str] = KNOWN_ADDRESSES) -> list[Instance]:
    """Those that answer where connectors listen when nobody tells them where."""
    found = []
    for address in addresses:
        try:
            state = get_json(address, "/diag/tunnel")
        except QanatError:
            continue
        if isinstance(state, dict):
            found.append(Instance(address, state))
    return found


def get(address: str, path: str) -> bytes:
    """What an endpoint answers. QanatError `endpoint_unreachable`."""
    host = f"localhost{address}" if address.startswith(":") else address
    try:
        connection = http.client.HTTPConnection(host, timeout=PATIENCE_S)
        try:
            connection.request("GET", path, headers={"Accept": "application/json;version=1"})
            answer = connection.getresponse()
            body = answer.read(LARGEST)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise QanatError("endpoint_unreachable", f"error GET request: http://{address}{path}: {reason}") from None
    if answer.status != 200:
        raise QanatError("endpoint_unreachable", f"error GET request: http://{address}{path}: status {answer.status}")
    return body


def get_json(address: str, path: str) -> Any:
    """The same for JSON."""
    body = get(address, path)
    try:
        return json.loads(body)
    except ValueError:
        raise QanatError("endpoint_unreachable", f"failed to decode body: http://{address}{path} is not JSON") from None
