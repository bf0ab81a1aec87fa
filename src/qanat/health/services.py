"""How the service behind a hostname can be asked: most by HTTP, those that aren't HTTP by connecting to them, some not at all.
By the rules that its tunnel's connectors go by; where nobody told them, by HTTP."""

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Literal, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qanat.control.explain import FLAGS
from qanat.errors import QanatError
from qanat.ingress.rules import Configuration as Rules
from qanat.ingress.rules import parse_configuration
from qanat.ingress.verdicts import Asked, verdicts
from qanat.store.lots import in_lots
from qanat.store.models import Configuration, Tunnel

MOST_REMEMBERED = 50_000


class Access(NamedTuple):
    """`connect`: the connector connects to the service, as for a WebSocket; `none`: no request of ours tells anything.
    `service`: as the rule has it."""

    kind: Literal["http", "connect", "none"]
    service: str = ""


HTTP = Access("http")


@dataclass(frozen=True, slots=True)
class _Known:
    """A tunnel's rules of one version. None: all of them are HTTP, or can't be read."""

    version: str
    rules: Rules | None


class Services:
    """What is known of tunnels' rules, as of the last `read`. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._tunnels: dict[str, _Known] = {}
        self._found: dict[tuple[str, str, str], Access] = {}

    def read(self, session: Session, tunnel_ids: Iterable[str]) -> None:
        """The newest rules of these tunnels; others are forgotten. Documents are read where they are others than before."""
        wanted = sorted(set(tunnel_ids))
        known: dict[str, _Known] = {}
        for some in in_lots(wanted):
            newest = (
                select(Configuration.tunnel_id, func.max(Configuration.version).label("version"))
                .where(Configuration.tunnel_id.in_(some))
                .group_by(Configuration.tunnel_id)
            )
            versions = {row.tunnel_id: row.version for row in session.execute(newest)}
            told = select(Tunnel.id, Tunnel.local_configuration_at).where(
                Tunnel.id.in_(some), Tunnel.local_configuration.is_not(None)
            )
            local = {row.id: row.local_configuration_at for row in session.execute(told) if row.id not in versions}
            for tunnel_id in {**versions, **local}:
                version = str(versions.get(tunnel_id, local.get(tunnel_id)))
                before = self._tunnels.get(tunnel_id)
                if before is None or before.version != version:
                    before = _Known(version, _odd(_document(session, tunnel_id, versions.get(tunnel_id))))
                known[tunnel_id] = before
        with self._lock:
            changed = {each for each, now in known.items() if self._tunnels.get(each) is not now}
            self._tunnels = known
            self._found = {key: access for key, access in self._found.items() if key[0] in known.keys() - changed}

    def of(self, tunnel_id: str, hostname: str, path: str) -> Access:
        """How a request for this hostname and path ends at this tunnel."""
        with self._lock:
            known = self._tunnels.get(tunnel_id)
            found = self._found.get((tunnel_id, hostname, path))
        if known is None or known.rules is None:
            return HTTP
        if found is None:
            found = _access(known.rules, Asked(hostname, path.partition("?")[0]))
            with self._lock:
                if len(self._found) < MOST_REMEMBERED:
                    self._found[tunnel_id, hostname, path] = found
        return found


def _document(session: Session, tunnel_id: str, version: int | None) -> str:
    if version is not None:
        return session.get_one(Configuration, (tunnel_id, version)).document
    return session.get_one(Tunnel, tunnel_id).local_configuration or "{}"


def _odd(document: str) -> Rules | None:
    """The rules, if there are any that aren't HTTP."""
    try:
        rules = parse_configuration(document, also_known=FLAGS, misspelt_keys="told", patterns=False)
    except QanatError:  # a foreign connector tells what it likes
        return None
    return rules if any(_access_of(rule.service.kind) != "http" for rule in rules.rules) else None


def _access(rules: Rules, asked: Asked) -> Access:
    try:
        passed = verdicts(rules, asked)
    except QanatError:
        return HTTP
    if not passed or passed[-1].missed is not None:
        return HTTP
    service = passed[-1].rule.service
    return Access(_access_of(service.kind), service.text)


def _access_of(kind: str) -> Literal["http", "connect", "none"]:
    return "connect" if kind == "tcp" else "none" if kind in ("bastion", "socks-proxy") else "http"
