"""Each rule's origin: whether anything listens where its service points."""

import http.client
import json
import socket
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from qanat.host.doctor.findings import Finding

DIAL_S = 3.0
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "tcp": 7864, "ssh": 22, "rdp": 3389, "smb": 445}
ANSWERED_HERE = ("http_status:", "hello_world", "hello-world", "bastion", "socks-proxy")


def check(rules: Iterable[tuple[str, str]], *, dial_s: float = DIAL_S) -> list[Finding]:
    """Each `(hostname and path, service)`. What answers is not asked for anything: an origin may take any request amiss."""
    findings, dialled = [], {}
    for name, service in rules:
        if service.startswith(ANSWERED_HERE):
            continue
        if service not in dialled:
            dialled[service] = _reason(service, dial_s)
        what, reason = f"origin of {name or '*'}", dialled[service]
        if reason is None:
            findings.append(Finding(what, "ok", f"{service} listens"))
        else:
            fix = "start it, or correct the rule's service"
            findings.append(Finding(what, "failure", f"{service} can't be reached: {reason}", fix))
    return findings


def pushed_rules(address: str) -> list[tuple[str, str]] | None:
    """The rules that a running connector serves by, from its `/config`; None where it doesn't tell."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=DIAL_S)
    try:
        connection.request("GET", "/config")
        document = json.loads(connection.getresponse().read(1 << 20))
        rules = document["config"]["ingress"] or []
        return [(f"{rule.get('hostname') or ''}{rule.get('path') or ''}", str(rule["service"])) for rule in rules]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError):
        return None
    finally:
        connection.close()


def _reason(service: str, dial_s: float) -> str | None:
    for prefix in ("unix+tls:", "unix:"):
        if service.startswith(prefix):
            return _unix_reason(service.removeprefix(prefix), dial_s)
    url = urlsplit(service)
    try:
        port = url.port or PORTS.get(url.scheme, 80)
        socket.create_connection((url.hostname or "", port), timeout=dial_s).close()
    except (OSError, ValueError) as error:
        return "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
    return None


def _unix_reason(path: str, dial_s: float) -> str | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(dial_s)
        try:
            client.connect(path)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                return "there is no such socket"
            return "it is no socket" if not Path(path).is_socket() else error.strerror or str(error)
    return None
