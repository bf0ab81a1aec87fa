"""What every answer of the dashboard tells browsers, whatever page it is and however it ends; and where secrets don't stand."""

import re
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from qanat.dashboard.app import HEADERS
from tests.support.control import Control
from tests.support.dashboard import Visitor
from tests.unit.dashboard.test_matrix import PAGES, path_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def routes(control: Control) -> list[Route]:
    """Every one of the dashboard's application."""
    dashboard: Any = control.beside._dashboard
    return [each for each in dashboard.routes if isinstance(each, Route)]


def marked(answer: httpx.Response, *, kept: bool = False) -> None:
    headers = answer.headers
    what = f"{answer.request.method} {answer.request.url}: {answer.status_code}"
    assert headers.get_list("content-security-policy") == [POLICY], what
    assert headers.get_list("x-content-type-options") == ["nosniff"], what
    assert headers.get_list("referrer-policy") == ["same-origin"], what
    assert headers.get_list("cross-origin-opener-policy") == ["same-origin"], what
    assert headers.get_list("cache-control") == ["no-store" if not kept else headers["cache-control"]], what


def test_every_route_says_it_to_everybody(control: Control, me: Visitor, stranger: Visitor) -> None:
    me.get("/")
    nobody = httpx.Client(base_url=me.http.base_url, trust_env=False)
    places = dict.fromkeys(re.findall(r"{(\w+)}", "".join(route.path for route in routes(control))), "f" * 32)
    seen = 0
    with nobody:
        for route in routes(control):
            path = route.path.format(**places)
            for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                if path in ("/live", "/sign-out"):
                    continue
                for visitor in (me.http, nobody):
                    answer = visitor.request(method, path, data={"csrf": "forged"} if method == "POST" else None)
                    marked(answer)
                    seen += 1
    assert seen > len(PAGES)
    assert HEADERS["content-security-policy"] == POLICY


def test_answers_that_are_no_pages_say_it_too(control: Control, me: Visitor) -> None:
    page = me.page("/")
    with me.http.stream("GET", "/live?view=overview") as stream:
        assert stream.status_code == 200
        marked(stream)
    marked(me.get("/live", view="nothing"))
    marked(me.http.delete("/tunnels"))
    marked(me.http.get("/", headers={"host": "rebound.example"}))
    marked(me.http.post("/sign-in", content=b"x" * 100_000))
    marked(me.get("/static/0/nothing.js"))
    for found in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        answer = me.get(found)
        marked(answer, kept=True)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_a_page_that_fails_says_it_and_nothing_of_why(
    control: Control, me: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    me.get("/")
    monkeypatch.setattr(control.hub._desk.overviews, "of", fails)
    answer = me.get("/")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    marked(answer)


def test_no_address_and_no_page_has_a_secret(control: Control, me: Visitor) -> None:
    """Neither where one is led, nor in links and forms: addresses stay in histories, logs and other sites' referrers."""
    secrets = (control.token, me.csrf, me.http.cookies["qanat"])
    for page in PAGES:
        answer = me.get(path_of(page)) if page.method == "GET" else me.post(path_of(page))
        addresses = re.findall(r'(?:href|src|action|hx-\w+|data-live|data-plot)="([^"]*)"', answer.text)
        for address in (answer.headers.get("location", ""), *addresses):
            assert not any(secret in address for secret in secrets), f"{page.path}: {address}"
        assert control.token not in answer.text
        assert me.http.cookies["qanat"] not in answer.text
        assert 'method="get"' not in answer.text or not re.search(
            r'<form[^>]*method="get"[^>]*>(?:(?!</form>).)*name="csrf"', answer.text, re.DOTALL
        )


def test_signing_out_takes_the_cookie_away_as_it_was_given(me: Visitor, stranger: Visitor) -> None:
    given = parts(stranger.sign_in().headers["set-cookie"])
    taken = parts(me.post("/sign-out").headers["set-cookie"])
    assert given.keys() - {"qanat"} == {"httponly", "path", "samesite"}, "a session's: it ends with the browser"
    assert (given["path"], given["samesite"]) == ("/", "lax")
    assert (taken["path"], taken["samesite"], taken["max-age"]) == ("/", "lax", "0")
    assert taken["qanat"] in ("", '""')
    assert "httponly" in taken


def parts(cookie: str) -> dict[str, str]:
    return {
        name.strip().lower(): value.strip() for name, _, value in (part.partition("=") for part in cookie.split(";"))
    }
