"""The edge process's door to the engine: the only module on that side which imports `qanat._engine`.

Names are re-exported as they are, for the boundary is `qanat/_engine.pyi`; what is added here turns the engine's
refusals into errors of ours, so that callers catch one kind.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from qanat._engine import (
    Certificate,
    ConfigurationApplied,
    ConnectionDraining,
    ConnectionLost,
    ConnectionRegistered,
    Edge,
    EdgeAddresses,
    EdgeEvent,
    EdgeSettings,
    EngineError,
    EngineWarning,
    LocalConfiguration,
    RegistrationRefused,
    RequestFailed,
    Route,
    Tunnel,
    inspect_certificate,
)
from qanat.errors import QanatError

__all__ = [
    "Certificate",
    "ConfigurationApplied",
    "ConnectionDraining",
    "ConnectionLost",
    "ConnectionRegistered",
    "Edge",
    "EdgeAddresses",
    "EdgeEvent",
    "EdgeSettings",
    "EngineError",
    "EngineWarning",
    "LocalConfiguration",
    "RegistrationRefused",
    "RequestFailed",
    "Route",
    "Tunnel",
    "engine_errors",
    "inspect_certificate",
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
