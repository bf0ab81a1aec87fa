"""How a tunnel is, for people: healthy takes connections and an origin that answers."""

from datetime import UTC, datetime, timedelta

import pytest

from qanat.control.tunnel_overview import TunnelRow
from qanat.control.tunnel_status import Status
from qanat.health.standing import Standing, standing
from qanat.health.verdicts import HealthState, Verdict

EARLIER = datetime(2026, 1, 2, tzinfo=UTC)
LATER = EARLIER + timedelta(hours=1)


def verdict(state: HealthState, why: str = "so") -> Verdict:
    return Verdict(state=state, since=LATER, why=why)


def stands(
    status: Status = "healthy", *, hostnames: int = 1, unprobed: str = "", **verdicts: list[Verdict]
) -> Standing:
    told = [(name, each) for name, own in verdicts.items() for each in own]
    row = TunnelRow(id="t", name="web", status=status, since=EARLIER, reason="", connections=4, connectors=1)
    return standing(row, hostnames=hostnames, verdicts=told, unprobed=unprobed)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (stands("inactive", a=[verdict("healthy")]), "inactive"),
        (stands("down", a=[verdict("healthy")]), "down"),
        (stands(a=[verdict("healthy")]), "healthy"),
        (stands("degraded", a=[verdict("healthy")]), "degraded"),
        (stands(), "degraded"),
        (stands(hostnames=0), "inactive"),
        (stands(unprobed="its service is a bastion"), "healthy"),
        (stands(a=[verdict("unhealthy")]), "down"),
        (stands(a=[verdict("unhealthy")], b=[verdict("healthy")]), "degraded"),
        (stands(a=[verdict("unhealthy"), verdict("healthy")]), "healthy"),
        (stands(a=[verdict("unknown")]), "degraded"),
    ],
)
def test_the_state_follows_from_connections_and_origins(found: Standing, state: str) -> None:
    assert found.state == state


def test_an_ill_origin_says_which_why_and_since_when() -> None:
    found = stands(app=[verdict("unhealthy", "connection refused")], b=[verdict("healthy")])
    assert found.why == "an origin doesn't answer: app: connection refused"
    assert found.since == LATER


def test_a_healthy_tunnel_is_so_since_its_last_part_was() -> None:
    assert stands(a=[verdict("healthy")]).since == LATER
