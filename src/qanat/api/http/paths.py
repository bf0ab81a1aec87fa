"""Ids in paths, in their one form. A malformed one is refused with 404 before the endpoint runs: it names nothing."""

from typing import Annotated

from fastapi import Depends

from qanat.ids import (
    AccountId,
    ConnectorId,
    TunnelId,
    ZoneId,
    parse_account_id,
    parse_connector_id,
    parse_hex_id,
    parse_tunnel_id,
    parse_uuid,
    parse_zone_id,
)


async def _account_id(account_id: str) -> AccountId:
    return parse_account_id(account_id)


async def _zone_id(zone_id: str) -> ZoneId:
    return parse_zone_id(zone_id)


async def _tunnel_id(tunnel_id: str) -> TunnelId:
    return parse_tunnel_id(tunnel_id)


async def _connector_id(connector_id: str) -> ConnectorId:
    return parse_connector_id(connector_id)


async def _connector_token_id(connector_token_id: str) -> str:
    return parse_uuid(connector_token_id, "connector token")


async def _promotion_id(promotion_id: str) -> str:
    return parse_uuid(promotion_id, "promotion")


async def _route_id(route_id: str) -> str:
    return parse_uuid(route_id, "route")


async def _network_id(virtual_network_id: str) -> str:
    return parse_uuid(virtual_network_id, "virtual network")


async def _certificate_id(certificate_id: str) -> str:
    return parse_uuid(certificate_id, "certificate")


async def _alert_rule_id(alert_rule_id: str) -> str:
    return parse_hex_id(alert_rule_id, "rule")


async def _alert_channel_id(alert_channel_id: str) -> str:
    return parse_hex_id(alert_channel_id, "channel")


AccountPath = Annotated[AccountId, Depends(_account_id)]
ZonePath = Annotated[ZoneId, Depends(_zone_id)]
TunnelPath = Annotated[TunnelId, Depends(_tunnel_id)]
ConnectorPath = Annotated[ConnectorId, Depends(_connector_id)]
CertificatePath = Annotated[str, Depends(_certificate_id)]
ConnectorTokenPath = Annotated[str, Depends(_connector_token_id)]
PromotionPath = Annotated[str, Depends(_promotion_id)]
RoutePath = Annotated[str, Depends(_route_id)]
VirtualNetworkPath = Annotated[str, Depends(_network_id)]
AlertRulePath = Annotated[str, Depends(_alert_rule_id)]
AlertChannelPath = Annotated[str, Depends(_alert_channel_id)]
