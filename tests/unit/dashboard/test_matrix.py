"""Every page asks for what it needs: a session may not do what its token may not."""

import pytest

from qanat.auth import issue
from qanat.control.permissions import GROUPS
from qanat.dashboard.app import declared
from qanat.dashboard.ask import Declared
from tests.support.control import Control
from tests.support.dashboard import Visitor
from tests.support.writes import written

PAGES = declared()
TUNNEL = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"


def path_of(page: Declared) -> str:
    ids = {"tunnel_id": TUNNEL, "token_id": TUNNEL, "user_id": "f" * 32, "session_id": "f" * 32, "cutover_id": "f" * 32}
    ids |= {"certificate_id": TUNNEL, "zone_id": "f" * 32, "record_id": "f" * 32, "passkey_id": "f" * 32}
    ids |= {"rule_id": "f" * 32, "channel_id": "f" * 32}
    return page.path.format(**ids, version="1", name="app.example.test", node="default")


def asked(visitor: Visitor, page: Declared) -> int:
    return (visitor.get if page.method == "GET" else visitor.post)(path_of(page)).status_code


def names(page: Declared) -> str:
    return f"{page.method} {page.path}"


@pytest.mark.requirement("S34")
@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_page_is_nobodys_without_its_permission(control: Control, stranger: Visitor, page: Declared) -> None:
    assert page.needs
    for permission in page.needs:
        groups = [
            {"id": group.id, "name": group.name}
            for group in GROUPS
            if not group.allows(permission) and "com.cloudflare.api.account" in group.scopes
        ]
        policy = {
            "effect": "allow",
            "resources": {f"com.cloudflare.api.account.{control.account}": "*"},
            "permission_groups": groups,
        }
        text, _ = written(control.store, issue, name="without", policies=[policy])
        stranger.sign_in(text)
        if page.path == "/":
            assert stranger.get("/").headers["location"] == "/tokens", "they are led to what they may look at"
        else:
            assert asked(stranger, page) == 403, permission


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_page_is_no_strangers(stranger: Visitor, page: Declared) -> None:
    answer = stranger.http.request(page.method, path_of(page))
    assert answer.status_code == (303 if page.method == "GET" else 401)


@pytest.mark.parametrize("page", [page for page in PAGES if page.method == "POST"], ids=names)
def test_a_form_of_elsewhere_is_refused(me: Visitor, page: Declared) -> None:
    assert me.post(path_of(page), csrf="forged").status_code == 403
