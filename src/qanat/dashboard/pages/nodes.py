"""What is done with a tunnel's nodes: one is promoted, fenced, or let in again."""

from starlette.responses import Response

from qanat.control import tunnels
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.confirming import Asked, confirmed
from qanat.dashboard.links import tunnel_url
from qanat.nodes import mode, nodes, promotion

pages = Pages()

NODE = "/tunnels/{tunnel_id}/nodes/{node}"


@pages.post(f"{NODE}/promote", "tunnel.edit")
def promote(ask: Ask) -> Response:
    """The node becomes the active one; begun, and gone on with by the edge."""
    desk = ask.desk
    with desk.store.reading() as session:
        tunnel = tunnels.get(session, ask.viewer.account_id, ask.place["tunnel_id"])
        node = nodes.find(session, tunnel, ask.place["node"])
        role = mode.of(session, tunnel.id)
        active = nodes.name_of(session, tunnel.id, role.active_token_id) if role is not None else None
    asked = Asked(
        title=f"Promote {node.name}",
        consequences=(
            f"New requests wait, 30 s at most, until what is open on {active or 'the active node'} has ended or 10 s are over.",
            f"The epoch rises, and from then on {node.name} alone gets requests.",
            f"{active} is a standby then, and may be promoted again." if active else "",
        )[: 3 if active else 2],
        name=node.name,
        verb="Promote",
        back=tunnel_url(tunnel.id),
    )
    if (page := confirmed(ask, asked)) is not None:
        return page
    facts = desk.live.node(tunnel.id, node.token_id)
    with desk.store.writing(ask.who.actor) as write:
        promotion.want(
            write,
            tunnel,
            nodes.get(write.session, tunnel, node.token_id),
            facts,
            kind="planned",
            reason="by the dashboard",
            expected_epoch=role.epoch if role is not None else None,
        )
    return ask.led_to(tunnel_url(tunnel.id))


@pages.post(f"{NODE}/fence", "tunnel.edit")
def fence(ask: Ask) -> Response:
    """The node gets no requests, and what is open on it is cut."""
    desk = ask.desk
    with desk.store.reading() as session:
        tunnel = tunnels.get(session, ask.viewer.account_id, ask.place["tunnel_id"])
        node = nodes.find(session, tunnel, ask.place["node"])
    still = desk.live.node(tunnel.id, node.token_id).open_requests
    asked = Asked(
        title=f"Fence {node.name}",
        consequences=(
            "It gets no new requests, whatever the mode, until it is let in again.",
            f"What is open on it is cut: {still} request{'' if still == 1 else 's'} now.",
            f"Its {node.connections} connection{'' if node.connections == 1 else 's'} stay.",
        ),
        name=node.name,
        verb="Fence",
        back=tunnel_url(tunnel.id),
    )
    if (page := confirmed(ask, asked)) is not None:
        return page
    with desk.store.writing(ask.who.actor) as write:
        found = nodes.get(write.session, tunnel, node.token_id)
        nodes.fence(write, tunnel, found, by="operator", reason="by the dashboard")
    desk.live.cut(tunnel.id, node.token_id)
    return ask.led_to(tunnel_url(tunnel.id))


@pages.post(f"{NODE}/unfence", "tunnel.edit")
def unfence(ask: Ask) -> Response:
    """The node may get requests again."""
    with ask.desk.store.reading() as session:
        tunnel = tunnels.get(session, ask.viewer.account_id, ask.place["tunnel_id"])
        node = nodes.find(session, tunnel, ask.place["node"])
    with ask.desk.store.writing(ask.who.actor) as write:
        nodes.unfence(write, tunnel, nodes.get(write.session, tunnel, node.token_id), by="operator")
    return ask.led_to(tunnel_url(tunnel.id))
