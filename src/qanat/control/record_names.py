"""What the names that a write concerns hold already, loaded when first asked for: one look-up for all of them. The rules are
dns/rules.py's, but for this one: a record names a tunnel of its own account."""

from collections.abc import Collection, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.dns.forms import RecordForm
from qanat.dns.rules import Neighbours
from qanat.errors import QanatError
from qanat.store.lots import in_lots
from qanat.store.models import Record, Tunnel, Zone


class NamesInUse:
    """The records of a zone's names, kept up with the write that changes them. `own`: names that the edge serves itself."""

    def __init__(self, session: Session, zone: Zone, *, own: Collection[str] = ()) -> None:
        self._own = own
        self._session = session
        self._zone = zone
        self._records = Neighbours(zone.name)
        self._tunnels: dict[str, Tunnel | None] = {}

    def load(self, names: Iterable[str]) -> None:
        """The names together, in few queries."""
        for some in in_lots(sorted({name for name in names if not self._records.has(name)})):
            for name in some:
                self._records.begin(name)
            query = select(Record).where(Record.zone_id == self._zone.id, Record.name.in_(some))
            for record in self._session.scalars(query):
                self._records.enter(record)

    def enter(self, record: Record) -> None:
        """A record that the write has made, or given its new values."""
        self.load([record.name])
        self._records.enter(record)

    def leave(self, record: Record) -> None:
        """A record that the write deletes, or is about to change."""
        self.load([record.name])
        self._records.leave(record)

    def has_same(self, form: RecordForm) -> bool:
        """Whether there is a record with this name, type and value."""
        self.load([form.name])
        return self._records.same(form) is not None

    def check(self, form: RecordForm, *, before: Record | None = None, any_tunnel: bool = False) -> None:
        """Whether the record may be there. `before`: the one that becomes it, which has left; `any_tunnel`: its tunnel needn't
        be there any more.

        Raises:
            QanatError: as `Neighbours.check`; `record_bad_content` (an unknown tunnel); `record_of_edge`.
        """
        if form.name in self._own and form.proxied and form.tunnel_id is not None:
            raise of_edge(form.name)
        self.load([form.name])
        if not any_tunnel and form.tunnel_id is not None:
            self._check_tunnel(form, form.tunnel_id, before)
        self._records.check(form)

    def _check_tunnel(self, form: RecordForm, tunnel_id: str, before: Record | None) -> None:
        if tunnel_id not in self._tunnels:
            self._tunnels[tunnel_id] = self._session.get(Tunnel, tunnel_id)
        tunnel = self._tunnels[tunnel_id]
        kept = before is not None and before.tunnel_id == tunnel_id
        if tunnel is None or tunnel.account_id != self._zone.account_id or (tunnel.deleted_at is not None and not kept):
            raise QanatError(
                "record_bad_content",
                f"{form.content} is not the name of a tunnel of this account",
                where="content",
                hint="create the tunnel first, and use its id",
            )


def of_edge(name: str) -> QanatError:
    """Why no record leads this name to a tunnel."""
    return QanatError(
        "record_of_edge",
        f"{name} is where this edge serves its control plane (control.hostname): it can't lead to a tunnel",
        where="name",
        hint="take another name; a record that isn't proxied and holds the edge's address may stand there",
    )
