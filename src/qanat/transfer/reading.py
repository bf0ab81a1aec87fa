"""An account's rows as a document."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from qanat.alerts import channels, rules
from qanat.store.lots import in_lots
from qanat.store.models import (
    Account,
    ApiToken,
    Configuration,
    ConnectorToken,
    HostnameTarget,
    Membership,
    NodeState,
    Probe,
    Record,
    TeamnetRoute,
    Tunnel,
    TunnelRole,
    User,
    VirtualNetwork,
    Zone,
    ZoneSetting,
)
from qanat.store.sealing import Sealer
from qanat.transfer.document import (
    FORMAT,
    VERSION,
    AccountPart,
    AlertChannelPart,
    AlertRulePart,
    ConfigurationPart,
    ConnectorTokenPart,
    Document,
    FencePart,
    MemberPart,
    ModePart,
    ProbePart,
    RecordPart,
    RoutePart,
    TargetsPart,
    TokenPart,
    TunnelPart,
    VirtualNetworkPart,
    ZonePart,
)
from qanat.transfer.sealed import PassphraseSealer

Part = TypeVar("Part", bound=msgspec.Struct)


def read_account(
    session: Session,
    account: Account,
    *,
    at: datetime,
    sealer: Sealer,
    passphrase: PassphraseSealer | None,
    of_channels: bool = True,
) -> Document:
    """What the account is set to: live tunnels with every configuration, mode and fences, zones, records, weights, probes,
    private routes, the tokens that it owns, users by address with their roles in it, alert rules and channels. Secrets only with
    `passphrase`, sealed under it; those of channels only with `of_channels` besides.

    Raises:
        QanatError: `secret_key_wrong`.
    """
    tunnels = session.scalars(
        select(Tunnel)
        .where(Tunnel.account_id == account.id, Tunnel.deleted_at.is_(None), Tunnel.quick_address.is_(None))
        .order_by(Tunnel.created_at, Tunnel.id)
    ).all()
    return Document(
        format=FORMAT,
        version=VERSION,
        exported_at=at,
        account=_part(AccountPart, account),
        tunnels=_tunnels(session, tunnels, sealer, passphrase),
        virtual_networks=[_part(VirtualNetworkPart, row) for row in _live(session, VirtualNetwork, account.id)],
        routes=[_part(RoutePart, row) for row in _live(session, TeamnetRoute, account.id)],
        zones=_zones(session, account.id),
        probes=[
            _part(ProbePart, row)
            for row in session.scalars(select(Probe).where(Probe.account_id == account.id).order_by(Probe.target))
        ],
        tokens=[
            _part(TokenPart, row)
            for row in session.scalars(
                select(ApiToken)
                .where(ApiToken.account_id == account.id, ApiToken.kind == "api")
                .order_by(ApiToken.created_at, ApiToken.id)
            )
        ],
        members=[
            MemberPart(
                email=user.email,
                role=held.role,
                created_at=held.created_at,
                first_name=user.first_name,
                last_name=user.last_name,
            )
            for held, user in session.execute(
                select(Membership, User)
                .join(User, User.id == Membership.user_id)
                .where(Membership.account_id == account.id)
                .order_by(Membership.created_at, User.email)
            )
        ],
        alert_channels=_channels(session, account.id, sealer, passphrase if of_channels else None),
        alert_rules=_rules(session, account.id),
        secrets=passphrase.part if passphrase is not None else None,
    )


def _channels(
    session: Session, account_id: str, sealer: Sealer, passphrase: PassphraseSealer | None
) -> list[AlertChannelPart]:
    return [
        _part(AlertChannelPart, row, secret=_sealed(row.sealed_secret, row.id, sealer, passphrase))
        for row in channels.listed(session, account_id)
    ]


def _rules(session: Session, account_id: str) -> list[AlertRulePart]:
    """But those that are bounded to what is gone, which fire for nothing."""
    there = {
        None,
        *session.scalars(select(Tunnel.id).where(Tunnel.account_id == account_id, Tunnel.deleted_at.is_(None))),
    }
    there.update(session.scalars(select(Zone.id).where(Zone.account_id == account_id)))
    found = rules.listed(session, account_id)
    return [_part(AlertRulePart, row) for row in found if row.tunnel_id in there and row.zone_id in there]


def _tunnels(
    session: Session, tunnels: Sequence[Tunnel], sealer: Sealer, passphrase: PassphraseSealer | None
) -> list[TunnelPart]:
    configurations: dict[str, list[ConfigurationPart]] = {tunnel.id: [] for tunnel in tunnels}
    tokens: dict[str, list[ConnectorTokenPart]] = {tunnel.id: [] for tunnel in tunnels}
    modes: dict[str, ModePart] = {}
    fences: dict[str, list[FencePart]] = {}
    for some in in_lots([tunnel.id for tunnel in tunnels]):
        for role in session.scalars(select(TunnelRole).where(TunnelRole.tunnel_id.in_(some))):
            modes[role.tunnel_id] = _part(ModePart, role)
        fenced = select(NodeState).where(NodeState.tunnel_id.in_(some), NodeState.fenced_at.is_not(None))
        for node in session.scalars(fenced.order_by(NodeState.tunnel_id, NodeState.token_id)):
            fence = _part(FencePart, node, at=node.fenced_at, by=node.fenced_by, reason=node.fenced_reason)
            fences.setdefault(node.tunnel_id, []).append(fence)
        query = select(Configuration).where(Configuration.tunnel_id.in_(some))
        for row in session.scalars(query.order_by(Configuration.tunnel_id, Configuration.version)):
            part = _part(ConfigurationPart, row, config=json.loads(row.document))
            configurations[row.tunnel_id].append(part)
        good = select(ConnectorToken).where(ConnectorToken.tunnel_id.in_(some), ConnectorToken.revoked_at.is_(None))
        for token in session.scalars(good.order_by(ConnectorToken.created_at, ConnectorToken.id)):
            secret = _sealed(token.sealed_secret, token.id, sealer, passphrase)
            tokens[token.tunnel_id].append(_part(ConnectorTokenPart, token, secret=secret))
    return [
        _part(
            TunnelPart,
            tunnel,
            secret=_sealed(tunnel.sealed_secret, tunnel.id, sealer, passphrase),
            configurations=configurations[tunnel.id],
            connector_tokens=tokens[tunnel.id],
            mode=modes.get(tunnel.id),
            fences=[each for each in fences.get(tunnel.id, []) if each.token_id in {"", *_ids(tokens[tunnel.id])}],
        )
        for tunnel in tunnels
    ]


def _ids(parts: Sequence[ConnectorTokenPart]) -> list[str]:
    return [part.id for part in parts]


def _zones(session: Session, account_id: str) -> list[ZonePart]:
    zones = session.scalars(select(Zone).where(Zone.account_id == account_id).order_by(Zone.created_at, Zone.id)).all()
    records: dict[str, list[RecordPart]] = {zone.id: [] for zone in zones}
    for some in in_lots([zone.id for zone in zones]):
        query = select(Record).where(Record.zone_id.in_(some)).order_by(Record.created_at, Record.id)
        for row in session.scalars(query).yield_per(1000):
            records[row.zone_id].append(_part(RecordPart, row))
    settings: dict[str, dict[str, Any]] = {zone.id: {} for zone in zones}
    for some in in_lots([zone.id for zone in zones]):
        for said in session.scalars(
            select(ZoneSetting).where(ZoneSetting.zone_id.in_(some)).order_by(ZoneSetting.name)
        ):
            settings[said.zone_id][said.name] = said.value["value"]
    targets: dict[str, dict[str, TargetsPart]] = {zone.id: {} for zone in zones}
    for some in in_lots([zone.id for zone in zones]):
        shares = select(HostnameTarget).where(HostnameTarget.zone_id.in_(some))
        for share in session.scalars(shares.order_by(HostnameTarget.hostname, HostnameTarget.tunnel_id)):
            part = TargetsPart(hostname=share.hostname, sticky=share.sticky, shares=[])  # type: ignore[arg-type]
            part = targets[share.zone_id].setdefault(share.hostname, part)
            part.shares.append((share.tunnel_id, share.weight))
    return [
        _part(
            ZonePart,
            zone,
            records=records[zone.id],
            targets=list(targets[zone.id].values()),
            settings=settings[zone.id],
        )
        for zone in zones
    ]


def _live(session: Session, model: type[Any], account_id: str) -> Iterable[Any]:
    query = select(model).where(model.account_id == account_id, model.deleted_at.is_(None))
    return session.scalars(query.order_by(model.created_at, model.id))


def _sealed(sealed: bytes, context: str, sealer: Sealer, passphrase: PassphraseSealer | None) -> str | None:
    return passphrase.seal(sealer.open(sealed, context), context) if passphrase is not None else None


def _part(kind: type[Part], row: Any, **given: Any) -> Part:
    """The row's columns of the part's names."""
    names = (each.name for each in msgspec.structs.fields(kind) if each.name not in given)
    return kind(**{name: getattr(row, name) for name in names}, **given)
