import pytest

from qanat.client import ApiRefusedError, Client
from qanat.errors import QanatError
from tests.support.control import Control


def test_the_main_job(control: Control) -> None:
    with Client(control.url, control.token) as client:
        assert client.verify().status == "active"
        account = client.account_id()
        tunnel = client.create_tunnel(account, "web")
        assert tunnel.token == client.connector_token(account, tunnel.id)
        assert client.find_tunnel(account, "web").id == client.find_tunnel(account, tunnel.id).id == tunnel.id
        document = {"ingress": [{"service": "http_status:404"}]}
        assert client.put_configuration(account, tunnel.id, document).version == 1
        assert client.configuration(account, tunnel.id).config["ingress"] == document["ingress"]
        zone = client.create_zone(account, "example.test")
        client.create_zone(account, "sub.example.test")
        assert client.find_zone("a.sub.example.test").name == "sub.example.test"
        assert client.find_zone("app.example.test").id == client.find_zone(zone.id).id == zone.id
        record = client.route_hostname(zone.id, "app.example.test", tunnel.id)
        assert [each.id for each in client.records(zone.id, name="app.example.test")] == [record.id]
        assert client.tunnel_detail(tunnel.id).status == "inactive"
        assert client.connectors(account, tunnel.id) == []
        client.disconnect(account, tunnel.id)
        client.delete_record(zone.id, record.id)
        client.delete_tunnel(account, tunnel.id)
        assert client.tunnels(account) == []
        assert [each.id for each in client.tunnels(account, deleted=True)] == [tunnel.id]


def test_lists_are_read_to_the_end(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qanat.client.http.PER_PAGE", 2)
    names = [f"t{number}" for number in range(5)]
    for name in names:
        control.create_tunnel(name)
    with Client(control.url, control.token) as client:
        assert [tunnel.name for tunnel in client.tunnels(control.account)] == names


def test_a_refusal_keeps_status_code_and_message(control: Control) -> None:
    control.create_tunnel("web")
    with Client(control.url, control.token) as client, pytest.raises(ApiRefusedError) as refused:
        client.create_tunnel(control.account, "web")
    assert (refused.value.status, refused.value.api_code) == (409, 1013)
    assert "already have a tunnel" in refused.value.message


def test_what_is_not_there(control: Control) -> None:
    with Client(control.url, control.token) as client:
        for call in (
            lambda: client.find_tunnel(control.account, "none"),
            lambda: client.find_zone("none.test"),
            lambda: client.account_id("none"),
        ):
            with pytest.raises(QanatError):
                call()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/client/v4", "nonsense", "http://[::1/"])
def test_an_api_that_does_not_answer(url: str) -> None:
    with Client(url, "x") as client, pytest.raises(QanatError) as refused:
        client.verify()
    assert refused.value.code == "api_unreachable"


def test_something_else_that_answers(control: Control) -> None:
    with Client(control.url.removesuffix("/client/v4") + "/x", control.token) as client, pytest.raises(QanatError):
        client.verify()
