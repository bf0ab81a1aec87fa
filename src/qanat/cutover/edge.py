"""What a cutover asks of the running edge. The edge process gives it (edge/cutover_edge.py), tests give their own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from qanat.cutover.answers import Answer
from qanat.cutover.gates import CertificateSeen
from qanat.cutover.plan import Check
from qanat.cutover.rule import Counts


class CutoverEdge(Protocol):
    """The running edge, as far as cutovers go. Nothing of it waits for the database."""

    def ask(self, *, tunnel_id: str, token_id: str | None, hostname: str, check: Check, timeout_s: float) -> Answer:
        """One request through a usable connection of that node (None: any of the tunnel); waits for the answer."""

    def illness(self, *, tunnel_id: str, token_id: str | None, hostname: str) -> str:
        """Why a node is known to be unhealthy for this hostname; "" when it isn't, or nothing is known."""

    def usable(self, tunnel_id: str) -> int:
        """How many usable connections a tunnel has now."""

    def counts(self, *, hostname: str, tunnel_id: str, since: datetime, long_s: float) -> Counts:
        """The requests of a hostname through a tunnel since then; those open for longer than `long_s` hang."""

    def note_counts(self) -> None:
        """From this moment on exact counts will be asked for."""

    def hold(self, *, name: str, hostnames: Sequence[str], timeout_s: float) -> None:
        """New requests to these hostnames wait."""

    def release(self, *, name: str) -> int:
        """Lets them go on; how many waited."""

    def open_requests(self, tunnel_id: str) -> int:
        """Open through the tunnel now, WebSockets included."""

    def cut_websockets(self, tunnel_id: str) -> int:
        """Ends those that are open on the tunnel; how many."""

    def certificate(self, hostname: str) -> CertificateSeen | None:
        """What clients are shown; None: there is no HTTPS listener."""

    def resolve(self, hostname: str) -> Sequence[str] | None:
        """What a resolver answers; None: it wasn't asked."""
