"""The client: every call, one room a resource."""

from qanat.client.accounts import AccountCalls
from qanat.client.alerts import AlertCalls
from qanat.client.certificates import CertificateCalls
from qanat.client.cutovers import CutoverCalls
from qanat.client.health import HealthCalls
from qanat.client.http import ApiRefusedError
from qanat.client.nodes import NodeCalls
from qanat.client.own import OwnCalls
from qanat.client.request_lists import RequestListCalls
from qanat.client.teamnet import TeamnetCalls
from qanat.client.tunnels import TunnelCalls
from qanat.client.zones import TUNNEL_SUFFIX, ZoneCalls

__all__ = ["TUNNEL_SUFFIX", "ApiRefusedError", "Client"]


class Client(
    AccountCalls,
    TunnelCalls,
    NodeCalls,
    TeamnetCalls,
    ZoneCalls,
    CertificateCalls,
    HealthCalls,
    CutoverCalls,
    AlertCalls,
    RequestListCalls,
    OwnCalls,
):
    """One control plane, ours or (but for `/qanat`) the hosted one. `base_url` ends in `/client/v4`."""
