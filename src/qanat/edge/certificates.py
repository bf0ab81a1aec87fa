"""The edge's certificates: given ones first, the development CA's for every other name."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qanat.edge.authority import Authority, KeyPair
from qanat.edge.engine import Certificate, engine_errors, inspect_certificate
from qanat.errors import QanatError
from qanat.ids import Hostname
from qanat.settings import TlsSettings
from qanat.tables import LeafNames, compile_leaves

TUNNEL_NAMES = ("quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com")
"""What connectors ask for in TLS (protocol.md)."""


@dataclass(frozen=True, slots=True)
class _Made:
    pair: KeyPair
    certificate: Certificate
    renew_at: datetime


class Certificates:
    """Makes engine certificates; keeps those it made, so that a change costs what is new in it."""

    def __init__(self, given: Iterable[KeyPair], authority: Authority | None) -> None:
        self._given: list[Certificate] = []
        self._given_names: set[str] = set()
        for pair in given:
            self._given.append(Certificate(chain_pem=pair.chain, key_pem=pair.key))
            self._given_names.update(inspect_certificate(pair.chain, pair.key))
        self._authority = authority
        self._made: dict[LeafNames, _Made] = {}
        self._is_new = True

    def set(self, zones: Iterable[str], hostnames: Iterable[Hostname]) -> None:
        """What every zone and hostname needs, and nothing else."""
        leaves = self._leaves(zones, hostnames)
        made = {leaf: self._leaf(leaf) for leaf in leaves}
        self._is_new |= made != self._made
        self._made = made

    def add(self, zones: Iterable[str], hostnames: Iterable[Hostname]) -> None:
        """What these zones and hostnames need more. A hostname that is a zone's name needs that zone among `zones`."""
        for leaf in self._leaves(zones, hostnames):
            if leaf not in self._made:
                self._made[leaf] = self._leaf(leaf)
                self._is_new = True

    def drop(self, zone: str) -> None:
        """What the names in a zone needed. What others in there still need is to be added again."""
        below = f".{zone}"
        for leaf in [leaf for leaf in self._made if leaf.parent == zone or leaf.parent.endswith(below)]:
            del self._made[leaf]
            self._is_new = True

    def changed(self) -> list[Certificate] | None:
        """All certificates that are needed now; None when they are those that were answered last."""
        if not self._is_new:
            return None
        self._is_new = False
        return [*self._given, *(made.certificate for made in self._made.values())]

    def forget(self) -> None:
        """The next `changed` answers in full."""
        self._is_new = True

    def _leaves(self, zones: Iterable[str], hostnames: Iterable[Hostname]) -> list[LeafNames]:
        return compile_leaves(zones, hostnames, self._given_names) if self._authority is not None else []

    def _leaf(self, leaf: LeafNames) -> _Made:
        if self._authority is None:
            raise AssertionError("no authority to make a leaf")
        before = self._made.get(leaf)
        if before is not None and datetime.now(UTC) < before.renew_at:
            return before
        pair = self._authority.leaf(leaf.parent, leaf.names)
        return _Made(pair, Certificate(chain_pem=pair.chain, key_pem=pair.key), self._authority.renew_at(pair))


def load_given(settings: TlsSettings) -> list[KeyPair]:
    """The given public certificates, each checked. QanatError `engine_bad_certificate`, `certificate_unreadable`."""
    return [
        _load(files.chain, files.key, where=f"tls.certificates[{index}]")
        for index, files in enumerate(settings.certificates)
    ]


def tunnel_certificate(settings: TlsSettings, authority: Authority | None, names: Iterable[str]) -> Certificate:
    """What the tunnel listener shows. QanatError `certificate_missing` when neither files nor the CA may give one."""
    if settings.tunnel_chain is not None and settings.tunnel_key is not None:
        pair = _load(settings.tunnel_chain, settings.tunnel_key, where="tls.tunnel_chain")
    elif authority is not None:
        pair = authority.leaf("_tunnel", list(dict.fromkeys((*TUNNEL_NAMES, *names))))
    else:
        raise QanatError(
            "certificate_missing",
            "the tunnel listener has no certificate",
            where="tls.tunnel_chain",
            hint="give tls.tunnel_chain and tls.tunnel_key, or leave tls.development_ca on",
        )
    return Certificate(chain_pem=pair.chain, key_pem=pair.key)


def _load(chain: Path, key: Path, *, where: str) -> KeyPair:
    try:
        pair = KeyPair(chain.read_bytes(), key.read_bytes())
    except OSError as error:
        raise QanatError("certificate_unreadable", f"{error.filename}: {error.strerror}", where=where) from error
    with engine_errors(where=where):
        inspect_certificate(pair.chain, pair.key)
    return pair
