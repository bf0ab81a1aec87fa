"""The stream of events: only what changed, once for all who look."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from qanat.auth import issue
from qanat.control.permissions import GROUPS
from qanat.dashboard.views import VIEWS, Declared
from tests.support.control import Control
from tests.support.dashboard import Visitor
from tests.support.writes import written

OVERVIEW = "/live?view=overview"
COUNTED = "/live?view=counted"


@pytest.fixture(autouse=True)
def quick_ticks(monkeypatch: pytest.MonkeyPatch, me: Visitor) -> None:
    """The hub looks often."""
    me.get("/")
    hub = me.control.hub
    monkeypatch.setattr(hub, "_every_s", 0.05)


@contextmanager
def stream(me: Visitor, url: str = OVERVIEW) -> Iterator[Iterator[tuple[str, Any]]]:
    """Its events, as they come."""
    with me.http.stream("GET", url) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


def events(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    kind = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def test_the_first_event_has_every_part_and_later_ones_what_changed(control: Control, me: Visitor) -> None:
    with stream(me) as told:
        kind, first = next(told)
        assert kind == "parts"
        assert {"states", "broken", "map"} <= set(first["parts"])
        assert first["at"] > 0
        assert next(told)[1]["parts"] == {}
        control.create_tunnel("newcomer")
        changed = next(parts for _, event in told if (parts := event["parts"]))
        assert "newcomer" in changed["map"]


def test_however_many_look_a_view_is_rendered_once(me: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []
    declared = VIEWS["overview"]

    def render(desk: Any, view: Any) -> dict[str, str]:
        rendered.append(view)
        return {"number": str(len(rendered))}

    monkeypatch.setitem(VIEWS, "counted", Declared(render, declared.needs, ()))
    with stream(me, COUNTED) as one, stream(me, COUNTED) as two, stream(me, COUNTED) as three:
        common = {
            number
            for number in (10, 11, 12)
            if all(any(part["parts"].get("number") == str(number) for _, part in told) for told in (one, two, three))
        }
    assert common == {10, 11, 12}
    assert len(set(rendered)) == 1


def test_a_view_that_fails_is_told_and_tried_again(me: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = VIEWS["overview"]
    fails = [True]

    def render(desk: Any, view: Any) -> dict[str, str]:
        if fails:
            raise RuntimeError("no")
        return {"states": "well"}

    monkeypatch.setitem(VIEWS, "failing", Declared(render, declared.needs, ()))
    with stream(me, "/live?view=failing") as told:
        kind, event = next(told)
        assert kind == "trouble"
        assert "log" in event["why"]
        fails.clear()
        assert next(event for kind, event in told if kind == "parts")["parts"] == {"states": "well"}


def test_who_comes_later_is_never_told_what_was_before_the_page(control: Control, me: Visitor) -> None:
    with stream(me) as earlier:
        next(earlier)
        control.create_tunnel("made-meanwhile")
        with stream(me) as later:
            parts = next(event["parts"] for _, event in later if event["parts"])
            assert "made-meanwhile" in parts["map"]
            assert {"states", "broken", "map"} <= set(parts)


def test_a_stranger_gets_no_stream(stranger: Visitor, me: Visitor) -> None:
    assert httpx.get(f"{me.http.base_url}/live?view=overview", trust_env=False, verify=False).status_code == 401
    assert me.get("/live", view="nothing").status_code == 404


def test_a_session_that_ends_takes_its_streams_along(me: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qanat.dashboard.hub.ASKED_AGAIN_S", 0.0)
    csrf = me.csrf
    with stream(me) as told:
        next(told)
        httpx.post(
            f"{me.http.base_url}/sign-out",
            data={"csrf": csrf},
            headers={"cookie": f"qanat={me.http.cookies['qanat']}"},
            trust_env=False,
            verify=False,
        )
        assert [kind for kind, _ in told][-1] == "ended"


def test_who_loses_the_right_to_see_it_loses_the_stream(
    control: Control, stranger: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qanat.dashboard.hub.ASKED_AGAIN_S", 0.0)
    text, row = written(control.store, issue, name="for-now")
    stranger.sign_in(text)
    with stream(stranger) as told:
        next(told)
        group = next(group for group in GROUPS if not group.allows("tunnel.read") and group.allows("dns.read"))
        control.call(
            "PUT",
            f"/user/tokens/{row.id}",
            {
                "name": "for-now",
                "policies": [
                    {
                        "effect": "allow",
                        "resources": {f"com.cloudflare.api.account.{control.account}": "*"},
                        "permission_groups": [{"id": group.id}],
                    }
                ],
            },
        )
        assert [kind for kind, _ in told][-1] == "ended"
    assert stranger.get("/tunnels").status_code == 403, "the session itself is good yet"


def test_a_server_that_stops_ends_every_stream(me: Visitor) -> None:
    with stream(me) as told:
        next(told)
        hub = me.control.hub
        hub.close()
        assert [kind for kind, _ in told if kind != "parts"] == []
    hub._is_closed = False
