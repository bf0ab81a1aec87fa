"""The overview: every tunnel's state with its reason, worst first, and the map."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy.orm import Session

from qanat.control import connections, tunnel_overview
from qanat.dashboard.charted import draw
from qanat.dashboard.desk import Desk
from qanat.dashboard.drawing.map import Drawing
from qanat.dashboard.overview import TunnelLine
from qanat.health.questions import Check, Judgment
from tests.support.control import Control
from tests.support.dashboard import Visitor, shown

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def connected(control: Control, name: str, *, hostname: str | None = None, version: str = XSS) -> str:
    """A tunnel with a connection and, maybe, a hostname; its id."""
    tunnel = control.create_tunnel(name)
    register(control, tunnel["id"], version=version)
    if hostname is not None:
        zone = control.create_zone(f"{name}.test")
        content = f"{tunnel['id']}.cfargotunnel.com"
        control.create_record(zone["id"], name=hostname, type="CNAME", content=content, proxied=True)
    return str(tunnel["id"])


def register(control: Control, tunnel_id: str, *, version: str = XSS) -> None:
    """A connector has come."""
    with control.store.recording() as write:
        connections.registered(
            write,
            connection_id=f"c-{tunnel_id}",
            tunnel_id=tunnel_id,
            connector_id=tunnel_id,
            index=0,
            protocol="quic",
            origin_ip="192.0.2.1",
            location="lab01",
            version=version,
            arch="linux_amd64",
            features=[],
            at=MOMENT,
        )
    control.edge.health.registered(f"c-{tunnel_id}", tunnel_id, "")


def answered(control: Control, hostname: str, tunnel_id: str, *, good: bool, why: str) -> None:
    """Until the verdict is there."""
    for _ in range(5):
        control.edge.health.answered((hostname, tunnel_id, ""), Check(), Judgment(good, why))


def test_a_tunnel_is_healthy_only_with_an_origin_that_answers(control: Control, me: Visitor) -> None:
    well = connected(control, "well", hostname="app.well.test")
    ill = connected(control, "ill", hostname="app.ill.test")
    fresh = connected(control, "fresh", hostname="app.fresh.test")
    never = control.create_tunnel("never")["id"]
    answered(control, "app.well.test", well, good=True, why="GET / answered 200")
    answered(control, "app.ill.test", ill, good=False, why="GET / answered 500")
    states = rows(me)
    assert states[well][0] == "HEALTHY"
    assert states[ill] == ("DOWN", "no origin answers: app.ill.test: GET / answered 500")
    assert states[fresh] == ("DEGRADED", "connected, and no origin has answered yet")
    assert states[never] == ("INACTIVE", "no connector was ever connected")
    assert list(states).index(ill) < list(states).index(fresh) < list(states).index(never) < list(states).index(well)


def rows(me: Visitor) -> dict[str, tuple[str, str]]:
    """State and reason of each tunnel, in order."""
    found = {}
    html = me.page("/tunnels")
    for row in html.split("<tr>")[2:]:
        cells = row.split("<td")
        found[row.split("/tunnels/")[1].split('"')[0]] = (
            shown("<td" + cells[1].split("<th")[0]),
            shown("<td" + cells[2]),
        )
    return found


def test_an_overview_is_made_anew_only_when_something_has_changed(control: Control, me: Visitor) -> None:
    tunnel = connected(control, "kept", hostname="app.kept.test")
    me.get("/")
    of = control.hub._desk.overviews.of
    before = of(control.account)
    assert of(control.account) is before
    answered(control, "app.kept.test", tunnel, good=True, why="GET / answered 200")
    seen = of(control.account)
    assert seen.line(tunnel).state == "healthy"
    assert [line for line in seen.tunnels if line.id != tunnel] == [x for x in before.tunnels if x.id != tunnel]
    answered(control, "app.kept.test", tunnel, good=True, why="GET / answered 200")
    assert of(control.account) is seen, "the same answer again changes nothing"
    control.edge.health.keep([])
    assert of(control.account).line(tunnel).state == "degraded"
    control.create_tunnel("one-more")
    assert any(line.name == "one-more" for line in of(control.account).tunnels)


def test_what_all_viewers_see_alike_is_rendered_once(
    control: Control, me: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    me.get("/")
    drawn = []

    def drawing(desk: Desk, account_id: str, lines: Sequence[TunnelLine], reading: int) -> Drawing:
        drawn.append(lines)
        return draw(desk, account_id, lines, reading)

    monkeypatch.setattr("qanat.dashboard.pages.overview.draw", drawing)
    control.create_tunnel("drawn-once")
    for _ in range(3):
        assert "drawn-once" in me.page("/tunnels", search="drawn-once")
        me.page("/")
    assert len(drawn) == 1


def test_of_the_map_only_what_something_changed_about_is_read_again(
    control: Control, me: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (connected(control, name, hostname=f"app.{name}.test") for name in ("map-one", "map-two"))
    me.get("/")
    read = []
    original = tunnel_overview.held

    def held(session: Session, ids: Sequence[str]) -> dict[str, list[tunnel_overview.Held]]:
        read.append(set(ids))
        return original(session, ids)

    monkeypatch.setattr("qanat.control.tunnel_overview.held", held)
    overviews, desk = control.hub._desk.overviews, control.hub._desk

    def drawn() -> Drawing:
        found = overviews.of(control.account)
        lines = [line for line in found.tunnels if line.id in (one, two)]
        return draw(desk, control.account, lines, found.stamp[0])

    before = drawn()
    assert drawn() == before
    answered(control, "app.map-two.test", two, good=False, why="connection refused")
    after = drawn()
    assert after != before
    assert read == [{two}]
    control.create_tunnel("map-three")
    assert drawn() == after
    assert read[-1] == {one, two}, "what was written may be about any of them"


def test_what_is_broken_is_named_with_its_reason(control: Control, me: Visitor) -> None:
    tunnel = connected(control, "broken", hostname="app.broken.test")
    answered(control, "app.broken.test", tunnel, good=False, why="connection refused")
    page = shown(me.page("/"))
    assert "Needs a look" in page
    assert "DOWN broken no origin answers: app.broken.test: connection refused" in page


def test_the_map_draws_a_tunnel_with_its_hostname_node_and_origin(control: Control, me: Visitor) -> None:
    tunnel = connected(control, "drawn", hostname="app.drawn.test")
    rules = {
        "ingress": [{"hostname": "app.drawn.test", "service": "http://127.0.0.1:8099"}, {"service": "http_status:404"}]
    }
    control.call("PUT", f"{control.tunnels()}/{tunnel}/configurations", {"config": rules})
    answered(control, "app.drawn.test", tunnel, good=False, why="connection refused")
    drawing = me.page("/").split('<section id="map"')[1].split("</section>")[0]
    assert 'is-ill"' in drawing
    said = shown(drawing)
    for text in ("app.drawn.test", "drawn", "1/1 quic", "default", "http://127.0.0.1:8099"):
        assert text in said


def test_what_strangers_wrote_is_text(control: Control, me: Visitor) -> None:
    connected(control, "hostile", hostname="app.hostile.test")
    control.create_tunnel(XSS)
    for path in ("/", "/tunnels"):
        html = me.page(path)
        assert "<script>alert" not in html
        assert "<img src=x" not in html
    assert "<script>alert" not in me.page("/tunnels", search=XSS)


def test_tunnels_are_found_by_name_id_and_state(control: Control, me: Visitor) -> None:
    one = control.create_tunnel("needle-one")["id"]
    assert shown(me.page("/tunnels", search="NEEDLE")).count("needle-one") == 1
    assert "needle-one" in me.page("/tunnels", search=one[:8])
    assert "needle-one" not in me.page("/tunnels", search="needle", state="down")


def test_a_list_longer_than_a_page_is_paged(control: Control, me: Visitor) -> None:
    for number in range(27):
        control.create_tunnel(f"page-{number:02}")
    first, second = (me.page("/tunnels", search="page-", page=page) for page in ("1", "2"))
    assert first.count('scope="row"') == 25
    assert second.count('scope="row"') == 2
    assert "search=page-&amp;page=2" in first
    assert me.page("/tunnels", search="page-", page="999").count('scope="row"') == 2


def test_plots_have_a_column_a_hop_and_quantile(me: Visitor) -> None:
    times, columns = me.get("/plots/account", span="1h").json()
    assert set(columns) == {
        "requests",
        "errors",
        *(
            f"{hop}_{at}"
            for hop in ("edge", "tunnel", "connector", "behind", "origin", "total")
            for at in ("p50", "p95", "p99")
        ),
    }
    assert all(len(values) == len(times) for values in columns.values())


def test_who_changes_something_sees_it_at_once_however_fresh_the_last_look_is(
    control: Control, me: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qanat.dashboard.overview.KEPT_S", 3600.0)
    me.page("/start")
    made = me.post("/start", name="just-made")
    assert made.status_code == 303
    assert "Nobody is connected yet" in me.page(made.headers["location"])


def test_a_newcomer_is_led_to_a_rule_and_to_a_hostname(control: Control, me: Visitor) -> None:
    zone = control.create_zone("begun.test")
    place = me.post("/start", name="begun").headers["location"]
    tunnel = place.partition("tunnel=")[2]
    html = me.page(place)
    assert f'action="/tunnels/{tunnel}/configuration"' in html
    checked = me.post(
        f"/tunnels/{tunnel}/configuration", **{"version": "0", "action": "check", "service-0": "http://127.0.0.1:80"}
    )
    assert "http://127.0.0.1:80" in shown(checked.text)
    assert 'value="save"' in checked.text, "it is shown before it is saved"
    led = me.get("/start/hostname", tunnel=tunnel, zone=zone["id"]).headers["location"]
    assert f'<option value="{tunnel}" selected' in me.page(led)
    assert me.get("/start/hostname", tunnel=tunnel, zone="f" * 32).status_code == 404
    control.call(
        "PUT", f"{control.tunnels()}/{tunnel}/configurations", {"config": {"ingress": [{"service": "http_status:404"}]}}
    )
    assert "It has rules" in shown(me.page(place))
