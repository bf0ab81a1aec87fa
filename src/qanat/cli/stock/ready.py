"""`tunnel ready`: asks a connector's /ready, and ends with 0 when it is."""

import http.client

from qanat.cli.stock.session import Session
from qanat.errors import QanatError

PATIENCE_S = 10.0


def ready(session: Session) -> None:
    """QanatError in stock's words when it isn't, or doesn't answer."""
    address = session.settings.get("metrics", "")
    if "metrics" not in session.settings.values:
        raise QanatError("usage", "--metrics has to be provided", hint="the connector's own: host:port")
    url = f"http://{address}/ready"
    connection = http.client.HTTPConnection(_with_host(address), timeout=PATIENCE_S)
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        status, body = answer.status, answer.read(65536).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise QanatError("not_ready", f'Get "{url}": {reason}', hint="is a connector running there?") from None
    finally:
        connection.close()
    if status != 200:
        raise QanatError("not_ready", f"{url} endpoint returned status code {status}\n{body}".rstrip())


def _with_host(address: str) -> str:
    """`:2000` is this host's, as in Go."""
    return f"localhost{address}" if address.startswith(":") else address
