"""What the engine hands over by the API's local socket, and that nobody else can say the same."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request

from qanat.edge.listen import LocalSocket
from qanat.edge.server import ApiServer


@pytest.fixture(params=["short", "long"])
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalSocket]:
    folder = tmp_path / "data" if request.param == "short" else tmp_path / ("d" * 120)
    folder.mkdir()
    with LocalSocket(folder / "control.sock") as local:
        yield local
    assert not list(folder.iterdir())


@pytest.fixture
def server(local: LocalSocket) -> Iterator[ApiServer]:
    app = FastAPI()

    @app.get("/client/v4/who")
    def who(request: Request) -> dict[str, object]:
        return {
            "client": request.client.host if request.client else None,
            "scheme": request.scope["scheme"],
            "fields": sorted(request.headers),
            "id": getattr(request.state, "request_id", None),
        }

    running = ApiServer(app, "127.0.0.1:0", local=local)
    running.start()
    yield running
    running.stop()


def asked(client: httpx.Client, base: str) -> dict[str, object]:
    fields = {"qanat-client": "192.0.2.7", "cf-ray": "0123456789abcdef-lab01", "x-own": "1"}
    told: dict[str, object] = client.get(f"{base}/who", headers=fields).json()
    return told


def test_by_the_local_socket_the_field_says_who_asks_and_elsewhere_nothing_does(
    server: ApiServer, local: LocalSocket
) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(uds=local.name, verify=False)) as client:
        told = asked(client, "http://api.example.test/client/v4")
    assert (told["client"], told["scheme"], told["id"]) == ("192.0.2.7", "https", "0123456789abcdef-lab01")
    fields = told["fields"]
    assert isinstance(fields, list)
    assert "x-own" in fields
    assert not {"qanat-client", "cf-ray"} & set(fields)
    with httpx.Client(trust_env=False, verify=False) as client:
        told = asked(client, server.url)
    assert (told["client"], told["scheme"], told["id"]) == ("127.0.0.1", "http", None)


def test_only_its_owner_opens_it_and_what_an_earlier_run_left_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(path))
    with LocalSocket(path) as local, closing(socket.socket(socket.AF_UNIX)) as client:
        assert path.stat().st_mode & 0o777 == 0o600
        client.connect(local.name)
