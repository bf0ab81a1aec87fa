"""An edge on PostgreSQL: the main job, and a database that goes away while traffic goes on."""

from pathlib import Path

from tests.support.api import Api, ApiError
from tests.support.connectors import QuicConnector
from tests.support.edge import Edge
from tests.support.postgres import Postgres, running_postgres
from tests.support.waiting import wait_until


def _status(edge: Edge, hostname: str) -> int | None:
    try:
        with edge.h1(hostname) as client:
            return client.get().status
    except OSError:
        return None


def _refused(api: Api, name: str) -> ApiError | None:
    try:
        api.create_tunnel(name)
    except ApiError as error:
        return error
    return None


def test_with_the_database_away_traffic_goes_on_and_writes_answer_503(folder: Path, postgres: Postgres) -> None:
    """`postgres`: only so that this is skipped where there is none; the server that stops is this test's own."""
    del postgres
    with running_postgres() as server:
        edge = Edge(folder / "edge", store_url=server.empty_database(), store_busy_timeout_s="2")
        api = edge.api
        tunnel = api.create_tunnel("kept")
        zone = api.create_zone("example.test")
        api.publish(zone, "app.example.test", tunnel.id)
        connector = QuicConnector(edge.tunnel, edge.ca_file, tunnel.token)
        wait_until(lambda: _status(edge, "app.example.test") == 200, "traffic")
        wait_until(lambda: api.tunnel(tunnel.id)["status"] != "inactive", "the connection in the store")

        server.stop(at_once=True)
        for _ in range(3):
            assert _status(edge, "app.example.test") == 200
            refused = _refused(api, "away")
            assert refused is not None
            assert refused.status == 503
            assert refused.errors[0]["code"] == 10503
        # A connection that ends and one that begins meanwhile are served at once, and stored later.
        connector.close()
        second = QuicConnector(edge.tunnel, edge.ca_file, tunnel.token)
        wait_until(lambda: _status(edge, "app.example.test") == 200, "traffic by the new connection")
        assert not (edge.data_dir / "qanat.db").exists()

        server.start()
        wait_until(lambda: _refused(api, "back") is None, "writes again")
        names = {item["name"] for item in api.call("GET", f"/accounts/{api.account}/cfd_tunnel")}
        assert names == {"kept", "back"}
        wait_until(
            lambda: [len(each["conns"]) for each in api.connectors(tunnel.id)] == [1],
            "only the new connection in the store",
            timeout_s=20.0,
        )
        api.publish(zone, "more.example.test", tunnel.id)
        wait_until(lambda: _status(edge, "more.example.test") == 200, "a route that was made afterwards")
        second.close()
        edge.stop()

        # The lease is free at once, and everything is there.
        edge.restart()
        assert {item["name"] for item in edge.api.call("GET", f"/accounts/{api.account}/cfd_tunnel")} == names
        edge.stop()
