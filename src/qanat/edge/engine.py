"""The edge process's door to the engine: the only module on that side which imports `qanat._engine`.

Names are re-exported as they are, for the boundary is `qanat/_engine.pyi`; what is added here turns the engine's
refusals into errors of ours, so that callers catch one kind.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qanat._engine import (
    Certificate,
    ConfigurationApplied,
    ConnectionDraining,
    ConnectionLost,
    ConnectionRegistered,
    ConnectionSuspect,
    Edge,
    EdgeAddresses,
    EdgeEvent,
    EngineError,
    EngineWarning,
    LocalConfiguration,
    ProbeAnswered,
    RegistrationRefused,
    RequestFailed,
    Route,
    Tunnel,
    causes,
    inspect_certificate,
    latency_bounds,
)
from qanat.errors import QanatError

if TYPE_CHECKING:  # a dict, of which only the stub knows
    from qanat._engine import EdgeSettings as EdgeSettings
    from qanat._engine import ZoneRules as ZoneRules

__all__ = [
    "Certificate",
    "ConfigurationApplied",
    "ConnectionDraining",
    "ConnectionLost",
    "ConnectionRegistered",
    "ConnectionSuspect",
    "Edge",
    "EdgeAddresses",
    "EdgeEvent",
    "EngineError",
    "EngineWarning",
    "LocalConfiguration",
    "ProbeAnswered",
    "RegistrationRefused",
    "RequestFailed",
    "Route",
    "Tunnel",
    "causes",
    "engine_errors",
    "inspect_certificate",
    "latency_bounds",
]


@contextmanager
def engine_errors(*, where: str | None = None, hint: str | None = None) -> Iterator[None]:
    """What the engine refuses inside becomes a QanatError `engine_<code>` at `where`.

    Raises:
        QanatError: `engine_bind_failed`, `engine_bad_certificate`, `engine_bad_setting`, `engine_route_conflict`.
    """
    try:
        yield
    except EngineError as error:
        raise QanatError(f"engine_{error.code}", error.message, where=where, hint=hint) from error
