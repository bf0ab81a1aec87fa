"""Who watches the log is told of what he wants, and loses lines where he doesn't take them."""

import io
import json
from typing import Any

from qanat.connector.log import HTTP, Log
from qanat.connector.management.viewers import (
    MOST_LINES,
    MOST_REQUEST_LINES_PER_S,
    MOST_VIEWERS,
    Filters,
    Viewer,
    Viewers,
)


def viewer(filters: Filters = Filters(), chance: float = 0.0) -> Viewer:  # noqa: B008 - it is frozen
    return Viewer(filters, lambda: None, lambda: chance)


def taken(viewer: Viewer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in viewer.take(MOST_LINES)[0]]


class Watched:
    """A log at `info`, and who watches it."""

    def __init__(self) -> None:
        self.written = io.StringIO()
        self.wanted: list[bool] = []
        self.log = Log(level="info", stream=self.written, clock=lambda: 0.0)
        self.viewers = Viewers(self.wanted.append)
        self.log.attend(self.viewers)

    def watch(self, **filters: Any) -> Viewer:
        found = viewer(Filters(**filters))
        assert self.viewers.add(found)
        return found


def test_a_viewer_sees_lines_below_the_level_that_is_written() -> None:
    watched = Watched()
    one = watched.watch()
    watched.log.debug("a request", event=HTTP, host="app.example.com")
    watched.log.info("started", connIndex=1)
    assert taken(one) == [
        {
            "time": "1970-01-01T00:00:00Z",
            "level": "debug",
            "message": "a request",
            "event": "http",
            "fields": {"host": "app.example.com"},
        },
        {
            "time": "1970-01-01T00:00:00Z",
            "level": "info",
            "message": "started",
            "event": "cloudflared",
            "fields": {"connIndex": 1},
        },
    ]
    assert "a request" not in watched.written.getvalue()
    assert "started" in watched.written.getvalue()


def test_without_a_viewer_nothing_below_the_level_is_made() -> None:
    watched = Watched()
    assert not watched.log.tells("debug")
    one = watched.watch()
    assert watched.log.tells("debug")
    watched.viewers.remove(one)
    assert not watched.log.tells("debug")


def test_filters_by_event_level_and_share() -> None:
    watched = Watched()
    of_http, of_errors = watched.watch(events=frozenset({"http"})), watched.watch(least=3)
    never = viewer(Filters(share=0.5), chance=0.9)
    watched.viewers.add(never)
    watched.log.info("one", event=HTTP)
    watched.log.error("two")
    assert [line["message"] for line in taken(of_http)] == ["one"]
    assert [line["message"] for line in taken(of_errors)] == ["two"]
    assert taken(never) == []


def test_requests_are_told_while_somebody_wants_them() -> None:
    watched = Watched()
    first = watched.watch(least=1)
    assert watched.wanted == [False]
    second = watched.watch(events=frozenset({"http"}))
    watched.viewers.change(second, Filters(events=frozenset({"cloudflared"})))
    watched.viewers.change(second, Filters())
    watched.viewers.remove(second)
    watched.viewers.remove(first)
    assert watched.wanted == [False, True, False, True, False, False]


def test_who_takes_nothing_loses_lines_and_nobody_else_does() -> None:
    watched = Watched()
    asleep, awake = watched.watch(), watched.watch()
    seen = 0
    for number in range(MOST_LINES + 50):
        watched.log.info("line", number=number)
        seen += len(taken(awake))
    assert seen == MOST_LINES + 50
    lines, dropped = asleep.take(2 * MOST_LINES)
    assert (len(lines), dropped) == (MOST_LINES, 50)
    assert asleep.take(1) == ([], 0)


def test_what_is_held_for_one_is_bounded_in_bytes_too() -> None:
    watched = Watched()
    asleep = watched.watch()
    for _ in range(100):
        watched.log.info("x" * 10_000)
    lines, dropped = asleep.take(MOST_LINES)
    assert sum(map(len, lines)) <= 256 * 1024
    assert len(lines) + dropped == 100


def test_he_is_woken_once_for_what_waits() -> None:
    woken: list[None] = []
    one = Viewer(Filters(), lambda: woken.append(None), lambda: 0.0)
    for _ in range(3):
        one.offer(b"{}")
    one.take(10)
    one.offer(b"{}")
    assert len(woken) == 2


def test_lines_of_requests_are_made_for_viewers_up_to_a_rate_and_counted_above() -> None:
    now = [100.0]
    viewers = Viewers(untold=lambda: 7, clock=lambda: now[0])
    made = [viewers.spares_a_line() for _ in range(MOST_REQUEST_LINES_PER_S + 5)]
    assert (made.count(True), viewers.untold()) == (MOST_REQUEST_LINES_PER_S, 12)
    now[0] += 1.0
    assert viewers.spares_a_line()


def test_so_many_may_watch() -> None:
    viewers = Viewers()
    assert all(viewers.add(viewer()) for _ in range(MOST_VIEWERS))
    assert not viewers.add(viewer())


def test_secrets_are_taken_out_of_what_leaves_the_host() -> None:
    watched = Watched()
    one = watched.watch()
    token = "eyJhIjoiMDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEiLCJ0IjoiMTExIiwicyI6Ing9In0="
    watched.log.info(f"dialled https://user:pw@origin.test/a?key=1 with {token}", headers={"Cookie": ["a=b"]})
    (line,) = one.take(1)[0]
    for secret in (b"pw", b"key=1", b"eyJ", b"a=b"):
        assert secret not in line
    assert json.loads(line)["fields"] == {"headers": {"Cookie": ["*****"]}}
