"""Lines of the log about requests: as stock's, but for what only its sender and its origin should know (security.md S39)."""

import re

from qanat.connector.engine import OriginFailed, RequestAnswered, RequestCanceled, RequestReceived
from qanat.connector.log import CONTROL, HTTP, Log

HIDDEN = "*****"

_SECRET_FIELD = re.compile(
    r"auth|cookie|token|secret|passw|credential|session|signature|api-?key|jwt|csrf|xsrf|assertion", re.IGNORECASE
)

_REASONS = {
    101: "Switching Protocols",
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
"""Those that are met daily, in Go's words: http.HTTPStatus would cost a connector that never logs them its memory."""


def log_failure(log: Log, failed: OriginFailed, *, edge_ip: str) -> None:
    """A request that its origin didn't answer: two lines, as stock's."""
    log.error(
        "",
        error=failed.message,
        connIndex=failed.connection_index,
        event=HTTP,
        ingressRule=failed.rule,
        originService=failed.service,
    )
    log.error(
        "Request failed",
        error=failed.message,
        connIndex=failed.connection_index,
        dest=f"https://{_without_query(failed.destination)}",
        event=CONTROL,
        ip=edge_ip,
        type="http",
    )


def log_cancel(log: Log, canceled: RequestCanceled) -> None:
    """A request whose client has gone."""
    index = canceled.connection_index
    log.debug("Request canceled", connIndex=index, dest=_without_query(canceled.destination), event=HTTP)


def log_request(log: Log, request: RequestReceived) -> None:
    """Method, URL, host, path and fields. Values of a query and of fields that are named like a secret are left out."""
    from qanat.connector.redaction import redacted  # only where requests are told

    path, question_mark, _ = request.target.partition("?")
    path = redacted(path)
    query = f"?{HIDDEN}" if question_mark else ""
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        if name.lower() == "referer":
            value = value.partition("?")[0]
        headers.setdefault(_canonical(name), []).append(HIDDEN if _SECRET_FIELD.search(name) else redacted(value))
    scheme = next((value for name, value in request.headers if name.lower() == "x-forwarded-proto"), "https")
    fields: dict[str, str] = {"cfRay": request.request_id} if request.request_id else {}
    log.debug(
        f"{request.method} {scheme}://{request.host}{path}{query} HTTP/1.1",
        **fields,
        **{"content-length": request.content_length},
        connIndex=request.connection_index,
        event=HTTP,
        headers={name: headers[name] for name in sorted(headers)},
        host=request.host,
        ingressRule=request.rule,
        originService=request.service,
        path=path,
    )


def _canonical(name: str) -> str:
    """As Go spells it, whatever the version: `X-Request-Id`."""
    return "-".join(part.capitalize() for part in name.split("-"))


def log_answer(log: Log, answer: RequestAnswered) -> None:
    """Status and length."""
    fields: dict[str, str] = {"cfRay": answer.request_id} if answer.request_id else {}
    log.debug(
        f"{answer.status} {_REASONS.get(answer.status, '')}".rstrip(),
        **fields,
        **{"content-length": answer.content_length},
        connIndex=answer.connection_index,
        event=HTTP,
        ingressRule=answer.rule,
        originService=answer.service,
    )


def _without_query(destination: str) -> str:
    return destination.partition("?")[0]
