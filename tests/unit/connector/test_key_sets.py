"""Key sets: fetched for the issuers in force, again when they are wanted, and again after a failure."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from qanat.connector.engine import Connector, EngineError
from qanat.connector.key_sets import KeySets, fetch_key_set
from qanat.connector.log import Log
from tests.support.waiting import wait_until

ISSUER = "https://team.cloudflareaccess.com"


class Recorder:
    """In place of the engine."""

    def __init__(self) -> None:
        self.put: list[tuple[str, bytes]] = []

    def put_key_set(self, *, issuer: str, keys: bytes) -> None:
        if keys == b"bad":
            raise EngineError("bad_setting", "keys: is not a key set")
        self.put.append((issuer, keys))


@pytest.fixture
def engine() -> Recorder:
    return Recorder()


@pytest.fixture
def made(engine: Recorder) -> Iterator[Callable[..., KeySets]]:
    all_made: list[KeySets] = []

    def make(fetch: Callable[[str], bytes]) -> KeySets:
        all_made.append(KeySets(cast(Connector, engine), Log(level="fatal", json=False), fetch=fetch))
        return all_made[-1]

    yield make
    for each in all_made:
        each.close()


def test_keys_are_fetched_when_they_are_used_first_and_when_they_are_wanted(
    made: Callable[..., KeySets], engine: Recorder
) -> None:
    key_sets = made(lambda issuer: issuer.encode())
    key_sets.use([ISSUER, ""])
    wait_until(lambda: engine.put == [(ISSUER, ISSUER.encode())], "the first keys")
    key_sets.use([ISSUER])
    key_sets.want("https://unknown.example")
    key_sets.want(ISSUER)
    wait_until(lambda: len(engine.put) == 2, "the keys that were wanted")


def test_an_issuer_that_no_rule_names_any_more_is_not_asked_again(
    made: Callable[..., KeySets], engine: Recorder
) -> None:
    asked: list[str] = []
    answering = threading.Event()

    def fetch(issuer: str) -> bytes:
        asked.append(issuer)
        if issuer == "gone":
            answering.wait(10.0)
            raise OSError("away")
        return b"good"

    key_sets = made(fetch)
    key_sets.use(["gone"])
    wait_until(lambda: asked == ["gone"], "the first of it")
    key_sets.use([ISSUER])  # while its answer is awaited: its failure is nobody's any more
    answering.set()
    wait_until(lambda: engine.put == [(ISSUER, b"good")], "the other's keys")
    key_sets.want("gone")
    key_sets.want(ISSUER)
    wait_until(lambda: len(engine.put) == 2, "the other's keys once more")
    assert asked == ["gone", ISSUER, ISSUER]


def test_without_an_issuer_there_is_no_thread(made: Callable[..., KeySets]) -> None:
    before = threading.active_count()
    made(lambda _: b"").use([])
    assert threading.active_count() == before


def test_a_failure_is_followed_by_another_try_and_one_issuers_is_not_anothers(
    made: Callable[..., KeySets], engine: Recorder
) -> None:
    answers: dict[str, list[bytes | OSError]] = {"a": [OSError("away"), b"bad", b"good"], "b": [b"good"]}

    def fetch(issuer: str) -> bytes:
        answer = answers[issuer].pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    made(fetch).use(["a", "b"])
    wait_until(lambda: sorted(engine.put) == [("a", b"good"), ("b", b"good")], "both issuers' keys")


@pytest.fixture
def issuer() -> Iterator[tuple[str, dict[str, Any]]]:
    """Its URL, and what it answers by path: a document, or where to look instead."""
    pages: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            if isinstance(page, str):
                self.send_response(302)
                self.send_header("Location", page)
                self.end_headers()
                return
            self.send_response(200 if page is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps(page).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", pages
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_key_set_is_found_as_stocks_or_by_the_openid_configuration(issuer: tuple[str, dict[str, Any]]) -> None:
    url, pages = issuer
    pages["/cdn-cgi/access/certs"] = {"keys": [1]}
    assert json.loads(fetch_key_set(url)) == {"keys": [1]}
    del pages["/cdn-cgi/access/certs"]
    pages |= {"/.well-known/openid-configuration": {"jwks_uri": f"{url}/keys"}, "/keys": {"keys": [2]}}
    assert json.loads(fetch_key_set(url)) == {"keys": [2]}


def test_keys_of_elsewhere_are_not_taken(issuer: tuple[str, dict[str, Any]]) -> None:
    url, pages = issuer
    pages["/cdn-cgi/access/certs"] = f"{url}/keys"
    pages["/keys"] = {"keys": [2]}
    with pytest.raises(OSError, match="302"):
        fetch_key_set(url)
    del pages["/cdn-cgi/access/certs"]
    pages["/.well-known/openid-configuration"] = {"jwks_uri": "http://192.0.2.1/keys"}
    with pytest.raises(ValueError, match="jwks_uri"):
        fetch_key_set(url)
