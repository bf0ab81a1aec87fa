"""A control plane that has only the standard endpoints, as the hosted one: what works there, and what the rest says."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from fastapi.routing import APIRoute

from qanat.api.app import RESOURCES
from qanat.cli.main import main
from tests.support.control import Control, running_control
from tests.support.links import register


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with running_control(tmp_path, own_endpoints=False) as running:
        yield running


def test_every_endpoint_of_ours_is_refused_and_every_other_is_there(control: Control) -> None:
    routes = [each for resource in RESOURCES for each in resource.router.routes if isinstance(each, APIRoute)]
    own = [each for each in routes if "qanat" in each.path.split("/")]
    assert own and len(own) < len(routes)
    for route in own:
        path = route.path_format.removeprefix("/client/v4").replace("{", "").replace("}", "")
        for method in route.methods or ():
            status, code, _ = control.refused(method, path, {} if method != "GET" else None)
            assert (status, code) == (404, 7000), (method, path)
    assert control.refused("GET", "/qanat/openapi.json")[1] == 7000
    assert control.call("GET", "/user/tokens/verify")["status"] == "active"
    assert control.call("GET", control.tunnels()) == []


def test_a_tunnel_is_made_shown_and_given_to_a_new_host(
    at_control: Control, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rules = tmp_path / "ingress.json"
    rules.write_text('{"ingress":[{"service":"http_status:404"}]}')
    for arguments in (
        ["zone", "create", "example.test"],
        ["tunnel", "create", "web"],
        ["tunnel", "config", "put", "web", str(rules)],
        ["record", "create", "app.example.test", "--tunnel", "web"],
        ["tunnel", "list"],
        ["tunnel", "info", "web"],
    ):
        assert main(arguments) == 0, arguments
    capsys.readouterr()
    assert main(["tunnel", "token", "web"]) == 0
    token = capsys.readouterr().out
    (tmp_path / "web.token").write_text(token)
    assert main(["cloud-init", "--token-file", str(tmp_path / "web.token"), "--protocol", "http2"]) == 0
    user_data = yaml.safe_load(capsys.readouterr().out)
    assert user_data["write_files"][0]["content"] == token


def test_a_tunnels_status_is_what_the_standard_endpoints_know(
    at_control: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    tunnel = at_control.create_tunnel("web")
    assert main(["tunnel", "show", "web"]) == 0
    shown = capsys.readouterr()
    assert "inactive since" in shown.out
    assert "no connector is connected" in shown.out
    assert "only the standard endpoints" in shown.err
    register(at_control.store, tunnel["id"], str(uuid4()), 0)
    assert main(["tunnel", "show", "web", "--output", "json"]) == 0
    detail = json.loads(capsys.readouterr().out)
    (told,) = at_control.call("GET", f"{at_control.tunnels()}/{tunnel['id']}/connections")
    assert detail["status"] == at_control.call("GET", f"{at_control.tunnels()}/{tunnel['id']}")["status"]
    assert [each["id"] for each in detail["connectors"]] == [told["id"]]
    (connection,) = detail["connectors"][0]["connections"]
    assert (connection["id"], connection["origin_ip"]) == (told["conns"][0]["id"], told["conns"][0]["origin_ip"])
    assert connection["index"] is None


@pytest.mark.parametrize(
    "arguments", [["status"], ["explain", "https://app.example.test/"], ["tunnel", "connector-token", "list", "web"]]
)
def test_what_needs_an_endpoint_of_ours_says_so(
    at_control: Control, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    at_control.create_tunnel("web")
    assert main(arguments) == 1
    assert "has only the standard endpoints" in capsys.readouterr().err
