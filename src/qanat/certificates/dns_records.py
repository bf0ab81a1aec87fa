"""DNS-01 by a command, or by any v4 API (ours or the hosted one)."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.resolver
import structlog

from qanat.client import Client
from qanat.errors import QanatError

HOOK_S = 120
TTL_S = 60
LOOK_S = 1.0
QUERY_S = 3.0
MOST_CNAMES = 8

log = structlog.get_logger(__name__)


class HookWriter:
    """`COMMAND present|cleanup NAME. VALUE`, as lego's `exec` provider calls one. It returns when name servers answer with the
    value."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)

    def present(self, name: str, value: str) -> None:
        """QanatError `acme_dns_failed`."""
        self._run("present", name, value)

    def cleanup(self, name: str, value: str) -> None:
        """What fails is logged: the certificate is there, or not, already."""
        try:
            self._run("cleanup", name, value)
        except QanatError as error:
            log.warning("a TXT record could not be removed", name=name, reason=str(error))

    def _run(self, action: str, name: str, value: str) -> None:
        where = "acme.dns_hook"
        try:
            done = subprocess.run(
                [*self._command, action, f"{name}.", value],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=HOOK_S,
            )
        except subprocess.TimeoutExpired:
            raise _failed(f"{self._command[0]} {action} took more than {HOOK_S} s", where) from None
        except OSError as error:
            raise _failed(f"can't run {self._command[0]}: {error.strerror}", where) from None
        if done.returncode:
            told = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
            reason = f": {told[-1][:200]}" if told else ""
            raise _failed(f"{self._command[0]} {action} ended with status {done.returncode}{reason}", where)


class ApiWriter:
    """TXT records by a v4 API. `token`: gives its API token, each time anew; `resolver`: `host:port` of the one name server that
    is asked (""): the system's, and the zone's own); `wait_s`: how long name servers may take."""

    def __init__(self, url: str, token: Callable[[], str], *, resolver: str = "", wait_s: float = 60.0) -> None:
        self._url = url
        self._token = token
        self._names = NameServers(resolver)
        self._wait_s = wait_s
        self._made: dict[tuple[str, str], tuple[str, str]] = {}

    def present(self, name: str, value: str) -> None:
        """QanatError `acme_dns_failed`."""
        target = self._names.final(name)
        try:
            with Client(self._url, self._token(), retries=2) as client:
                zone = client.find_zone(target)
                fields = {"name": target, "type": "TXT", "content": f'"{value}"', "ttl": TTL_S}
                self._made[name, value] = (zone.id, client.put_record(zone.id, fields).id)
        except QanatError as error:
            raise _failed(f"{target} could not be written by {self._url}: {error.message}", "acme.dns_api") from error
        self._names.wait(target, value, self._wait_s)

    def cleanup(self, name: str, value: str) -> None:
        """Only its own record; what fails is logged."""
        made = self._made.pop((name, value), None)
        if made is None:
            return
        try:
            with Client(self._url, self._token(), retries=2) as client:
                client.delete_record(*made)
        except QanatError as error:
            log.warning("a TXT record could not be removed", name=name, reason=str(error))


class NameServers:
    """What DNS says: by one given server, or as anybody would find it out."""

    def __init__(self, server: str = "") -> None:
        self._given: tuple[str, int] | None = None
        if server:
            host, _, port = server.rpartition(":")
            self._given = (host.strip("[]"), int(port))

    def final(self, name: str) -> str:
        """Where CNAMEs lead from a name: there its TXT belongs (RFC 8555 8.4 lets it be delegated)."""
        for _ in range(MOST_CNAMES):
            found = self._answers(name, "CNAME")
            if not found:
                return name
            name = found[0].removesuffix(".").lower()
        raise _failed(f"the CNAMEs of {name} don't end", "acme.dns_api")

    def wait(self, name: str, value: str, wait_s: float) -> None:
        """Until every name server of the zone answers with the value. QanatError `acme_dns_failed`."""
        servers = self._servers(name)
        end = monotonic() + wait_s
        left = list(servers)
        while left:
            left = [server for server in left if value not in _ask(server, name, "TXT")]
            if left and monotonic() > end:
                told = ", ".join(host for host, _ in left)
                raise _failed(f"{told} did not answer with the TXT of {name} within {wait_s:g} s", "acme.dns_wait_s")
            if left:
                sleep(LOOK_S)

    def _servers(self, name: str) -> list[tuple[str, int]]:
        """None where they can't be found out: the CA looks, and says."""
        if self._given is not None:
            return [self._given]
        try:
            resolver = dns.resolver.get_default_resolver()
            zone = dns.resolver.zone_for_name(name, resolver=resolver)
            hosts = [str(each.target) for each in resolver.resolve(zone, "NS", lifetime=QUERY_S * 2)]
            found = []
            for host in hosts:
                try:
                    found.append((str(resolver.resolve(host, "A", lifetime=QUERY_S * 2)[0]), 53))
                except dns.exception.DNSException:
                    continue
        except (dns.exception.DNSException, OSError):
            return []
        return found

    def _answers(self, name: str, kind: str) -> list[str]:
        if self._given is not None:
            return _ask(self._given, name, kind)
        try:
            return [each.to_text() for each in dns.resolver.resolve(name, kind, lifetime=QUERY_S * 2)]
        except (dns.exception.DNSException, OSError):
            return []


def token_of(file: Path) -> str:
    """The first line. QanatError `acme_dns_failed`."""
    try:
        return file.read_text("ascii").split("\n", 1)[0].strip()
    except (OSError, UnicodeError) as error:
        raise _failed(
            f"{file} can't be read: {getattr(error, 'strerror', None) or error}", "acme.dns_token_file"
        ) from None


def _ask(server: tuple[str, int], name: str, kind: str) -> list[str]:
    """What a server answers for that very name; TXT without quotes. Nothing where it doesn't."""
    asked = dns.message.make_query(name, kind)
    try:
        answer = dns.query.udp_with_fallback(asked, server[0], port=server[1], timeout=QUERY_S)[0]
    except (dns.exception.DNSException, OSError):
        return []
    found = [
        each.to_text()
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.from_text(kind) and rrset.name == dns.name.from_text(name)
        for each in rrset
    ]
    return [text.strip('"') for text in found] if kind == "TXT" else found


def _failed(reason: str, where: str) -> QanatError:
    return QanatError("acme_dns_failed", reason, where=where)
