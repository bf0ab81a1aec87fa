"""What goes to the API and what to the dashboard, and how an open page is no reason to wait at the end."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from qanat.edge.dashboard import is_api
from qanat.edge.server import ApiServer


def scope(path: str, **headers: str) -> dict[str, Any]:
    return {
        "type": "http",
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }


@pytest.mark.parametrize("path", ["/client/v4", "/client/v4/zones", "/tunnel", "/tunnel/"])
def test_the_apis_paths_are_the_apis(path: str) -> None:
    assert is_api(scope(path))


@pytest.mark.parametrize("path", ["/", "/tunnels", "/tunnels/x", "/client", "/client/v45", "/static/0/a.css"])
def test_all_others_are_pages(path: str) -> None:
    assert not is_api(scope(path))
    assert not is_api(scope(path, cookie="qanat=x"))


def test_who_shows_a_token_is_a_program() -> None:
    assert is_api(scope("/zones", authorization="Bearer x"))


@pytest.mark.parametrize("way", ["end_streams", "stop"])
def test_answers_without_an_end_are_ended_when_the_edge_drains_and_when_it_stops(way: str) -> None:
    app, ended = FastAPI(), threading.Event()

    async def lines() -> AsyncIterator[bytes]:
        while not ended.is_set():
            yield b"line\n"
            await asyncio.sleep(0.01)
        yield b"the end\n"

    @app.get("/client/v4/lines")
    def stream() -> StreamingResponse:
        return StreamingResponse(lines())

    server = ApiServer(app, "127.0.0.1:0", ending=[ended.set])
    server.start()
    with httpx.stream("GET", f"{server.url}/lines", trust_env=False, verify=False) as answer:
        told = answer.iter_lines()
        assert next(told) == "line"
        stopping = threading.Thread(target=getattr(server, way))
        stopping.start()
        assert list(told)[-1] == "the end", "it ended by itself, and was not cut"
        stopping.join()
    server.stop()
