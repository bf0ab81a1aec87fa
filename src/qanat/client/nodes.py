"""A tunnel's nodes: mode, fences, promotions. qanat's own."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from qanat.client.http import Calls
from qanat.client.shapes import Node, Nodes, Promotion, TunnelMode


class NodePlace(Struct, frozen=True):
    """Where a node is asked about: with an API token, or on its host with its connector token."""

    node: str
    nodes: str
    promotions: str

    @classmethod
    def of_tunnel(cls, account_id: str, tunnel_id: str, node: str = "") -> "NodePlace":
        """For an API token."""
        base = f"/accounts/{account_id}/qanat/tunnels/{tunnel_id}"
        return cls(f"{base}/nodes/{node}", f"{base}/nodes", f"{base}/promotions")


OWN_NODE = NodePlace("/qanat/node", "/qanat/node/nodes", "/qanat/node/promotions")


class NodeCalls(Calls):
    """`/accounts/{a}/qanat/tunnels/{t}/nodes`, `…/mode`, `…/promotions`, and `/qanat/node`."""

    def tunnel_mode(self, account_id: str, tunnel_id: str) -> TunnelMode:
        """Which nodes get requests."""
        return self._one("GET", f"/accounts/{account_id}/qanat/tunnels/{tunnel_id}/mode", TunnelMode)

    def put_tunnel_mode(self, account_id: str, tunnel_id: str, settings: Mapping[str, Any]) -> TunnelMode:
        """`settings`: `mode`, and what of the others shall change."""
        path = f"/accounts/{account_id}/qanat/tunnels/{tunnel_id}/mode"
        return self._one("PUT", path, TunnelMode, body=settings)

    def nodes(self, place: NodePlace) -> Nodes:
        """All of the tunnel's, and its mode."""
        return self._one("GET", place.nodes, Nodes)

    def node(self, place: NodePlace) -> Node:
        """One."""
        return self._one("GET", place.node, Node)

    def promote(self, place: NodePlace, asked: Mapping[str, Any]) -> Promotion:
        """The promotion, which has begun."""
        return self._one("POST", f"{place.node}/promote", Promotion, body=asked)

    def fence(self, place: NodePlace, *, reason: str = "") -> Node:
        """No requests from now on; open ones are cut."""
        return self._one("POST", f"{place.node}/fence", Node, body={"reason": reason})

    def drain(self, place: NodePlace, *, reason: str = "") -> Node:
        """No new requests from now on."""
        return self._one("POST", f"{place.node}/drain", Node, body={"reason": reason})

    def unfence(self, place: NodePlace) -> Node:
        """It may get requests again."""
        return self._one("POST", f"{place.node}/unfence", Node)

    def promotion(self, place: NodePlace, promotion_id: str) -> Promotion:
        """How far it is."""
        return self._one("GET", f"{place.promotions}/{promotion_id}", Promotion)

    def promotions(self, place: NodePlace) -> list[Promotion]:
        """Newest first."""
        return list(self._pages(place.promotions, Promotion))

    def advance_promotion(self, place: NodePlace, promotion_id: str, state: str, *, error: str = "") -> Promotion:
        """A paused step has ended."""
        body = {"state": state, "error": error}
        return self._one("POST", f"{place.promotions}/{promotion_id}/advance", Promotion, body=body)

    def undo_promotion(self, place: NodePlace, promotion_id: str, *, reason: str = "") -> Promotion:
        """Shall be undone."""
        return self._one("POST", f"{place.promotions}/{promotion_id}/undo", Promotion, body={"reason": reason})
