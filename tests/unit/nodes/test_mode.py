"""Modes, nodes and fences, as rows."""

import pytest
from sqlalchemy import select

from qanat.control import connector_tokens
from qanat.errors import QanatError
from qanat.nodes import mode, nodes
from qanat.nodes.mode import Policy
from qanat.store import NoticeKind, Store
from qanat.store.models import Audit, TunnelRole
from qanat.store.sealing import Sealer
from tests.support.links import register
from tests.support.nodes import Hosts, hosts, some_id
from tests.support.writes import written


@pytest.fixture
def pair(store: Store, sealer: Sealer, account: str) -> Hosts:
    return hosts(store, sealer, account)


def refused(pair: Hosts, act: object, *args: object, **more: object) -> str:
    with pytest.raises(QanatError) as caught:
        written(pair.store, act, *args, **more)  # type: ignore[arg-type]
    return caught.value.code


def test_the_first_active_is_named_and_the_epoch_rises(pair: Hosts) -> None:
    assert (pair.active, pair.role().epoch) == ("web-1", 1)
    written(pair.store, mode.put, pair.tunnel, mode="replicas", active=None, policy=Policy())
    assert (pair.role().active_token_id, pair.role().epoch) == (None, 2)
    written(pair.store, mode.put, pair.tunnel, mode="active-standby", active="web-2", policy=Policy())
    assert (pair.active, pair.role().epoch) == ("web-2", 3)
    with pair.store.reading() as session:
        rows = session.scalars(select(Audit).where(Audit.action == "tunnel.mode")).all()
    assert len(rows) == 3


def test_the_only_connected_node_needs_no_name(store: Store, sealer: Sealer, account: str) -> None:
    pair = hosts(store, sealer, account, standby=False)
    assert (
        refused(pair, mode.put, pair.tunnel, mode="active-standby", active=None, policy=Policy())
        == "mode_active_missing"
    )
    register(store, pair.tunnel.id, some_id(), token_id=pair.ids["web-2"])
    written(store, mode.put, pair.tunnel, mode="active-standby", active=None, policy=Policy())
    assert pair.active == "web-2"


def test_settings_change_without_a_new_epoch(pair: Hosts) -> None:
    written(pair.store, mode.put, pair.tunnel, mode="active-standby", active=None, policy=Policy(automatic=True))
    assert (pair.role().automatic, pair.role().epoch) == (True, 1)


def test_who_is_active_is_replaced_by_a_promotion_only(pair: Hosts) -> None:
    assert (
        refused(pair, mode.put, pair.tunnel, mode="active-standby", active="web-2", policy=Policy())
        == "mode_active_set"
    )
    pair.want()
    assert refused(pair, mode.put, pair.tunnel, mode="replicas", active=None, policy=Policy()) == "promotion_under_way"


@pytest.mark.parametrize(
    "policy", [Policy(failover_after_s=0.0), Policy(max_promotions=0), Policy(per_s=0.5), Policy(hold_down_s=-1.0)]
)
def test_settings_have_bounds(pair: Hosts, policy: Policy) -> None:
    assert refused(pair, mode.put, pair.tunnel, mode="active-standby", active=None, policy=policy) == "mode_bad_value"


def test_a_fence_is_kept_with_who_and_why_and_the_edge_hears_of_it(pair: Hosts) -> None:
    heard: list[NoticeKind] = []
    pair.store.notices.subscribe(lambda notice: heard.append(notice.kind))
    written(pair.store, nodes.fence, pair.tunnel, pair.node("web-2"), by="node", reason="maintenance")
    assert pair.fenced() == {"web-2"}
    assert heard == [NoticeKind.TUNNEL]
    written(pair.store, nodes.fence, pair.tunnel, pair.node("web-2"), by="operator", reason="later")
    state = pair.node("web-2").state
    assert state is not None and (state.fenced_by, state.fenced_reason) == ("node", "maintenance")
    written(pair.store, nodes.unfence, pair.tunnel, pair.node("web-2"), by="node")
    assert pair.fenced() == set()


def test_a_host_does_not_let_itself_in_again(pair: Hosts) -> None:
    written(pair.store, nodes.fence, pair.tunnel, pair.node("web-2"), by="operator", reason="broken")
    assert refused(pair, nodes.unfence, pair.tunnel, pair.node("web-2"), by="node") == "node_fenced"
    assert pair.fenced() == {"web-2"}


def test_the_active_node_is_not_fenced(pair: Hosts) -> None:
    assert refused(pair, nodes.fence, pair.tunnel, pair.node("web-1"), by="operator", reason="x") == "node_active"


def test_nodes_are_listed_with_what_is_connected(pair: Hosts, sealer: Sealer, account: str) -> None:
    register(pair.store, pair.tunnel.id, some_id(), token_id=pair.ids["web-1"])
    with pair.store.reading() as session:
        listed = nodes.every(session, pair.tunnel)
    assert [(each.name, each.connections) for each in listed] == [("web-1", 1), ("web-2", 0)]
    register(pair.store, pair.tunnel.id, some_id())
    revoked = {"account_id": account, "tunnel_id": pair.tunnel.id, "token_id": pair.ids["web-2"]}
    written(pair.store, connector_tokens.revoke, **revoked)
    with pair.store.reading() as session:
        listed = nodes.every(session, pair.tunnel)
    assert [(each.name, each.connections) for each in listed] == [("default", 1), ("web-1", 1)]


def test_a_node_that_is_not_there_is_unknown(pair: Hosts) -> None:
    with pair.store.reading() as session:
        for name in ("web-3", some_id(), ""):
            with pytest.raises(QanatError, match="has no node"):
                nodes.find(session, pair.tunnel, name)
        assert nodes.find(session, pair.tunnel, "default").token_id == ""
        assert nodes.find(session, pair.tunnel, pair.ids["web-2"]).name == "web-2"


def test_a_tunnel_that_is_forgotten_takes_its_rows_along(pair: Hosts, account: str) -> None:
    from qanat.control import tunnels

    pair.told_role("web-1", "active")
    pair.want()
    written(pair.store, tunnels.delete, account_id=account, tunnel_id=pair.tunnel.id, cascade=True)
    with pair.store.recording() as write:
        tunnels.forget(write.session, [pair.tunnel.id])
    with pair.store.reading() as session:
        assert session.get(TunnelRole, pair.tunnel.id) is None
