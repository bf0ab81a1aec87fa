"""A second control plane stands for the account that is taken over; a stub for answers that a good one never gives."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qanat.cli.main import main
from tests.support.control import Control, running_control
from tests.support.writes import written

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    """The existing account."""
    folder = tmp_path / "there"
    folder.mkdir()
    with running_control(folder) as running:
        monkeypatch.setenv("QANAT_FROM_TOKEN", running.token)
        yield running


@pytest.fixture
def filled(there: Control) -> dict[str, str]:
    """It has this; the ids by name."""
    web, ssh = there.create_tunnel("web"), there.create_tunnel("ssh", config_src="local")
    there.call(
        "PUT",
        f"{there.tunnels()}/{web['id']}/configurations",
        {
            "config": {
                "ingress": [
                    {
                        "hostname": "app.example.test",
                        "service": "http://127.0.0.1:1",
                        "originRequest": {"noTLSVerify": True},
                    },
                    {"service": "http_status:404"},
                ]
            }
        },
    )
    zone = there.create_zone()
    for fields in (
        {"type": "CNAME", "name": "app", "content": f"{web['id']}.cfargotunnel.com", "proxied": True, "comment": "hi"},
        {"type": "A", "name": "@", "content": "192.0.2.1", "ttl": 300},
        {"type": "TXT", "name": "@", "content": '"v=spf1 -all"'},
        {"type": "TXT", "name": "@", "content": "second"},
        {"type": "MX", "name": "@", "content": "mail.example.test", "priority": 10},
        {
            "type": "SRV",
            "name": "_sip._tcp",
            "data": {"priority": 1, "weight": 2, "port": 3, "target": "a.example.test"},
        },
        {"type": "CAA", "name": "@", "content": '0 issue "letsencrypt.org"'},
    ):
        there.create_record(zone["id"], **fields)
    return {"web": web["id"], "ssh": ssh["id"], "zone": zone["id"]}


@pytest.fixture
def run(at_control: Control, capsys: pytest.CaptureFixture[str]) -> Run:
    """One import; its result."""

    def call(source: str, *flags: str, expect: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["import", "cloudflare", "--from-api", source, "-o", "json", *flags]) == expect
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def steps(result: dict[str, Any], action: str) -> set[tuple[str, str]]:
    return {(step["kind"], step["name"]) for step in result["steps"] if step["action"] == action}


def test_an_account_is_taken_over(there: Control, filled: dict[str, str], at_control: Control, run: Run) -> None:
    plan = run(there.url, "--zone", "example.test")
    assert not plan["applied"]
    assert at_control.call("GET", "/zones") == []
    assert at_control.call("GET", at_control.tunnels()) == []
    done = run(there.url, "--zone", "example.test", "--account", "first", "--apply")
    assert done["steps"] == plan["steps"]
    assert steps(done, "create") >= {
        ("tunnel", "web"),
        ("tunnel", "ssh"),
        ("configuration", "web"),
        ("zone", "example.test"),
        ("record", "CNAME app.example.test"),
    }
    assert steps(done, "note") == {("configuration", "ssh")}
    ids = {tunnel["name"]: tunnel["id"] for tunnel in at_control.call("GET", at_control.tunnels())}
    assert ids["web"] != filled["web"]
    old, new = (
        plane.call("GET", f"{plane.tunnels()}/{tunnel}/configurations")["config"]
        for plane, tunnel in ((there, filled["web"]), (at_control, ids["web"]))
    )
    assert old == new
    (zone,) = at_control.call("GET", "/zones")
    before = there.call("GET", f"/zones/{filled['zone']}/dns_records")
    after = at_control.call("GET", f"/zones/{zone['id']}/dns_records")
    told = ("type", "name", "content", "proxied", "ttl", "comment", "tags", "data", "priority")
    expected = [{key: record.get(key) for key in told} for record in before]
    for record in expected:
        record["content"] = record["content"].replace(filled["web"], ids["web"])
    assert sorted(({key: record.get(key) for key in told} for record in after), key=repr) == sorted(expected, key=repr)
    commands = {tunnel["name"]: tunnel["command"] for tunnel in done["tunnels"]}
    assert "--token-file web.token" in commands["web"]
    assert "qanat tunnel token web --account first > web.token" in commands["web"], "as the import was told"


def test_a_second_run_has_nothing_to_do(there: Control, filled: dict[str, str], at_control: Control, run: Run) -> None:
    run(there.url, "--all-zones", "--apply")
    seq = at_control.call("GET", "/qanat/audit")[0]["seq"]
    again = run(there.url, "--all-zones", "--apply")
    assert set(again["counts"]) == {"same", "note"}
    assert at_control.call("GET", "/qanat/audit")[0]["seq"] == seq, "nothing was written"


def test_what_differs_here_stays_unless_it_is_to_be_overwritten(
    there: Control, filled: dict[str, str], at_control: Control, run: Run
) -> None:
    run(there.url, "--all-zones", "--apply")
    (zone,) = at_control.call("GET", "/zones")
    app, apex = (
        at_control.call("GET", f"/zones/{zone['id']}/dns_records", name=name, type=kind)[0]
        for name, kind in (("app.example.test", "CNAME"), ("example.test", "A"))
    )
    at_control.call("PATCH", f"/zones/{zone['id']}/dns_records/{app['id']}", {"content": "e.test", "proxied": False})
    at_control.call("PATCH", f"/zones/{zone['id']}/dns_records/{apex['id']}", {"ttl": 60})
    (web,) = at_control.call("GET", at_control.tunnels(), name="web")
    path = f"{at_control.tunnels()}/{web['id']}/configurations"
    at_control.call("PUT", path, {"config": {"ingress": [{"service": "http_status:418"}]}})
    expected = {("configuration", "web"), ("record", "CNAME app.example.test"), ("record", "A example.test")}
    assert steps(run(there.url, "--all-zones", "--apply"), "differs") == expected
    assert at_control.call("GET", path)["config"]["ingress"] == [{"service": "http_status:418"}]
    assert steps(run(there.url, "--all-zones", "--overwrite"), "change") == expected
    assert steps(run(there.url, "--all-zones", "--overwrite", "--apply"), "change") == expected
    assert set(run(there.url, "--all-zones")["counts"]) == {"same", "note"}


def test_only_what_was_chosen(there: Control, filled: dict[str, str], at_control: Control, run: Run) -> None:
    done = run(there.url, "--tunnel", "ssh", "--zone", "example.test", "--apply")
    assert [tunnel["name"] for tunnel in at_control.call("GET", at_control.tunnels())] == ["ssh"]
    (skipped,) = [step for step in done["steps"] if step["action"] == "skip"]
    assert skipped["name"] == "CNAME app.example.test"
    assert filled["web"] in skipped["reason"]
    assert steps(run(there.url, "--tunnel", filled["ssh"]), "same") == {("tunnel", "ssh")}


def test_what_our_api_refuses_is_told_and_the_rest_goes_on(
    there: Control, filled: dict[str, str], at_control: Control, run: Run
) -> None:
    from qanat.control import accounts

    other = written(at_control.store, accounts.create, name="other")
    at_control.call("POST", "/zones", {"name": "app.example.test", "account": {"id": other.id}})
    done = run(there.url, "--all-zones", "--account", "first", "--apply", expect=1)
    assert steps(done, "refused") == {("zone", "example.test")}
    assert ("configuration", "web") in steps(done, "create")


def add_route(plane: Control, network: str, tunnel_id: str, **more: str) -> Any:
    path = f"/accounts/{plane.account}/teamnet/routes"
    return plane.call("POST", path, {"network": network, "tunnel_id": tunnel_id, **more})


def routes_of(plane: Control) -> set[tuple[str, str, str, str]]:
    path = f"/accounts/{plane.account}/teamnet/routes"
    return {
        (row["network"], row["tunnel_name"], row["virtual_network_name"], row["comment"])
        for row in plane.call("GET", path, is_deleted="false")
    }


def test_private_routes_come_with_their_tunnels_and_virtual_networks(
    there: Control, filled: dict[str, str], at_control: Control, run: Run
) -> None:
    networks = f"/accounts/{there.account}/teamnet/virtual_networks"
    lab = there.call("POST", networks, {"name": "lab", "comment": "benches"})
    there.call("POST", networks, {"name": "empty"})
    add_route(there, "10.0.0.0/8", filled["web"], comment="office")
    add_route(there, "10.0.0.0/8", filled["ssh"], virtual_network_id=lab["id"])
    add_route(there, "fd00::/8", filled["ssh"])
    plan = run(there.url)
    assert routes_of(at_control) == set()
    assert steps(plan, "create") >= {
        ("virtual network", "lab"),
        ("private route", "10.0.0.0/8"),
        ("private route", "fd00::/8"),
    }
    done = run(there.url, "--apply")
    assert done["steps"] == plan["steps"]
    assert routes_of(at_control) == routes_of(there)
    assert len(routes_of(at_control)) == 3
    here = at_control.call("GET", f"/accounts/{at_control.account}/teamnet/virtual_networks")
    assert {(each["name"], each["comment"]) for each in here} == {("default", ""), ("lab", "benches")}
    seq = at_control.call("GET", "/qanat/audit")[0]["seq"]
    assert set(run(there.url, "--apply")["counts"]) == {"same", "note"}
    assert at_control.call("GET", "/qanat/audit")[0]["seq"] == seq, "nothing was written"


def test_a_private_route_that_differs_here_stays_unless_it_is_to_be_overwritten(
    there: Control, filled: dict[str, str], at_control: Control, run: Run
) -> None:
    add_route(there, "10.0.0.0/8", filled["web"], comment="office")
    other = at_control.create_tunnel("other")
    add_route(at_control, "10.0.0.0/8", other["id"], comment="mine")
    assert steps(run(there.url, "--apply"), "differs") == {("private route", "10.0.0.0/8")}
    assert routes_of(at_control) == {("10.0.0.0/8", "other", "default", "mine")}
    assert steps(run(there.url, "--overwrite", "--apply"), "change") == {("private route", "10.0.0.0/8")}
    assert routes_of(at_control) == {("10.0.0.0/8", "web", "default", "office")}


def test_a_private_route_of_a_tunnel_that_stays_is_named(
    there: Control, filled: dict[str, str], at_control: Control, run: Run
) -> None:
    add_route(there, "10.0.0.0/8", filled["web"])
    done = run(there.url, "--tunnel", "ssh", "--apply")
    (skipped,) = [step for step in done["steps"] if step["action"] == "skip"]
    assert (skipped["name"], skipped["reason"]) == ("10.0.0.0/8", "its tunnel web is not taken over")
    assert routes_of(at_control) == set()


def test_new_tokens_are_written_for_their_owner_alone(
    there: Control, filled: dict[str, str], at_control: Control, run: Run, tmp_path: Path
) -> None:
    there.create_tunnel("../odd name")
    done = run(there.url, "--tokens", str(tmp_path / "tokens"), "--apply")
    for tunnel in done["tunnels"]:
        file = Path(tunnel["command"].split("--token-file ")[1].strip("'"))
        assert file.parent == tmp_path / "tokens"
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_text().strip() == at_control.call("GET", f"{at_control.tunnels()}/{tunnel['id']}/token")


def test_no_secret_is_asked_of_the_account_or_printed(
    there: Control, filled: dict[str, str], at_control: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in ((), ("--apply",)):
        assert main(["import", "cloudflare", "--from-api", there.url, "--all-zones", *flags]) == 0
    printed = "".join(capsys.readouterr())
    for plane in (there, at_control):
        assert plane.token not in printed
        for tunnel in plane.call("GET", plane.tunnels()):
            assert plane.call("GET", f"{plane.tunnels()}/{tunnel['id']}/token") not in printed
    assert "cloudflared tunnel --edge EDGE run --token-file web.token" in printed


def test_wrong_usage(
    there: Control, filled: dict[str, str], at_control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["import", "cloudflare", "--from-api"]
    assert main([*command, there.url, "--tunnel", "none"]) == 3
    assert main([*command, there.url, "--zone", "none.test"]) == 3
    assert main([*command, "http://192.0.2.1/client/v4"]) == 1, "no token in clear text"
    assert main([*command, "http://127.0.0.1:1/client/v4"]) == 4
    monkeypatch.setenv("QANAT_FROM_TOKEN", at_control.token)
    assert main([*command, at_control.url]) == 2, "not from itself"
    monkeypatch.setenv("QANAT_FROM_TOKEN", "wrong")
    assert main([*command, there.url]) == 1
    monkeypatch.delenv("QANAT_FROM_TOKEN")
    assert main([*command, there.url]) == 1


class Stub:
    """An API with answers by path."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any, dict[str, str]]]] = {}
        self.asked: list[tuple[str, str]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.removeprefix("/client/v4").partition("?")[0]
                stub.asked.append(("GET", self.path))
                queue = stub.answers.get(path)
                status, body, headers = (
                    (404, failure(7000, "no route"), {})
                    if queue is None
                    else queue.pop(0)
                    if len(queue) > 1
                    else queue[0]
                )
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/client/v4"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def says(self, path: str, body: Any, *, status: int = 200, **headers: str) -> None:
        self.answers.setdefault(path, []).append((status, body, {k.replace("_", "-"): v for k, v in headers.items()}))


def good(result: Any, **info: Any) -> dict[str, Any]:
    return {"success": True, "errors": [], "messages": [], "result": result, **({"result_info": info} if info else {})}


def failure(code: int, message: str) -> dict[str, Any]:
    return {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}


ACCOUNT = {"id": "a" * 32, "name": "old"}
TUNNEL = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "x" * 40)
    stub = Stub()
    stub.says("/accounts", good([ACCOUNT]))
    stub.says(
        f"/accounts/{ACCOUNT['id']}/cfd_tunnel",
        good([{"id": TUNNEL, "account_tag": ACCOUNT["id"], "name": "web", "remote_config": True, "unknown": {}}]),
    )
    yield stub
    stub.server.shutdown()
    stub.server.server_close()


def configurations(stub: Stub, config: Any) -> None:
    stub.says(f"/accounts/{ACCOUNT['id']}/cfd_tunnel/{TUNNEL}/configurations", good({"config": config, "version": 0}))


def test_a_tunnel_that_never_had_a_configuration(stub: Stub, at_control: Control, run: Run) -> None:
    configurations(stub, None)
    done = run(stub.url, "--apply")
    assert [step["action"] for step in done["steps"]] == ["create"]
    (tunnel,) = at_control.call("GET", at_control.tunnels())
    assert tunnel["config_src"] == "cloudflare", "remote_config tells it where config_src is missing"


def test_private_routes_that_the_token_may_not_read_are_told(stub: Stub, run: Run) -> None:
    configurations(stub, None)
    stub.says(f"/accounts/{ACCOUNT['id']}/teamnet/routes", failure(10000, "not permitted"), status=403)
    done = run(stub.url)
    assert steps(done, "skip") == {("private route", "all")}
    assert "may not read" in next(step["reason"] for step in done["steps"] if step["action"] == "skip")


def test_what_qanat_has_not_is_named_with_the_reason(stub: Stub, run: Run) -> None:
    access = {"required": True, "teamName": "t", "audTag": ["x"]}
    configurations(
        stub,
        {
            "ingress": [
                {"hostname": "a.test", "service": "http://b", "originRequest": {"access": access}},
                {"service": "http_status:404"},
            ]
        },
    )
    account = f"/accounts/{ACCOUNT['id']}"
    route = {"id": TUNNEL, "network": "10.0.0.0/8", "tunnel_id": "w" * 36, "virtual_network_id": "v", "comment": None}
    stub.says(f"{account}/teamnet/routes", good([route]))
    stub.says(f"{account}/teamnet/virtual_networks", good([{"id": "v", "name": "default", "is_default_network": True}]))
    stub.says(f"{account}/access/apps", failure(10000, "not permitted"), status=403)
    zone = {"id": "b" * 32, "name": "a.test", "status": "active", "paused": True, "account": ACCOUNT}
    stub.says(
        "/zones", good([zone, {**zone, "id": "c" * 32, "name": "b.test", "account": {"id": "d" * 32, "name": "x"}}])
    )
    stub.says(f"/zones/{zone['id']}/load_balancers", good([{"name": "lb.a.test"}]))
    records = [
        {"id": "1" * 32, "name": "a.test", "type": "NS", "content": "ns1.cloudflare.test", "proxied": False, "ttl": 1},
        {"id": "2" * 32, "name": "x.a.test", "type": "OPENPGPKEY", "content": "x", "proxied": False, "ttl": 1},
        {"id": "3" * 32, "name": "y.a.test", "type": "CNAME", "content": f"{TUNNEL.upper()}.CFARGOTUNNEL.com", "proxied": True},
        {"id": "4" * 32, "name": "s.a.test", "type": "SRV", "content": "2\t3\tt.test", "priority": 1,
         "data": {"priority": 1.0, "weight": 2, "port": 3, "target": "t.test", "extra": None}},
    ]  # fmt: skip
    stub.says(f"/zones/{zone['id']}/dns_records", good(records, page=1, per_page=100, count=4, total_count=4))
    done = run(stub.url, "--all-zones", "--apply")
    assert steps(done, "skip") == {
        ("private route", "10.0.0.0/8"),
        ("load balancer", "lb.a.test"),
        ("record", "NS a.test"),
        ("record", "OPENPGPKEY x.a.test"),
    }
    assert all(step["reason"] for step in done["steps"] if step["action"] in ("skip", "note"))
    assert {step["name"] for step in done["steps"] if step["kind"] == "zone"} == {"a.test"}
    assert ("record", "CNAME y.a.test") in steps(done, "create")
    assert "a.test asks for Access" in next(step["reason"] for step in done["steps"] if step["action"] == "note")
    assert steps(run(stub.url, "--all-zones", "--apply"), "create") == set()


@pytest.mark.parametrize(
    "body", [b"<html>", b"", {"success": True, "result": 5}, {"success": True, "result": [{"id": 5}]}, b"[" * 100_000]
)
def test_an_answer_that_is_none(stub: Stub, at_control: Control, body: Any) -> None:
    stub.answers["/accounts"] = [(200, body, {})]
    assert main(["import", "cloudflare", "--from-api", stub.url]) == 4


@pytest.mark.parametrize("per_page", [1, "1"])
def test_a_list_without_an_end(
    stub: Stub, at_control: Control, monkeypatch: pytest.MonkeyPatch, per_page: object
) -> None:
    monkeypatch.setattr("qanat.client.http.MAX_PAGES", 3)
    stub.answers["/accounts"] = [(200, good([ACCOUNT], page=1, per_page=per_page, total_count=10**9), {})]
    assert main(["import", "cloudflare", "--from-api", stub.url]) == 4
    assert len(stub.asked) == 3


def test_a_busy_api_is_asked_again_when_it_said(stub: Stub, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("qanat.client.http.time.sleep", waited.append)
    stub.answers["/accounts"] = [
        (429, failure(10429, "slow down"), {"retry-after": "7"}),
        (503, b"", {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        (429, failure(10429, "slow down"), {"retry-after": "999999"}),
        (429, failure(10429, "slow down"), {"retry-after": "nan"}),
        (200, good([ACCOUNT]), {}),
    ]
    configurations(stub, None)
    run(stub.url)
    assert waited == [7.0, 1.0, 60.0, 0.0]


def test_a_refusal_is_told(stub: Stub, at_control: Control, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answers["/accounts"] = [(403, {"success": False, "errors": [{"code": "9109", "message": None}]}, {})]
    assert main(["import", "cloudflare", "--from-api", stub.url]) == 1
    assert "api_refused" in capsys.readouterr().err
    stub.answers["/accounts"] = [(200, good([]), {})]
    assert main(["import", "cloudflare", "--from-api", stub.url]) == 3
