"""The edge's certificates: those of files first, then the store's, and the development CA's for every other name."""

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509

from qanat.certificates.stored import GivenFile, Served
from qanat.edge.authority import Authority, KeyPair
from qanat.edge.engine import Certificate, EngineError, engine_errors, inspect_certificate
from qanat.errors import QanatError
from qanat.ids import Hostname
from qanat.settings import TlsSettings
from qanat.store.database import Clock, utc_now
from qanat.store.skipped import Failure, LeftOut, SkippedRows
from qanat.tables import LeafNames, compile_leaves

TUNNEL_NAMES = ("quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com")
"""What connectors ask for in TLS (protocol.md)."""
TUNNEL_LEAF = "_tunnel"
MOST_OF_ACCOUNT = 2000
AT_ONCE = 100
"""Certificates that are made for an account in one go, a tenth of a second; more wait, so that other accounts come between."""

Owner = Callable[[str], str | None]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Made:
    pair: KeyPair
    certificate: Certificate
    renew_at: datetime
    account_id: str | None


class Certificates:
    """Makes engine certificates; keeps those it made, so that a change costs what is new in it.

    `own`: names of the edge itself, which need one like any hostname. One that can't be made or kept is noted in `skipped`, and
    stands in nobody's way. `most_of_account`: how many the CA makes for one account.
    """

    def __init__(
        self,
        given: Iterable[KeyPair],
        authority: Authority | None,
        *,
        own: Iterable[str] = (),
        skipped: SkippedRows | None = None,
        most_of_account: int = MOST_OF_ACCOUNT,
    ) -> None:
        self._given_pairs: list[KeyPair] = []
        self._given: list[Certificate] = []
        self._given_names: set[str] = set()
        self._to_give: list[KeyPair] | None = list(given)
        self._take_given()
        self._stored: dict[str, tuple[Served, Certificate]] = {}
        self._authority = authority
        self._own = tuple(own)
        self._skipped = skipped or SkippedRows()
        self._most_of_account = most_of_account
        self._made: dict[LeafNames, _Made] = {}
        self._of_account: Counter[str | None] = Counter()
        self._deferred: list[str] = []
        self._is_new = True

    def give(self, given: Iterable[KeyPair]) -> None:
        """Other given certificates, from the next `set` on."""
        self._to_give = list(given)

    def hold(self, served: Sequence[Served]) -> None:
        """Those of the store, from the next `changed` on; the later, the stronger. One that the engine refuses is left out."""
        before, self._stored = self._stored, {}
        for each in served:
            known = before.get(each.id)
            if known is not None and known[0] == each:
                self._stored[each.id] = known
                continue
            try:
                made = Certificate(chain_pem=each.chain, key_pem=each.key, hostnames=each.names)
            except EngineError as error:
                log.error("a certificate can't be served", certificate=each.id, names=each.names, reason=error.message)
                continue
            self._stored[each.id] = (each, made)
            self._is_new = True
        self._is_new |= self._stored.keys() != before.keys()

    @property
    def stored(self) -> dict[str, Served]:
        """By id, what `hold` took."""
        return {each: served for each, (served, _) in self._stored.items()}

    @property
    def given_chains(self) -> list[bytes]:
        """Of files, as they are in force."""
        return [pair.chain for pair in self._given_pairs]

    @property
    def given_names(self) -> frozenset[str]:
        """What files have certificates for."""
        return frozenset(self._given_names)

    def set(self, zones: Iterable[str], hostnames: Iterable[Hostname], owner: Owner) -> None:
        """What every zone and hostname needs, and nothing else. `owner`: the account that a name below a zone belongs to."""
        self._take_given()
        zones = set(zones)
        before, self._made = self._made, {}
        self._of_account.clear()
        left_out = LeftOut()
        leaves = self._leaves(zones, hostnames)
        made_now = Counter[str | None]()
        # those that are there stay so, whatever comes to them; then the zones' own
        for leaf in sorted(leaves, key=lambda each: (each not in before, each.parent not in zones, each)):
            account_id = self._account_of(leaf, owner)
            # at the start nobody waits, and every one is new here
            if leaf in before or not before or self._has_turn(leaf, account_id, made_now):
                self._make(leaf, account_id, before.get(leaf), left_out)
        self._is_new |= self._made != before
        self._skipped.settle(left_out, "certificate")

    def add(self, zones: Iterable[str], hostnames: Iterable[Hostname], owner: Owner) -> None:
        """What these zones and hostnames need more. A hostname that is a zone's name needs that zone among `zones`."""
        missing = [leaf for leaf in self._leaves(zones, hostnames) if leaf not in self._made]
        left_out = LeftOut()
        made_now = Counter[str | None]()
        for leaf in missing:
            account_id = self._account_of(leaf, owner)
            if self._has_turn(leaf, account_id, made_now):
                self._make(leaf, account_id, None, left_out)
        self._is_new |= any(leaf in self._made for leaf in missing)
        self._skipped.settle(left_out, "certificate", among=[leaf.parent for leaf in missing])

    def take_deferred(self) -> list[str]:
        """The names whose certificates are still to be made, by further calls of `add`."""
        deferred, self._deferred = self._deferred, []
        return deferred

    def _account_of(self, leaf: LeafNames, owner: Owner) -> str | None:
        return None if leaf.parent in self._own else owner(leaf.parent)

    def _has_turn(self, leaf: LeafNames, account_id: str | None, made_now: Counter[str | None]) -> bool:
        made_now[account_id] += 1
        if made_now[account_id] <= AT_ONCE:
            return True
        self._deferred.append(leaf.parent)
        return False

    def drop(self, zone: str) -> None:
        """What the names in a zone needed. What others in there still need is to be added again."""
        below = f".{zone}"
        for leaf in [leaf for leaf in self._made if leaf.parent == zone or leaf.parent.endswith(below)]:
            self._of_account[self._made.pop(leaf).account_id] -= 1
            self._is_new = True
        gone = [each for each in self._skipped.names("certificate") if each == zone or each.endswith(below)]
        self._skipped.settle(LeftOut(), "certificate", among=gone)

    def keep_again(self) -> None:
        """Tries once more to write the files that could not be written."""
        if self._authority is None:
            return
        left_out = LeftOut()
        tried = []
        for leaf, made in list(self._made.items()):
            if made.pair.unkept is not None:
                tried.append(leaf.parent)
                pair = self._authority.keep(leaf.parent, made.pair)
                self._made[leaf] = _Made(pair, made.certificate, made.renew_at, made.account_id)
                self._note_unkept(leaf, pair, made.account_id, left_out)
        self._skipped.settle(left_out, "certificate", among=tried)

    def sweep(self) -> int:
        """Removes the files of leaves that nobody needs; how many."""
        if self._authority is None:
            return 0
        return self._authority.sweep([TUNNEL_LEAF, *(leaf.parent for leaf in self._made)])

    def changed(self) -> list[Certificate] | None:
        """All certificates that are needed now; None when they are those that were answered last."""
        if not self._is_new:
            return None
        self._is_new = False
        # the later wins a name
        made = [made.certificate for made in self._made.values()]
        return [*made, *(certificate for _, certificate in self._stored.values()), *self._given]

    def forget(self) -> None:
        """The next `changed` answers in full."""
        self._is_new = True

    def _take_given(self) -> None:
        pairs, self._to_give = self._to_give, None
        if pairs is None or pairs == self._given_pairs:
            return
        self._given_pairs = pairs
        self._given = [Certificate(chain_pem=pair.chain, key_pem=pair.key) for pair in pairs]
        self._given_names = {name for pair in pairs for name in inspect_certificate(pair.chain, pair.key)}
        self._is_new = True

    def _leaves(self, zones: Iterable[str], hostnames: Iterable[Hostname]) -> list[LeafNames]:
        if self._authority is None:
            return []
        return compile_leaves(zones, hostnames, self._given_names, own=self._own)

    def _make(self, leaf: LeafNames, account_id: str | None, before: _Made | None, left_out: LeftOut) -> None:
        if self._authority is None:
            return
        if self._of_account[account_id] >= self._most_of_account:
            reason = (
                f"the account has {self._most_of_account} certificates of the development CA, the most there may be: its "
                "hostnames are only served over plain HTTP; use fewer different parent names, or raise "
                "account_limits.certificates"
            )
            left_out.add(
                "certificate", leaf.parent, Failure(code="certificate_too_many", reason=reason, account_id=account_id)
            )
            return
        try:
            if before is not None and datetime.now(UTC) < before.renew_at:
                made = before
            else:
                pair = self._authority.leaf(leaf.parent, leaf.names)
                certificate = Certificate(chain_pem=pair.chain, key_pem=pair.key)
                made = _Made(pair, certificate, self._authority.renew_at(pair), account_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, of one name, not the others' business
            left_out.add(
                "certificate", leaf.parent, Failure.of(error, account_id=account_id, full="certificate_unmade")
            )
            if before is None:
                return
            made = before  # due to be renewed, and still good for a while
        self._made[leaf] = made
        self._of_account[account_id] += 1
        self._note_unkept(leaf, made.pair, account_id, left_out)

    def _note_unkept(self, leaf: LeafNames, pair: KeyPair, account_id: str | None, left_out: LeftOut) -> None:
        if pair.unkept is not None:
            failure = Failure.of(pair.unkept, account_id=account_id, full="certificate_unkept")
            left_out.add("certificate", leaf.parent, failure)


class GivenCertificates:
    """The files of `tls.certificates`. One that can't be used is noted, and what was read of it before stays in force until it
    ends."""

    def __init__(self, settings: TlsSettings, skipped: SkippedRows, *, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._files = settings.certificates
        self._skipped = skipped
        self._good: dict[int, KeyPair] = {}
        self._read_at: datetime | None = None
        self._problems: dict[int, str] = {}

    def load(self) -> list[KeyPair]:
        """Those that can be used, as the files are now."""
        self._read_at = self._clock()
        for index, files in enumerate(self._files):
            try:
                self._good.pop(index if self._is_over(index) else -1, None)
                pair = _load(files.chain, files.key, where=f"tls.certificates[{index}]")
                _check_end(pair, self._clock(), where=str(files.chain))
                self._good[index] = pair
                self._problems.pop(index, None)
                self._skipped.clear("given_certificate", str(files.chain))
            except QanatError as error:
                self._problems[index] = str(error)
                self._skipped.note("given_certificate", str(files.chain), Failure.of(error))
        return [self._good[index] for index in sorted(self._good)]

    def files(self) -> list[GivenFile]:
        """Each of them, as it was last read."""
        return [
            GivenFile(
                path=str(files.chain),
                chain=self._good[index].chain if index in self._good else None,
                read_at=self._read_at,
                problem=self._problems.get(index, ""),
            )
            for index, files in enumerate(self._files)
        ]

    def _is_over(self, index: int) -> bool:
        return index in self._good and _end(self._good[index]) <= self._clock()


def _end(pair: KeyPair) -> datetime:
    """Of the first certificate of a chain that ends."""
    return min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(pair.chain))


def _check_end(pair: KeyPair, now: datetime, *, where: str) -> None:
    end = _end(pair)
    if end <= now:
        reason = f"the chain ended at {end:%Y-%m-%d %H:%M} UTC, and is not served"
        raise QanatError(
            "certificate_expired", reason, where=where, hint="put a renewed one there, with its intermediates"
        )


def tunnel_certificate(settings: TlsSettings, authority: Authority | None, names: Iterable[str]) -> Certificate:
    """What the tunnel listener shows. QanatError `certificate_missing` when neither files nor the CA may give one."""
    if settings.tunnel_chain is not None and settings.tunnel_key is not None:
        pair = _load(settings.tunnel_chain, settings.tunnel_key, where="tls.tunnel_chain")
    elif authority is not None:
        pair = authority.leaf(TUNNEL_LEAF, list(dict.fromkeys((*TUNNEL_NAMES, *names))))
        if pair.unkept is not None:
            log.error("the tunnel listener's certificate can't be kept", reason=str(pair.unkept))
    else:
        raise QanatError(
            "certificate_missing",
            "the tunnel listener has no certificate",
            where="tls.tunnel_chain",
            hint="give tls.tunnel_chain and tls.tunnel_key, or leave tls.development_ca on",
        )
    return Certificate(chain_pem=pair.chain, key_pem=pair.key)


def found_by(settings: TlsSettings, authority: Authority | None, public_name: str) -> dict[str, str]:
    """What connector tokens say of the edge besides the tunnel: its name, and the CA (DER, base64) where its own signs the
    tunnel listener. Nothing where it has no name."""
    if not public_name:
        return {}
    if settings.tunnel_chain is not None or authority is None:
        return {"edge": public_name}
    return {"edge": public_name, "ca": b64encode(authority.certificate_der).decode()}


def _load(chain: Path, key: Path, *, where: str) -> KeyPair:
    try:
        pair = KeyPair(chain.read_bytes(), key.read_bytes())
    except OSError as error:
        raise QanatError("certificate_unreadable", f"{error.filename}: {error.strerror}", where=where) from error
    with engine_errors(where=where):
        inspect_certificate(pair.chain, pair.key)
    return pair
