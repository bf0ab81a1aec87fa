"""Holds, cuts and counts of this process's engine and, while they drain, of those before it: what is decided here is so in all of
them, or who can't follow is ended."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from qanat.edge.engine import Edge


class Others(Protocol):
    """The processes before this one (edge/handover.py)."""

    def call(self, name: str, **given: object) -> int:
        """Has it done there; the sum of their answers."""

    def wait(self, limit_s: float) -> None:
        """Until they have ended, at most so long."""


class Both:
    """Takes the engine's place for whoever steers. `others` None: there is nobody else."""

    def __init__(self, engine: Edge, others: Others | None) -> None:
        self._engine = engine
        self._others = others

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

    def end(self, *, grace_s: float) -> None:
        """The others are to end within that time, as this process does."""
        self._call("end", grace_s=grace_s)

    def wait(self, limit_s: float) -> None:
        """Until the others have ended, at most so long."""
        if self._others is not None:
            self._others.wait(limit_s)

    def _call(self, name: str, **given: object) -> int:
        return self._others.call(name, **given) if self._others is not None else 0


def calls(engine: Edge) -> Mapping[str, Callable[..., int]]:
    """What the process in charge may call for here."""

    def hold(*, name_: str, hostnames: Sequence[str], tunnel_ids: Sequence[str], timeout_s: float, most: int) -> int:
        engine.hold(name=name_, hostnames=hostnames, tunnel_ids=tunnel_ids, timeout_s=timeout_s, most=most)
        return 0

    return {
        "hold": hold,
        "release": lambda *, name_: engine.release(name=name_),
        "open_requests": engine.open_requests,
        "open_websockets": engine.open_websockets,
        "cut": engine.cut,
    }
