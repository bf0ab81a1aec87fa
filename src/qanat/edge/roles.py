"""Asks connectors with a role probe what it says, through the tunnel, and keeps it with the node (protocol.md, `qanat_role`)."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Final, Literal, Protocol

import msgspec
import structlog

from qanat import structs
from qanat.auth.management import ManagementKey
from qanat.edge.presence import Key, Presence
from qanat.health.probing import Probes, Question
from qanat.nodes import nodes
from qanat.nodes.nodes import Role
from qanat.store import Notice, NoticeKind, Store
from qanat.store.models import Tunnel

ROLE_FEATURE: Final = "qanat_role"
PATH: Final = "/qanat/role"
ASKED_EVERY_S: Final = 1.0
PATIENCE_S: Final = 5.0
"""A node that is connected and doesn't answer for so long has no known role."""
TOKEN_KEPT_S: Final = 1800.0
QUESTION_S: Final = 3.0
MOST_BYTES: Final = 4096
NOBODYS_HOSTNAME: Final = "connector.qanat.internal"
"""No rule is asked for it: the mark says that it is for the connector itself."""

log = structlog.get_logger(__name__)


class Ask(Protocol):
    """Sends `GET path` to the connector itself, of a node, as the edge; `then` gets status and body, in the events' thread."""

    def __call__(self, tunnel_id: str, token_id: str, path: str, then: Callable[[int, bytes], None]) -> None: ...


class _Answer(msgspec.Struct):
    role: Literal["active", "standby", "unknown"]
    detail: str


@dataclass(slots=True)
class _Known:
    role: Role
    detail: str
    answered_at: float
    is_asked: bool = False
    is_new: bool = False


class Roles:
    """`look`, called now and then, asks all and writes what has changed."""

    def __init__(
        self,
        store: Store,
        presence: Presence,
        management: ManagementKey,
        ask: Ask,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._presence = presence
        self._management = management
        self._ask = ask
        self._clock = clock
        self._lock = Lock()
        self._known: dict[Key, _Known] = {}
        self._tokens: dict[str, tuple[str, float]] = {}

    def look(self) -> None:
        """Writes the answers to the questions before, and asks again."""
        now = self._clock()
        announcing = self._presence.announcing(ROLE_FEATURE)
        with self._lock:
            for node in set(self._known).difference(announcing):
                del self._known[node]
            for node in announcing:
                known = self._known.setdefault(node, _Known("unknown", "it was not asked yet", now))
                if known.role != "unknown" and now - known.answered_at > PATIENCE_S:
                    known.role, known.detail, known.is_new = "unknown", "the connector doesn't answer", True
            changed = {node: (known.role, known.detail) for node, known in self._known.items() if known.is_new}
        for node, (role, detail) in changed.items():
            self._write(node, role, detail)
        for tunnel_id, token_id in announcing:
            self._question((tunnel_id, token_id))

    def _question(self, node: Key) -> None:
        with self._lock:
            known = self._known[node]
            if known.is_asked:
                return
            known.is_asked = True
        try:
            self._ask(*node, f"{PATH}?access_token={self._token(node[0])}", lambda *answer: self._take(node, *answer))
        except Exception:
            with self._lock:
                known.is_asked = False
            raise

    def _take(self, node: Key, status: int, body: bytes) -> None:
        try:
            answer = structs.decode(body, _Answer) if status == 200 else None
        except msgspec.MsgspecError:
            answer = None
        with self._lock:
            known = self._known.get(node)
            if known is None:
                return
            known.is_asked = False
            if answer is None:
                return
            known.answered_at = self._clock()
            known.is_new |= answer.role != known.role
            known.role, known.detail = answer.role, answer.detail

    def _write(self, node: Key, role: Role, detail: str) -> None:
        tunnel_id, token_id = node
        with self._store.recording() as write:
            nodes.told_role(write, tunnel_id, token_id, role=role, detail=detail.replace("\x00", ""))
            write.notice(Notice(NoticeKind.PROMOTION, tunnel_id=tunnel_id))
        log.info("a node's role", tunnel=tunnel_id, token_id=token_id, role=role, reason=detail)
        with self._lock:
            known = self._known.get(node)
            if known is not None and known.role == role:
                known.is_new = False

    def _token(self, tunnel_id: str) -> str:
        """As for anybody who asks a connector for its host's details."""
        now = self._clock()
        found = self._tokens.get(tunnel_id)
        if found is not None and now < found[1]:
            return found[0]
        with self._store.reading() as session:
            tunnel = session.get_one(Tunnel, tunnel_id)
        token, _ = self._management.issue(
            tunnel_id=tunnel.id,
            account_id=tunnel.account_id,
            actor="qanat",
            resources=["host_details"],
            at=self._store.clock(),
        )
        self._tokens = {key: each for key, each in self._tokens.items() if now < each[1]}
        self._tokens[tunnel_id] = (token, now + TOKEN_KEPT_S)
        return token


def by_probes(probes: Probes) -> Ask:
    """Through the engine."""

    def ask(tunnel_id: str, token_id: str, path: str, then: Callable[[int, bytes], None]) -> None:
        question = Question(
            tunnel_id=tunnel_id,
            token_id=token_id,
            hostname=NOBODYS_HOSTNAME,
            path=path,
            timeout_s=QUESTION_S,
            body_bytes=MOST_BYTES,
            to_connector=True,
        )
        probes.send(question, lambda answer: then(answer.status, answer.body))

    return ask
