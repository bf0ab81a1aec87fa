"""The dashboard as a browser without scripts sees it."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape

import httpx

from qanat.auth import issue
from qanat.control.permissions import GROUPS
from tests.support.control import Control
from tests.support.waiting import PATIENCE_S
from tests.support.writes import written


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
        found = re.search(r'name="csrf" content="([^"]+)"', self.get("/nowhere").text)
        assert found is not None
        return unescape(found[1])

    def sign_in(self, token: str | None = None) -> httpx.Response:
        return self.http.post("/sign-in", data={"token": self.control.token if token is None else token})


def visitor(control: Control) -> Visitor:
    """Nobody yet."""
    base = control.url.removesuffix("/client/v4")
    return Visitor(control, httpx.Client(base_url=base, timeout=PATIENCE_S, trust_env=False, verify=False))


@contextmanager
def limited(
    control: Control, zones: Sequence[str], *names: str, account: Sequence[str] = (), denied: Sequence[str] = ()
) -> Iterator[Visitor]:
    """Signed in with a token that has these groups on single zones, and others on the account; nothing on what is `denied`."""
    policies = []
    for effect, resources, wanted in (
        ("allow", {f"com.cloudflare.api.account.zone.{each}": "*" for each in zones}, names),
        ("allow", {f"com.cloudflare.api.account.{control.account}": "*"}, account),
        ("deny", {f"com.cloudflare.api.account.zone.{each}": "*" for each in denied}, ("DNS Read", "Zone Read")),
    ):
        groups = [{"id": group.id, "name": group.name} for group in GROUPS if group.name in wanted]
        if groups and resources:
            policies.append({"effect": effect, "resources": resources, "permission_groups": groups})
    text, _ = written(control.store, issue, name="limited", policies=policies)
    made = visitor(control)
    with made.http:
        made.sign_in(text)
        yield made


def shown(html: str) -> str:
    """What of a page is read, on one line."""
    text = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())
