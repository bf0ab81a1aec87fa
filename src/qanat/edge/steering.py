"""Holds, cuts and counts of this process's engine and, while it drains, of the one that it took over from: what is decided here
is so in both, or that one is ended."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from qanat.edge.engine import Edge


class Other(Protocol):
    """The process before this one (edge/handover.py)."""

    def call(self, name: str, **given: object) -> int:
        """Has it done there; 0 where that is gone."""


class Both:
    """Takes the engine's place for whoever steers. `other` None: there is nobody else."""

    def __init__(self, engine: Edge, other: Other | None) -> None:
        self._engine = engine
        self._other = other

    def hold(
        self, *, name: str, hostnames: Sequence[str], tunnel_ids: Sequence[str], timeout_s: float, most: int
    ) -> None:
        """New requests wait."""
        self._engine.hold(name=name, hostnames=hostnames, tunnel_ids=tunnel_ids, timeout_s=timeout_s, most=most)
        given = {"hostnames": list(hostnames), "tunnel_ids": list(tunnel_ids), "timeout_s": timeout_s, "most": most}
        self._call("hold", name_=name, **given)

    def release(self, *, name: str) -> int:
        """They go on; how many waited."""
        return self._engine.release(name=name) + self._call("release", name_=name)

    def open_requests(self, *, tunnel_id: str, token_id: str | None = None) -> int:
        """WebSockets included."""
        here = self._engine.open_requests(tunnel_id=tunnel_id, token_id=token_id)
        return here + self._call("open_requests", tunnel_id=tunnel_id, token_id=token_id)

    def open_websockets(self, *, tunnel_id: str, token_id: str | None = None) -> int:
        """Of these."""
        here = self._engine.open_websockets(tunnel_id=tunnel_id, token_id=token_id)
        return here + self._call("open_websockets", tunnel_id=tunnel_id, token_id=token_id)

    def cut(self, *, tunnel_id: str, token_id: str | None, only_websockets: bool) -> int:
        """Ends what is open."""
        here = self._engine.cut(tunnel_id=tunnel_id, token_id=token_id, only_websockets=only_websockets)
        given = {"tunnel_id": tunnel_id, "token_id": token_id, "only_websockets": only_websockets}
        return here + self._call("cut", **given)

    def tell(self, notice: object) -> None:
        """What has changed (a notice, as plain objects) is so there as well when this returns."""
        self._call("hear", notice=notice)

    def _call(self, name: str, **given: object) -> int:
        return self._other.call(name, **given) if self._other is not None else 0


def calls(steering: Both) -> Mapping[str, Callable[..., int]]:
    """What the process that took over may call for here, and in the one that this one took over from."""

    def hold(*, name_: str, hostnames: Sequence[str], tunnel_ids: Sequence[str], timeout_s: float, most: int) -> int:
        steering.hold(name=name_, hostnames=hostnames, tunnel_ids=tunnel_ids, timeout_s=timeout_s, most=most)
        return 0

    return {
        "hold": hold,
        "release": lambda *, name_: steering.release(name=name_),
        "open_requests": steering.open_requests,
        "open_websockets": steering.open_websockets,
        "cut": steering.cut,
    }
