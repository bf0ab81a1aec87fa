"""Questions to origins, and their answers: each probe has an id, and whoever sent it gets what the engine says of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from threading import Event, Lock
from typing import Literal

from qanat.errors import QanatError
from qanat.health.engine import EngineError, ProbeAnswered, ProbingEngine

BODY_BYTES = 64 * 1024
"""Of an answer's body that is read, as a rule."""
BUSY_RETRY_S = 0.2
MARGIN_S = 5.0
"""How long after its timeout the engine's answer to a probe is waited for: the event may stand behind others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request of ours through a node. `token_id`: which ("" is the tunnel's own secret; None: any); `headers`: beyond those
    that the edge adds; `timeout_s`: for all of it. `to_connector`: it is for the connector itself, not for an origin.
    `is_websocket`: 101 is an answer, and the service need not speak HTTP."""

    tunnel_id: str
    token_id: str | None
    hostname: str
    path: str = "/"
    method: str = "GET"
    scheme: Literal["http", "https"] = "https"
    headers: Sequence[tuple[str, str]] = ()
    timeout_s: float = 5.0
    body_bytes: int = BODY_BYTES
    to_connector: bool = False
    is_websocket: bool = False


class Probes:
    """Sends questions, and hands the answers out. Any thread may ask; `answered` is for who takes the engine's events."""

    def __init__(self, engine: ProbingEngine) -> None:
        self._engine = engine
        self._ids = count(1)
        self._lock = Lock()
        self._waiting: dict[int, Callable[[ProbeAnswered], None]] = {}

    def send(self, question: Question, then: Callable[[ProbeAnswered], None]) -> int:
        """Begins a probe; `then` gets its answer, in the thread that takes events: it must be quick. The probe's id.

        Raises:
            QanatError: `probe_bad`: the engine can't send that.
        """
        probe_id = next(self._ids)
        with self._lock:
            self._waiting[probe_id] = then
        try:
            self._engine.probe(
                probe_id=probe_id,
                tunnel_id=question.tunnel_id,
                token_id=question.token_id,
                hostname=question.hostname,
                scheme=question.scheme,
                path=question.path,
                method=question.method,
                headers=list(question.headers),
                timeout_s=question.timeout_s,
                max_body_bytes=question.body_bytes,
                to_connector=question.to_connector,
                is_websocket=question.is_websocket,
            )
        except EngineError as error:
            self.forget(probe_id)
            raise QanatError("probe_bad", error.message, where=question.hostname) from error
        return probe_id

    def answered(self, event: ProbeAnswered) -> None:
        """Hands an answer to who asked. One that nobody waits for any more is dropped."""
        with self._lock:
            then = self._waiting.pop(event.probe_id, None)
        if then is not None:
            then(event)

    def forget(self, probe_id: int) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._waiting.pop(probe_id, None)

    def ask(self, question: Question) -> ProbeAnswered:
        """Sends one and waits for its answer; not in the thread that takes events. One that finds too many under way is sent
        again until its time is over.

        Raises:
            QanatError: `probe_bad`, or `probe_unanswered`: the edge is ending, or its events wait for a store that is away.
        """
        pause = Event()
        for _ in range(max(1, int(question.timeout_s / BUSY_RETRY_S))):
            answer = self._ask_once(question)
            if answer.cause != "probe_busy":
                break
            pause.wait(BUSY_RETRY_S)
        return answer

    def _ask_once(self, question: Question) -> ProbeAnswered:
        came = Event()
        answers: list[ProbeAnswered] = []

        def take(answer: ProbeAnswered) -> None:
            answers.append(answer)
            came.set()

        probe_id = self.send(question, take)
        if not came.wait(question.timeout_s + MARGIN_S):
            self.forget(probe_id)
            raise QanatError(
                "probe_unanswered",
                f"the edge told nothing of a probe within {question.timeout_s + MARGIN_S:g} s",
                where=question.hostname,
                hint="it is ending, or its store is away: see its log",
            )
        return answers[0]
