"""A quick tunnel: `tunnel --url …` without a token asks a service for a tunnel and its hostname, and runs its connector."""

import base64
import json
import re

import msgspec

from qanat import structs
from qanat.client.transport import AddressError, Transport, TransportError
from qanat.connector.flag_table import Value
from qanat.connector.log import Log
from qanat.connector.sources import OwnTunnel, Sources
from qanat.errors import QanatError
from qanat.ids import parse_tunnel_id

HOSTED_SERVICE = "https://api.trycloudflare.com"
PATIENCE_S = 15.0
LARGEST = 1 << 16

_HOSTNAME = re.compile(r"[a-z0-9._-]{1,253}", re.IGNORECASE | re.ASCII)


class _Tunnel(msgspec.Struct):
    id: str = ""
    hostname: str = ""
    account_tag: str = ""
    secret: str = ""


class _Refusal(msgspec.Struct):
    message: str = ""


class _Answer(msgspec.Struct):
    result: _Tunnel | None = None
    errors: list[_Refusal] | None = None


def is_wanted(sources: Sources) -> bool:
    """Whether an origin was named, and with it a quick tunnel was asked for."""
    return service(sources) != "" and ("url" in sources.values or "hello-world" in sources.values)


def service(sources: Sources) -> str:
    """Where quick tunnels are asked for."""
    return sources.get("quick-service", HOSTED_SERVICE)


def quick_tunnel(sources: Sources, log: Log) -> OwnTunnel:
    """Asks for the tunnel, says its URL in the box that scripts look for, and gives the settings that its connector runs by.

    Raises:
        QanatError: `quick_tunnel_refused`, with the service's reason.
    """
    where = service(sources)
    log.info(
        "Thank you for trying a quick tunnel: it is for trials. Its hostname goes when the connector ends, and nobody promises "
        "that it stays up until then"
    )
    log.info(f"Requesting new quick Tunnel on {where}...")
    made = _ask(where)
    for line in box(
        (
            "Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):",
            f"https://{made.hostname}",
        )
    ):
        log.info(line)
    credentials = {"AccountTag": made.account_tag, "TunnelSecret": made.secret, "TunnelID": made.id}
    values: dict[str, Value] = {"credentials-contents": json.dumps(credentials), "ha-connections": 1}
    values["protocol"] = sources.get("protocol", "quic")
    return OwnTunnel(values, made.hostname)


def box(lines: tuple[str, ...]) -> list[str]:
    """A frame around lines, as stock draws it."""
    width = max(map(len, lines))
    border = f"+{'-' * (width + 4)}+"
    return [border, *(f"|  {line.ljust(width)}  |" for line in lines), border]


def _ask(where: str) -> _Tunnel:
    body = _post(where)
    try:
        answer = structs.decode(body, _Answer)
    except msgspec.MsgspecError:
        raise _refused("failed to unmarshal quick Tunnel: the answer is not one of such a service", where) from None
    made = answer.result
    if made is None or not made.id:
        reasons = "; ".join(each.message for each in answer.errors or ())
        raise _refused(f"failed to request quick Tunnel: {reasons or 'the answer names none'}", where)
    hostname = made.hostname.removeprefix("https://")
    try:
        made.id = parse_tunnel_id(made.id)
        base64.b64decode(made.secret, validate=True)
    except (QanatError, ValueError):
        raise _refused("failed to parse quick Tunnel ID", where) from None
    if not _HOSTNAME.fullmatch(hostname):
        raise _refused("failed to request quick Tunnel: the answer has no hostname", where)
    made.hostname = hostname
    return made


def _post(where: str) -> bytes:
    transport = Transport(where.rstrip("/"), timeout_s=PATIENCE_S, use_proxies=False)
    try:
        headers = [("content-type", "application/json"), ("user-agent", "qanat")]
        return transport.request("POST", "/tunnel", query={}, headers=headers, body=b"").body[:LARGEST]
    except AddressError:
        hint = "write https://edge.example.com/client/v4"
        raise QanatError(
            "flag_value_invalid", "this is no address of a service", where="--quick-service", hint=hint
        ) from None
    except TransportError as error:
        raise _refused(f"failed to request quick Tunnel: {error}", where) from None
    finally:
        transport.close()


def _refused(message: str, where: str) -> QanatError:
    hint = "--quick-service names a service of your own: an edge with `control.quick_tunnels.zone` set"
    return QanatError("quick_tunnel_refused", message, where=where, hint=hint)
