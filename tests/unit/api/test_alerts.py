"""Rules and channels by the API: bounds, secrets that are shown once, and who may do what."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select

from qanat.alerts import kinds
from qanat.alerts.channels import MOST_CHANNELS
from qanat.store.models import AlertChannel
from tests.support.control import Control, running_control

SECRET_URL = "https://hooks.example.com/services/T0/B0/secret-path"
MAIL = {
    "name": "mail",
    "kind": "email",
    "host": "smtp.example.com",
    "sender": "qanat@example.com",
    "recipients": ["ops@example.com"],
    "username": "qanat",
    "password": "a password of theirs",
}


@dataclass
class Place:
    """An account's alerts."""

    control: Control
    account: str

    def call(self, method: str, path: str, body: object = None) -> Any:
        return self.control.call(method, f"/accounts/{self.account}/qanat/alerts{path}", body)

    def refused(self, method: str, path: str, body: object, **headers: str) -> tuple[int, str]:
        """The status, and which field; or the code."""
        url = f"/accounts/{self.account}/qanat/alerts{path}"
        answer = self.control.http.request(method, url, json=body, headers=headers)
        error = answer.json()["errors"][0]
        return answer.status_code, error.get("source", {}).get("pointer", "") or error["qanat_code"]

    def hook(self, url: str = SECRET_URL) -> dict[str, Any]:
        made: dict[str, Any] = self.call("POST", "/channels", {"name": "hook", "kind": "webhook", "url": url})
        return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with running_control(tmp_path_factory.mktemp("alerts")) as control:
        yield control


NAMES = count()


@pytest.fixture
def place(shared: Control) -> Place:
    """A new account in a control plane that all tests share."""
    return Place(shared, shared.call("POST", "/accounts", {"name": f"account {next(NAMES)}"})["id"])


def test_a_webhooks_key_is_shown_once_and_its_path_never(place: Place) -> None:
    made = place.hook()
    assert made["key"].startswith("whsec_")
    assert made["to"] == {"place": "https://hooks.example.com/…"}
    rolled = place.call("POST", f"/channels/{made['id']}/key")
    assert rolled["key"] != made["key"]
    shown = [place.call("GET", path) for path in ("/channels", f"/channels/{made['id']}")]
    audit = place.control.call("GET", "/qanat/audit")
    for text in map(json.dumps, (*shown, audit)):
        assert "secret-path" not in text
        assert "whsec_" not in text
    with place.control.store.reading() as session:
        sealed = session.scalars(select(AlertChannel.sealed_secret).where(AlertChannel.id == made["id"])).one()
    assert b"secret-path" not in sealed


def test_a_password_goes_to_no_other_server(place: Place) -> None:
    made = place.call("POST", "/channels", MAIL)
    assert "password" not in json.dumps(made)
    kept = {**MAIL, "name": "renamed", "password": None}
    assert place.call("PUT", f"/channels/{made['id']}", kept)["name"] == "renamed"
    moved = {**kept, "host": "smtp.elsewhere.example"}
    assert place.refused("PUT", f"/channels/{made['id']}", moved) == (400, "/password")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "smtp.example.com\r\nRCPT TO:<x@y.z>"),
        ("sender", "a@b.c\r\nBcc: x@y.z"),
        ("recipients", ["a@b.c", "x@y.z, other@y.z"]),
        ("recipients", []),
        ("port", 0),
        ("security", "none"),
        ("username", "a\nb"),
    ],
)
def test_a_bad_mailbox_is_refused_by_its_field(place: Place, field: str, value: object) -> None:
    assert place.refused("POST", "/channels", {**MAIL, field: value}) == (400, f"/{field}")


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/", "https://", "https://user:word@example.com/", "https://example.com/#x", "https://a b/", "x"],
)
def test_a_bad_url_is_refused(place: Place, url: str) -> None:
    body = {"name": "hook", "kind": "webhook", "url": url}
    assert place.refused("POST", "/channels", body) == (400, "/url")


def test_there_are_not_more_channels_than_there_may_be(place: Place) -> None:
    for _ in range(MOST_CHANNELS):
        place.hook()
    assert place.refused("POST", "/channels", {"name": "h", "kind": "webhook", "url": SECRET_URL}) == (
        400,
        "alert_too_many",
    )


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"kind": "tunnel_sad"}, "/kind"),
        ({"settings": {"for_s": 90_000}}, "/settings/for_s"),
        ({"settings": {"share": 0.5}}, "/settings/share"),
        ({"hostname": "app.example.com"}, "/hostname"),
        ({"tunnel_id": "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"}, "/tunnel_id"),
        ({"of_edge": True}, "/of_edge"),
        ({"kind": "sign_in_failures"}, "/of_edge"),
        ({"name": ""}, "/name"),
        ({"channels": ["f" * 32]}, "alert_channel_unknown"),
    ],
)
def test_a_bad_rule_is_refused_by_its_field(place: Place, given: dict[str, Any], where: str) -> None:
    rule = {"name": "down", "kind": "tunnel_down", **given}
    assert place.refused("POST", "/rules", rule)[1] == where


def test_the_usual_rules_are_made_once(place: Place) -> None:
    channel = place.hook()["id"]
    made = place.call("POST", "/rules/defaults", {"channels": [channel]})
    assert [rule["kind"] for rule in made] == [kind.name for kind in kinds.DEFAULTS]
    assert all(rule["channels"] == [channel] for rule in made)
    assert place.call("POST", "/rules/defaults", {}) == []
    place.call("DELETE", f"/channels/{channel}")
    assert all(rule["channels"] == [] for rule in place.call("GET", "/rules"))


def test_a_rule_about_the_edge_is_for_who_edits_every_account(place: Place) -> None:
    policy = {
        "effect": "allow",
        "resources": {f"com.cloudflare.api.account.{place.account}": "*"},
        "permission_groups": [{"id": "1af1fa2adc104452b74a9a3364202f20"}],
    }
    token = place.control.call("POST", "/user/tokens", {"name": "one account", "policies": [policy]})["value"]
    rule = {"name": "r", "kind": "sign_in_failures", "of_edge": True}
    mine = {"authorization": f"Bearer {token}"}
    assert place.refused("POST", "/rules", rule, **mine) == (403, "/of_edge")
    assert place.call("POST", "/rules", rule)["of_edge"]


def test_a_silence_is_bounded_and_ends(place: Place) -> None:
    rule = place.call("POST", "/rules", {"name": "down", "kind": "tunnel_down"})["id"]
    assert place.call("POST", f"/rules/{rule}/silence", {"for_s": 60})["silenced_until"]
    assert place.call("POST", f"/rules/{rule}/silence", {"for_s": 0})["silenced_until"] is None
    assert place.refused("POST", f"/rules/{rule}/silence", {"for_s": 1e9}) == (400, "/for_s")


@pytest.mark.requirement("S40")
def test_a_test_to_a_private_address_is_refused_and_says_why(place: Place) -> None:
    channel = place.hook("https://127.0.0.1:1/")["id"]
    tested = place.call("POST", f"/channels/{channel}/test")
    assert (tested["delivered"], tested["code"]) == (False, "alert_address_denied")
    assert "loopback" in tested["channel"]["last_error"]
    [delivery] = place.call("GET", "/deliveries")
    assert (delivery["state"], delivery["type"]) == ("failed", "alert.test")
