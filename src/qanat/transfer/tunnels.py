"""Tunnels of a document: rows, secrets, configurations, connector tokens, and what `roles` writes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from secrets import token_bytes
from typing import cast

from sqlalchemy import select

from qanat.control.configurations import forget_versions, stored_text
from qanat.control.connector_tokens import MAX_NAME as MAX_TOKEN_NAME
from qanat.control.tunnels import CONFIG_SOURCES, SECRET_BYTES, check_name, check_secret, new_row
from qanat.errors import QanatError
from qanat.ids import parse_tunnel_id
from qanat.ingress.rules import parse_configuration
from qanat.store.lots import in_lots
from qanat.store.models import Configuration, ConnectorToken, Tunnel
from qanat.store.notices import NoticeKind
from qanat.transfer import roles
from qanat.transfer.document import ConfigurationPart, ConnectorTokenPart, Document, TunnelPart
from qanat.transfer.run import Checked, Effort, Run, first_error, put


@dataclass(slots=True)
class _Present:
    """What the document's tunnels have here: configurations in order, and the names of their good connector tokens."""

    configurations: dict[str, list[tuple[int, str, str]]]
    names: dict[str, dict[str, str]]
    tokens: dict[str, ConnectorToken]


def write(run: Run) -> None:
    """All of them."""
    parts = run.document.tunnels
    rows = run.rows(Tunnel, (part.id for part in parts))
    live = select(Tunnel).where(Tunnel.account_id == run.account_id, Tunnel.deleted_at.is_(None))
    names = {row.name: row.id for row in run.write.session.scalars(live)}
    seen: set[str] = set()
    written: list[TunnelPart] = []
    changed: set[str] = set()
    present = _present(run, parts)
    for part in parts:
        try:
            _check(part)
            if part.id in seen or names.get(part.name, part.id) != part.id:
                raise QanatError("import_conflict", f"tunnel {names.get(part.name, part.id)} has this id or name")
            seen.add(part.id)
            row = rows.get(part.id)
            if row is not None and row.account_id != run.account_id:
                raise QanatError("import_conflict", "the id is taken")
            names[part.name] = part.id
            changes = run.outcome.changes
            _tunnel(run, part, row)
            written.append(part)
            if run.outcome.changes != changes:
                changed.add(part.id)
        except QanatError as error:
            run.conflict("tunnel", part.id, part.name, str(error))
    run.write.session.flush()
    for part in written:
        changes = run.outcome.changes
        try:
            _belongings(run, part, present)
        except QanatError as error:
            run.conflict("tunnel", part.id, part.name, str(error))
        if part.id in changed or run.outcome.changes != changes:
            run.notice(NoticeKind.TUNNEL, tunnel_id=part.id)


def _present(run: Run, parts: Sequence[TunnelPart]) -> _Present:
    """In few queries, however many tunnels there are."""
    session = run.write.session
    configurations: dict[str, list[tuple[int, str, str]]] = {part.id: [] for part in parts}
    names: dict[str, dict[str, str]] = {part.id: {} for part in parts}
    for some in in_lots([part.id for part in parts]):
        query = select(Configuration).where(Configuration.tunnel_id.in_(some)).order_by(Configuration.version)
        for row in session.scalars(query):
            configurations[row.tunnel_id].append((row.version, row.document, row.source))
        good = select(ConnectorToken).where(ConnectorToken.tunnel_id.in_(some), ConnectorToken.revoked_at.is_(None))
        for token in session.scalars(good):
            names[token.tunnel_id][token.name] = token.id
    return _Present(
        configurations, names, run.rows(ConnectorToken, (token.id for part in parts for token in part.connector_tokens))
    )


def _belongings(run: Run, part: TunnelPart, present: _Present) -> None:
    if _configurations(run, part, present.configurations[part.id]):
        run.notice(NoticeKind.CONFIGURATION, tunnel_id=part.id)
    for token in part.connector_tokens:
        _connector_token(run, part, token, present)
    run.write.session.flush()
    roles.write(run, part)


def _check(part: TunnelPart) -> None:
    if parse_tunnel_id(part.id) != part.id:
        raise QanatError("bad_id", "the id is not in lower case")
    check_name(part.name)
    if part.config_src not in CONFIG_SOURCES:
        raise QanatError("tunnel_bad_config_src", "config_src is `local` or `cloudflare`")
    versions = [each.version for each in part.configurations]
    if versions != sorted(set(versions)) or (versions and not 1 <= versions[0] <= versions[-1] < 2**31):
        raise QanatError("export_malformed", "the configurations are not in order of their versions")


def _tunnel(run: Run, part: TunnelPart, row: Tunnel | None) -> None:
    secret = run.secrets.open(part.secret, part.id) if run.secrets is not None and part.secret else None
    if secret is not None:
        check_secret(secret)
    if row is None:
        made = new_row(
            part.id,
            account_id=run.account_id,
            name=part.name,
            sealed_secret=run.sealer.seal(secret or token_bytes(SECRET_BYTES), part.id),
            config_src=part.config_src,
            created_at=part.created_at,
        )
        run.write.session.add(made)
        run.write.grow("tunnels", run.account_id)
        if secret is None:
            run.outcome.new_secrets.append(part.name)
        run.step("tunnel", part.id, part.name, "create")
    else:
        reasons = ["it was deleted, and comes back"] if row.deleted_at is not None else []
        values = {"name": part.name, "config_src": part.config_src, "created_at": part.created_at, "deleted_at": None}
        if row.deleted_at is not None:
            run.write.grow("tunnels", run.account_id)
        changed = put(row, values)
        if secret is not None and secret != run.sealer.open(row.sealed_secret, row.id):
            row.sealed_secret = run.sealer.seal(secret, row.id)
            run.notice(NoticeKind.TUNNEL_SECRET, tunnel_id=row.id)
            changed = True
            reasons.append("its secret is the file's again")
        run.step("tunnel", part.id, part.name, "change" if changed else "same", "; ".join(reasons) or None)


def _configurations(run: Run, part: TunnelPart, here: list[tuple[int, str, str]]) -> bool:
    """History that goes on from what is here keeps its numbers; else the document's newest is one more version."""
    there = [(each.version, _checked(run, each), each.source) for each in part.configurations]
    if not there or (here and here[-1][1:] == there[-1][1:]):
        return False
    if here == there[: len(here)]:
        added = part.configurations[len(here) :]
        for each, (_, text, _) in zip(added, there[len(here) :], strict=True):
            _add(run, part.id, each.version, text, each)
    else:
        newest = part.configurations[-1]
        _add(run, part.id, here[-1][0] + 1, there[-1][1], newest)
    run.write.session.flush()
    forget_versions(run.write.session, part.id, keep=run.write.limits.configurations)
    name = f"{part.name} version {part.configurations[-1].version}"
    run.step("configuration", part.id, name, "change" if here else "create")
    return True


def _add(run: Run, tunnel_id: str, version: int, text: str, part: ConfigurationPart) -> None:
    run.write.session.add(
        Configuration(
            tunnel_id=tunnel_id,
            version=version,
            document=text,
            source=part.source,
            author=part.author,
            created_at=part.created_at,
        )
    )


def check(document: Document, effort: Effort) -> Checked:
    """The configurations' texts, or what is wrong with them. Before the one writer's turn. The patterns of a tunnel's earlier
    versions are compiled when they are put in force again. QanatError `import_too_long`."""
    checked: Checked = {}
    for part in document.tunnels:
        for each in part.configurations:
            effort.check()
            checked[id(each)] = first_error(partial(_text, each, is_newest=each is part.configurations[-1]))
    return checked


def _checked(run: Run, part: ConfigurationPart) -> str:
    text = run.checked[id(part)]
    if isinstance(text, QanatError):
        raise text
    return cast("str", text)


def _text(part: ConfigurationPart, *, is_newest: bool) -> str:
    """As the version will keep it."""
    if part.source not in CONFIG_SOURCES:
        raise QanatError("configuration_bad_type", "source is `cloudflare` or `local`", where=f"version {part.version}")
    return stored_text(parse_configuration(part.config, patterns=is_newest).document)


def _connector_token(run: Run, tunnel: TunnelPart, part: ConnectorTokenPart, present: _Present) -> None:
    row, names = present.tokens.get(part.id), present.names[tunnel.id]
    name = f"{tunnel.name}: {part.name}"
    if row is not None and row.tunnel_id != tunnel.id:
        run.conflict("connector token", part.id, name, "the id is taken")
        return
    if row is not None and row.revoked_at is not None:
        run.step("connector token", part.id, name, "same", "it was revoked here, and stays so")
        return
    if names.get(part.name, part.id) != part.id:
        run.conflict("connector token", part.id, name, "another one of the tunnel has this name")
        return
    if parse_tunnel_id(part.id) != part.id or not part.name.strip() or len(part.name) > MAX_TOKEN_NAME:
        run.conflict("connector token", part.id, name, "its id or name has a wrong form")
        return
    secret = run.secrets.open(part.secret, part.id) if run.secrets is not None and part.secret else None
    if secret is not None:
        check_secret(secret)
    names[part.name] = part.id
    values = {"name": part.name, "created_at": part.created_at, "expires_at": part.expires_at}
    if row is None:
        run.write.session.add(
            ConnectorToken(
                id=part.id,
                tunnel_id=tunnel.id,
                sealed_secret=run.sealer.seal(secret or token_bytes(SECRET_BYTES), part.id),
                revoked_at=None,
                last_used_at=None,
                last_used_from=None,
                **values,
            )
        )
        run.write.grow("connector_tokens", tunnel.id)
        if secret is None:
            run.outcome.new_secrets.append(name)
        run.step("connector token", part.id, name, "create")
        return
    changed = put(row, values)
    if secret is not None and secret != run.sealer.open(row.sealed_secret, row.id):
        row.sealed_secret = run.sealer.seal(secret, row.id)
        run.notice(NoticeKind.TUNNEL_SECRET, tunnel_id=tunnel.id, token_id=row.id)
        changed = True
    run.step("connector token", part.id, name, "change" if changed else "same")
