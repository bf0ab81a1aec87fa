"""`tail`: a running connector's log, through its edge; ours or a stock one."""

import json
import ssl
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from qanat import __version__
from qanat.cli.stock import management, until_told
from qanat.cli.stock.command_line import parse_uuid
from qanat.cli.stock.session import Session
from qanat.connector.log import Log
from qanat.errors import QanatError, escape_json, escape_text

EVENTS = ("cloudflared", "http", "tcp", "udp")
LEVELS = ("debug", "info", "warn", "error")
OPEN_S = 15.0
LARGEST_MESSAGE = 16 << 20

NO_CONNECTOR = (
    "no cloudflared connector available or reachable via management request (a recent version of cloudflared is required to "
    "use streaming logs)"
)


def tail(session: Session) -> None:
    """Prints lines as they come, until the connector leaves or a signal comes. Whatever fails is logged, and the exit status is
    0, as with stock."""
    if session.asked.words[:1] == ("token",):
        management.print_token(session, "logs", session.asked.words[1:])
        return
    log = session.log
    form = session.settings.get("output", "default") or "default"
    if form not in ("default", "json"):
        log.error("", error="invalid --output value provided, please make sure it is one of: default, json")
    try:
        filters = wanted(session)
    except QanatError as error:
        log.error("invalid filters provided", error=error.message)
        return
    try:
        url = _url(session)
    except QanatError as error:
        log.error("unable to construct management request URL", error=error.message, fix=error.hint)
        return
    if not until_told.run(_follow(session, url, filters, as_json=form == "json")):
        log.debug("closing management connection")


def wanted(session: Session) -> dict[str, Any]:
    """The filters as the connector reads them. QanatError `flag_value_invalid` in stock's words."""
    asked = session.asked
    level = asked.text("level") or "debug"
    if level not in LEVELS:
        raise _bad("--level filter", f"one of the following Log Levels: {', '.join(LEVELS)}", "use")
    events = [each.strip() for text in asked.texts("event") for each in text.split(",")]
    if any(each not in EVENTS for each in events):
        raise _bad("--event filter", f"one of the following EventTypes: {', '.join(EVENTS)}", "use")
    try:
        share = float(asked.text("sample") or "1")
    except ValueError:
        share = 0.0
    if not 0.0 < share <= 1.0:
        raise _bad("--sample value", "it is in the range (0.0 .. 1.0)", "make sure")
    return {**({"events": events} if events else {}), "level": level, "sampling": share}


def _bad(what: str, right: str, verb: str) -> QanatError:
    return QanatError("flag_value_invalid", f"invalid {what} provided, please {verb} {right}")


def _url(session: Session) -> str:
    asked = session.asked
    token = asked.text("token")
    if not token:
        try:
            token = management.token(session, "logs", asked.words)
        except QanatError as error:
            message = f"unable to acquire management token for requested tunnel id: {error.message}"
            raise QanatError(error.code, message, hint=error.hint) from error
    query = {"access_token": token}
    if asked.text("connector-id"):
        connector_id = parse_uuid(asked.text("connector-id"))
        if connector_id is None:
            raise QanatError(
                "flag_value_invalid",
                "unabled to parse 'connector-id' flag into a valid UUID",
                hint="`qanat tunnel info` lists connectors",
            )
        query["connector_id"] = connector_id
    return f"wss://{management.hostname(session, token)}/logs?{urlencode(query)}"


async def _follow(session: Session, url: str, filters: Mapping[str, Any], *, as_json: bool) -> None:
    from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

    from qanat.cli.stock.websocket import Connect

    log = session.log
    trace = {"cf-trace-id": session.asked.text("trace")} if session.asked.text("trace") else {}
    try:
        async with Connect(
            url,
            ssl=_trust(session),
            additional_headers=trace,
            user_agent_header=f"qanat/{__version__}",
            open_timeout=OPEN_S,
            close_timeout=1.0,
            max_size=LARGEST_MESSAGE,
            compression=None,
            ping_interval=None,
        ) as connection:
            await connection.send(json.dumps({"type": "start_streaming", "filters": filters}))
            log.debug("connected", filters=json.dumps(filters))
            async for message in connection:
                _print(log, message, as_json)
    except InvalidStatus as error:
        _tell_refusal(log, error.response.status_code, bytes(error.response.body or b""))
    except ConnectionClosed as error:
        if error.rcvd is not None:
            log.error(f"received remote closure: ({error.rcvd.code}) {error.rcvd.reason}")
        else:
            log.error("unable to read event from server", error=str(error))
    except (OSError, WebSocketException, TimeoutError) as error:
        log.error("unable to start management log streaming session", error=_without(str(error), url))


def _trust(session: Session) -> ssl.SSLContext:
    """The system's roots, or `--cacert` alone."""
    path = session.settings.file("cacert")
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        reason = (
            "the file holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror or "unreadable"
        )
        raise QanatError("ca_file_invalid", reason, where=f"{session.settings.place('cacert')} {path}") from None


def _without(text: str, url: str) -> str:
    return text.replace(url, url.partition("?")[0])


def _tell_refusal(log: Log, status: int, body: bytes) -> None:
    if status == 530:
        log.error(NO_CONNECTOR)
    try:
        answer = json.loads(body)
        errors = [(each["code"], each["message"]) for each in answer["errors"]]
    except (ValueError, LookupError, TypeError):
        log.error(f"unable to start management log streaming session: http response code returned {status}")
        return
    for code, message in errors:
        log.error(f"management request failed validation: ({code}) {message}")


def _print(log: Log, message: str | bytes, as_json: bool) -> None:
    """Each line on one of its own; what could steer a terminal is escaped."""
    try:
        event = json.loads(message)
        lines = event["logs"] if event["type"] == "logs" else []
    except (ValueError, LookupError, TypeError):
        log.error("invalid logs event")
        return
    for line in lines:
        if not isinstance(line, dict):
            continue
        fields = line.get("fields")
        if as_json:
            print(escape_json(json.dumps(line, ensure_ascii=False, separators=(",", ":"))))
            continue
        told = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        parts = (
            line.get("time", ""),
            line.get("level", "debug"),
            line.get("event", "cloudflared"),
            line.get("message", ""),
        )
        print(escape_text(f"{' '.join(str(part) for part in parts)} {told}"))
    sys.stdout.flush()
