"""The client reads what the API says that it answers. It has shapes of its own: it is lean (no web framework in the CLI), reads
the hosted API too, which leaves fields out, and checks at run time what comes from outside."""

from typing import Any

import msgspec
import pytest
from pydantic import TypeAdapter

from qanat import structs
from qanat.api.http.description import example_of
from qanat.api.qanat import accounts as own_accounts
from qanat.api.qanat import (
    audit,
    certificates,
    configurations,
    connector_tokens,
    health,
    node_shapes,
    origin_certificate,
    request_lists,
    users,
)
from qanat.api.v4 import (
    accounts,
    record_shapes,
    teamnet,
    token_shapes,
    tunnel_shapes,
    virtual_networks,
    zone_shapes,
)
from qanat.client import shapes

ANSWERED: dict[type[msgspec.Struct], Any] = {
    shapes.TokenStatus: token_shapes.VerifiedShape,
    shapes.Token: token_shapes.NewTokenShape,
    shapes.PermissionGroup: token_shapes.PermissionGroupShape,
    shapes.Account: accounts.AccountShape,
    shapes.Zone: zone_shapes.ZoneShape,
    shapes.Record: record_shapes.RecordShape,
    shapes.OriginCertificate: origin_certificate.OriginCertificateShape,
    shapes.Imported: record_shapes.ImportShape,
    shapes.Connection: tunnel_shapes.ConnectionShape,
    shapes.Connector: tunnel_shapes.ConnectorShape,
    shapes.Tunnel: tunnel_shapes.NewTunnelShape,
    shapes.Configuration: configurations.VersionShape,
    shapes.ConnectorToken: connector_tokens.ShownConnectorTokenShape,
    shapes.PrivateRoute: teamnet.TeamnetRouteShape,
    shapes.VirtualNetwork: virtual_networks.VirtualNetworkShape,
    shapes.AuditActor: audit.AuditActorShape,
    shapes.AuditRow: audit.AuditShape,
    shapes.AuditVerdict: audit.VerdictShape,
    shapes.ImportStep: own_accounts.ImportStepShape,
    shapes.ImportReport: own_accounts.ImportShape,
    shapes.DetailedConnection: tunnel_shapes.OwnConnectionShape,
    shapes.DetailedConnector: tunnel_shapes.OwnConnectorShape,
    shapes.TunnelDetail: tunnel_shapes.OwnTunnelShape,
    shapes.Certificate: certificates.CertificateShape,
    shapes.CertificateError: certificates.CertificateErrorShape,
    shapes.Probe: health.ProbeShape,
    shapes.OriginHealth: health.HealthShape,
    shapes.OriginAnswer: health.AnswerShape,
    shapes.Traffic: health.TrafficShape,
    shapes.TunnelMode: node_shapes.ModeShape,
    shapes.Node: node_shapes.NodeShape,
    shapes.Nodes: node_shapes.NodesShape,
    shapes.Promotion: node_shapes.PromotionShape,
    shapes.Person: users.EnteringShape,
    shapes.RequestList: request_lists.ListShape,
    shapes.ListedRequest: request_lists.ListedShape,
}


def test_every_shape_of_the_client_is_compared() -> None:
    ours = {each for each in vars(shapes).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)}
    assert ours - {msgspec.Struct} == set(ANSWERED)


@pytest.mark.parametrize("read", ANSWERED, ids=lambda read: read.__name__)
def test_the_client_reads_what_the_api_describes(read: type[msgspec.Struct]) -> None:
    schema = TypeAdapter(ANSWERED[read]).json_schema()
    assert set(read.__struct_fields__) <= set(schema["properties"])
    structs.convert(example_of(schema, schema.get("$defs", {})), read)
