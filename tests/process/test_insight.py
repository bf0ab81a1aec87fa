"""What an edge knows of its connectors and requests, with a real one at the other end: hops, lines, a request list, a log."""

import json
from contextlib import closing
from threading import Thread
from typing import Any

import httpx

from tests.support.fixtures import every_connector
from tests.support.sites import Site
from tests.support.waiting import wait_until

SOON_S = 60.0


def dashboard(site: Site) -> httpx.Client:
    """Signed in with the API's own token."""
    base = str(site.edge.ready["api"]).removesuffix("/client/v4")
    client = httpx.Client(base_url=base, timeout=SOON_S, trust_env=False)
    token = (site.edge.data_dir / "first-token").read_text().strip()
    assert client.post("/sign-in", data={"token": token}).status_code == 303
    return client


class Followed(Thread):
    """A page that follows the log of a tunnel's connector."""

    def __init__(self, operator: httpx.Client, tunnel_id: str) -> None:
        super().__init__(daemon=True)
        self.operator, self.path = operator, f"/tunnels/{tunnel_id}/tail"
        self.lines: list[dict[str, str]] = []
        self.is_enough = False
        self.start()

    def run(self) -> None:
        with self.operator.stream("GET", self.path) as answer:
            for text in answer.iter_lines():
                if text.startswith("data: "):
                    self.lines.extend(json.loads(text.removeprefix("data: ")).get("lines", []))
                if self.is_enough:
                    return

    def has(self, text: str) -> bool:
        return any(text in line["message"] + line["fields"] for line in self.lines)


@every_connector
def test_an_operator_sees_hops_lines_requests_and_the_log(site: Site) -> None:
    api, tunnel = site.edge.api, site.tunnelled.tunnel
    is_ours = site.link.kind == "qanat"
    lists = f"/accounts/{api.account}/qanat/request-lists"
    api.call("PUT", f"{lists}/{site.hostname}", {"minutes": 5, "most": 100})
    secrets = [("Authorization", "Bearer S3CRET"), ("Cookie", "a=S3CRET")]

    def visit() -> None:
        assert site.get("/seen?token=S3CRET", secrets).status == 200

    with closing(dashboard(site)) as operator:
        followed = Followed(operator, tunnel.id)

        def is_told() -> bool:
            visit()
            return followed.has(site.hostname)

        wait_until(is_told, "the request in the log", timeout_s=SOON_S, every_s=0.3)
        followed.is_enough = True
        visit()
        followed.join(SOON_S)
    listed = f"{lists}/{site.hostname}/requests?path=/seen"
    requests = wait_until(lambda: api.call("GET", listed), "a list", timeout_s=SOON_S)
    request = requests[0]
    assert "S3CRET" not in json.dumps(requests)
    assert (request["query"], request["status"]) == ("token=*", 200)
    values = {field["name"].lower(): field["value"] for field in request["headers"]}
    assert (values["authorization"], values["cookie"]) == ("*", "*")
    hops = [request[name] is not None for name in ("queue_s", "first_byte_s", "connector_s", "origin_s")]
    assert hops == [True, True, is_ours, is_ours], "a stock connector tells nothing of its own"

    def connections() -> list[dict[str, Any]]:
        found = api.call("GET", f"/qanat/tunnels/{tunnel.id}")["connectors"]
        return [each for connector in found for each in connector["connections"] if each["lost_at"] is None]

    wait_until(
        lambda: connections() and all(each["rtt_s"] is not None for each in connections()), "rtts", timeout_s=SOON_S
    )
    assert {each["key_exchange"] for each in connections()} == {"X25519MLKEM768"}
    api.call("DELETE", f"{lists}/{site.hostname}")
