"""One question to an origin, now: through one node, as it is asked anyway. It changes no verdict."""

from qanat.health.engine import ProbeAnswered
from qanat.health.health import Health
from qanat.health.probing import Probes, Question
from qanat.health.questions import Check, Judgment, judge, judge_connection

RUN_TIMEOUT_S = 10.0


def ask_once(
    health: Health, probes: Probes, check: Check, *, hostname: str, tunnel_id: str, token_id: str
) -> tuple[ProbeAnswered, Judgment]:
    """What came back, and whether it is good. Waits for it, 10 s at most.

    Raises:
        QanatError: `probe_bad`, `probe_unanswered`.
    """
    connects = health.services.of(tunnel_id, hostname, check.path).kind != "http"
    answer = probes.ask(
        Question(
            tunnel_id=tunnel_id,
            token_id=token_id,
            hostname=hostname,
            path=check.path,
            method="GET" if connects else check.method,
            headers=() if connects else tuple(check.send.items()),
            timeout_s=min(check.timeout_s, RUN_TIMEOUT_S),
            is_websocket=connects,
        )
    )
    return answer, judge_connection(answer) if connects else judge(check, answer)
