"""Whether a connector of these options would reach its edges: asked by an engine that serves nothing."""

from uuid import uuid4

from qanat.connector.engine import Connector, EngineError
from qanat.connector.engine_settings import engine_settings
from qanat.connector.options import Options
from qanat.connector.prechecks import LIMIT_S, EdgeCheck
from qanat.errors import QanatError
from qanat.ids import ConnectorId


def check_edges(options: Options, *, limit_s: float = LIMIT_S) -> list[EdgeCheck]:
    """Each edge by its name, service (SRV) and addresses, through the proxy where one leads there, as the connector dials it.

    Raises:
        QanatError: what only the engine refuses of the options.
    """
    try:
        connector = Connector(engine_settings(options, ConnectorId(str(uuid4())), tell_requests=False))
    except EngineError as error:
        raise QanatError(f"engine_{error.code}", error.message) from error
    try:
        return connector.check_edges(limit_s=limit_s)
    finally:
        connector.close()
