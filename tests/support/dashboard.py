"""The dashboard as a browser without scripts sees it."""

import re
from dataclasses import dataclass
from html import unescape

import httpx

from tests.support.control import Control
from tests.support.waiting import PATIENCE_S


@dataclass
class Visitor:
    """Somebody with a cookie jar."""

    control: Control
    http: httpx.Client

    def get(self, path: str, /, **query: str) -> httpx.Response:
        return self.http.get(path, params=query or None)

    def page(self, path: str, /, **query: str) -> str:
        """A page that must be there."""
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return answer.text

    def post(self, path: str, /, *, csrf: str | None = None, **form: str) -> httpx.Response:
        """A form, with the session's own token unless another is given."""
        return self.http.post(path, data={"csrf": self.csrf if csrf is None else csrf, **form})

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" content="([^"]+)"', self.get("/").text)
        assert found is not None
        return unescape(found[1])

    def sign_in(self, token: str | None = None) -> httpx.Response:
        return self.http.post("/sign-in", data={"token": self.control.token if token is None else token})


def visitor(control: Control) -> Visitor:
    """Nobody yet."""
    base = control.url.removesuffix("/client/v4")
    return Visitor(control, httpx.Client(base_url=base, timeout=PATIENCE_S, trust_env=False, verify=False))


def shown(html: str) -> str:
    """What of a page is read, on one line."""
    text = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())
