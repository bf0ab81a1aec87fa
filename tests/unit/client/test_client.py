import socket

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


def test_a_token_for_this_machine_goes_through_no_proxy(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(variable, raising=False)
        with Client(control.url, control.token, timeout_s=5.0) as client:
            assert client.verify().status == "active"
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.parametrize("token", ["", " ", "two words", "line\nline", "tökén", "nul\x00", "\udcff"])
def test_what_can_be_no_token_is_refused_and_not_quoted(token: str) -> None:
    with pytest.raises(QanatError) as refused:
        Client("https://api.example.test/client/v4", token)
    assert refused.value.code == "api_token_unreadable"
    assert not token.strip() or token not in str(refused.value)


@pytest.mark.parametrize("value", ["a\nb", "a\x00b"])
def test_a_header_that_can_not_be_sent_is_refused_and_not_quoted(control: Control, value: str) -> None:
    with Client(control.url, control.token) as client, pytest.raises(QanatError) as refused:
        client.export_account(control.account, passphrase=value)
    assert refused.value.code == "usage"
    assert value not in str(refused.value)
    assert repr(value)[1:-1] not in str(refused.value)


@pytest.mark.parametrize("document", [{"a": float("nan")}, {"a": float("inf")}, {"a": "\udcff"}])
def test_a_document_that_is_no_json_is_refused(control: Control, document: dict[str, object]) -> None:
    tunnel = control.create_tunnel("web")
    with Client(control.url, control.token) as client, pytest.raises(QanatError) as refused:
        client.put_configuration(control.account, tunnel["id"], document)
    assert refused.value.code == "usage"


def test_names_are_found_as_people_write_them(control: Control) -> None:
    with Client(control.url, control.token) as client:
        zone = client.create_zone(control.account, "bücher.test")
        assert zone.name == "bücher.test"
        record = client.put_record(zone.id, {"name": "größe", "type": "A", "content": "192.0.2.1"})
        for name in ("bücher.test", "BÜCHER.test.", "XN--BCHER-KVA.test", zone.id):
            assert client.zone_itself(name).id == zone.id
        assert client.find_zone("größe.bücher.test").id == zone.id
        assert client.find_record(zone, "Größe.bücher.test.").id == client.find_record(zone, record.id).id == record.id


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device")])
def test_a_callers_full_disk_or_closed_pipe_is_not_the_apis(control: Control, error: OSError) -> None:
    with Client(control.url, control.token) as client:
        with pytest.raises(OSError) as met, client.export_audit({}) as pieces:
            next(iter(pieces))
            raise error
        assert met.value is error
        assert client.verify().status == "active", "the connection that was left in the middle isn't used again"
