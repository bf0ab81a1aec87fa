"""A tunnel's remote configuration, version by version. The document is kept as it was sent."""

import json
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from qanat.control import tunnels
from qanat.errors import QanatError
from qanat.store.database import Write
from qanat.store.models import Configuration, Connection, Connector
from qanat.store.notices import Notice, NoticeKind
from qanat.store.versions import Expected


def put(
    write: Write,
    *,
    account_id: str,
    tunnel_id: str,
    document: dict[str, Any],
    source: str,
    rolled_back_to: int | None = None,
    expected: Expected | None = None,
) -> Configuration:
    """One more version, unless the newest is the same. The document has been validated and rid of nulls before
    (ingress/rules.py). `rolled_back_to`: the earlier version whose document it is, for the audit log. `expected`: the
    version that must be in force (0: none was ever put).

    Raises:
        QanatError: `tunnel_unknown`; `configuration_malformed`, a text that isn't Unicode; `version_stale`.
    """
    text = stored_text(document)
    tunnel = tunnels.get(write.session, account_id, tunnel_id)
    before = newest(write.session, tunnel.id)
    if expected is not None:
        expected.check(str(before.version if before else 0))
    action = "configuration.put" if rolled_back_to is None else "configuration.rollback"
    detail = {} if rolled_back_to is None else {"rolled_back_to": rolled_back_to}
    if before is not None and (before.document, before.source) == (text, source):
        write.audit(f"{action}_same", tunnel.id, account_id=account_id, detail={"version": before.version, **detail})
        return before
    configuration = Configuration(
        tunnel_id=tunnel.id,
        version=(before.version if before else 0) + 1,
        document=text,
        source=source,
        author=write.actor.name,
        created_at=write.at,
    )
    write.session.add(configuration)
    write.session.flush()
    forget_versions(write.session, tunnel.id, keep=write.limits.configurations)
    write.audit(action, tunnel.id, account_id=account_id, detail={"version": configuration.version, **detail})
    write.notice(Notice(NoticeKind.CONFIGURATION, tunnel_id=tunnel.id, account_id=account_id))
    return configuration


def stored_text(document: dict[str, Any]) -> str:
    """The document as a version keeps it. QanatError `configuration_malformed`: it holds a text that isn't Unicode."""
    try:
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError as error:
        raise QanatError(
            "configuration_malformed", f"the configuration can't be stored: {error}", where="config"
        ) from error
    return text


def forget_versions(session: Session, tunnel_id: str, *, keep: int) -> None:
    """Deletes all but the newest `keep` versions, and those that a connector runs."""
    last = session.scalar(select(func.max(Configuration.version)).where(Configuration.tunnel_id == tunnel_id)) or 0
    if last <= keep:
        return
    applied = select(Connector.config_version).where(Connector.tunnel_id == tunnel_id)
    live = select(Connection.applied_version).where(
        Connection.tunnel_id == tunnel_id, Connection.lost_at.is_(None), Connection.applied_version.is_not(None)
    )
    session.execute(
        delete(Configuration).where(
            Configuration.tunnel_id == tunnel_id,
            Configuration.version <= last - keep,
            Configuration.version.not_in(applied),
            Configuration.version.not_in(live),
        )
    )


def newest(session: Session, tunnel_id: str) -> Configuration | None:
    """The version in force, None when none was ever put."""
    return session.scalar(
        select(Configuration)
        .where(Configuration.tunnel_id == tunnel_id)
        .order_by(Configuration.version.desc())
        .limit(1)
    )


def get_version(session: Session, tunnel_id: str, version: int) -> Configuration:
    """QanatError `version_unknown`."""
    found = session.get(Configuration, (tunnel_id, version)) if 0 < version < 1 << 31 else None
    if found is None:
        raise QanatError("version_unknown", f"the tunnel has no configuration version {version}", where="version")
    return found


def list_versions(session: Session, tunnel_id: str, *, offset: int, limit: int) -> tuple[list[Configuration], int]:
    """A page of versions, newest first, and how many there are in all."""
    query = select(Configuration).where(Configuration.tunnel_id == tunnel_id)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    return list(session.scalars(query.order_by(Configuration.version.desc()).offset(offset).limit(limit))), total
