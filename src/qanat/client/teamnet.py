"""Private network routes and virtual networks."""

from qanat.client.http import Calls
from qanat.client.shapes import PrivateRoute, VirtualNetwork
from qanat.errors import QanatError


class TeamnetCalls(Calls):
    """`/accounts/{a}/teamnet`."""

    def private_routes(self, account_id: str, *, network: str | None = None) -> list[PrivateRoute]:
        """In order of age; `network`: only those of exactly this network."""
        exact = {"network_subset": network, "network_superset": network} if network is not None else {}
        return list(
            self._pages(f"/accounts/{account_id}/teamnet/routes", PrivateRoute, {"is_deleted": "false", **exact})
        )

    def add_private_route(
        self, account_id: str, network: str, tunnel_id: str, *, comment: str = "", virtual_network_id: str | None = None
    ) -> PrivateRoute:
        """In the default virtual network unless one is named."""
        where = {"virtual_network_id": virtual_network_id} if virtual_network_id is not None else {}
        body = {"network": network, "tunnel_id": tunnel_id, "comment": comment, **where}
        return self._one("POST", f"/accounts/{account_id}/teamnet/routes", PrivateRoute, body=body)

    def change_private_route(self, account_id: str, route_id: str, *, tunnel_id: str, comment: str) -> PrivateRoute:
        """The route to this tunnel, with this comment."""
        body = {"tunnel_id": tunnel_id, "comment": comment}
        return self._one("PATCH", f"/accounts/{account_id}/teamnet/routes/{route_id}", PrivateRoute, body=body)

    def delete_private_route(self, account_id: str, route_id: str) -> PrivateRoute:
        """The route as it was."""
        return self._one("DELETE", f"/accounts/{account_id}/teamnet/routes/{route_id}", PrivateRoute)

    def virtual_networks(self, account_id: str) -> list[VirtualNetwork]:
        """All of them."""
        path = f"/accounts/{account_id}/teamnet/virtual_networks"
        return self._one("GET", path, list[VirtualNetwork], query={"is_deleted": "false"})

    def create_virtual_network(self, account_id: str, name: str, *, comment: str = "") -> VirtualNetwork:
        """One that is not the default."""
        body = {"name": name, "comment": comment, "is_default": False}
        return self._one("POST", f"/accounts/{account_id}/teamnet/virtual_networks", VirtualNetwork, body=body)

    def find_virtual_network(self, account_id: str, name_or_id: str) -> VirtualNetwork:
        """QanatError `virtual_network_unknown`."""
        for each in self.virtual_networks(account_id):
            if name_or_id in (each.id, each.name):
                return each
        raise QanatError(
            "virtual_network_unknown",
            f"there is no virtual network {name_or_id!r}",
            hint="see `cloudflared tunnel vnet list`",
        )
