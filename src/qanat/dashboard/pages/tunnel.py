"""A tunnel: how it is, its connections, nodes and replicas, what its connectors run, and what failed lately."""

import json
from typing import Any

from starlette.responses import Response

from qanat.control import configurations, connector_tokens, public_hostnames, tunnel_status, tunnels
from qanat.dashboard.ask import Ask, Pages
from qanat.dashboard.charts import SPANS, newest, span_of
from qanat.dashboard.confirming import Asked, confirmed
from qanat.dashboard.desk import Desk
from qanat.dashboard.hub import stream_url
from qanat.dashboard.links import tunnel_url, with_query
from qanat.dashboard.render import render
from qanat.dashboard.views import View, watched
from qanat.nodes import mode, nodes
from qanat.series import Scope

pages = Pages()

MOST_FAILURES = 20
MOST_HOSTNAMES = 50
MOST_TOKENS = 100


@pages.get("/tunnels/{tunnel_id}", "tunnel.read")
def tunnel(ask: Ask) -> Response:
    """The tunnel's page."""
    tunnel_id, span = ask.place["tunnel_id"], span_of(ask.query("span"))
    values = _values(ask.desk, ask.viewer.account_id, tunnel_id)
    return ask.show(
        "tunnel.html",
        live=stream_url("tunnel", tunnel=tunnel_id),
        plot=with_query(f"/plots/tunnels/{tunnel_id}", span=span),
        span=span,
        spans=SPANS,
        **values,
        **_still(ask.desk, ask.viewer.account_id, tunnel_id),
    )


@watched("tunnel", "tunnel.read", asks=("tunnel",))
def tunnel_parts(desk: Desk, view: View) -> dict[str, str]:
    """What of it changes."""
    tunnel_id = view.value("tunnel")
    values = _values(desk, view.account_id, tunnel_id)
    return {
        "standing": render("part/standing.html", **values),
        "connectors": render("part/connectors.html", **values),
        "nodes": render("part/nodes.html", **values),
        "node-acts": render("part/node-acts.html", **values),
        "failures": render("part/failures.html", **values),
        "plot:newest": json.dumps(newest(desk, Scope.tunnel(tunnel_id))),
    }


@pages.post("/tunnels/{tunnel_id}/tokens/{token_id}/revoke", "tunnel.edit")
def revoke(ask: Ask) -> Response:
    """A connector token that never lets anybody in again; its name is asked for."""
    desk, account_id, tunnel_id = ask.desk, ask.viewer.account_id, ask.place["tunnel_id"]
    with desk.store.reading() as session:
        tunnels.get(session, account_id, tunnel_id)
        token = connector_tokens.get(session, tunnel_id, ask.place["token_id"])
    asked = Asked(
        title=f"Revoke the connector token {token.name}",
        consequences=("Its connections end at once.", "Nobody is let in with it again: this can't be undone."),
        name=token.name,
        verb="Revoke",
        back=tunnel_url(tunnel_id),
    )
    if (page := confirmed(ask, asked)) is not None:
        return page
    with desk.store.writing(ask.who.actor) as write:
        connector_tokens.revoke(write, account_id=account_id, tunnel_id=tunnel_id, token_id=token.id)
    return ask.led_to(tunnel_url(tunnel_id))


def _values(desk: Desk, account_id: str, tunnel_id: str) -> dict[str, Any]:
    """What changes by itself."""
    now = desk.store.clock()
    with desk.store.reading() as session:
        found = tunnels.get(session, account_id, tunnel_id)
        state = tunnel_status.recent_state(session, found, now=now)
        known = nodes.every(session, found)
        role = mode.of(session, found.id)
        wanted = configurations.newest(session, found.id)
    names, lines = {node.token_id: node.name for node in known}, desk.live.lines()
    return {
        "tunnel": found,
        "line": desk.overviews.of(account_id).line(found.id),
        "connectors": [
            {
                "row": connector,
                "status": tunnel_status.connector_status(connector, connections),
                "connections": [
                    (each, names.get(each.token_id, each.token_id or "default"), lines.get(each.id))
                    for each in connections
                ],
            }
            for connector, connections in state.all_connectors
        ],
        "nodes": [
            {
                "node": node,
                "facts": desk.live.node(found.id, node.token_id),
                "is_active": role is not None and role.mode == mode.STANDBY and role.active_token_id == node.token_id,
            }
            for node in known
        ],
        "role": role if role is not None and role.mode == mode.STANDBY else None,
        "wanted": wanted.version if wanted is not None else 0,
        "failures": desk.live.recent_failures(tunnel_id=found.id, most=MOST_FAILURES),
    }


def _still(desk: Desk, account_id: str, tunnel_id: str) -> dict[str, Any]:
    """What changes only when somebody changes it."""
    with desk.store.reading() as session:
        found = tunnels.get(session, account_id, tunnel_id)
        newest_version = configurations.newest(session, tunnel_id)
        hostnames = public_hostnames.of_tunnels(session, account_id, [tunnel_id])[tunnel_id]
        tokens, _ = connector_tokens.page(session, tunnel_id, offset=0, limit=MOST_TOKENS)
        live = connector_tokens.live_connections(session, tokens)
    now = desk.store.clock()
    told = newest_version.document if newest_version is not None else found.local_configuration or "{}"
    return {
        "hostnames": hostnames[:MOST_HOSTNAMES],
        "more_hostnames": max(0, len(hostnames) - MOST_HOSTNAMES),
        "rules": _rules(told),
        "configuration": newest_version,
        "tokens": [(token, connector_tokens.status_of(token, now), live.get(token.id, 0)) for token in tokens],
    }


def _rules(document: str) -> list[dict[str, Any]]:
    """As they stand there; a foreign connector tells what it likes."""
    try:
        rules = json.loads(document).get("ingress") or []
    except (ValueError, AttributeError):
        return []
    return [rule for rule in rules if isinstance(rule, dict)]
