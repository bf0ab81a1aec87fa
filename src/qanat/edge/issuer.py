"""Orders certificates: for every hostname that has a record, one order at a time, each in a thread of few.

Every attempt is noted before anything is asked of a CA, and every wait is kept: a restart orders nothing anew.
"""

import os
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread

import structlog
from sqlalchemy import select

from qanat.certificates import accounts, orders, pem, stored
from qanat.certificates.authority import Authority, Terms
from qanat.certificates.dns_records import ApiWriter, HookWriter, token_of
from qanat.certificates.failure import OrderFailedError
from qanat.certificates.proofs import DnsWriter, Kind, Prover, Publisher
from qanat.certificates.wanted import Wanted, compile_wanted
from qanat.errors import QanatError
from qanat.settings import AcmeSettings
from qanat.store import SYSTEM, Notice, NoticeKind, Store
from qanat.store.models import Certificate, CertificateOrder, Zone
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from qanat.store.skipped import Failure, LeftOut, SkippedRows
from qanat.tables.closest import up_to
from qanat.tables.reading import read_routes

AT_ONCE = 4
QUEUED = 20
LOOK_S = 30.0
SETTLED_S = 0.3
"""Several records are often written in a row."""
ALL_AGAIN = timedelta(hours=1)
LONGEST_PAUSE = timedelta(hours=1)
"""Of a whole CA: what it refuses for longer is as a rule of one name, and others must not wait for that."""
ASK_LATER = timedelta(hours=6)
HMAC_VARIABLE = "QANAT_ACME_HMAC_KEY"
STILL_OPEN = frozenset({"acme_unreachable", "acme_timeout", "acme_rate_limited", "acme_interrupted"})

log = structlog.get_logger(__name__)


class Issuer:
    """`own`: names of the edge itself; `given`: names that files have a certificate for; `kinds`: of challenges, those that the
    edge has a listener for (None: all of the settings')."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        publisher: Publisher,
        settings: AcmeSettings,
        *,
        own: Iterable[str] = (),
        given: Callable[[], Collection[str]] = tuple,
        kinds: Iterable[Kind] | None = None,
        most_of_account: int | None = None,
        skipped: SkippedRows | None = None,
        chance: Random | None = None,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._publisher = publisher
        self._settings = settings
        self._own = tuple(own)
        self._given = given
        self._kinds = settings.challenges if kinds is None else tuple(kinds)
        self._most_of_account = most_of_account
        self._skipped = skipped or SkippedRows()
        self._chance = chance or Random()
        self._dns = dns_writer(settings)
        self._stopping = Event()
        self._wake = Event()
        self._is_stale = True
        self._looked_at: datetime | None = None
        self._wanted = Wanted()
        self._running: set[str] = set()
        self._lock = Lock()
        self._registering = Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="qanat-order")
        self._thread = Thread(target=self._run, name="qanat-certificates", daemon=True)

    def start(self) -> Callable[[], None]:
        """Looks at once, and whenever records or certificates change; returns what ends it."""
        unsubscribe = self._store.notices.subscribe(self._hear)
        self._thread.start()

        def stop() -> None:
            unsubscribe()
            self.stop()

        return stop

    def stop(self) -> None:
        """Nothing more is asked of any CA; an open order is taken up again by the next start."""
        self._stopping.set()
        self._wake.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _hear(self, notice: Notice) -> None:
        if notice.kind in (NoticeKind.ROUTES, NoticeKind.ZONE, NoticeKind.CERTIFICATES):
            self._is_stale = True
            self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except QanatError as error:  # the database is away, full or read-only: no order is made
                log.error("no certificate can be ordered", code=error.code, reason=error.message)
            except Exception:
                log.exception("no certificate can be ordered")
            self._wake.wait(LOOK_S)
            self._wake.clear()
            self._stopping.wait(SETTLED_S)

    # ------------------------------------------------------------ what is due

    def look(self) -> int:
        """Starts what is due; how many orders."""
        now = self._store.clock()
        if self._is_stale or self._looked_at is None or not timedelta() <= now - self._looked_at < ALL_AGAIN:
            self._is_stale = False
            self._settle(now)
            self._looked_at = now
        with self._store.reading() as session:
            due = [each for each in orders.due(session, now) if each[0] in self._wanted.names]
            paused = self._paused(now)
            asking = orders.to_ask(session, now, set(self._settings.directory) - paused.keys())
        started = 0
        if len(paused) < len(set(self._settings.directory)):
            for name, order_id in due:
                started += self._start(name, partial(self._order, name, order_id))
        if asking:
            self._start("", partial(self._ask_for_renewal, asking))
        return started

    def _start(self, name: str, job: Callable[[], None]) -> bool:
        """One job of a name at a time; what finds no room is due again at the next look."""
        with self._lock:
            if name in self._running or len(self._running) >= QUEUED or self._stopping.is_set():
                return False
            self._running.add(name)

        def run() -> None:
            try:
                job()
            except QanatError as error:  # it could not be noted: nothing was asked
                log.error("a certificate could not be ordered", name=name, code=error.code, reason=error.message)
            except Exception:
                log.exception("a certificate could not be ordered", name=name)
            finally:
                with self._lock:
                    self._running.discard(name)
                self._report()
                self._wake.set()

        self._pool.submit(run)
        return True

    def _settle(self, now: datetime) -> None:
        with self._store.reading() as session:
            found = session.execute(select(Zone.id, Zone.name, Zone.account_id)).all()
            zones = {row.name: row.id for row in found}
            hostnames: dict[str, str | None] = dict.fromkeys(self._own)
            for target in read_routes(session):
                above = up_to(target.hostname.removeprefix("*."))
                hostnames[target.hostname] = next((zones[each] for each in above if each in zones), None)
            given = {*self._given(), *stored.uploaded_names(session, now=now)}
            self._wanted = compile_wanted(
                hostnames,
                given,
                has_dns=self._dns is not None,
                account_of={row.id: row.account_id for row in found},
                most_of_account=self._most_of_account,
            )
            changes = orders.changes(session, self._wanted, now)
            late = [
                entry
                for entry in stored.entries(session, reach=EVERYTHING)
                if entry.status(now) in ("expiring", "expired")
            ]
        if changes:
            with self._store.recording() as write:
                orders.settle(write, self._sealer, changes)
        for entry in late:
            end = entry.certificate.not_after if entry.certificate is not None else now
            log.error("a certificate ends soon, and there is no other", names=entry.names, ends=end.isoformat())
        self._report()

    def _paused(self, now: datetime) -> dict[str, datetime]:
        """Until when, by directory."""
        found = {}
        with self._store.reading() as session:
            for directory in self._settings.directory:
                account = accounts.find(session, directory)
                until = account.paused_until if account is not None else None
                # a pause is at most an hour: a longer one was noted by a clock that was wrong
                if until is not None and now < until <= now + LONGEST_PAUSE:
                    found[directory] = until
        return found

    def _report(self) -> None:
        """What can't be had is among the rows that the edge leaves out."""
        left_out = LeftOut()
        for name, (code, reason) in self._wanted.refused.items():
            left_out.add("certificate_order", name, Failure(code=code, reason=reason))
        try:
            with self._store.reading() as session:
                of_zone = {row.id: row.account_id for row in session.execute(select(Zone.id, Zone.account_id))}
                for row in orders.failing(session):
                    failure = Failure(
                        code=row.error_code or "",
                        reason=row.error_reason or "",
                        account_id=of_zone.get(row.zone_id or ""),
                    )
                    left_out.add("certificate_order", row.name, failure)
        except QanatError:
            return
        self._skipped.settle(left_out, "certificate_order")

    # ------------------------------------------------------------ one order

    def _order(self, name: str, order_id: str) -> None:
        with self._store.recording() as write:
            row = orders.begin(write, order_id, "ordering")
            if row is None:
                return
            before = write.session.get(Certificate, row.certificate_id) if row.certificate_id is not None else None
            key = self._sealer.open(row.sealed_secret, row.id)
        failure: OrderFailedError | None = None
        waits: list[datetime | None] = []
        try:
            if self._settings.staging_first and row.proved_at is None and before is None:
                self._prove(row)
            for directory in self._in_turn(row):
                until = self._paused(self._store.clock()).get(directory)
                if until is not None:
                    waits.append(until)
                    continue
                try:
                    self._obtain(directory, row, key, before)
                    return
                except OrderFailedError as error:
                    failure = error
                    waits.append(error.not_before)
                    self._pause(directory, error)
                    if error.whose != "authority":
                        break
        except OrderFailedError as error:
            failure = error
        if failure is None:
            return
        if failure.code == "acme_interrupted":
            return
        whole = [each for each in waits if each is not None]
        log.warning("a certificate could not be had", name=name, code=failure.code, reason=str(failure))
        with self._store.recording() as write:
            orders.failed(
                write,
                order_id,
                failure,
                not_before=min(whole) if len(whole) == len(waits) and whole else None,
                chance=self._chance,
                counts=failure.whose != "ours",
                is_open=failure.code in STILL_OPEN,
            )

    def _in_turn(self, row: CertificateOrder) -> list[str]:
        """The CA with an open order comes first."""
        given = list(dict.fromkeys(self._settings.directory))
        if row.order_url is not None and row.authority in given:
            given.sort(key=lambda each: each != row.authority)
        return given

    def _prove(self, row: CertificateOrder) -> None:
        """By a CA whose certificates are good for nothing. Where that one is away, the real one is asked all the same."""
        with self._store.recording() as write:
            orders.begin(write, row.id, "proving")
        try:
            ca = self._authority(self._settings.staging_directory)
            ca.obtain(row.name, pem.new_key(), self._prover(row))
        except OrderFailedError as error:
            if error.whose != "authority":
                raise
            log.warning("the staging CA doesn't serve", name=row.name, reason=str(error))
            return
        with self._store.recording() as write:
            orders.proved(write, row.id)
            orders.begin(write, row.id, "ordering")

    def _obtain(self, directory: str, row: CertificateOrder, key: bytes, before: Certificate | None) -> None:
        ca = self._authority(directory)

        def opened(url: str) -> None:
            with self._store.recording() as write:
                orders.opened(write, row.id, authority=directory, url=url)

        replaced = before.chain.encode() if before is not None and before.authority == directory else None
        open_url = row.order_url if row.authority == directory else None
        try:
            chain, found = ca.obtain(
                row.name, key, self._prover(row), open_url=open_url, replaces=replaced, opened=opened
            )
        except OrderFailedError as error:
            if error.code == "acme_account_unknown":
                with self._store.recording() as write:
                    accounts.registered(write, directory, None)
            raise
        with self._store.writing(SYSTEM) as write:
            made = orders.issued(
                write, self._sealer, row.id, chain=chain, key=key, found=found, authority=directory, chance=self._chance
            )
            if made is None:
                write.idle()
        log.info("a certificate was issued", name=row.name, by=found.issuer, until=found.not_after.isoformat())

    def _authority(self, directory: str) -> Authority:
        """With an account."""
        with self._registering:
            with self._store.recording() as write:
                account = accounts.ensure(write, self._sealer, directory, email=self._settings.email)
                key = self._sealer.open(account.sealed_secret, account.id)
            ca = Authority(
                directory,
                key,
                account_url=account.url,
                ca_file=str(self._settings.ca_file) if self._settings.ca_file is not None else None,
                now=self._store.clock,
                stopping=self._stopping,
            )
            if account.url is None:
                url = ca.register(self._terms(directory))
                with self._store.recording() as write:
                    accounts.registered(write, directory, url)
        return ca

    def _terms(self, directory: str) -> Terms:
        external = None
        for each in self._settings.external_accounts:
            if each.directory == directory:
                external = (each.key_id, _hmac_key(each.key_file))
        return Terms(email=self._settings.email, agreed=self._settings.terms_agreed, external=external)

    def _prover(self, row: CertificateOrder) -> Prover:
        return Prover(self._publisher, self._kinds, dns=self._dns, attempt=row.failures)

    def _pause(self, directory: str, error: OrderFailedError) -> None:
        """A CA that has had too much of us is left alone, by every name."""
        if error.not_before is None or error.code not in ("acme_rate_limited", "acme_refused"):
            return
        with self._store.recording() as write:
            accounts.pause(write, directory, min(error.not_before, write.at + LONGEST_PAUSE))

    def _ask_for_renewal(self, certificates: Iterable[Certificate]) -> None:
        """Each CA says when it would have its certificates renewed."""
        for certificate in certificates:
            directory = certificate.authority
            if directory is None or self._stopping.is_set():
                continue
            try:
                renew_at, ask_at = self._authority(directory).renewal(certificate.chain.encode())
            except OrderFailedError as error:
                log.info("a CA doesn't say when to renew", names=certificate.names, reason=str(error))
                renew_at, ask_at = None, self._store.clock() + ASK_LATER
            with self._store.recording() as write:
                orders.told(write, certificate.id, renew_at=renew_at, ask_at=ask_at)


def dns_writer(settings: AcmeSettings) -> DnsWriter | None:
    """Who writes TXT records: a command, or an API. None: nobody, and wildcards can't be had.

    Raises:
        QanatError: `settings_invalid`.
    """
    if settings.dns_hook:
        return HookWriter(settings.dns_hook)
    if not settings.dns_api:
        return None
    file = settings.dns_token_file
    if file is None:
        raise QanatError(
            "settings_invalid",
            "an API that writes TXT records needs a token",
            where="acme.dns_token_file",
            hint="write its API token into a file (chmod 600), and name that",
        )
    return ApiWriter(
        settings.dns_api, lambda: token_of(file), resolver=settings.dns_resolver, wait_s=settings.dns_wait_s
    )


def _hmac_key(file: Path | None) -> str:
    if file is None:
        key = os.environ.get(HMAC_VARIABLE, "")
        where = HMAC_VARIABLE
    else:
        where = str(file)
        try:
            key = file.read_text("ascii").split("\n", 1)[0].strip()
        except (OSError, UnicodeError) as error:
            reason = f"{file} can't be read: {getattr(error, 'strerror', None) or error}"
            raise OrderFailedError(
                "acme_account_refused", reason, whose="authority", where="acme.external_accounts"
            ) from None
    if not key:
        reason = f"{where} holds no HMAC key"
        raise OrderFailedError("acme_account_refused", reason, whose="authority", where="acme.external_accounts")
    return key
