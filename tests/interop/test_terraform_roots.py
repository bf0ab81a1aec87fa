"""deploy/terraform with the stock provider against a running qanat: apply, nothing left to do, a move, back, destroy.

`QANAT_TEST_TERRAFORM`: see tests/support/terraform.py for what it names.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.interop.test_terraform import api_token, environment
from tests.support.connector import Connector
from tests.support.edge import Edge
from tests.support.origin import Origin
from tests.support.terraform import PROGRAMS, Place, needs_terraform, sites
from tests.support.waiting import wait_until

pytestmark = [needs_terraform, pytest.mark.timeout(400)]

RELEASE = "5.22"
ZONE = "sites.test"
HOSTNAME = f"app.{ZONE}"


@dataclass
class Estate:
    """Production and a second site, each with an origin that says which it is, and connectors by their roots' tokens."""

    edge: Edge
    roots: dict[str, Place]
    folder: Path
    stack: ExitStack

    def __post_init__(self) -> None:
        self.connectors: dict[str, Connector] = {}

    def declare(self, name: str, **variables: Any) -> Origin:
        """The root's variables; the origin that its rule names."""
        origin = Origin()
        self.stack.callback(origin.close)
        origin.answers(200, name.encode())
        self.set(
            name,
            account_id=self.edge.api.account,
            zone=ZONE,
            edge=self.edge.tunnel,
            ca_file=str(self.edge.ca_file),
            ingress=[{"hostname": HOSTNAME, "service": origin.service}],
            **variables,
        )
        return origin

    def set(self, name: str, **variables: Any) -> None:
        file = self.roots[name].folder / "terraform.tfvars.json"
        before = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**before, **variables}))

    def apply(self, name: str) -> None:
        self.roots[name].succeeds("apply", "-auto-approve", "-no-color")

    def connect(self, name: str) -> None:
        """A connector with the token that comes out of the root."""
        token = self.roots[name].succeeds("output", "-raw", "tunnel_token")
        self.connectors[name] = Connector(self.folder / f"connector-{name}", self.edge, token)
        self.stack.callback(self.connectors[name].process.kill)
        tunnel = self.tunnel(name)
        wait_until(lambda: self.edge.api.tunnel(tunnel)["status"] == "healthy", f"{name} to be healthy")

    def tunnel(self, name: str) -> str:
        return self.roots[name].succeeds("output", "-raw", "tunnel_id")

    def served_by(self) -> str:
        with self.edge.h1(HOSTNAME) as client:
            return client.get().text

    def wait_served_by(self, name: str) -> None:
        wait_until(lambda: self.served_by() == name, f"{HOSTNAME} to be served by {name}")


@pytest.fixture(params=PROGRAMS, ids=lambda program: Path(program).name)
def estate(request: pytest.FixtureRequest, live: Edge, tmp_path: Path) -> Iterator[Estate]:
    zone = live.api.create_zone(ZONE)
    env = environment(live.ready["api"], api_token(live))
    with ExitStack() as stack:
        yield Estate(live, sites(tmp_path, request.param, RELEASE, env), tmp_path, stack)
    live.api.call("DELETE", f"/zones/{zone}")


class Visitor:
    """Asks without pause on one connection until it is left."""

    def __init__(self, edge: Edge) -> None:
        self.answers: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(edge,), daemon=True)

    def __enter__(self) -> "Visitor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(20.0)

    def _ask(self, edge: Edge) -> None:
        with edge.h1(HOSTNAME) as client:
            while not self._over.is_set():
                answer = client.get()
                self.answers.append(answer.text if answer.status == 200 else f"{answer.status}")


def test_validate_and_test(tmp_path: Path) -> None:
    for program in PROGRAMS:
        roots = sites(tmp_path / Path(program).name, program, RELEASE, {})
        for root in roots.values():
            root.succeeds("validate", "-no-color")
        module = Place(roots["staging"].folder.parent / "modules/tunnel", program, roots["staging"].env)
        module.succeeds("init", "-no-color")
        assert "0 failed" in module.succeeds("test", "-no-color")


def test_a_second_site_takes_over_and_gives_back(estate: Estate) -> None:
    edge, roots = estate.edge, estate.roots
    production = estate.declare("production")
    estate.apply("production")
    roots["production"].assert_in_place()
    estate.connect("production")
    estate.wait_served_by("production")
    (record,) = [each for each in records(edge) if each["name"] == HOSTNAME]

    second = estate.declare("second-site", activate_dns=False, takes_over_from=estate.tunnel("production"))
    assert all(actions == ["create"] for actions in roots["second-site"].planned().values()), "nothing of production's"
    estate.apply("second-site")
    roots["second-site"].assert_in_place()
    estate.connect("second-site")
    assert estate.served_by() == "production"
    assert second.requests == []
    assert "#cloud-config" in roots["second-site"].outputs()["user_data"]["default"]

    with Visitor(edge) as visitor:
        estate.set("second-site", activate_dns=True)
        planned = roots["second-site"].planned()
        assert planned == {f'module.tunnel.cloudflare_dns_record.moving["{HOSTNAME}"]': ["update"]}
        estate.apply("second-site")
        estate.wait_served_by("second-site")
        roots["second-site"].assert_in_place()
        roots["production"].assert_in_place()  # its next plan doesn't take the hostnames back

        estate.set("second-site", activate_dns=False)
        estate.apply("second-site")
        estate.wait_served_by("production")
        roots["second-site"].assert_in_place()
    assert set(visitor.answers) == {"production", "second-site"}, "no answer but the two sites'"
    (back,) = [each for each in records(edge) if each["name"] == HOSTNAME]
    assert (back["id"], back["content"]) == (record["id"], record["content"])
    assert production.requests

    refused = roots["second-site"].destroy()
    assert refused.code != 0
    assert "prevent_destroy" in refused.text
    assert estate.served_by() == "production"
    roots["second-site"].succeeds("state", "rm", "module.tunnel.cloudflare_dns_record.moving")
    destroyed = roots["second-site"].destroy()
    assert destroyed.code == 0, destroyed.text
    assert estate.served_by() == "production"
    destroyed = roots["production"].destroy()
    assert destroyed.code == 0, destroyed.text
    assert records(edge) == []


@pytest.mark.case(47)
def test_a_site_that_would_not_serve_is_refused_and_the_apply_says_why(estate: Estate) -> None:
    """The gate behind the API: a stock apply fails safe, at once, and works as soon as the site is there."""
    estate.declare("production")
    estate.apply("production")
    estate.connect("production")
    estate.wait_served_by("production")
    estate.declare("second-site", activate_dns=False, takes_over_from=estate.tunnel("production"))
    estate.apply("second-site")
    before = records(estate.edge)
    estate.set("second-site", activate_dns=True)
    refused = estate.roots["second-site"].run("apply", "-auto-approve", "-no-color")
    assert refused.code == 1
    said = " ".join(refused.text.replace("\u2502", " ").split())  # the program breaks lines where it likes
    assert "409 Conflict" in said
    assert f"{HOSTNAME} is served by the tunnel" in said
    assert refused.text.count("PUT") == 1, "it is not tried again and again"
    assert records(estate.edge) == before
    assert estate.served_by() == "production"
    estate.connect("second-site")
    estate.apply("second-site")
    estate.wait_served_by("second-site")
    estate.set("second-site", activate_dns=False)
    estate.apply("second-site")
    estate.wait_served_by("production")
    estate.roots["second-site"].succeeds("state", "rm", "module.tunnel.cloudflare_dns_record.moving")
    for name in ("second-site", "production"):
        destroyed = estate.roots[name].destroy()
        assert destroyed.code == 0, destroyed.text


def test_a_site_of_its_own(estate: Estate) -> None:
    """Staging: up, renamed service, off the names, gone."""
    estate.declare("staging")
    estate.apply("staging")
    estate.roots["staging"].assert_in_place()
    estate.connect("staging")
    estate.wait_served_by("staging")
    estate.set("staging", activate_dns=False)
    assert list(estate.roots["staging"].planned().values()) == [["delete"]]
    estate.apply("staging")
    assert records(estate.edge) == []
    estate.roots["staging"].assert_in_place()
    destroyed = estate.roots["staging"].destroy()
    assert destroyed.code == 0, destroyed.text


def test_a_hostname_that_nobody_serves_cannot_be_taken_over(estate: Estate) -> None:
    estate.declare("second-site", activate_dns=False, takes_over_from="22222222-2222-4222-8222-222222222222")
    outcome = estate.roots["second-site"].run("plan", "-no-color")
    assert outcome.code == 1
    assert f"{HOSTNAME} has no CNAME to take over" in outcome.text


def records(edge: Edge) -> list[Any]:
    zone = next(each for each in edge.api.call("GET", "/zones", name=ZONE))
    found: list[Any] = edge.api.call("GET", f"/zones/{zone['id']}/dns_records")
    return found
